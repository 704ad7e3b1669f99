#include "quantize_search.h"

// After the search: scales have been coded and rounded to halves by now. The scale of the block is fitted once more, to
// the codes as they are; each sub-block tries the neighbours of its scale's code; and so on, a few rounds. Kept is the
// least error of what is decoded, so that nothing gets worse than what was found before.

enum { REFINEMENTS = 3 };

/// What numbers are coded as: integers from `low` to `high`, or the levels of a bell curve.
struct code_set {
  float low, high;
  bool bell;
};

ES_INLINE reals nearest_in(struct code_set codes, reals v) {
  return codes.bell ? bell_level(v) : nearest_between(v, codes.low, codes.high);
}

ES_INLINE reals rounded_to_half(reals v) { return real_of_half(half_of(v)); }

// MARK: - Scales

/// Codes of the scales of `count` sub-blocks of n numbers, from `low` to `high`.
struct sub_scales {
  int n, count, low, high;
  ints *codes;
};

ES_INLINE reals signed_error(const reals *x, const reals *weights, int n, struct code_set codes, reals scale) {
  const reals inverse = reciprocal(scale);
  reals error = every(0);
  EACH(i, n) {
    const reals difference = scale * nearest_in(codes, inverse * x[i]) - x[i];
    error += weights[i] * difference * difference;
  }
  return error;
}

/// Refines a scale, which comes back as it is decoded, and the codes of the sub-blocks' scales.
ES_INLINE reals refine_signed(
    const reals *x, const reals *weights, struct code_set codes, struct sub_scales sub, reals scale) {
  reals current = rounded_to_half(scale), best = current, best_error = every(INFINITY);
  ints tried[16];
  PART(k, sub.count) tried[k] = sub.codes[k];
  PART(round, REFINEMENTS) {
    reals error = every(0), sum_lx = every(0), sum_l2 = every(0);
    PART(k, sub.count) {
      const reals *part = x + sub.n * k, *part_weights = weights + sub.n * k;
      const ints centre = tried[k];
      reals least = every(INFINITY);
      PART(step, sub.low < sub.high ? 3 : 1) {
        // The code itself, then the next lower and higher one.
        const ints code = code_between(centre + (step == 0 ? 0 : 2 * step - 3), sub.low, sub.high);
        const reals other = signed_error(part, part_weights, sub.n, codes, current * TO_REALS(code));
        tried[k] = other < least ? code : tried[k];
        least = smaller(other, least);
      }
      error += least;
      const reals code = TO_REALS(tried[k]), inverse = reciprocal(current * code);
      EACH(i, sub.n) {
        const reals level = code * nearest_in(codes, inverse * part[i]), weighted = part_weights[i] * level;
        sum_lx += weighted * part[i];
        sum_l2 += weighted * level;
      }
    }
    const ints better = error < best_error;
    best_error = better ? error : best_error;
    best = better ? current : best;
    PART(k, sub.count) sub.codes[k] = better ? tried[k] : sub.codes[k];
    current = sum_l2 > 0 ? rounded_to_half(sum_lx / sum_l2) : current;
  }
  return best;
}

// MARK: - Scales and minima

/// Codes of scales and minima of sub-blocks, from `low` to `high`.
struct sub_affine {
  int n, count, low, high;
  ints *scales, *minima;
};

ES_INLINE reals affine_error_of(
    const reals *x, const reals *weights, int n, float top, reals scale, reals minimum) {
  const reals inverse = reciprocal(scale);
  reals error = every(0);
  EACH(i, n) {
    const reals difference = scale * nearest_between(inverse * (x[i] + minimum), 0, top) - minimum - x[i];
    error += weights[i] * difference * difference;
  }
  return error;
}

/// Refines x = scale s q - minimum m: scale and minimum, which come back as they are decoded, and the codes s and m.
ES_INLINE void refine_affine(
    const reals *x, const reals *weights, float top, struct sub_affine sub, reals *scale, reals *minimum) {
  reals d = rounded_to_half(*scale), m = rounded_to_half(*minimum), best_error = every(INFINITY);
  ints scales[16], minima[16];
  PART(k, sub.count) scales[k] = sub.scales[k], minima[k] = sub.minima[k];
  PART(round, REFINEMENTS) {
    reals error = every(0), aa = every(0), ab = every(0), bb = every(0), ax = every(0), bx = every(0);
    PART(k, sub.count) {
      const reals *part = x + sub.n * k, *part_weights = weights + sub.n * k;
      const ints scale_centre = scales[k], minimum_centre = minima[k];
      reals least = every(INFINITY);
      PART(step, sub.low < sub.high ? 9 : 1) {
        // The codes themselves first, then all pairs of neighbours.
        const int place = step == 0 ? 4 : step <= 4 ? step - 1 : step;
        const ints s = code_between(scale_centre + (place % 3 - 1), sub.low, sub.high);
        const ints t = code_between(minimum_centre + (place / 3 - 1), sub.low, sub.high);
        const reals other = affine_error_of(part, part_weights, sub.n, top, d * TO_REALS(s), m * TO_REALS(t));
        scales[k] = other < least ? s : scales[k];
        minima[k] = other < least ? t : minima[k];
        least = smaller(other, least);
      }
      error += least;
      // Sums of the fit x = d a - m b.
      const reals s = TO_REALS(scales[k]), b = TO_REALS(minima[k]), inverse = reciprocal(d * s), offset = m * b;
      EACH(i, sub.n) {
        const reals a = s * nearest_between(inverse * (part[i] + offset), 0, top);
        const reals wa = part_weights[i] * a, wb = part_weights[i] * b;
        aa += wa * a;
        ab += wa * b;
        bb += wb * b;
        ax += wa * part[i];
        bx += wb * part[i];
      }
    }
    const ints better = error < best_error;
    best_error = better ? error : best_error;
    *scale = better ? d : *scale;
    *minimum = better ? m : *minimum;
    PART(k, sub.count) {
      sub.scales[k] = better ? scales[k] : sub.scales[k];
      sub.minima[k] = better ? minima[k] : sub.minima[k];
    }
    const reals determinant = aa * bb - ab * ab;
    const reals fitted_scale = (ax * bb - bx * ab) / determinant, fitted_minimum = (ax * ab - bx * aa) / determinant;
    const ints fits = (determinant > 0) & (fitted_scale > 0);
    d = fits ? rounded_to_half(fitted_scale) : d;
    m = fits ? rounded_to_half(fitted_minimum) : m;
  }
}
