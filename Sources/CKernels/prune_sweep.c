#include "clones.h"
#include "prune.h"

#pragma STDC FP_CONTRACT OFF

// Eight rows are swept at once, one a lane: a row by itself is a chain of divisions and of branches that no processor
// foresees. Element for element the steps are those of a row alone, in their order.

enum { rows_at_once = ES_PRUNE_SWEEP_ROWS };
typedef double doubles __attribute__((vector_size(rows_at_once * sizeof(double)), aligned(8), may_alias));
typedef int64_t integers __attribute__((vector_size(rows_at_once * sizeof(int64_t)), aligned(8), may_alias));

#define SPLAT8(x) ((doubles){x, x, x, x, x, x, x, x})

/// Exchanges rows and columns of a square of eight: log2 8 rounds of interleaving the first half of the rows with the
/// second.
ES_INLINE void transpose_square(doubles rows[8]) {
  for (int round = 0; round < 3; round++) {
    doubles mixed[8];
    for (int i = 0; i < 4; i++) {
      mixed[2 * i] = __builtin_shufflevector(rows[i], rows[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      mixed[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
    __builtin_memcpy(rows, mixed, sizeof mixed);
  }
}

/// Column after column, eight rows of each; rows that are missing are zero.
ES_INLINE void gather(const double *w, int64_t rows, int64_t width, double *columns) {
  int64_t j = 0;
  if (rows == rows_at_once) {
    for (; j + 8 <= width; j += 8) {
      doubles square[8];
      for (int r = 0; r < 8; r++) square[r] = *(const doubles *)(w + r * width + j);
      transpose_square(square);
      for (int k = 0; k < 8; k++) *(doubles *)(columns + (j + k) * 8) = square[k];
    }
  }
  for (; j < width; j++)
    for (int64_t r = 0; r < rows_at_once; r++) columns[j * 8 + r] = r < rows ? w[r * width + j] : 0;
}

ES_INLINE void scatter(const double *columns, int64_t rows, int64_t width, double *w) {
  int64_t j = 0;
  if (rows == rows_at_once) {
    for (; j + 8 <= width; j += 8) {
      doubles square[8];
      for (int k = 0; k < 8; k++) square[k] = *(const doubles *)(columns + (j + k) * 8);
      transpose_square(square);
      for (int r = 0; r < 8; r++) *(doubles *)(w + r * width + j) = square[r];
    }
  }
  for (; j < width; j++)
    for (int64_t r = 0; r < rows; r++) w[r * width + j] = columns[j * 8 + r];
}

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

ES_INLINE void subtract(double *column, const doubles *errors, double u) {
  doubles *place = (doubles *)column;
  const doubles product = *errors * SPLAT8(u);
  *place = *place - product;
}

ES_CLONES void es_prune_sweep(double *w, int64_t rows, int64_t width, const double *u, double cut, int64_t drop,
                              int64_t of, double *room) {
  double *columns = room, *scores = room + 8 * width;
  integers *marks = (integers *)(room + 16 * width);
  gather(w, rows, width, columns);
  if (of <= 0) {
    for (int64_t i = 0; i < width; i++) {
      doubles scored;
      score(columns + i * 8, u[i * width + i], &scored);
      marks[i] = (integers)(scored <= SPLAT8(cut));
    }
  }
  int64_t i = 0;
  // Columns in fours: what lies behind them is read and written once for all.
  for (; i + 4 <= width; i += 4) {
    doubles errors[4];
    for (int64_t k = 0; k < 4; k++) {
      const int64_t c = i + k;
      if (of > 0 && c % of == 0) mark_group(columns, u, width, c, of, drop, scores, marks + c);
      take(columns + c * 8, marks + c, u[c * width + c], errors + k);
      // A group that begins among the four is chosen as it stands, so the next columns come up to date here.
      const int64_t end = of > 0 && of % 4 != 0 ? width : i + 4;
      for (int64_t j = c + 1; j < end; j++) subtract(columns + j * 8, errors + k, u[c * width + j]);
    }
    if (of > 0 && of % 4 != 0) continue;
    const double *a = u + i * width, *b = a + width, *c = b + width, *d = c + width;
    for (int64_t j = i + 4; j < width; j++) {
      doubles *place = (doubles *)(columns + j * 8);
      doubles v = *place;
      v -= errors[0] * SPLAT8(a[j]);
      v -= errors[1] * SPLAT8(b[j]);
      v -= errors[2] * SPLAT8(c[j]);
      v -= errors[3] * SPLAT8(d[j]);
      *place = v;
    }
  }
  for (; i < width; i++) {
    if (of > 0 && i % of == 0) mark_group(columns, u, width, i, of, drop, scores, marks + i);
    doubles errors;
    take(columns + i * 8, marks + i, u[i * width + i], &errors);
    for (int64_t j = i + 1; j < width; j++) subtract(columns + j * 8, &errors, u[i * width + j]);
  }
  scatter(columns, rows, width, w);
}

ES_CLONES void es_prune_exchange(const double *values, int64_t n, float *weights, float *changes) {
  for (int64_t i = 0; i < n; i++) {
    changes[i] = (float)((double)weights[i] - values[i]);
    weights[i] = (float)values[i];
  }
}
