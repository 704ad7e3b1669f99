#pragma once
#include "grid.h"
#include "sweep_lanes.h"

// Grids of eight rows, one a lane.

/// value = scale k + offset, k whole from `low` to `high`; codes count from `low`.
struct lane_grid {
  doubles scale, offset, low, high;
};

/// `a` in the lanes of a mask, else `b`.
#define PICK(mask, a, b) ((doubles)(((mask) & (integers)(a)) | (~(mask) & (integers)(b))))

/// To the nearest whole number, ties to even, of numbers below 2^51.
#define WHOLE(x) (((x) + 0x1.8p52) - 0x1.8p52)

ES_INLINE void round_to_grid(const struct lane_grid *grid, const doubles *w, doubles *k) {
  doubles place = (*w - grid->offset) / grid->scale;
  // Whole bounds first: no number is too large for what follows, and NaN goes to one of them.
  place = PICK((integers)(place > grid->low), place, grid->low);
  place = PICK((integers)(place < grid->high), place, grid->high);
  *k = WHOLE(place);
}

ES_INLINE void load_grid(const es_rounding *rounding, int64_t row, int64_t rows, int64_t group, struct lane_grid *grid) {
  // Lanes without a row stay at zero.
  double scale[8], offset[8], low[8], high[8];
  for (int64_t r = 0; r < rows_at_once; r++) {
    scale[r] = 1;
    offset[r] = low[r] = high[r] = 0;
    if (r >= rows) continue;
    const int64_t place = (row + r) * rounding->groups + group;
    if (rounding->offsets) offset[r] = rounding->offsets[place];
    // Without a scale there is one level.
    if (rounding->scales[place] == 0) continue;
    scale[r] = rounding->scales[place];
    low[r] = -(double)(rounding->zeros ? rounding->zeros[place] : rounding->zero);
    high[r] = low[r] + rounding->top;
  }
  __builtin_memcpy(&grid->scale, scale, sizeof scale);
  __builtin_memcpy(&grid->offset, offset, sizeof offset);
  __builtin_memcpy(&grid->low, low, sizeof low);
  __builtin_memcpy(&grid->high, high, sizeof high);
}

// MARK: Fitting

/// To numbers of a type, and at least its smallest.
ES_INLINE void round_scale(doubles *scale, int32_t significand) {
  const doubles s = *scale;
  doubles rounded, least;
  if (significand == 24) {
    rounded = s;
    least = SPLAT8(0x1p-126);
  } else {
    // Dekker's splitting: what is left after the bits below have been added and taken away.
    const double factor = significand == 11 ? 0x1p42 + 1 : 0x1p45 + 1;
    const doubles large = s * factor;
    rounded = large - (large - s);
    least = SPLAT8(significand == 11 ? 0x1p-24 : 0x1p-126);
    // Halves below 2^-14 are multiples of 2^-24.
    if (significand == 11) rounded = PICK((integers)(s < SPLAT8(0x1p-14)), (s + 0x1.8p28) - 0x1.8p28, rounded);
  }
  *scale = PICK((integers)(rounded > least), rounded, least);
}

/// x^2.4 for x from 0: x² times the fifth root of x², by Newton's steps from a guess in the bits.
ES_INLINE void power(const doubles *x, doubles *result) {
  const doubles a = *x * *x;
  const doubles bits = __builtin_convertvector((integers)a, doubles) * 0.2 + 0x1p62 * 0.8 * (1023.0 / 1024);
  doubles y = (doubles)__builtin_convertvector(bits, integers);
  for (int step = 0; step < 3; step++) {
    const doubles y2 = y * y;
    y = 0.2 * (4 * y + a / (y2 * y2));
  }
  *result = PICK((integers)(a > SPLAT8(0x1p-960)), a * y, SPLAT8(0.0));
}

/// The grids of `count` columns of eight rows, zero a level of each.
ES_INLINE void fit_grid(const double *columns, int64_t count, const es_grid_fit *fit, const double *importance,
                        struct lane_grid *grid) {
  const double top = fit->top;
  doubles low = SPLAT8(0.0), high = SPLAT8(0.0);
  for (int64_t j = 0; j < count; j++) {
    const doubles w = *(const doubles *)(columns + j * 8);
    low = PICK((integers)(w < low), w, low);
    high = PICK((integers)(w > high), w, high);
  }
  if (fit->symmetric) {
    high = PICK((integers)(high > -low), high, -low);
    low = -high;
  }
  const integers empty = (integers)(high == low);
  low = PICK(empty, SPLAT8(-1.0), low);
  high = PICK(empty, SPLAT8(1.0), high);
  const int tried = fit->search == es_grid_extremes ? 1 : fit->steps;
  doubles least = SPLAT8(__builtin_inf());
  for (int step = 0; step < tried; step++) {
    const double share = 1 - step / 100.0;
    struct lane_grid candidate;
    candidate.offset = SPLAT8(0.0);
    candidate.scale = (share * high - share * low) / top;
    round_scale(&candidate.scale, fit->significand);
    doubles zero = SPLAT8((top + 1) / 2);
    if (!fit->symmetric) {
      zero = WHOLE(-share * low / candidate.scale);
      zero = PICK((integers)(zero < SPLAT8(top)), zero, SPLAT8(top));
    }
    candidate.low = -zero;
    candidate.high = SPLAT8(top) - zero;
    if (tried == 1) {
      *grid = candidate;
      return;
    }
    doubles error = SPLAT8(0.0);
    for (int64_t j = 0; j < count; j++) {
      const doubles w = *(const doubles *)(columns + j * 8);
      doubles k, term;
      round_to_grid(&candidate, &w, &k);
      doubles distance = w - k * candidate.scale;
      if (fit->search == es_grid_squares) {
        term = distance * distance;
        if (importance) term = term * SPLAT8(importance[j]);
      } else {
        distance = PICK((integers)(distance < SPLAT8(0.0)), -distance, distance);
        power(&distance, &term);
      }
      error += term;
    }
    const integers better = (integers)(error < least);
    if (step == 0) *grid = candidate;
    grid->scale = PICK(better, candidate.scale, grid->scale);
    grid->low = PICK(better, candidate.low, grid->low);
    grid->high = PICK(better, candidate.high, grid->high);
    least = PICK(better, error, least);
  }
  grid->offset = SPLAT8(0.0);
}

ES_INLINE void store_grid(const struct lane_grid *grid, int64_t rows, double *scales, uint8_t *zeros, int64_t groups) {
  for (int64_t r = 0; r < rows; r++) {
    scales[r * groups] = grid->scale[r];
    if (zeros) zeros[r * groups] = (uint8_t)-grid->low[r];
  }
}
