#include <string.h>

#include "clones.h"
#include "entropy.h"
#include "entropy_entries.h"

enum { lanes = ES_ENTROPY_LANES };

/// The state after one more symbol; a word goes before `*end` where the state would not fit.
ES_INLINE uint32_t encoded(uint32_t x, const es_entropy_encoder *encoder, uint8_t symbol, uint8_t **end) {
  const uint32_t range = encoder->ranges[symbol], f = range >> 16, start = range & 0xffff;
  // Written at any rate, kept by moving on, in arithmetic: no branch to mispredict.
  const uint16_t word = (uint16_t)x;
  memcpy(*end - 2, &word, 2);
  const uint32_t full = x >= f << 20;
  *end -= 2 * full;
  x >>= 16 * full;
  uint32_t quotient = (uint32_t)(((unsigned __int128)x * encoder->reciprocals[symbol]) >> 64);
  uint32_t rest = x - quotient * f;
  // By 1: 2^64 - 1 is less than 2^64 / 1.
  const uint32_t more = rest >= f;
  quotient += more;
  rest -= f & (0 - more);
  return (quotient << ES_ENTROPY_BITS) + start + rest;
}

ES_INLINE const es_entropy_encoder *encoder_of(
    const es_entropy_encoder *encoders, const uint8_t *contexts, int64_t i) {
  return contexts ? encoders + contexts[i] : encoders;
}

/// The symbols of the last, incomplete group.
ES_INLINE uint8_t *encode_rest(
    const es_entropy_encoder *encoders, const uint8_t *contexts, const uint8_t *symbols, int64_t n, uint32_t *states,
    uint8_t *end) {
  for (int64_t i = n; i % lanes > 0;) {
    i--;
    states[i % lanes] = encoded(states[i % lanes], encoder_of(encoders, contexts, i), symbols[i], &end);
  }
  return end;
}

ES_INLINE uint8_t *encode_groups(
    const es_entropy_encoder *encoders, const uint8_t *contexts, const uint8_t *symbols, int64_t n, uint32_t *states,
    uint8_t *end) {
  for (int64_t i = n / lanes * lanes; i > 0;) {
    i -= lanes;
    for (int lane = lanes - 1; lane >= 0; lane--)
      states[lane] = encoded(states[lane], encoder_of(encoders, contexts, i + lane), symbols[i + lane], &end);
  }
  return end;
}

#if defined(__x86_64__)
enum { vectors = lanes / 16 };

/// ranges[symbols[0 ..< 16]] by sixteen loads, twice as fast as a gather.
TARGET ES_INLINE __m512i ranges_of(const uint32_t *ranges, const uint8_t *symbols) {
  __m128i quarters[4];
  for (int k = 0; k < 4; k++) {
    uint32_t four;
    memcpy(&four, symbols + 4 * k, 4);
    quarters[k] = _mm_cvtsi32_si128((int)ranges[four & 255]);
    quarters[k] = _mm_insert_epi32(quarters[k], (int)ranges[four >> 8 & 255], 1);
    quarters[k] = _mm_insert_epi32(quarters[k], (int)ranges[four >> 16 & 255], 2);
    quarters[k] = _mm_insert_epi32(quarters[k], (int)ranges[four >> 24], 3);
  }
  const __m256i low = _mm256_set_m128i(quarters[1], quarters[0]), high = _mm256_set_m128i(quarters[3], quarters[2]);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

TARGET ES_INLINE uint8_t *encode_groups_avx512(
    const es_entropy_encoder *encoders, const uint8_t *contexts, const uint8_t *symbols, int64_t n, uint32_t *states,
    uint8_t *end) {
  const __m512i low = _mm512_set1_epi32(0xffff), stride = _mm512_set1_epi32(sizeof *encoders / 4);
  // Less than 1 by more than the three roundings of a quotient, so that it is the exact one or, below 2^20, one less.
  const __m512 shrink = _mm512_set1_ps(1 - 0x1p-22f);
  __m512i x[vectors];
  for (int k = 0; k < vectors; k++) x[k] = _mm512_loadu_si512(states + 16 * k);
  for (int64_t i = n / lanes * lanes; i > 0;) {
    i -= lanes;
#pragma clang loop unroll(full)
    for (int k = vectors - 1; k >= 0; k--) {
      __m512i range;
      if (contexts) {
        const __m512i symbol = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(symbols + i + 16 * k)));
        const __m512i context = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(contexts + i + 16 * k)));
        range = entropy_entries(encoders->ranges, _mm512_add_epi32(symbol, _mm512_mullo_epi32(context, stride)));
      } else {
        range = ranges_of(encoders->ranges, symbols + i + 16 * k);
      }
      const __m512i f = _mm512_srli_epi32(range, 16), start = _mm512_and_si512(range, low);
      const __mmask16 full = _mm512_cmpge_epu32_mask(x[k], _mm512_slli_epi32(f, 20));
      const int words = _mm_popcnt_u32(full);
      end -= 2 * words;
      _mm256_mask_storeu_epi16(
          end, (__mmask16)((1u << words) - 1), _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(full, x[k])));
      const __m512i v = _mm512_mask_srli_epi32(x[k], full, x[k], 16);
      const __m512 ratio = _mm512_div_ps(_mm512_cvtepu32_ps(v), _mm512_cvtepi32_ps(f));
      __m512i quotient = _mm512_cvttps_epi32(_mm512_mul_ps(ratio, shrink));
      __m512i rest = _mm512_sub_epi32(v, _mm512_mullo_epi32(quotient, f));
      const __mmask16 more = _mm512_cmpge_epu32_mask(rest, f);
      rest = _mm512_mask_sub_epi32(rest, more, rest, f);
      quotient = _mm512_mask_add_epi32(quotient, more, quotient, _mm512_set1_epi32(1));
      x[k] = _mm512_add_epi32(_mm512_slli_epi32(quotient, ES_ENTROPY_BITS), _mm512_add_epi32(start, rest));
    }
  }
  for (int k = 0; k < vectors; k++) _mm512_storeu_si512(states + 16 * k, x[k]);
  return end;
}

TARGET static uint8_t *encode_avx512(
    const es_entropy_encoder *encoders, const uint8_t *contexts, const uint8_t *symbols, int64_t n, uint32_t *states,
    uint8_t *end) {
  if (contexts) return encode_groups_avx512(encoders, contexts, symbols, n, states, end);
  return encode_groups_avx512(encoders, 0, symbols, n, states, end);
}
#endif

int64_t es_entropy_encode(
    es_entropy_kernel kernel, const es_entropy_encoder *encoders, const uint8_t *contexts, const uint8_t *symbols,
    int64_t n, uint8_t *end) {
  uint32_t states[lanes];
  for (int lane = 0; lane < lanes; lane++) states[lane] = 1u << 16;
  uint8_t *first = encode_rest(encoders, contexts, symbols, n, states, end);
#if defined(__x86_64__)
  if (kernel == es_entropy_kernel_avx512)
    first = encode_avx512(encoders, contexts, symbols, n, states, first);
  else
#endif
    if (contexts)
    first = encode_groups(encoders, contexts, symbols, n, states, first);
  else
    first = encode_groups(encoders, 0, symbols, n, states, first);
  first -= ES_ENTROPY_STATES;
  memcpy(first, states, ES_ENTROPY_STATES);
  return end - first;
}
