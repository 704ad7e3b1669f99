#include "quantize_search.h"

// Blocks of 32. Each function fills the bytes of the format, a lane each; what they mean stands in blocks.c.

/// What counts: importance times sqrt(mean square + x^2).
ES_INLINE void importance_weights(const reals *importance, int n, reals mean_square, const reals *x, reals *weights) {
  EACH(i, n) weights[i] = importance[i] * __builtin_elementwise_sqrt(mean_square + x[i] * x[i]);
}

/// The first half in the low nibbles of 16 bytes, the second in the high ones.
ES_INLINE void put_nibbles(const ints *codes, ints *bytes) {
  EACH(i, 16) bytes[i] = (codes[i] & 15) | (codes[i + 16] & 15) << 4;
}

/// The fifth bits of 32 codes in four bytes.
ES_INLINE void put_fifth_bits(const ints *codes, ints *bytes) {
  for (int k = 0; k < 4; k++) {
    ints byte = (ints)0;
    EACH(i, 8) byte |= (codes[8 * k + i] >> 4 & 1) << i;
    bytes[k] = byte;
  }
}

// d = max |x| / 127, codes by the unrounded d.
ES_INLINE void q8_0(struct lane_blocks *blocks, bool weighted, ints *bytes) {
  const reals *x = blocks->numbers;
  reals most = every(0);
  EACH(i, 32) most = larger(most, magnitude(x[i]));
  const reals d = most / 127, inverse = reciprocal(d);
  put_half(blocks, bytes, d);
  EACH(i, 32) bytes[2 + i] = nearest_away(x[i] * inverse);
}

/// Codes around the middle, `top` to either side: the extreme number gets code 0.
ES_INLINE void symmetric_codes(struct lane_blocks *blocks, bool weighted, float top, ints *scale, ints *codes) {
  const reals *x = blocks->numbers;
  reals weights[32];
  if (weighted) {
    importance_weights(blocks->importance, 32, blocks->row_mean_square, x, weights);
    const struct symmetric_fit fit = fit_symmetric(x, weights, 32, top);
    put_half(blocks, scale, fit.scale);
    EACH(i, 32) codes[i] = symmetric_code(&fit, x[i], top);
  } else {
    const reals d = extreme(x, 32) / -top, inverse = reciprocal(d);
    put_half(blocks, scale, d);
    EACH(i, 32)
      codes[i] = smallest_code(truncated(x[i] * inverse + (top + 0.5f)), (ints)(2 * (int)top - 1));
  }
}

ES_INLINE void q4_0(struct lane_blocks *blocks, bool weighted, ints *bytes) {
  ints codes[32];
  symmetric_codes(blocks, weighted, 8, bytes, codes);
  put_nibbles(codes, bytes + 2);
}

ES_INLINE void q5_0(struct lane_blocks *blocks, bool weighted, ints *bytes) {
  ints codes[32];
  symmetric_codes(blocks, weighted, 16, bytes, codes);
  put_fifth_bits(codes, bytes + 2);
  put_nibbles(codes, bytes + 6);
}

/// Codes from the least number up to the greatest.
ES_INLINE void affine_codes(struct lane_blocks *blocks, bool weighted, float top, ints *scales, ints *codes) {
  const reals *x = blocks->numbers;
  reals weights[32];
  if (weighted) {
    importance_weights(blocks->importance, 32, blocks->row_mean_square, x, weights);
    const struct affine_fit fit = fit_affine(x, weights, 32, (struct affine_search){top, -0.9f, 0.05f, 36, false});
    put_half(blocks, scales, fit.scale);
    put_half(blocks, scales + 2, -fit.minimum);
    EACH(i, 32) codes[i] = affine_code(&fit, x[i], top);
  } else {
    reals low = x[0], high = x[0];
    for (int i = 1; i < 32; i++) {
      low = smaller(x[i], low);
      high = larger(x[i], high);
    }
    const reals d = (high - low) / top, inverse = reciprocal(d);
    put_half(blocks, scales, d);
    put_half(blocks, scales + 2, low);
    EACH(i, 32)
      codes[i] = smallest_code(truncated((x[i] - low) * inverse + 0.5f), (ints)(int)top);
  }
}

ES_INLINE void q4_1(struct lane_blocks *blocks, bool weighted, ints *bytes) {
  ints codes[32];
  affine_codes(blocks, weighted, 15, bytes, codes);
  put_nibbles(codes, bytes + 4);
}

ES_INLINE void q5_1(struct lane_blocks *blocks, bool weighted, ints *bytes) {
  ints codes[32];
  affine_codes(blocks, weighted, 31, bytes, codes);
  put_fifth_bits(codes, bytes + 4);
  put_nibbles(codes, bytes + 8);
}

/// What counts for levels: importance, here by the mean square of the block, or x^2.
ES_INLINE void bell_weights(
    const reals *importance, bool weighted, reals mean_square, const reals *x, reals *weights) {
  if (weighted) {
    importance_weights(importance, 32, mean_square, x, weights);
  } else {
    EACH(i, 32) weights[i] = x[i] * x[i];
  }
}

ES_INLINE reals square_sum(const reals *x, int n) {
  reals sum = every(0);
  EACH(i, n) sum += x[i] * x[i];
  return sum;
}

ES_INLINE void iq4_nl(struct lane_blocks *blocks, bool weighted, ints *bytes) {
  const reals *x = blocks->numbers;
  reals weights[32];
  bell_weights(blocks->importance, weighted, square_sum(x, 32) * (2.0f / 32), x, weights);
  const reals d = fit_bell(x, weights), inverse = reciprocal(d);
  ints codes[32];
  EACH(i, 32) codes[i] = bell_code(inverse * x[i]);
  put_half(blocks, bytes, d);
  put_nibbles(codes, bytes + 2);
}

/// floor(log2 v) of a normal v > 0, of the logarithm as float32 rounds it: just below a power of two that is the power.
ES_INLINE ints floored_logarithm(reals v) {
  const ints bits = BITS(v), below = (bits >> 23) - 127, above = below + 1;
  // Units of 2^-24 of the next power, each log2(e) 2^-24 in the logarithm; half of float32's unit just below `above`
  // (beyond it in magnitude where that is negative) is 2^(p - 24), p the exponent of the integers' distance from 0.
  const reals gap = TO_REALS(0x800000 - (bits & 0x7fffff));
  const ints distance = above > 0 ? above - 1 : -above;
  const reals half = OF_BITS(BITS(TO_REALS(distance)) & 0x7f800000);
  return gap * 1.442695f < half ? above : below;
}

// 2^(e - 128) in halves of the 4-bit floats' unit; the largest number is between 4 and 8 of the unit that takes up to 6.
ES_INLINE void mxfp4(struct lane_blocks *blocks, bool weighted, ints *bytes) {
  const reals *x = blocks->numbers;
  reals most = every(0);
  EACH(i, 32) most = larger(magnitude(x[i]), most);
  // Numbers below 2^-125 would need a negative code.
  const ints exponent = most < 0x1p-125f ? (ints)0 : floored_logarithm(most) + 125;
  const reals d = OF_BITS(exponent < 2 ? (exponent > 0 ? (ints)0x400000 : (ints)0x200000) : (exponent - 1) << 23);
  ints codes[32];
  EACH(i, 32) {
    // Midpoints go to the smaller magnitude, as do negative numbers of magnitude zero.
    static const float midpoints[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10};
    const reals v = magnitude(x[i]);
    ints code = (ints)0;
#pragma clang loop unroll(full)
    for (int k = 0; k < 7; k++) code = v > d * midpoints[k] ? (ints)(k + 1) : code;
    codes[i] = ((x[i] < 0) & (code > 0)) ? code | 8 : code;
  }
  bytes[0] = exponent;
  put_nibbles(codes, bytes + 1);
  // Just below 2^128 the nearest code would be that number.
  blocks->overflow |= exponent > 252;
}
