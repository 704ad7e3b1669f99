#pragma once
#include "float_bits.h"

// A binary format narrower than float32 and laid out like it: sign, exponent, significand.
struct narrow_format {
  int significand_bits, exponent_bias;
  uint32_t sign;
  // What every magnitude past the largest finite one becomes: infinity, or NaN where there is none.
  uint32_t overflow;
  uint32_t first_nan, quiet_nan;
};

static const struct narrow_format f16 = {10, 15, 0x8000, 0x7c00, 0x7c01, 0x7e00};

ES_INLINE float widen(uint32_t code, struct narrow_format format) {
  const int shift = 23 - format.significand_bits;
  const uint32_t magnitude = code & (format.sign - 1);
  const uint32_t sign = code & format.sign ? 0x80000000u : 0;
  // A subnormal is an integer times a power of two: exact, and normal in float32.
  const float unit = float_of((uint32_t)(128 - format.exponent_bias - format.significand_bits) << 23);
  const uint32_t subnormal = bits_of((float)(int32_t)magnitude * unit);
  const uint32_t normal = (magnitude << shift) + ((uint32_t)(127 - format.exponent_bias) << 23);
  const uint32_t special = magnitude < format.first_nan ? 0x7f800000u : 0x7fc00000u | magnitude << shift;
  const uint32_t finite = magnitude < 1u << format.significand_bits ? subnormal : normal;
  return float_of(sign | (magnitude < format.overflow ? finite : special));
}

ES_INLINE uint32_t narrow(float value, struct narrow_format format) {
  const int shift = 23 - format.significand_bits;
  const uint32_t magnitude = bits_of(value) & 0x7fffffffu;
  const uint32_t sign = bits_of(value) >> 31 ? format.sign : 0;
  // The exponent is rebiased while half a unit (less one when the last kept bit is even) is added: a carry rounds up
  // into the next exponent by itself.
  const uint32_t half = (1u << (shift - 1)) - 1 + (magnitude >> shift & 1);
  const uint32_t normal = (magnitude + half - ((uint32_t)(127 - format.exponent_bias) << 23)) >> shift;
  // Added to a power of two whose last bit is the narrow format's smallest subnormal, the value is rounded by the
  // floating-point unit.
  const uint32_t anchor = (uint32_t)(151 - format.exponent_bias - format.significand_bits) << 23;
  const uint32_t subnormal = bits_of(float_of(magnitude) + float_of(anchor)) - anchor;
  const uint32_t rounded = magnitude < (uint32_t)(128 - format.exponent_bias) << 23 ? subnormal : normal;
  const uint32_t finite = rounded < format.overflow ? rounded : format.overflow;
  const uint32_t nan = format.quiet_nan | (magnitude >> shift & ((1u << format.significand_bits) - 1));
  return sign | (magnitude > 0x7f800000u ? nan : finite);
}
