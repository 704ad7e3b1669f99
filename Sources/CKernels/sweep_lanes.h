#pragma once
#include <stdint.h>

#include "clones.h"
#include "prune.h"

#pragma STDC FP_CONTRACT OFF

// Eight rows at once, one a lane, column after column.

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
