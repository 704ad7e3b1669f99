#include "grid_lanes.h"

#pragma STDC FP_CONTRACT OFF

// Eight rows are swept at once, one a lane: a row by itself is a chain of divisions and of branches that no processor
// foresees. Element for element the steps are those of a row alone, in their order.

// Vectors are handed over by pointer: by value their place would depend on the instruction set.

ES_INLINE void score(const double *column, double d, doubles *result) {
  const doubles w = *(const doubles *)column;
  *result = w * w / SPLAT8(d * d);
}

/// Marks the `drop` least scores of a group in each lane, equal ones by column.
ES_INLINE void mark_group(const double *columns, const double *u, int64_t width, int64_t first, int64_t of, int64_t drop,
                          double *scores, integers *marks) {
  const integers zero = {0};
  for (int64_t k = 0; k < of; k++)
    score(columns + (first + k) * 8, u[(first + k) * width + first + k], (doubles *)(scores + k * 8));
  for (int64_t k = 0; k < of; k++) {
    const doubles own = *(const doubles *)(scores + k * 8);
    integers before = zero;
    for (int64_t l = 0; l < k; l++) before -= (integers)(*(const doubles *)(scores + l * 8) <= own);
    for (int64_t l = k + 1; l < of; l++) before -= (integers)(*(const doubles *)(scores + l * 8) < own);
    marks[k] = (integers)(before < zero + drop);
  }
}

/// The errors of a column, which becomes zero where it is marked.
ES_INLINE void take(double *column, const integers *mark, double d, doubles *errors) {
  doubles *place = (doubles *)column;
  const doubles w = *place;
  *place = (doubles)((integers)w & ~*mark);
  *errors = (doubles)((integers)(w / SPLAT8(d)) & *mark);
}

/// The same where what is not marked becomes the nearest level of a grid.
ES_INLINE void take_rounded(double *column, const integers *mark, double d, const struct lane_grid *grid, double *code,
                            doubles *errors) {
  doubles *place = (doubles *)column;
  const doubles w = *place;
  doubles k;
  round_to_grid(grid, place, &k);
  k = (doubles)((integers)k & ~*mark);
  *(doubles *)code = k - grid->low;
  *place = (doubles)((integers)(k * grid->scale + grid->offset) & ~*mark);
  *errors = (w - *place) / SPLAT8(d);
}

ES_INLINE void subtract(double *column, const doubles *errors, double u) {
  doubles *place = (doubles *)column;
  const doubles product = *errors * SPLAT8(u);
  *place = *place - product;
}

/// The grid of a column of the block: fitted if a group begins there, loaded if the group is another than before.
ES_INLINE void find_grid(const es_rounding *rounding, es_sweep_place place, const double *columns, int64_t c,
                         int64_t width, int32_t *group, struct lane_grid *grid) {
  const int32_t own = rounding->group_of[place.column + c];
  if (own == *group) return;
  *group = own;
  if (rounding->fit_length > 0) {
    const int64_t count = width - c < rounding->fit_length ? width - c : rounding->fit_length;
    const int64_t first = place.row * rounding->groups + own;
    fit_grid(columns + c * 8, count, &rounding->fit,
             rounding->importance ? rounding->importance + place.column + c : 0, grid);
    store_grid(grid, place.rows, rounding->scales + first, rounding->zeros ? rounding->zeros + first : 0,
               rounding->groups);
  } else {
    load_grid(rounding, place.row, place.rows, own, grid);
  }
}

ES_INLINE void sweep(double *w, es_sweep_place place, int64_t width, const double *u, double cut, int64_t drop,
                     int64_t of, const es_rounding *rounding, double *room) {
  double *columns = room, *scores = room + 8 * width, *codes = room + 24 * width;
  integers *marks = (integers *)(room + 16 * width);
  struct lane_grid grid;
  int32_t group = -1;
  gather(w, place.rows, width, columns);
  if (of <= 0) {
    for (int64_t i = 0; i < width; i++) {
      const integers none = {0};
      marks[i] = none;
      if (cut < 0) continue;
      doubles scored;
      score(columns + i * 8, u[i * width + i], &scored);
      marks[i] = (integers)(scored <= SPLAT8(cut));
    }
  }
#define TAKE(c, d, errors)                                                             \
  do {                                                                                 \
    if (rounding) {                                                                    \
      find_grid(rounding, place, columns, c, width, &group, &grid);                    \
      take_rounded(columns + (c) * 8, marks + (c), d, &grid, codes + (c) * 8, errors); \
    } else {                                                                           \
      take(columns + (c) * 8, marks + (c), d, errors);                                 \
    }                                                                                  \
  } while (0)
  // A group that begins among four columns is chosen, or its grid fitted, as it stands, so the next columns come up to
  // date at once.
  const int eager = (of > 0 && of % 4 != 0) || (rounding && rounding->fit_length % 4 != 0);
  int64_t i = 0;
  // Columns in fours: what lies behind them is read and written once for all.
  for (; u && i + 4 <= width; i += 4) {
    doubles errors[4];
    for (int64_t k = 0; k < 4; k++) {
      const int64_t c = i + k;
      if (of > 0 && c % of == 0) mark_group(columns, u, width, c, of, drop, scores, marks + c);
      TAKE(c, u[c * width + c], errors + k);
      const int64_t end = eager ? width : i + 4;
      for (int64_t j = c + 1; j < end; j++) subtract(columns + j * 8, errors + k, u[c * width + j]);
    }
    if (eager) continue;
    const double *a = u + i * width, *b = a + width, *c = b + width, *d = c + width;
    for (int64_t j = i + 4; j < width; j++) {
      doubles *target = (doubles *)(columns + j * 8);
      doubles v = *target;
      v -= errors[0] * SPLAT8(a[j]);
      v -= errors[1] * SPLAT8(b[j]);
      v -= errors[2] * SPLAT8(c[j]);
      v -= errors[3] * SPLAT8(d[j]);
      *target = v;
    }
  }
  for (; i < width; i++) {
    if (of > 0 && i % of == 0) mark_group(columns, u, width, i, of, drop, scores, marks + i);
    doubles errors;
    TAKE(i, u ? u[i * width + i] : 1, &errors);
    for (int64_t j = i + 1; u && j < width; j++) subtract(columns + j * 8, &errors, u[i * width + j]);
  }
#undef TAKE
  scatter(columns, place.rows, width, w);
  if (!rounding) return;
  for (int64_t r = 0; r < place.rows; r++) {
    uint8_t *target = rounding->codes + (place.row + r) * rounding->columns + place.column;
    for (int64_t j = 0; j < width; j++) target[j] = (uint8_t)codes[j * 8 + r];
  }
}

ES_CLONES void es_prune_sweep(double *w, es_sweep_place place, int64_t width, const double *u, double cut, int64_t drop,
                              int64_t of, const es_rounding *rounding, double *room) {
  if (rounding) sweep(w, place, width, u, cut, drop, of, rounding, room);
  else sweep(w, place, width, u, cut, drop, of, 0, room);
}

ES_CLONES void es_prune_exchange(const double *values, int64_t n, float *weights, float *changes) {
  for (int64_t i = 0; i < n; i++) {
    changes[i] = (float)((double)weights[i] - values[i]);
    weights[i] = (float)values[i];
  }
}
