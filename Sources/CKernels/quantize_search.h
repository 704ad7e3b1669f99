#include <math.h>

#include "bell_levels.h"
#include "quantize_lanes.h"

// Searches for the scale of a block by the least weighted square error. Each tries a row of scales near the one at
// which the extreme number meets the last code, and improves each by least squares. Sums run in the order of the
// numbers, a product of three is (a b) c: what the reference does. A result says how codes are had from numbers, it
// does not hold them.

/// What makes a block too small to have a scale.
#define NEGLIGIBLE 1e-15f

/// What nearest() and nearest_code() round alike.
#define FARTHEST 4194303.0f

// MARK: - Scale and minimum

/// x = scale q - minimum with codes q from 0: the nearest to inverse (x - origin).
struct affine_fit {
  reals scale, minimum;
  reals inverse, origin;
};

struct affine_search {
  /// The largest code.
  float top;
  /// Tried are (top + first + i step) / (max - min), i = 0 ... steps.
  float first, step;
  int steps;
  /// Of the errors' magnitudes, instead of squares, the sum is to be small.
  bool absolute;
};

/// The weighted error of scale q + origin with the codes as they are.
ES_INLINE reals affine_error(
    const reals *x, const reals *weights, const reals *codes, int n, reals scale, reals origin, bool absolute) {
  reals sum = every(0);
  EACH(i, n) {
    const reals difference = scale * codes[i] + origin - x[i];
    sum += weights[i] * (absolute ? magnitude(difference) : difference * difference);
  }
  return sum;
}

/// Sums of the least squares fit of scale l + origin to x.
struct affine_sums {
  reals l, l2, xl;
};

/// Codes by a scale, and their sums. Once the origin has moved, numbers that do not count can be so far off that their
/// codes wrap: `wraps` is slower.
ES_INLINE struct affine_sums affine_codes_by(
    const reals *x, const reals *weights, int n, reals inverse, reals low, float top, bool wraps, reals *codes) {
  struct affine_sums sums = {every(0), every(0), every(0)};
  EACH(i, n) {
    const reals place = inverse * (x[i] - low);
    const reals code =
        wraps ? TO_REALS(code_between(nearest_code(place), 0, (int)top)) : nearest_between(place, 0, top);
    const reals weighted = weights[i] * code;
    codes[i] = code;
    sums.l += weighted;
    sums.l2 += weighted * code;
    sums.xl += weighted * x[i];
  }
  return sums;
}

ES_INLINE struct affine_fit fit_affine(const reals *x, const reals *weights, int n, struct affine_search search) {
  reals low = x[0], high = x[0], sum_w = weights[0], sum_x = weights[0] * x[0];
  for (int i = 1; i < n; i++) {
    low = smaller(x[i], low);
    high = larger(x[i], high);
    sum_w += weights[i];
    sum_x += weights[i] * x[i];
  }
  const reals lowest = low;
  low = low > 0 ? every(0) : low;

  struct affine_fit fit;
  fit.origin = low;
  fit.inverse = search.top / (high - low);
  // Of numbers all alike, or too near to each other, all codes are 0.
  fit.inverse = fit.inverse < INFINITY ? fit.inverse : every(0);
  fit.scale = reciprocal(fit.inverse);
  reals codes[32];
  EACH(i, n) codes[i] = nearest_between(fit.inverse * (x[i] - low), 0, search.top);
  reals best = affine_error(x, weights, codes, n, fit.scale, low, search.absolute);

  // `low` is the origin of the best scale so far, from which the next ones are reckoned.
  for (int trial = 0; trial <= search.steps; trial++) {
    const reals inverse = (search.first + search.step * (float)trial + search.top) / (high - low);
    const ints low_is_far = magnitude(inverse * (lowest - low)) > FARTHEST;
    const ints high_is_far = magnitude(inverse * (high - low)) > FARTHEST;
    const struct affine_sums sum = any(low_is_far | high_is_far)
                                       ? affine_codes_by(x, weights, n, inverse, low, search.top, true, codes)
                                       : affine_codes_by(x, weights, n, inverse, low, search.top, false, codes);
    const reals determinant = sum_w * sum.l2 - sum.l * sum.l;
    reals scale = (sum_w * sum.xl - sum_x * sum.l) / determinant;
    reals origin = (sum.l2 * sum_x - sum.l * sum.xl) / determinant;
    const ints above = origin > 0;
    scale = above ? sum.xl / sum.l2 : scale;
    origin = above ? every(0) : origin;
    const reals error = affine_error(x, weights, codes, n, scale, origin, search.absolute);
    const ints better = (determinant > 0) & (error < best);
    fit.inverse = better ? inverse : fit.inverse;
    fit.origin = better ? low : fit.origin;
    fit.scale = better ? scale : fit.scale;
    best = better ? error : best;
    low = better ? origin : low;
  }
  fit.minimum = -low;
  return fit;
}

ES_INLINE ints affine_code(const struct affine_fit *fit, reals x, float top) {
  return code_between(nearest_code(fit->inverse * (x - fit->origin)), 0, (int)top);
}

// MARK: - Signed scale

/// x = scale q with codes q from -top to top - 1: the nearest to inverse x.
struct symmetric_fit {
  reals scale, inverse;
  /// Blocks of zeros, whose codes are the lowest.
  ints empty;
};

/// The first number of the largest magnitude.
ES_INLINE reals extreme(const reals *x, int n) {
  reals value = every(0), largest = every(0);
  EACH(i, n) {
    const ints more = magnitude(x[i]) > largest;
    value = more ? x[i] : value;
    largest = more ? magnitude(x[i]) : largest;
  }
  return value;
}

/// The extreme number gets the lowest code; with `both_ends` it is also tried at the highest.
ES_INLINE struct symmetric_fit fit_symmetric(
    const reals *x, const reals *weights, int n, float top, bool both_ends) {
  const reals most = extreme(x, n);
  struct symmetric_fit fit;
  fit.empty = magnitude(most) < NEGLIGIBLE;
  reals weighted[32], best = every(0);
  EACH(i, n) weighted[i] = weights[i] * x[i];

  for (int trial = -10; trial <= (both_ends ? 29 : 9); trial++) {
    // First the scale that the extreme gives, then those beside it, then those at the other end.
    const bool is_first = trial == -10;
    if (trial == 0) continue;
    const float place = is_first ? top : trial <= 9 ? top + 0.1f * (float)trial : 1 - top - 0.1f * (float)(trial - 20);
    const reals inverse = -place / most;
    reals sum_lx = every(0), sum_l2 = every(0);
    EACH(i, n) {
      const reals code = nearest_between(inverse * x[i], -top, top - 1);
      sum_lx += weighted[i] * code;
      sum_l2 += weights[i] * code * code;
    }
    if (is_first) {
      fit.inverse = inverse;
      fit.scale = sum_l2 != 0 ? sum_lx / sum_l2 : every(0);
      best = fit.scale * sum_lx;
    } else {
      const ints better = (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2);
      fit.inverse = better ? inverse : fit.inverse;
      fit.scale = better ? sum_lx / sum_l2 : fit.scale;
      best = better ? fit.scale * sum_lx : best;
    }
  }
  fit.scale = fit.empty ? every(0) : fit.scale;
  return fit;
}

/// From 0.
ES_INLINE ints symmetric_code(const struct symmetric_fit *fit, reals x, float top) {
  return fit->empty ? (ints)0 : TO_INTS(nearest_between(fit->inverse * x, -top, top - 1)) + (int)top;
}

// MARK: - One code at a time

/// Sums of a least squares fit of `scale q` to x.
struct descent {
  reals sum_lx, sum_l2;
};

/// Codes of `x`, one after the other, take the value that is best while the others stay, where that makes the error
/// smaller; five times over. Codes are integers as floats, of magnitude up to `top` and less than that above 0; or, for
/// `positive` x, up to `top`, where one that comes out negative is kept as its low byte.
ES_INLINE void descend(
    const reals *x, const reals *weights, reals *codes, int n, int top, bool positive, struct descent *sums) {
  for (int round = 0; round < 5; round++) {
    ints changed = (ints)0;
    EACH(i, n) {
      const reals wx = weights[i] * x[i];
      reals rest_lx = sums->sum_lx - wx * codes[i];
      reals rest_l2 = sums->sum_l2 - weights[i] * codes[i] * codes[i];
      ints moves = rest_lx > 0;
      if (positive) moves &= rest_l2 > 0;
      const ints wanted = nearest_code(x[i] * rest_l2 / rest_lx);
      const ints code = positive ? smallest_code(wanted, (ints)top) : code_between(wanted, -top, top - 1);
      const reals real = TO_REALS(code);
      moves &= real != codes[i];
      rest_lx += wx * real;
      rest_l2 += weights[i] * real * real;
      moves &= rest_lx * rest_lx * sums->sum_l2 > sums->sum_lx * sums->sum_lx * rest_l2;
      if (!positive) moves &= rest_l2 > 0;
      codes[i] = moves ? positive ? TO_REALS(code & 255) : real : codes[i];
      sums->sum_lx = moves ? rest_lx : sums->sum_lx;
      sums->sum_l2 = moves ? rest_l2 : sums->sum_l2;
      changed |= moves;
    }
    if (!any(changed)) break;
  }
}

/// x = scale q, codes q from -top to top - 1 at first the nearest for the extreme's scale, then by descent; weights are
/// the squares of the numbers. Codes are returned from 0.
ES_INLINE reals descend_symmetric(const reals *x, int n, float top, ints *codes) {
  const reals most = extreme(x, n);
  const ints empty = magnitude(most) < NEGLIGIBLE;
  const reals inverse = -top / most;
  reals weights[32], reached[32];
  struct descent sums = {every(0), every(0)};
  EACH(i, n) {
    weights[i] = x[i] * x[i];
    reached[i] = nearest_between(inverse * x[i], -top, top - 1);
    sums.sum_lx += weights[i] * x[i] * reached[i];
    sums.sum_l2 += weights[i] * reached[i] * reached[i];
  }
  descend(x, weights, reached, n, (int)top, false, &sums);
  EACH(i, n) codes[i] = empty ? (ints)0 : TO_INTS(reached[i]) + (int)top;
  return (sums.sum_l2 > 0) & ~empty ? sums.sum_lx / sums.sum_l2 : every(0);
}

/// x = scale q for x >= 0 and codes q from 0 to top, by a search and a descent. For scales of a super-block: should one
/// of them be negative, as rounding and weights of zero may make it, its code is past the top.
ES_INLINE reals fit_positive(const reals *x, const reals *weights, int n, float top, ints *codes) {
  reals most = every(0);
  EACH(i, n) most = larger(most, x[i]);
  const ints empty = most < NEGLIGIBLE;
  reals inverse = top / most, best = every(0);
  const reals scale = 1 / inverse;
  EACH(i, n) {
    const reals difference = x[i] - scale * TO_REALS(nearest_code(inverse * x[i]) & 255);
    best += weights[i] * difference * difference;
  }
  for (int trial = -4; trial <= 4; trial++) {
    if (trial == 0) continue;
    const reals other = (0.1f * (float)trial + top) / most;
    const reals other_scale = 1 / other;
    reals error = every(0);
    EACH(i, n) {
      const ints code = smallest_code(nearest_code(other * x[i]), (ints)(int)top);
      const reals difference = x[i] - other_scale * TO_REALS(code);
      error += weights[i] * difference * difference;
    }
    const ints better = error < best;
    best = better ? error : best;
    inverse = better ? other : inverse;
  }
  reals reached[16];
  struct descent sums = {every(0), every(0)};
  EACH(i, n) {
    const ints code = smallest_code(nearest_code(inverse * x[i]), (ints)(int)top);
    const reals real = TO_REALS(code);
    sums.sum_lx += weights[i] * x[i] * real;
    sums.sum_l2 += weights[i] * real * real;
    reached[i] = TO_REALS(code & 255);
  }
  descend(x, weights, reached, n, (int)top, true, &sums);
  EACH(i, n) codes[i] = empty ? (ints)0 : TO_INTS(reached[i]);
  return (sums.sum_l2 > 0) & ~empty ? sums.sum_lx / sums.sum_l2 : every(0);
}

// MARK: - Levels that are not evenly spaced

/// Halfway to the next level.
#define BELL_MIDPOINT(i) ((bell_levels[i] + bell_levels[(i) + 1]) / 2)

/// The level nearest to v, the upper one of two.
ES_INLINE reals bell_level(reals v) {
  reals level = every(bell_levels[0]);
#pragma clang loop unroll(full)
  for (int i = 0; i < 15; i++) level = v >= BELL_MIDPOINT(i) ? every(bell_levels[i + 1]) : level;
  return level;
}

ES_INLINE ints bell_code(reals v) {
  ints code = (ints)0;
#pragma clang loop unroll(full)
  for (int i = 0; i < 15; i++) code = v >= BELL_MIDPOINT(i) ? (ints)(i + 1) : code;
  return code;
}

/// The scale of x = scale level(x / scale) for 32 numbers. The extreme number gets the lowest level; with `both_ends`
/// it is also tried at the highest.
ES_INLINE reals fit_bell(const reals *x, const reals *weights, bool both_ends) {
  const reals most = extreme(x, 32);
  reals scale = every(0), best = every(0);
  for (int trial = -8; trial <= (both_ends ? 22 : 7); trial++) {
    const bool is_first = trial == -8;
    const float place = trial <= 7 ? (float)trial + bell_levels[0] : (float)(trial - 15) + bell_levels[15];
    const reals inverse = is_first ? 1 / (-most / bell_levels[0]) : place / most;
    reals sum_lx = every(0), sum_l2 = every(0);
    EACH(i, 32) {
      const reals level = bell_level(inverse * x[i]), weighted = weights[i] * level;
      sum_lx += weighted * x[i];
      sum_l2 += weighted * level;
    }
    const ints better = is_first ? sum_l2 > 0 : (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2);
    scale = better ? sum_lx / sum_l2 : scale;
    best = better ? scale * sum_lx : best;
  }
  return magnitude(most) < NEGLIGIBLE ? every(0) : scale;
}
