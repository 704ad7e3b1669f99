#include "quantize_simple.h"

// Blocks of 256: sub-blocks of 16 or 32 have scales, which are coded by one of their own. With the coded scales the
// numbers are coded again; where a scale's code is 0, codes are those of the search.

/// Codes by the scale and minimum that will be decoded: nearest (x + minimum) / scale from `low` to `high`, less `low`.
ES_INLINE void recode(
    const reals *x, int n, reals scale, reals minimum, bool has_minimum, int low, int high, ints *codes) {
  const ints coded = scale != 0;
  EACH(i, n) {
    const reals place = (has_minimum ? x[i] + minimum : x[i]) / scale;
    const ints code = code_between(nearest_code(place), low, high) - low;
    codes[i] = coded ? code : codes[i];
  }
}

ES_INLINE reals sum(const reals *values, int n) {
  reals total = every(0);
  EACH(i, n) total += values[i];
  return total;
}

ES_INLINE reals greatest(const reals *values, int n) {
  reals most = every(0);
  EACH(i, n) most = larger(values[i], most);
  return most;
}

/// Four two-bit parts of 256 codes a byte, as in blocks.c's TWO_BITS, of bits `shift` and `shift + 1`.
ES_INLINE void put_two_bits(const ints *codes, int shift, ints *bytes) {
  for (int half = 0; half < 2; half++)
    EACH(l, 32) {
      const ints *c = codes + 128 * half + l;
      bytes[32 * half + l] = (c[0] >> shift & 3) | (c[32] >> shift & 3) << 2 | (c[64] >> shift & 3) << 4 |
                             (c[96] >> shift & 3) << 6;
    }
}

// MARK: - Scale and minimum: Q2_K, Q4_K, Q5_K

/// Codes of the scales, or of the minima, of a block: the largest gets `top`, a negative one is past it.
ES_INLINE reals code_by_largest(const reals *values, int n, float top, ints *codes) {
  const reals most = greatest(values, n);
  const ints some = most > 0;
  const reals inverse = some ? top / most : every(0);
  EACH(k, n) codes[k] = some ? nearest_code(inverse * values[k]) & 255 : (ints)0;
  return some ? most / top : every(0);
}

/// Fits 256 / n sub-blocks of n numbers, and codes their scales and minima; numbers get the codes of the search.
ES_INLINE void super_affine(
    struct lane_blocks *blocks, enum quantizer_search search, int n, float top, float scale_top, ints *halves,
    ints *scale_codes, ints *minimum_codes, ints *codes) {
  const int count = 256 / n;
  reals scales[16], minima[16], weight_sums[16], weights[32];
  reals mean_square = every(0);
  if (search == WEIGHTED) mean_square = (n == 16 ? 1 : 2) * square_sum(blocks->numbers, 256) / 256;
  const struct affine_search trials = search != PLAIN ? weighted_search(top)
                                      : n == 16       ? (struct affine_search){top, -0.5f, 0.1f, 15, true}
                                      : top == 15     ? (struct affine_search){top, -1, 0.1f, 20, false}
                                                      : (struct affine_search){top, -0.5f, 0.1f, 15, false};
  PART(k, count) {
    const reals *x = blocks->numbers + n * k, *importance = blocks->importance + n * k;
    if (search == PLAIN) {
      const reals mean = n == 16 ? every(0) : __builtin_elementwise_sqrt(square_sum(x, n) / (float)n);
      EACH(i, n) weights[i] = n == 16 ? magnitude(x[i]) : mean + magnitude(x[i]);
    } else if (search == WEIGHTED) {
      importance_weights(importance, n, mean_square, x, weights);
    }
    const reals *counts = search == REFINED ? importance : weights;
    if (search != PLAIN) weight_sums[k] = sum(counts, n);
    const struct affine_fit fit = fit_affine(x, counts, n, trials);
    scales[k] = fit.scale;
    minima[k] = fit.minimum;
    EACH(i, n) codes[n * k + i] = affine_code(&fit, x[i], top);
  }

  reals scale, minimum;
  if (search != PLAIN) {
    scale = fit_positive(scales, weight_sums, count, scale_top, scale_codes);
    minimum = fit_positive(minima, weight_sums, count, scale_top, minimum_codes);
  } else {
    scale = code_by_largest(scales, count, scale_top, scale_codes);
    minimum = code_by_largest(minima, count, scale_top, minimum_codes);
  }
  if (search == REFINED) {
    EACH(k, count) {
      scale_codes[k] = scale_codes[k] > (int)scale_top ? (ints)0 : scale_codes[k];
      minimum_codes[k] = minimum_codes[k] > (int)scale_top ? (ints)0 : minimum_codes[k];
    }
    refine_affine(blocks->numbers, blocks->importance, top,
                  (struct sub_affine){n, count, 0, (int)scale_top, scale_codes, minimum_codes}, &scale, &minimum);
  }
  put_half(blocks, halves, scale);
  put_half(blocks, halves + 2, minimum);
}

/// Codes numbers by scales and minima as they will be decoded.
ES_INLINE void recode_affine(
    const struct lane_blocks *blocks, int n, int top, const ints *halves, const ints *scale_codes,
    const ints *minimum_codes, ints *codes) {
  const reals scale = real_of_half((halves[0] & 255) | halves[1] << 8);
  const reals minimum = real_of_half((halves[2] & 255) | halves[3] << 8);
  PART(k, 256 / n)
    recode(blocks->numbers + n * k, n, scale * TO_REALS(scale_codes[k]), minimum * TO_REALS(minimum_codes[k]), true, 0,
           top, codes + n * k);
}

ES_INLINE void q2_K(struct lane_blocks *blocks, enum quantizer_search search, ints *bytes) {
  ints codes[256], scales[16], minima[16];
  super_affine(blocks, search, 16, 3, 15, bytes + 80, scales, minima, codes);
  EACH(k, 16) {
    bytes[k] = (scales[k] | minima[k] << 4) & 255;
    scales[k] = bytes[k] & 15;
    minima[k] = bytes[k] >> 4;
  }
  recode_affine(blocks, 16, 3, bytes + 80, scales, minima, codes);
  put_two_bits(codes, 0, bytes + 16);
}

/// Eight scales and minima of 6 bits in twelve bytes: the upper two bits of the last four lie above the first four.
/// What is decoded is returned; it is something else if a code is past 63.
ES_INLINE void put_six_bits(ints *scales, ints *minima, ints *bytes) {
  EACH(k, 4) {
    bytes[k] = (scales[k] | scales[k + 4] >> 4 << 6) & 255;
    bytes[k + 4] = (minima[k] | minima[k + 4] >> 4 << 6) & 255;
    bytes[k + 8] = (scales[k + 4] & 15) | (minima[k + 4] & 15) << 4;
    scales[k] = bytes[k] & 63;
    minima[k] = bytes[k + 4] & 63;
    scales[k + 4] = (bytes[k + 8] & 15) | bytes[k] >> 6 << 4;
    minima[k + 4] = bytes[k + 8] >> 4 | bytes[k + 4] >> 6 << 4;
  }
}

ES_INLINE void at_most_63(ints *codes) { EACH(k, 8) codes[k] = smallest_code(codes[k], (ints)63); }

/// Sub-blocks 2 k and 2 k + 1 in the low and high nibbles of 32 bytes.
ES_INLINE void put_paired_nibbles(const ints *codes, ints *bytes) {
  for (int k = 0; k < 4; k++)
    EACH(l, 32)
      bytes[32 * k + l] = (codes[64 * k + l] & 15) | (codes[64 * k + 32 + l] & 15) << 4;
}

ES_INLINE void q4_K(struct lane_blocks *blocks, enum quantizer_search search, ints *bytes) {
  ints codes[256], scales[8], minima[8];
  super_affine(blocks, search, 32, 15, 63, bytes, scales, minima, codes);
  // The reference does not take care of a negative scale here if there is importance.
  if (search != WEIGHTED) at_most_63(scales), at_most_63(minima);
  put_six_bits(scales, minima, bytes + 4);
  recode_affine(blocks, 32, 15, bytes, scales, minima, codes);
  put_paired_nibbles(codes, bytes + 16);
}

ES_INLINE void q5_K(struct lane_blocks *blocks, enum quantizer_search search, ints *bytes) {
  ints codes[256], scales[8], minima[8];
  super_affine(blocks, search, 32, 31, 63, bytes, scales, minima, codes);
  at_most_63(scales), at_most_63(minima);
  put_six_bits(scales, minima, bytes + 4);
  recode_affine(blocks, 32, 31, bytes, scales, minima, codes);
  EACH(l, 32) {
    ints byte = (ints)0;
    EACH(k, 8) byte |= (codes[32 * k + l] >> 4) << k;
    bytes[16 + l] = byte;
  }
  put_paired_nibbles(codes, bytes + 48);
}

// MARK: - Signed scale: Q3_K, Q6_K

/// Codes by the scales' codes times that of the block.
ES_INLINE void recode_signed(
    const struct lane_blocks *blocks, reals scale, const ints *scale_codes, int top, ints *codes) {
  PART(k, 16)
    recode(blocks->numbers + 16 * k, 16, scale * TO_REALS(scale_codes[k]), every(0), false, -top, top - 1,
           codes + 16 * k);
}

ES_INLINE void q3_K(struct lane_blocks *blocks, enum quantizer_search search, ints *bytes) {
  reals scales[16], weight_sums[16], weights[16], scale;
  ints codes[256], scale_codes[16];
  reals mean_square = every(0);
  if (search == WEIGHTED) mean_square = 2 * square_sum(blocks->numbers, 256) / 256;
  PART(k, 16) {
    const reals *x = blocks->numbers + 16 * k, *importance = blocks->importance + 16 * k;
    if (search == PLAIN) {
      scales[k] = descend_symmetric(x, 16, 4, codes + 16 * k);
      continue;
    }
    if (search == WEIGHTED) importance_weights(importance, 16, mean_square, x, weights);
    const reals *counts = search == REFINED ? importance : weights;
    weight_sums[k] = sum(counts, 16);
    const struct symmetric_fit fit = fit_symmetric(x, counts, 16, 4, search == REFINED);
    scales[k] = fit.scale;
    EACH(i, 16) codes[16 * k + i] = symmetric_code(&fit, x[i], 4);
  }
  // Codes of the scales, from 0.
  if (search != PLAIN) {
    const struct symmetric_fit fit = fit_symmetric(scales, weight_sums, 16, 32, false);
    scale = fit.scale;
    EACH(k, 16) scale_codes[k] = symmetric_code(&fit, scales[k], 32);
  } else {
    const reals most = extreme(scales, 16), inverse = -32 / most;
    const ints some = most != 0;
    scale = some ? 1 / inverse : every(0);
    EACH(k, 16)
      scale_codes[k] = some ? code_between(nearest_code(inverse * scales[k]), -32, 31) + 32 : (ints)0;
  }
  EACH(k, 16) scale_codes[k] -= 32;
  if (search == REFINED)
    scale = refine_signed(blocks->numbers, blocks->importance, (struct code_set){-4, 3, false},
                          (struct sub_scales){16, 16, -32, 31, scale_codes}, scale);
  scale = real_of_half(put_half(blocks, bytes + 108, scale));
  recode_signed(blocks, scale, scale_codes, 4, codes);
  EACH(k, 16) scale_codes[k] += 32;
  EACH(k, 8) bytes[96 + k] = (scale_codes[k] & 15) | (scale_codes[k + 8] & 15) << 4;
  for (int k = 0; k < 4; k++)
    bytes[104 + k] = scale_codes[k] >> 4 | scale_codes[k + 4] >> 4 << 2 | scale_codes[k + 8] >> 4 << 4 |
                     scale_codes[k + 12] >> 4 << 6;
  EACH(l, 32) {
    ints byte = (ints)0;
    EACH(k, 8) byte |= (codes[32 * k + l] >> 2) << k;
    bytes[l] = byte;
  }
  put_two_bits(codes, 0, bytes + 32);
}

ES_INLINE void q6_K(struct lane_blocks *blocks, enum quantizer_search search, ints *bytes) {
  reals scales[16], weights[16];
  ints codes[256], scale_codes[16];
  PART(k, 16) {
    const reals *x = blocks->numbers + 16 * k;
    // Importance as it is, not times a magnitude.
    EACH(i, 16) weights[i] = search != PLAIN ? blocks->importance[16 * k + i] : x[i] * x[i];
    const struct symmetric_fit fit = fit_symmetric(x, weights, 16, 32, search == REFINED);
    scales[k] = fit.scale;
    EACH(i, 16) codes[16 * k + i] = symmetric_code(&fit, x[i], 32);
  }
  const reals most = extreme(scales, 16), inverse = -128 / most;
  const ints some = magnitude(most) >= NEGLIGIBLE;
  reals scale = some ? 1 / inverse : every(0);
  EACH(k, 16) scale_codes[k] = some ? smallest_code(nearest_code(inverse * scales[k]), (ints)127) : (ints)0;
  if (search == REFINED)
    scale = refine_signed(blocks->numbers, blocks->importance, (struct code_set){-32, 31, false},
                          (struct sub_scales){16, 16, -128, 127, scale_codes}, scale);
  scale = real_of_half(put_half(blocks, bytes + 208, scale));
  recode_signed(blocks, scale, scale_codes, 32, codes);
  EACH(i, 256) codes[i] = some ? codes[i] : (ints)0;
  // In a half of the block: quarters 0 and 1 in the low nibbles of 64 bytes, 2 and 3 in the high ones.
  for (int half = 0; half < 2; half++)
    EACH(l, 64)
      bytes[64 * half + l] = (codes[128 * half + l] & 15) | (codes[128 * half + 64 + l] & 15) << 4;
  put_two_bits(codes, 4, bytes + 128);
  EACH(k, 16) bytes[192 + k] = scale_codes[k];
}

// MARK: - Levels: IQ4_XS

ES_INLINE void iq4_xs(struct lane_blocks *blocks, enum quantizer_search search, ints *bytes) {
  reals scales[8], weights[32];
  ints scale_codes[8];
  reals mean_square = every(0);
  if (search == WEIGHTED) mean_square = square_sum(blocks->numbers, 256) * (2.0f / 256);
  PART(k, 8) {
    const reals *x = blocks->numbers + 32 * k;
    bell_weights(blocks->importance + 32 * k, search, mean_square, x, weights);
    scales[k] = fit_bell(x, weights, search == REFINED);
  }
  // Numbers are coded by the scale that has not yet been rounded to a half, unless refined.
  reals scale = -extreme(scales, 8) / 32;
  const reals inverse = reciprocal(scale);
  EACH(k, 8) scale_codes[k] = code_between(nearest_code(inverse * scales[k]), -32, 31);
  if (search == REFINED)
    scale = refine_signed(blocks->numbers, blocks->importance, (struct code_set){.bell = true},
                          (struct sub_scales){32, 8, -32, 31, scale_codes}, scale);
  put_half(blocks, bytes, scale);
  ints high = (ints)0;
  PART(k, 8) {
    const reals *x = blocks->numbers + 32 * k, sub_inverse = reciprocal(scale * TO_REALS(scale_codes[k]));
    ints codes[32];
    EACH(i, 32) codes[i] = bell_code(sub_inverse * x[i]);
    put_nibbles(codes, bytes + 8 + 16 * k);
    const ints low = (scale_codes[k] + 32) & 15;
    bytes[4 + k / 2] = k % 2 ? bytes[4 + k / 2] | low << 4 : low;
    high |= (scale_codes[k] + 32) >> 4 << 2 * k;
  }
  bytes[2] = high;
  bytes[3] = high >> 8;
}
