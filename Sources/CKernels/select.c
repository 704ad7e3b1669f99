#include "select.h"

#include "float_bits.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

ES_INLINE uint32_t key_of(float value, struct es_key_order order) {
  const uint32_t bits = bits_of(value) & order.mask;
  return bits ^ ((uint32_t)((int32_t)bits >> 31) & 0x7fffffffu) ^ order.flip;
}

ES_CLONES struct es_bracket_count es_count_in_bracket(
    const float *values, int64_t n, struct es_key_order order, uint32_t low, uint32_t high) {
  struct es_bracket_count count = {0, 0};
  // Blocks whose counts fit 32 bits, the width of the keys.
  enum { stride = 1 << 20 };
  for (int64_t start = 0; start < n; start += stride) {
    const int64_t end = n - start < stride ? n : start + stride;
    uint32_t above = 0, from_low = 0;
    for (int64_t i = start; i < end; i++) {
      const uint32_t key = key_of(values[i], order);
      above += key > high;
      from_low += key >= low;
    }
    count.above += above;
    count.inside += from_low - above;
  }
  return count;
}

ES_CLONES struct es_bracket_count es_collect_in_bracket_portable(
    const float *values, int64_t n, struct es_key_order order, uint32_t low, uint32_t high, uint32_t *inside) {
  struct es_bracket_count count = {0, 0};
  enum { stride = 256 };
  for (int64_t start = 0; start < n; start += stride) {
    const int64_t length = n - start < stride ? n - start : stride;
    uint32_t keys[stride], above = 0;
    for (int64_t i = 0; i < length; i++) {
      keys[i] = key_of(values[start + i], order);
      above += keys[i] > high;
    }
    count.above += above;
    for (int64_t i = 0; i < length; i++) {
      // Always written, kept by moving on: no branch to mispredict.
      inside[count.inside] = keys[i];
      count.inside += keys[i] - low <= high - low;
    }
  }
  return count;
}

#if defined(__x86_64__)
__attribute__((target("avx512f,popcnt"))) static struct es_bracket_count collect_in_bracket_avx512(
    const float *values, int64_t n, struct es_key_order order, uint32_t low, uint32_t high, uint32_t *inside) {
  const __m512i mask = _mm512_set1_epi32((int)order.mask), flip = _mm512_set1_epi32((int)order.flip);
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  const __m512i lows = _mm512_set1_epi32((int)low), highs = _mm512_set1_epi32((int)high);
  struct es_bracket_count count = {0, 0};
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 valid = n - i < 16 ? (__mmask16)((1u << (n - i)) - 1) : 0xffff;
    const __m512i bits = _mm512_and_si512(_mm512_maskz_loadu_epi32(valid, values + i), mask);
    const __m512i negative = _mm512_and_si512(_mm512_srai_epi32(bits, 31), magnitude);
    const __m512i keys = _mm512_xor_si512(_mm512_xor_si512(bits, negative), flip);
    const __mmask16 above = _mm512_mask_cmpgt_epu32_mask(valid, keys, highs);
    const __mmask16 in = _mm512_mask_cmpge_epu32_mask((__mmask16)(valid & ~above), keys, lows);
    // Compressed in a register and stored whole: the compressing store itself is slow on some processors.
    _mm512_storeu_si512(inside + count.inside, _mm512_maskz_compress_epi32(in, keys));
    count.inside += __builtin_popcount(in);
    count.above += __builtin_popcount(above);
  }
  return count;
}
#endif

struct es_bracket_count es_collect_in_bracket(
    const float *values, int64_t n, struct es_key_order order, uint32_t low, uint32_t high, uint32_t *inside) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return collect_in_bracket_avx512(values, n, order, low, high, inside);
#endif
  return es_collect_in_bracket_portable(values, n, order, low, high, inside);
}

ES_CLONES static void keep_from(float *values, int64_t n, struct es_key_order order, uint32_t cut, uint32_t ties) {
  for (int64_t i = 0; i < n; i++) {
    const uint32_t key = key_of(values[i], order);
    values[i] = (key > cut) | ((key == cut) & ties) ? values[i] : 0;
  }
}

void es_apply_cut(float *values, int64_t n, struct es_key_order order, uint32_t cut, int64_t quota) {
  if (quota <= 0 || quota >= n) {
    keep_from(values, n, order, cut, quota > 0);
    return;
  }
  for (int64_t i = 0; i < n; i++) {
    const uint32_t key = key_of(values[i], order);
    const int keep = key > cut || (key == cut && quota-- > 0);
    if (!keep) values[i] = 0;
  }
}
