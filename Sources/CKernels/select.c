#include "select.h"

#include "float_bits.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

ES_INLINE uint32_t key_of(float value, struct es_key_order order) {
  const uint32_t bits = bits_of(value) & order.mask;
  return bits ^ ((uint32_t)((int32_t)bits >> 31) & 0x7fffffffu) ^ order.flip;
}

ES_CLONES struct es_bracket_count es_count_at_key(
    const float *values, int64_t n, struct es_key_order order, uint32_t key) {
  struct es_bracket_count count = {0};
  // Blocks whose counts fit 32 bits, the width of the keys.
  enum { stride = 1 << 20 };
  for (int64_t start = 0; start < n; start += stride) {
    const int64_t end = n - start < stride ? n : start + stride;
    uint32_t above = 0, from = 0;
    for (int64_t i = start; i < end; i++) {
      const uint32_t other = key_of(values[i], order);
      above += other > key;
      from += other >= key;
    }
    count.above += above;
    count.at_high += from - above;
  }
  return count;
}

ES_CLONES struct es_bracket_count es_collect_in_bracket_portable(
    const float *values, int64_t n, struct es_key_order order, uint32_t low, uint32_t high, uint32_t *inside) {
  struct es_bracket_count count = {0};
  enum { stride = 256 };
  for (int64_t start = 0; start < n; start += stride) {
    const int64_t length = n - start < stride ? n - start : stride;
    uint32_t keys[stride], above = 0, at_high = 0, at_low = 0;
    for (int64_t i = 0; i < length; i++) {
      keys[i] = key_of(values[start + i], order);
      above += keys[i] > high;
      at_high += keys[i] == high;
      at_low += (keys[i] == low) & (low < high);
    }
    count.above += above;
    count.at_high += at_high;
    count.at_low += at_low;
    for (int64_t i = 0; i < length; i++) {
      // Always written, kept by moving on: no branch to mispredict.
      inside[count.inside] = keys[i];
      count.inside += (keys[i] > low) & (keys[i] < high);
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
  int64_t above = 0, from_high = 0, from_low = 0;
  uint32_t *next = inside;
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 valid = n - i < 16 ? (__mmask16)((1u << (n - i)) - 1) : 0xffff;
    const __m512i bits = _mm512_and_si512(_mm512_maskz_loadu_epi32(valid, values + i), mask);
    const __m512i negative = _mm512_and_si512(_mm512_srai_epi32(bits, 31), magnitude);
    const __m512i keys = _mm512_xor_si512(_mm512_xor_si512(bits, negative), flip);
    const __mmask16 higher = _mm512_mask_cmpgt_epu32_mask(valid, keys, highs);
    const __mmask16 at_least_high = _mm512_mask_cmpge_epu32_mask(valid, keys, highs);
    const __mmask16 at_least_low = _mm512_mask_cmpge_epu32_mask(valid, keys, lows);
    const __mmask16 between = _mm512_mask_cmpgt_epu32_mask((__mmask16)(valid & ~at_least_high), keys, lows);
    // Compressed in a register and stored whole: the compressing store itself is slow on some processors.
    _mm512_storeu_si512(next, _mm512_maskz_compress_epi32(between, keys));
    next += __builtin_popcount(between);
    above += __builtin_popcount(higher);
    from_high += __builtin_popcount(at_least_high);
    from_low += __builtin_popcount(at_least_low);
  }
  const int64_t between = next - inside;
  return (struct es_bracket_count){above, from_high - above, between, from_low - from_high - between};
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
