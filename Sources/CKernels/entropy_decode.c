#include <string.h>

#include "clones.h"
#include "entropy.h"
#include "entropy_entries.h"

enum { lanes = ES_ENTROPY_LANES, slot_mask = ES_ENTROPY_TOTAL - 1 };

ES_INLINE uint32_t entry_of(const es_entropy_decoder *decoders, const uint8_t *contexts, int64_t i, uint32_t x) {
  return (contexts ? decoders + contexts[i] : decoders)->slots[x & slot_mask];
}

ES_INLINE uint32_t decoded(uint32_t x, uint32_t entry) {
  return (x >> ES_ENTROPY_BITS) * (entry & slot_mask) + (entry >> ES_ENTROPY_BITS & slot_mask);
}

/// Whole groups while there are words for all lanes. Returns how many symbols they were.
ES_INLINE int64_t decode_groups(
    const es_entropy_decoder *decoders, const uint8_t *contexts, es_entropy_stream *stream, uint8_t *symbols,
    int64_t n) {
  const uint8_t *next = stream->next;
  int64_t i = 0;
  for (; i + lanes <= n && stream->end - next >= 2 * lanes; i += lanes)
#pragma clang loop unroll_count(8)
    for (int lane = 0; lane < lanes; lane++) {
      const uint32_t entry = entry_of(decoders, contexts, i + lane, stream->states[lane]);
      const uint32_t x = decoded(stream->states[lane], entry);
      symbols[i + lane] = (uint8_t)(entry >> 24);
      // Read at any rate, and in arithmetic: no branch to mispredict.
      uint16_t word;
      memcpy(&word, next, 2);
      const uint32_t low = x < 1u << 16;
      stream->states[lane] = x << 16 * low | (word & (0 - low));
      next += 2 * low;
    }
  stream->next = next;
  return i;
}

/// Symbols from `first` on, word by word. False if the words do not suffice.
static bool decode_rest(
    const es_entropy_decoder *decoders, const uint8_t *contexts, es_entropy_stream *stream, uint8_t *symbols,
    int64_t first, int64_t n) {
  for (int64_t i = first; i < n; i++) {
    uint32_t *state = &stream->states[i % lanes];
    const uint32_t entry = entry_of(decoders, contexts, i, *state);
    symbols[i] = (uint8_t)(entry >> 24);
    *state = decoded(*state, entry);
    if (*state >= 1u << 16) continue;
    if (stream->end - stream->next < 2) return false;
    uint16_t word;
    memcpy(&word, stream->next, 2);
    *state = *state << 16 | word;
    stream->next += 2;
  }
  return true;
}

#if defined(__x86_64__)
TARGET ES_INLINE int64_t decode_groups_avx512(
    const es_entropy_decoder *decoders, const uint8_t *contexts, es_entropy_stream *stream, uint8_t *symbols,
    int64_t n) {
  enum { vectors = lanes / 16 };
  const __m512i mask = _mm512_set1_epi32(slot_mask), least = _mm512_set1_epi32(1 << 16);
  const uint8_t *next = stream->next;
  __m512i x[vectors];
  for (int k = 0; k < vectors; k++) x[k] = _mm512_loadu_si512(stream->states + 16 * k);
  int64_t i = 0;
  for (; i + lanes <= n && stream->end - next >= 2 * lanes; i += lanes) {
#pragma clang loop unroll(full)
    for (int k = 0; k < vectors; k++) {
      __m512i index = _mm512_and_si512(x[k], mask);
      if (contexts) {
        const __m512i context = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(contexts + i + 16 * k)));
        index = _mm512_or_si512(index, _mm512_slli_epi32(context, ES_ENTROPY_BITS));
      }
      const __m512i entry = entropy_entries(decoders->slots, index);
      _mm_storeu_si128((__m128i *)(symbols + i + 16 * k), _mm512_cvtepi32_epi8(_mm512_srli_epi32(entry, 24)));
      const __m512i product =
          _mm512_mullo_epi32(_mm512_srli_epi32(x[k], ES_ENTROPY_BITS), _mm512_and_si512(entry, mask));
      const __m512i v =
          _mm512_add_epi32(product, _mm512_and_si512(_mm512_srli_epi32(entry, ES_ENTROPY_BITS), mask));
      const __mmask16 low = _mm512_cmplt_epu32_mask(v, least);
      const __m512i words = _mm512_maskz_expand_epi32(
          low, _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)next)));
      x[k] = _mm512_mask_or_epi32(v, low, _mm512_slli_epi32(v, 16), words);
      next += 2 * _mm_popcnt_u32(low);
    }
  }
  for (int k = 0; k < vectors; k++) _mm512_storeu_si512(stream->states + 16 * k, x[k]);
  stream->next = next;
  return i;
}

TARGET static int64_t decode_avx512(
    const es_entropy_decoder *decoders, const uint8_t *contexts, es_entropy_stream *stream, uint8_t *symbols,
    int64_t n) {
  if (contexts)
    return decode_groups_avx512(decoders, contexts, stream, symbols, n);
  else
    return decode_groups_avx512(decoders, 0, stream, symbols, n);
}
#undef TARGET

#define TARGET __attribute__((target("avx2,bmi2,popcnt")))
TARGET ES_INLINE int64_t decode_groups_avx2(
    const es_entropy_decoder *decoders, const uint8_t *contexts, es_entropy_stream *stream, uint8_t *symbols,
    int64_t n) {
  enum { vectors = lanes / 8 };
  const __m256i mask = _mm256_set1_epi32(slot_mask), zero = _mm256_setzero_si256();
  // The lowest bytes of four integers, in each half.
  const __m256i lowest = _mm256_setr_epi8(
      0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
      -1, -1);
  const uint8_t *next = stream->next;
  __m256i x[vectors];
  for (int k = 0; k < vectors; k++) x[k] = _mm256_loadu_si256((const __m256i *)(stream->states + 8 * k));
  int64_t i = 0;
  for (; i + lanes <= n && stream->end - next >= 2 * lanes; i += lanes) {
#pragma clang loop unroll(full)
    for (int k = 0; k < vectors; k++) {
      __m256i index = _mm256_and_si256(x[k], mask);
      if (contexts) {
        const __m256i context = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(contexts + i + 8 * k)));
        index = _mm256_or_si256(index, _mm256_slli_epi32(context, ES_ENTROPY_BITS));
      }
      const __m256i entry = _mm256_i32gather_epi32((const int *)decoders, index, 4);
      const __m256i packed = _mm256_shuffle_epi8(_mm256_srli_epi32(entry, 24), lowest);
      const uint64_t four = (uint32_t)_mm256_extract_epi32(packed, 0);
      const uint64_t eight = four | (uint64_t)(uint32_t)_mm256_extract_epi32(packed, 4) << 32;
      memcpy(symbols + i + 8 * k, &eight, 8);
      const __m256i product =
          _mm256_mullo_epi32(_mm256_srli_epi32(x[k], ES_ENTROPY_BITS), _mm256_and_si256(entry, mask));
      const __m256i v =
          _mm256_add_epi32(product, _mm256_and_si256(_mm256_srli_epi32(entry, ES_ENTROPY_BITS), mask));
      const __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(v, 16), zero);
      const uint32_t lows = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(low));
      // Lane by lane the number of the word that goes there: 0, 1, 2 ... deposited in the lanes that want one.
      const uint64_t wanting = _pdep_u64(lows, 0x0101010101010101) * 0xff;
      const __m256i order =
          _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)_pdep_u64(0x0706050403020100, wanting)));
      const __m256i words = _mm256_permutevar8x32_epi32(
          _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)next)), order);
      x[k] = _mm256_blendv_epi8(v, _mm256_or_si256(_mm256_slli_epi32(v, 16), words), low);
      next += 2 * _mm_popcnt_u32(lows);
    }
  }
  for (int k = 0; k < vectors; k++) _mm256_storeu_si256((__m256i *)(stream->states + 8 * k), x[k]);
  stream->next = next;
  return i;
}

TARGET static int64_t decode_avx2(
    const es_entropy_decoder *decoders, const uint8_t *contexts, es_entropy_stream *stream, uint8_t *symbols,
    int64_t n) {
  if (contexts)
    return decode_groups_avx2(decoders, contexts, stream, symbols, n);
  else
    return decode_groups_avx2(decoders, 0, stream, symbols, n);
}
#endif

bool es_entropy_begin(const uint8_t *coded, int64_t size, es_entropy_stream *stream) {
  if (size < ES_ENTROPY_STATES || size % 2 != 0) return false;
  memcpy(stream->states, coded, ES_ENTROPY_STATES);
  stream->next = coded + ES_ENTROPY_STATES;
  stream->end = coded + size;
  return true;
}

bool es_entropy_decode(
    es_entropy_kernel kernel, es_entropy_stream *stream, const es_entropy_decoder *decoders, const uint8_t *contexts,
    uint8_t *symbols, int64_t n) {
  int64_t done;
  switch (kernel) {
#if defined(__x86_64__)
  case es_entropy_kernel_avx512: done = decode_avx512(decoders, contexts, stream, symbols, n); break;
  case es_entropy_kernel_avx2: done = decode_avx2(decoders, contexts, stream, symbols, n); break;
#endif
  default:
    done = contexts ? decode_groups(decoders, contexts, stream, symbols, n)
                    : decode_groups(decoders, 0, stream, symbols, n);
  }
  return decode_rest(decoders, contexts, stream, symbols, done, n);
}

bool es_entropy_end(const es_entropy_stream *stream) {
  for (int lane = 0; lane < lanes; lane++)
    if (stream->states[lane] != 1u << 16) return false;
  return stream->next == stream->end;
}
