#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#endif

#include "float_bits.h"
#include "lanes.h"
#include "linear.h"
#include "packed_rows.h"

#pragma STDC FP_CONTRACT OFF

#define JOIN2_(a, b) a##_##b
#define JOIN2(a, b) JOIN2_(a, b)

typedef uint8_t u8x8 __attribute__((vector_size(8)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef int8_t i8x16 __attribute__((vector_size(16)));
typedef uint8_t u8x32 __attribute__((vector_size(32)));
typedef uint8_t u8x64 __attribute__((vector_size(64)));
typedef uint16_t u16x32 __attribute__((vector_size(64)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef uint64_t u64x8 __attribute__((vector_size(64)));
typedef uint64_t u64x4 __attribute__((vector_size(32)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef float f32x4 __attribute__((vector_size(16)));
typedef float f32x16 __attribute__((vector_size(64), may_alias));

typedef void (*dot_function)(
    const uint8_t *weights, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns, const es_linear_codes *x,
    ptrdiff_t tokens, float *y, ptrdiff_t y_stride);

typedef void (*packed_dot_function)(
    const es_packed_rows *weights, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t columns, const es_linear_codes *x,
    ptrdiff_t tokens, float *y, ptrdiff_t y_stride);

// Bytes ahead of the next rows, lest memory be too late where rows are short.
#define PREFETCH_LEAD 2048

#define SUM(v) sum_of_lanes((const floats *)&(v))

/// The levels of IQ4_NL, plus 128.
static const uint8_t bell_levels[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};

/// The levels of MXFP4 in halves of their unit, plus 16; the negative zero is zero.
static const uint8_t e2m1_levels[16] = {16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4};

/// The bits of half of the power of two that a block of MXFP4 begins with; the two smallest are subnormal.
#define POWER(e) ((e) < 2 ? 0x200000u << ((e) & 1) : ((e) - 1u) << 23)
#define POWERS_4(e) POWER(e), POWER((e) + 1), POWER((e) + 2), POWER((e) + 3)
#define POWERS_16(e) POWERS_4(e), POWERS_4((e) + 4), POWERS_4((e) + 8), POWERS_4((e) + 12)
#define POWERS_64(e) POWERS_16(e), POWERS_16((e) + 16), POWERS_16((e) + 32), POWERS_16((e) + 48)
static const uint32_t halves_of_powers[256] = {POWERS_64(0), POWERS_64(64), POWERS_64(128), POWERS_64(192)};
#define POWERS(a, b, h) h = (f32x4)(u32x4){halves_of_powers[*(a)], 0, halves_of_powers[*(b)], 0}

static inline float half_to_float(const uint8_t *p) {
  const uint32_t code = p[0] | (uint32_t)p[1] << 8;
  const uint32_t magnitude = code & 0x7fff;
  const uint32_t subnormal = bits_of((float)(int32_t)magnitude * 0x1p-24f);
  const uint32_t special = 0x7f800000u | magnitude << 13 | (magnitude > 0x7c00 ? 0x400000u : 0);
  const uint32_t finite = magnitude < 0x400 ? subnormal : (magnitude << 13) + (112u << 23);
  return float_of((code & 0x8000) << 16 | (magnitude < 0x7c00 ? finite : special));
}

/// Bit i % 8 of each byte.
static const u8x64 bit_of_byte = {
    1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128,
    1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};

#define SPREAD_BITS_BY_SHUFFLE(bits, spread) \
  do { \
    const uint64_t all_ = (bits); \
    u8x8 v; \
    memcpy(&v, &all_, sizeof v); \
    const u8x64 bytes_ = __builtin_shufflevector( \
        v, v, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, \
        4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7); \
    spread = (u8x64)((bytes_ & bit_of_byte) != 0); \
  } while (0)

// Eight codes fill as many bytes as a code has bits. They go to the eight bytes of a word in three steps: the second
// four to its second half, then in each half the second two, then the second one.
#define SPREAD_STEP(words, bits, wide, field) \
  do { \
    const uint64_t low_ = (((uint64_t)1 << (bits)) - 1) * (field); \
    words = ((words) & low_) | ((words) << ((wide) - (bits)) & low_ << (wide)); \
  } while (0)
#define SPREAD_CODES_BY_SHIFTS(stream, bits, codes) \
  do { \
    u64x8 words_; \
    for (int k_ = 0; k_ < 8; k_++) { \
      uint64_t word_; \
      memcpy(&word_, (stream) + k_ * (bits), sizeof word_); \
      words_[k_] = word_; \
    } \
    SPREAD_STEP(words_, 4 * (bits), 32, 1); \
    SPREAD_STEP(words_, 2 * (bits), 16, 0x100000001); \
    SPREAD_STEP(words_, bits, 8, 0x1000100010001); \
    codes = (u8x64)words_; \
  } while (0)

#if defined(__x86_64__)

#define HALVES_F16C(a, b, h) \
  do { \
    int32_t first_, second_; \
    memcpy(&first_, a, 4); \
    memcpy(&second_, b, 4); \
    h = (f32x4)_mm_cvtph_ps(_mm_insert_epi32(_mm_cvtsi32_si128(first_), second_, 1)); \
  } while (0)

// MARK: AVX-512 with VNNI

#define KERNEL avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma,f16c")))
#define ROWS 4
#define HALVES(a, b, h) HALVES_F16C(a, b, h)
#define DOT(c, x, first, offset, dot) \
  do { \
    const __m512i high_ = \
        _mm512_dpbusd_epi32(_mm512_setzero_si512(), (__m512i)(c), _mm512_load_si512((x)->high + (first))); \
    __m512i start_ = _mm512_slli_epi32(high_, 8); \
    if ((offset) > 0) \
      start_ = _mm512_add_epi32( \
          start_, \
          _mm512_slli_epi32(_mm512_load_si512((x)->negated_sums + (first) / 4), __builtin_ctz((offset) | 256))); \
    dot = (i32x16)_mm512_dpbusd_epi32(start_, (__m512i)(c), _mm512_load_si512((x)->low + (first))); \
  } while (0)
#define LOOK_UP(table, c) \
  c = (u8x64)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const void *)(table))), (__m512i)(c))
#define SPREAD_BITS(bits, spread) spread = (u8x64)_mm512_movm_epi8(bits)
// Each eight bytes get the bits of eight codes, and take them from where each code begins.
#define SPREAD_CODES(stream, bits, codes) \
  do { \
    const u64x8 word_ = {0, 1, 2, 3, 4, 5, 6, 7}; \
    const u64x8 places_ = word_ * (uint64_t)(0x101010101010101 * (bits)) + 0x706050403020100; \
    const __m512i starts_ = _mm512_set1_epi64(0x706050403020100 * (bits)); \
    const __m512i words_ = _mm512_permutexvar_epi8((__m512i)places_, _mm512_loadu_si512(stream)); \
    codes = (u8x64)_mm512_multishift_epi64_epi8(starts_, words_) & (uint8_t)((1 << (bits)) - 1); \
  } while (0)
#include "linear_dot_kernel.h"

// MARK: AVX2, with and without VNNI

#define LOOK_UP_AVX2(table, c) \
  do { \
    const __m256i table_ = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)(table))); \
    __m256i parts_[2]; \
    memcpy(parts_, &(c), sizeof parts_); \
    parts_[0] = _mm256_shuffle_epi8(table_, parts_[0]); \
    parts_[1] = _mm256_shuffle_epi8(table_, parts_[1]); \
    memcpy(&(c), parts_, sizeof parts_); \
  } while (0)

#define KERNEL avxvnni
#define TARGET __attribute__((target("avx2,avxvnni,fma,f16c")))
#define ROWS 2
#define HALVES(a, b, h) HALVES_F16C(a, b, h)
#define DOT(c, x, first, offset, dot) \
  do { \
    __m256i codes_[2], sums_[2]; \
    memcpy(codes_, &(c), sizeof codes_); \
    for (int part_ = 0; part_ < 2; part_++) { \
      const __m256i negated_ = _mm256_load_si256((const __m256i *)((x)->negated_sums + (first) / 4) + part_); \
      __m256i sum_ = _mm256_dpbusd_avx_epi32( \
          _mm256_setzero_si256(), codes_[part_], _mm256_load_si256((const __m256i *)((x)->high + (first)) + part_)); \
      sum_ = _mm256_slli_epi32(sum_, 8); \
      if ((offset) > 0) sum_ = _mm256_add_epi32(sum_, _mm256_slli_epi32(negated_, __builtin_ctz((offset) | 256))); \
      sums_[part_] = _mm256_dpbusd_avx_epi32( \
          sum_, codes_[part_], _mm256_load_si256((const __m256i *)((x)->low + (first)) + part_)); \
    } \
    memcpy(&(dot), sums_, sizeof sums_); \
  } while (0)
#define LOOK_UP(table, c) LOOK_UP_AVX2(table, c)
#define SPREAD_BITS(bits, spread) SPREAD_BITS_BY_SHUFFLE(bits, spread)
#define SPREAD_CODES(stream, bits, codes) SPREAD_CODES_BY_SHIFTS(stream, bits, codes)
#include "linear_dot_kernel.h"

// Products of unsigned and signed bytes are added in pairs to 16 bits with saturation: codes below 128 stay clear of
// it, and of others the sign goes to x.
#define KERNEL avx2
#define TARGET __attribute__((target("avx2,fma,f16c")))
#define ROWS 2
#define HALVES(a, b, h) HALVES_F16C(a, b, h)
#define DOT_BYTES(codes, signs, is_signed, x) \
  _mm256_madd_epi16( \
      _mm256_maddubs_epi16(codes, (is_signed) ? _mm256_sign_epi8(x, signs) : (x)), _mm256_set1_epi16(1))
#define DOT(c, x, first, offset, dot) \
  do { \
    __m256i codes_[2], sums_[2]; \
    memcpy(codes_, &(c), sizeof codes_); \
    for (int part_ = 0; part_ < 2; part_++) { \
      const __m256i high_ = _mm256_load_si256((const __m256i *)((x)->high + (first)) + part_); \
      const __m256i low_ = _mm256_load_si256((const __m256i *)((x)->low + (first)) + part_); \
      const __m256i negated_ = _mm256_load_si256((const __m256i *)((x)->negated_sums + (first) / 4) + part_); \
      const __m256i signs_ = _mm256_xor_si256(codes_[part_], _mm256_set1_epi8(-128)); \
      const __m256i factors_ = (offset) == 128 ? _mm256_abs_epi8(signs_) : codes_[part_]; \
      __m256i sum_ = _mm256_slli_epi32(DOT_BYTES(factors_, signs_, (offset) == 128, high_), 8); \
      if ((offset) > 0 && (offset) < 128) \
        sum_ = _mm256_add_epi32(sum_, _mm256_slli_epi32(negated_, __builtin_ctz((offset) | 256))); \
      sums_[part_] = _mm256_add_epi32(sum_, DOT_BYTES(factors_, signs_, (offset) == 128, low_)); \
    } \
    memcpy(&(dot), sums_, sizeof sums_); \
  } while (0)
#define LOOK_UP(table, c) LOOK_UP_AVX2(table, c)
#define SPREAD_BITS(bits, spread) SPREAD_BITS_BY_SHUFFLE(bits, spread)
#define SPREAD_CODES(stream, bits, codes) SPREAD_CODES_BY_SHIFTS(stream, bits, codes)
#include "linear_dot_kernel.h"

#elif defined(__aarch64__)

// MARK: NEON with dot products (run under emulation, not yet on such a processor)

#define KERNEL neon
#define TARGET __attribute__((target("dotprod")))
#define ROWS 4
#define HALVES(a, b, h) \
  do { \
    uint32_t both_[2]; \
    memcpy(&both_[0], a, 4); \
    memcpy(&both_[1], b, 4); \
    h = (f32x4)vcvt_f32_f16(vreinterpret_f16_u32(vld1_u32(both_))); \
  } while (0)
#define DOT(c, x, first, offset, dot) \
  do { \
    uint8x16_t codes_[4]; \
    int32x4_t sums_[4]; \
    memcpy(codes_, &(c), sizeof codes_); \
    for (int part_ = 0; part_ < 4; part_++) { \
      const int8x16_t values_ = vreinterpretq_s8_u8(vsubq_u8(codes_[part_], vdupq_n_u8(offset))); \
      const int32x4_t high_ = vdotq_s32(vdupq_n_s32(0), values_, vld1q_s8((x)->high + (first) + 16 * part_)); \
      sums_[part_] = vdotq_s32(vshlq_n_s32(high_, 8), values_, vld1q_s8((x)->low + (first) + 16 * part_)); \
    } \
    memcpy(&(dot), sums_, sizeof sums_); \
  } while (0)
#define LOOK_UP(table, c) \
  do { \
    uint8x16_t parts_[4]; \
    memcpy(parts_, &(c), sizeof parts_); \
    for (int part_ = 0; part_ < 4; part_++) parts_[part_] = vqtbl1q_u8(vld1q_u8(table), parts_[part_]); \
    memcpy(&(c), parts_, sizeof parts_); \
  } while (0)
#define SPREAD_BITS(bits, spread) SPREAD_BITS_BY_SHUFFLE(bits, spread)
#define SPREAD_CODES(stream, bits, codes) SPREAD_CODES_BY_SHIFTS(stream, bits, codes)
#include "linear_dot_kernel.h"

#endif

// MARK: Portable

#define KERNEL portable
#define TARGET
#define ROWS 1
#define HALVES(a, b, h) \
  h = (f32x4){half_to_float(a), half_to_float((a) + 2), half_to_float(b), half_to_float((b) + 2)}
#define DOT(c, x, first, offset, dot) \
  do { \
    uint8_t codes_[64]; \
    int32_t sums_[16]; \
    memcpy(codes_, &(c), sizeof codes_); \
    for (int lane_ = 0; lane_ < 16; lane_++) { \
      int32_t sum_ = 0; \
      for (int i_ = 4 * lane_; i_ < 4 * lane_ + 4; i_++) \
        sum_ += ((int32_t)codes_[i_] - (offset)) * (256 * (x)->high[(first) + i_] + (x)->low[(first) + i_]); \
      sums_[lane_] = sum_; \
    } \
    memcpy(&(dot), sums_, sizeof sums_); \
  } while (0)
#define LOOK_UP(table, c) \
  do { \
    uint8_t bytes_[64]; \
    memcpy(bytes_, &(c), sizeof bytes_); \
    for (int i_ = 0; i_ < 64; i_++) bytes_[i_] = (table)[bytes_[i_]]; \
    memcpy(&(c), bytes_, sizeof bytes_); \
  } while (0)
#define SPREAD_BITS(bits, spread) SPREAD_BITS_BY_SHUFFLE(bits, spread)
#define SPREAD_CODES(stream, bits, codes) SPREAD_CODES_BY_SHIFTS(stream, bits, codes)
#include "linear_dot_kernel.h"

// MARK: The choice

bool es_linear_kernel_runs(es_linear_kernel kernel) {
  switch (kernel) {
  case es_linear_kernel_portable: return true;
#if defined(__x86_64__)
  case es_linear_kernel_avx2:
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  case es_linear_kernel_avxvnni: {
    // Bit 4 of leaf 7.1's EAX.
    unsigned eax = 0, ebx, ecx, edx;
    __asm__("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(7), "c"(0));
    if (eax < 1) return false;
    __asm__("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(7), "c"(1));
    return (eax >> 4 & 1) && es_linear_kernel_runs(es_linear_kernel_avx2);
  }
  case es_linear_kernel_avx512:
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && es_linear_kernel_runs(es_linear_kernel_avx2);
#elif defined(__aarch64__) && defined(__linux__)
  case es_linear_kernel_neon: return getauxval(AT_HWCAP) >> 20 & 1;  // HWCAP_ASIMDDP
#elif defined(__aarch64__) && defined(__APPLE__)
  case es_linear_kernel_neon: return true;
#endif
  default: return false;
  }
}

es_linear_kernel es_linear_fastest_kernel(void) {
  for (es_linear_kernel kernel = es_linear_kernel_neon; kernel > es_linear_kernel_portable; kernel--)
    if (es_linear_kernel_runs(kernel)) return kernel;
  return es_linear_kernel_portable;
}

void es_linear_dot(
    es_linear_kernel kernel, es_linear_format format, const void *weights, ptrdiff_t stride, ptrdiff_t rows,
    ptrdiff_t columns, const es_linear_codes *x, ptrdiff_t tokens, float *y, ptrdiff_t y_stride) {
  dot_function function = dot_portable[format];
  switch (kernel) {
#if defined(__x86_64__)
  case es_linear_kernel_avx512: function = dot_avx512[format]; break;
  case es_linear_kernel_avxvnni: function = dot_avxvnni[format]; break;
  case es_linear_kernel_avx2: function = dot_avx2[format]; break;
#elif defined(__aarch64__)
  case es_linear_kernel_neon: function = dot_neon[format]; break;
#endif
  default: break;
  }
  function(weights, stride, rows, columns, x, tokens, y, y_stride);
}

void es_packed_dot(
    es_linear_kernel kernel, const es_packed_rows *weights, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t columns,
    const es_linear_codes *x, ptrdiff_t tokens, float *y, ptrdiff_t y_stride) {
  packed_dot_function function = packed_portable[weights->bits];
  switch (kernel) {
#if defined(__x86_64__)
  case es_linear_kernel_avx512: function = packed_avx512[weights->bits]; break;
  case es_linear_kernel_avxvnni: function = packed_avxvnni[weights->bits]; break;
  case es_linear_kernel_avx2: function = packed_avx2[weights->bits]; break;
#elif defined(__aarch64__)
  case es_linear_kernel_neon: function = packed_neon[weights->bits]; break;
#endif
  default: break;
  }
  function(weights, row, rows, columns, x, tokens, y, y_stride);
}
