#pragma once
#include <stdbool.h>
#include <stdint.h>

// Numbers on a lattice: integers times a step for each column. Element i of a run of n is in column i mod width of the run,
// and in row (first + i) div width: the run begins at column `first` of its row, and columns are counted from there.

enum {
  /// Magnitudes below this have a symbol each.
  ES_LATTICE_EXACT = 64,
  /// Symbols: two for each of them but 0, which has one, then two for each length of larger ones in bits, 7 to 24.
  ES_LATTICE_SYMBOLS = 2 * ES_LATTICE_EXACT - 1 + 2 * 18,
  /// No magnitude is larger.
  ES_LATTICE_MOST = (1 << 24) - 1,
};

/// integers[i] = values[i] / steps[i mod width], to nearest.
///
/// @return whether none is larger than ES_LATTICE_MOST or not a number.
bool es_lattice_integers(const float *values, int64_t n, const float *steps, int64_t width, int32_t *integers);

/// values[i] = integers[i] steps[i mod width], rounded once.
void es_lattice_values(const int32_t *integers, int64_t n, const float *steps, int64_t width, float *values);

/// integers[i] = sign floor(|values[i]| / steps[i mod width] + offset), at most ES_LATTICE_MOST: with an offset of 1/2 the
/// nearest, with less a dead zone around 0 of 1 - offset steps on either side.
void es_lattice_round(const float *values, int64_t n, const float *steps, int64_t width, float offset,
                      int32_t *integers);

/// The sum of (values[i] - integers[i] steps[j])^2 weights[j], j = i mod width; weights null: 1.
double es_lattice_error(const float *values, const int32_t *integers, int64_t n, const float *steps,
                        const float *weights, int64_t width);

/// Symbols of integers: 2 |q| - (q < 0) below ES_LATTICE_EXACT, else 127 + 2 (bits of |q| - 7) + (q < 0).
///
/// @return how many bits follow: those of larger magnitudes below the leading one.
int64_t es_lattice_symbols(const int32_t *integers, int64_t n, uint8_t *symbols);

/// Writes the bits that follow, from the lowest of the first byte on; 8 bytes more than they take may be written.
void es_lattice_encode_rest(const int32_t *integers, int64_t n, uint8_t *bits);

/// How many bits follow symbols, each below ES_LATTICE_SYMBOLS.
int64_t es_lattice_measure_rest(const uint8_t *symbols, int64_t n);

/// Integers of symbols; 8 bytes more than the bits take may be read.
void es_lattice_decode(const uint8_t *symbols, int64_t n, const uint8_t *bits, int32_t *integers);

/// Adds min(|q|, 255) to the sums of rows and columns.
void es_lattice_sums(const int32_t *integers, int64_t n, int64_t width, int64_t first, uint64_t *rows,
                     uint64_t *columns);

/// keys[i] = rows[(first + i) div width] + columns[i mod width].
void es_lattice_keys(const uint8_t *rows, const uint8_t *columns, int64_t n, int64_t width, int64_t first,
                     uint8_t *keys);

enum { ES_LATTICE_SWEEP_ROWS = 16 };

/// Rounds a block of columns of up to ES_LATTICE_SWEEP_ROWS rows, from left to right, each column after the ones before
/// have made up for their errors:
///
///   q = sign floor(|w[j]| / steps[j] + offset),  e[j] = (w[j] - q steps[j]) / u[j][j],  w[l] -= e[j] u[j][l] for l > j
///
/// @param weights row r from weights + r stride on; left as they were.
/// @param u upper triangular, rows `u_stride` apart.
/// @param negated -e, rows `width` apart.
/// @param room for 16 width values.
/// @return the sum of e^2.
double es_lattice_sweep(const float *weights, int64_t stride, int64_t rows, int64_t width, const float *u,
                        int64_t u_stride, const float *steps, float offset, int32_t *integers, int64_t integer_stride, float *negated,
                        float *room);
