#pragma once
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Packed values go to their places, widened: EXPAND(values, mask, low, high) makes floats of 32 positions, zeros where
// the mask has none. A vector is read from the values on, so there must be bytes after the last one.

typedef float f32x16 __attribute__((vector_size(64)));

#if defined(__x86_64__)

#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2,fma,f16c,popcnt")))
#define TARGET_AVX2 __attribute__((target("avx2,fma,f16c,popcnt")))

// MARK: AVX-512

/// A vector of values in a register. Left to itself the compiler reads memory in the instruction that puts values in
/// their places, and with that form the product took 2.4 times as long on Zen 4.
TARGET_AVX512 static inline __attribute__((always_inline)) __m512i fetched(const void *values) {
  __m512i vector = _mm512_loadu_si512(values);
  __asm__("" : "+v"(vector));
  return vector;
}

// The exchange leaves column i in the low half of lane i, and column i + 16 in the high one.
#define EXPAND_BF16_AVX512(values, mask, low, high) \
  do { \
    const __m512i exchange_ = _mm512_set_epi16( \
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, \
        16, 0); \
    const __m512i placed_ = _mm512_maskz_expand_epi16(mask, fetched(values)); \
    const __m512i pairs_ = _mm512_permutexvar_epi16(exchange_, placed_); \
    low = (f32x16)_mm512_slli_epi32(pairs_, 16); \
    high = (f32x16)_mm512_and_si512(pairs_, _mm512_set1_epi32((int)0xffff0000)); \
  } while (0)

#define EXPAND_F16_AVX512(values, mask, low, high) \
  do { \
    const __m512i placed_ = _mm512_maskz_expand_epi16(mask, fetched(values)); \
    low = (f32x16)_mm512_cvtph_ps(_mm512_castsi512_si256(placed_)); \
    high = (f32x16)_mm512_cvtph_ps(_mm512_extracti64x4_epi64(placed_, 1)); \
  } while (0)

#define EXPAND_F32_AVX512(values, mask, low, high) \
  do { \
    const float *first_ = (const float *)(values), *second_ = first_ + __builtin_popcount((mask) & 0xffff); \
    low = (f32x16)_mm512_maskz_expand_ps((__mmask16)(mask), (__m512)fetched(first_)); \
    high = (f32x16)_mm512_maskz_expand_ps((__mmask16)((mask) >> 16), (__m512)fetched(second_)); \
  } while (0)

// MARK: AVX2

/// For each mask of 8 positions the shuffle of bytes that puts packed numbers of two bytes in their places.
#define RANK(mask, bit) (2 * __builtin_popcount((mask) & ((1 << (bit)) - 1)))
#define PLACE(mask, bit) \
  (mask) >> (bit) & 1 ? RANK(mask, bit) : 0x80, (mask) >> (bit) & 1 ? RANK(mask, bit) + 1 : 0x80
#define SHUFFLE(mask) \
  {PLACE(mask, 0), PLACE(mask, 1), PLACE(mask, 2), PLACE(mask, 3), \
   PLACE(mask, 4), PLACE(mask, 5), PLACE(mask, 6), PLACE(mask, 7)}
#define SHUFFLE_4(mask) SHUFFLE(mask), SHUFFLE((mask) + 1), SHUFFLE((mask) + 2), SHUFFLE((mask) + 3)
#define SHUFFLE_16(mask) SHUFFLE_4(mask), SHUFFLE_4((mask) + 4), SHUFFLE_4((mask) + 8), SHUFFLE_4((mask) + 12)
#define SHUFFLE_64(mask) SHUFFLE_16(mask), SHUFFLE_16((mask) + 16), SHUFFLE_16((mask) + 32), SHUFFLE_16((mask) + 48)
static const uint8_t shuffles[256][16] __attribute__((aligned(16))) = {
    SHUFFLE_64(0), SHUFFLE_64(64), SHUFFLE_64(128), SHUFFLE_64(192)};
#undef RANK
#undef PLACE
#undef SHUFFLE
#undef SHUFFLE_4
#undef SHUFFLE_16
#undef SHUFFLE_64

#define INLINE_AVX2 TARGET_AVX2 static inline __attribute__((always_inline))

INLINE_AVX2 __m256 eight_bf16(const void *values, uint32_t mask) {
  const __m128i order = _mm_load_si128((const __m128i *)shuffles[mask & 0xff]);
  const __m128i placed = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)values), order);
  return (__m256)_mm256_slli_epi32(_mm256_cvtepu16_epi32(placed), 16);
}

INLINE_AVX2 __m256 eight_f16(const void *values, uint32_t mask) {
  const __m128i order = _mm_load_si128((const __m128i *)shuffles[mask & 0xff]);
  return _mm256_cvtph_ps(_mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)values), order));
}

INLINE_AVX2 __m256 eight_f32(const void *values, uint32_t mask) {
  // Twice the rank in the low bits, negative where there is none.
  const __m256i order = _mm256_cvtepi16_epi32(_mm_load_si128((const __m128i *)shuffles[mask & 0xff]));
  const __m256 placed = _mm256_permutevar8x32_ps(_mm256_loadu_ps((const float *)values), _mm256_srli_epi32(order, 1));
  return _mm256_andnot_ps((__m256)_mm256_srai_epi32(order, 31), placed);
}

#define EXPAND_AVX2(eight, width, values, mask, low, high) \
  do { \
    const char *first_ = (const char *)(values); \
    const uint32_t mask_ = (mask); \
    const __m256 parts_[4] = { \
        eight(first_, mask_), \
        eight(first_ + (width) * __builtin_popcount(mask_ & 0xff), mask_ >> 8), \
        eight(first_ + (width) * __builtin_popcount(mask_ & 0xffff), mask_ >> 16), \
        eight(first_ + (width) * __builtin_popcount(mask_ & 0xffffff), mask_ >> 24)}; \
    memcpy(&(low), parts_, sizeof(low)); \
    memcpy(&(high), parts_ + 2, sizeof(high)); \
  } while (0)
#define EXPAND_BF16_AVX2(values, mask, low, high) EXPAND_AVX2(eight_bf16, 2, values, mask, low, high)
#define EXPAND_F16_AVX2(values, mask, low, high) EXPAND_AVX2(eight_f16, 2, values, mask, low, high)
#define EXPAND_F32_AVX2(values, mask, low, high) EXPAND_AVX2(eight_f32, 4, values, mask, low, high)

#endif
