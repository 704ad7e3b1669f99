#include "convert.h"

#include <math.h>

#include "narrow_float.h"

#pragma STDC FP_CONTRACT OFF

// Stored elements sit at any byte offset.
#define STORED __attribute__((aligned(1), may_alias))
typedef uint64_t STORED stored_u64;
typedef uint32_t STORED stored_u32;
typedef uint16_t STORED stored_u16;
typedef uint8_t stored_u8;
typedef int64_t STORED stored_i64;
typedef int32_t STORED stored_i32;
typedef int16_t STORED stored_i16;
typedef int8_t stored_i8;
typedef double STORED stored_f64;

static const struct narrow_format f8e5m2 = {2, 15, 0x80, 0x7c, 0x7d, 0x7e};
static const struct narrow_format f8e4m3 = {3, 7, 0x80, 0x7f, 0x7f, 0x7f};

ES_INLINE float widen_bf16(uint32_t code) {
  const uint32_t quiet = (code & 0x7fff) > 0x7f80 ? 0x400000u : 0;
  return float_of(code << 16 | quiet);
}

ES_INLINE uint32_t narrow_bf16(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return (bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40 : rounded;
}

#define DECODE(name, stored, expression)                                                          \
  ES_CLONES void es_decode_##name(const void *restrict source, float *restrict destination, int64_t n) { \
    const stored *codes = source;                                                                 \
    for (int64_t i = 0; i < n; i++) {                                                             \
      const stored code = codes[i];                                                               \
      destination[i] = (expression);                                                              \
    }                                                                                             \
  }

#define ENCODE(name, stored, expression)                                                          \
  ES_CLONES void es_encode_##name(const float *restrict source, void *restrict destination, int64_t n) { \
    stored *codes = destination;                                                                  \
    for (int64_t i = 0; i < n; i++) {                                                             \
      const float value = source[i];                                                              \
      codes[i] = (stored)(expression);                                                            \
    }                                                                                             \
  }

DECODE(f64, stored_f64, (float)code)
ENCODE(f64, stored_f64, value)
DECODE(f16, stored_u16, widen(code, f16))
ENCODE(f16, stored_u16, narrow(value, f16))
DECODE(bf16, stored_u16, widen_bf16(code))
ENCODE(bf16, stored_u16, narrow_bf16(value))
DECODE(f8e4m3, stored_u8, widen(code, f8e4m3))
ENCODE(f8e4m3, stored_u8, narrow(value, f8e4m3))
DECODE(f8e5m2, stored_u8, widen(code, f8e5m2))
ENCODE(f8e5m2, stored_u8, narrow(value, f8e5m2))

// To the nearest integer, ties to even: from 2^23 on a float32 has no fraction, below it adding and subtracting 2^23
// leaves none.
ES_INLINE float round_even(float value) {
  const float anchor = copysignf(0x1p23f, value);
  return fabsf(value) < 0x1p23f ? (value + anchor) - anchor : value;
}

// `limit` is one past the largest value, a power of two.
#define INTEGER(name, stored, smallest, largest, limit)                                           \
  DECODE(name, stored, (float)code)                                                               \
  ENCODE(name, stored,                                                                            \
         value != value                            ? 0                                            \
         : round_even(value) >= (limit)            ? (largest)                                    \
         : round_even(value) <= (float)(smallest)  ? (smallest)                                   \
                                                   : (stored)round_even(value))

INTEGER(i64, stored_i64, INT64_MIN, INT64_MAX, 0x1p63f)
INTEGER(i32, stored_i32, INT32_MIN, INT32_MAX, 0x1p31f)
INTEGER(i16, stored_i16, INT16_MIN, INT16_MAX, 0x1p15f)
INTEGER(i8, stored_i8, INT8_MIN, INT8_MAX, 0x1p7f)
INTEGER(u64, stored_u64, 0, UINT64_MAX, 0x1p64f)
INTEGER(u32, stored_u32, 0, UINT32_MAX, 0x1p32f)
INTEGER(u16, stored_u16, 0, UINT16_MAX, 0x1p16f)
INTEGER(u8, stored_u8, 0, UINT8_MAX, 0x1p8f)

DECODE(bool, stored_u8, code ? 1.0f : 0.0f)
ENCODE(bool, stored_u8, value != 0)
