#include "quantize_refine.h"

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

/// Refines the scale of a block that has but one.
ES_INLINE reals refine_one(const struct lane_blocks *blocks, struct code_set codes, reals scale) {
  ints one = (ints)1;
  return refine_signed(blocks->numbers, blocks->importance, codes, (struct sub_scales){32, 1, 1, 1, &one}, scale);
}

// d = max |x| / 127, codes by the unrounded d.
ES_INLINE void q8_0(struct lane_blocks *blocks, enum quantizer_search search, ints *bytes) {
  const reals *x = blocks->numbers;
  reals most = every(0);
  EACH(i, 32) most = larger(most, magnitude(x[i]));
  reals d = most / 127;
  if (search == REFINED) d = refine_one(blocks, (struct code_set){-127, 127, false}, d);
  const reals inverse = reciprocal(d);
  put_half(blocks, bytes, d);
  EACH(i, 32) {
    const ints code = nearest_away(x[i] * inverse);
    bytes[2 + i] = search == REFINED ? code_between(code, -127, 127) : code;
  }
}

/// Codes around the middle, `top` to either side: the extreme number gets code 0.
ES_INLINE void symmetric_codes(
    struct lane_blocks *blocks, enum quantizer_search search, float top, ints *scale, ints *codes) {
  const reals *x = blocks->numbers;
  reals weights[32];
  if (search == REFINED) {
    const struct symmetric_fit fit = fit_symmetric(x, blocks->importance, 32, top, true);
    const reals d = refine_one(blocks, (struct code_set){-top, top - 1, false}, fit.scale), inverse = reciprocal(d);
    put_half(blocks, scale, d);
    EACH(i, 32) codes[i] = TO_INTS(nearest_between(x[i] * inverse, -top, top - 1)) + (int)top;
  } else if (search == WEIGHTED) {
    importance_weights(blocks->importance, 32, blocks->row_mean_square, x, weights);
    const struct symmetric_fit fit = fit_symmetric(x, weights, 32, top, false);
    put_half(blocks, scale, fit.scale);
    EACH(i, 32) codes[i] = symmetric_code(&fit, x[i], top);
  } else {
    const reals d = extreme(x, 32) / -top, inverse = reciprocal(d);
    put_half(blocks, scale, d);
    EACH(i, 32)
      codes[i] = smallest_code(truncated(x[i] * inverse + (top + 0.5f)), (ints)(2 * (int)top - 1));
  }
}

ES_INLINE void q4_0(struct lane_blocks *blocks, enum quantizer_search search, ints *bytes) {
  ints codes[32];
  symmetric_codes(blocks, search, 8, bytes, codes);
  put_nibbles(codes, bytes + 2);
}

ES_INLINE void q5_0(struct lane_blocks *blocks, enum quantizer_search search, ints *bytes) {
  ints codes[32];
  symmetric_codes(blocks, search, 16, bytes, codes);
  put_fifth_bits(codes, bytes + 2);
  put_nibbles(codes, bytes + 6);
}

ES_INLINE struct affine_search weighted_search(float top) {
  return (struct affine_search){top, -0.9f, 0.05f, 36, false};
}

/// Codes from the least number up to the greatest.
ES_INLINE void affine_codes(
    struct lane_blocks *blocks, enum quantizer_search search, float top, ints *scales, ints *codes) {
  const reals *x = blocks->numbers;
  reals weights[32];
  if (search == REFINED) {
    const struct affine_fit fit = fit_affine(x, blocks->importance, 32, weighted_search(top));
    reals d = fit.scale, minimum = fit.minimum;
    ints one = (ints)1, other = (ints)1;
    refine_affine(x, blocks->importance, top, (struct sub_affine){32, 1, 1, 1, &one, &other}, &d, &minimum);
    const reals inverse = reciprocal(d);
    put_half(blocks, scales, d);
    put_half(blocks, scales + 2, -minimum);
    EACH(i, 32) codes[i] = TO_INTS(nearest_between((x[i] + minimum) * inverse, 0, top));
  } else if (search == WEIGHTED) {
    importance_weights(blocks->importance, 32, blocks->row_mean_square, x, weights);
    const struct affine_fit fit = fit_affine(x, weights, 32, weighted_search(top));
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

ES_INLINE void q4_1(struct lane_blocks *blocks, enum quantizer_search search, ints *bytes) {
  ints codes[32];
  affine_codes(blocks, search, 15, bytes, codes);
  put_nibbles(codes, bytes + 4);
}

ES_INLINE void q5_1(struct lane_blocks *blocks, enum quantizer_search search, ints *bytes) {
  ints codes[32];
  affine_codes(blocks, search, 31, bytes, codes);
  put_fifth_bits(codes, bytes + 4);
  put_nibbles(codes, bytes + 8);
}

/// What counts for levels: importance, here by the mean square of the block, or x^2.
ES_INLINE void bell_weights(
    const reals *importance, enum quantizer_search search, reals mean_square, const reals *x, reals *weights) {
  if (search == WEIGHTED) importance_weights(importance, 32, mean_square, x, weights);
  else EACH(i, 32) weights[i] = search == REFINED ? importance[i] : x[i] * x[i];
}

ES_INLINE reals square_sum(const reals *x, int n) {
  reals sum = every(0);
  EACH(i, n) sum += x[i] * x[i];
  return sum;
}

ES_INLINE void iq4_nl(struct lane_blocks *blocks, enum quantizer_search search, ints *bytes) {
  const reals *x = blocks->numbers;
  reals weights[32];
  bell_weights(blocks->importance, search, square_sum(x, 32) * (2.0f / 32), x, weights);
  reals d = fit_bell(x, weights, search == REFINED);
  if (search == REFINED) d = refine_one(blocks, (struct code_set){.bell = true}, d);
  const reals inverse = reciprocal(d);
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

/// The 4-bit float nearest to a magnitude in halves of the unit d, of two the smaller; and its value.
ES_INLINE ints e2m1_code(reals magnitude, reals d, reals *value) {
  static const float midpoints[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10}, values[7] = {1, 2, 3, 4, 6, 8, 12};
  ints code = (ints)0;
  *value = every(0);
#pragma clang loop unroll(full)
  for (int k = 0; k < 7; k++) {
    const ints above = magnitude > d * midpoints[k];
    code = above ? (ints)(k + 1) : code;
    *value = above ? every(values[k]) : *value;
  }
  *value *= d;
  return code;
}

/// 2^(exponent - 128), where the two smallest powers are subnormal.
ES_INLINE reals half_unit(ints exponent) {
  return OF_BITS(exponent < 2 ? (exponent > 0 ? (ints)0x400000 : (ints)0x200000) : (exponent - 1) << 23);
}

// The largest number is between 4 and 8 of the unit that takes up to 6; refined, it may be a power of two beside that.
ES_INLINE void mxfp4(struct lane_blocks *blocks, enum quantizer_search search, ints *bytes) {
  const reals *x = blocks->numbers;
  reals most = every(0), value;
  EACH(i, 32) most = larger(magnitude(x[i]), most);
  // Numbers below 2^-125 would need a negative code.
  const ints first = most < 0x1p-125f ? (ints)0 : floored_logarithm(most) + 125;
  ints exponent = first;
  if (search == REFINED) {
    reals least = every(INFINITY);
    PART(step, 3) {
      const ints tried = code_between(first + (step == 0 ? 0 : 2 * step - 3), 0, 252);
      const reals d = half_unit(tried);
      reals error = every(0);
      EACH(i, 32) {
        e2m1_code(magnitude(x[i]), d, &value);
        const reals difference = value - magnitude(x[i]);
        error += blocks->importance[i] * difference * difference;
      }
      exponent = error < least ? tried : exponent;
      least = smaller(error, least);
    }
  }
  const reals d = half_unit(exponent);
  ints codes[32];
  EACH(i, 32) {
    const ints code = e2m1_code(magnitude(x[i]), d, &value);
    codes[i] = ((x[i] < 0) & (code > 0)) ? code | 8 : code;
  }
  bytes[0] = exponent;
  put_nibbles(codes, bytes + 1);
  // Just below 2^128 the nearest code would be that number.
  blocks->overflow |= exponent > 252;
}
