#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "grid.h"

// MARK: Scores and order statistics

/// scores[i] = w[i]² / d[i]² for a row of n.
void es_prune_scores(const double *w, const double *d, int64_t n, double *scores);

/// scores[i] = |w[i]| norms[i] in float64; without `norms` |w[i]|.
void es_prune_magnitudes(const float *w, const double *norms, int64_t n, double *scores);

/// The value that `rank` (0 ... n - 1) others precede when n values ascend; NaN is not allowed.
///
/// @param room for n values.
double es_prune_select(const double *values, int64_t n, int64_t rank, double *room);

/// The values from `low` to `high` (both included) in their order, and how many are below `low`; NaN is not allowed.
///
/// @param kept for n values; may be `values`.
/// @return how many were kept.
int64_t es_prune_keep_between(
    const double *values, int64_t n, double low, double high, int64_t *below, double *kept);

/// The slow twin of `es_prune_keep_between`, used where the processor has no compressing.
int64_t es_prune_keep_between_portable(
    const double *values, int64_t n, double low, double high, int64_t *below, double *kept);

/// marks[i] = 1 for the `count` least of n values, equal ones by index, else 0; NaN is not allowed.
///
/// @param room for n values.
void es_prune_mark_least(const double *values, int64_t n, int64_t count, double *room, uint8_t *marks);

/// The same in every `of` consecutive of n values, `drop` of each; the time goes with `of` squared.
void es_prune_mark_least_of_groups(const double *values, int64_t n, int64_t of, int64_t drop, uint8_t *marks);

// MARK: SparseGPT

/// Rows that are swept at once, at most.
#define ES_PRUNE_SWEEP_ROWS 8

/// Where a block of some rows lies in its matrix.
typedef struct {
  /// At most ES_PRUNE_SWEEP_ROWS from `row` on.
  int64_t rows, row;
  /// The block's first.
  int64_t column;
} es_sweep_place;

/// Sweeps the columns of a block from left to right, in each of some rows by itself: a weight becomes q, which is 0 where it
/// is pruned (SparseGPT), otherwise the nearest level of its grid (GPTQ) or without `rounding` itself, and the weights to
/// its right make up for it by the inverse factor U of the second moment (upper triangular, H⁻¹ = Uᵀ U):
///
///     e[i] = (w[i] - q[i]) / u[i][i];   w[j] -= e[i] u[i][j] for j > i
///
/// With `of` > 0 the `drop` weights of least w² / u[i][i]² of every `of` columns go, as the row stands when the sweep comes
/// to them, equal ones by column. Otherwise those go of which that is at most `cut` as the row stands at first; none of a
/// `cut` below 0.
///
/// @param w `[rows, width]`; on return the q, or the weights that stay.
/// @param u the diagonal block of U `[width, width]`; null: H is diagonal, and there is no pruning.
/// @param rounding null: weights that stay are not rounded. Its scales, zeros and codes are written.
/// @param room for 32 `width` values.
void es_prune_sweep(double *w, es_sweep_place place, int64_t width, const double *u, double cut, int64_t drop,
                    int64_t of, const es_rounding *rounding, double *room);

/// Puts n values in the place of weights, rounded to nearest: changes[i] = weights[i] - values[i] of what was there, in
/// float64, rounded.
void es_prune_exchange(const double *values, int64_t n, float *weights, float *changes);

/// Replaces -H `[n, n]`, of which the upper half is read, by the upper triangular R with H = R Rᵀ, zeros below its
/// diagonal.
///
/// @param negated rows `stride` apart.
/// @param room for n values.
/// @return -1, or the column at which H turned out not to be positive definite.
int64_t es_prune_factor(double *negated, int64_t stride, int64_t n, double *room);

/// Replaces an upper triangular matrix by its inverse; what is below the diagonal is left alone.
///
/// @param upper rows `stride` apart.
/// @param room for n values.
void es_prune_invert(double *upper, int64_t stride, int64_t n, double *room);

/// Exchanges rows and columns: target[j][i] = source[i][j] for i < rows, j < columns, rounded to nearest.
///
/// @param source, target rows so many elements apart.
void es_prune_transpose(const double *source, int64_t source_stride, int64_t rows, int64_t columns, float *target,
                        int64_t target_stride);

/// scaled[i] = values[i] * factor.
void es_prune_scale(const double *values, double factor, int64_t n, double *scaled);

/// The index of the first NaN or infinity, -1 if all n values are finite.
int64_t es_prune_first_nonfinite(const double *values, int64_t n);

// MARK: Optimal brain surgeon

/// How es_prune_surgeon works on a row of n weights.
typedef struct {
  /// Weights of the row.
  int64_t n;
  /// Weights to remove.
  int64_t steps;
  /// With `of` > 0 no `of` consecutive weights (from a multiple of `of`) lose more than `drop`.
  int64_t drop, of;
  /// After `removed` steps weights are not removed but rounded, to levels scale k, k whole from low to high, of each
  /// column; below 0: all are removed. One that lies beyond its grid goes before those that do not.
  int64_t removed;
  const double *scale, *low, *high;
} es_surgeon;

/// Optimal brain surgeon on one row: `steps` times fixes the weight of least (w - q)² / d, d the diagonal of the inverse
/// moment of the weights that are left and q zero or the nearest level, and updates the others. The inverse is never changed: the columns that were
/// eliminated are kept as a partial Cholesky factor, pivots in the order of removal.
///
/// @param w n weights, changed in place.
/// @param inverse `[n, n]`, symmetric positive definite, only read.
/// @param factor room for steps * n values.
/// @param diagonal room for n values.
/// @param state room for n + n / max(of, 1) + 1 values.
/// @param order the columns fixed, in turn.
/// @param losses what each step adds to half the squared error, (w - q)² / (2 d).
/// @return steps done: fewer if rounding left a pivot that is not positive, or if `drop` leaves nothing to remove.
int64_t es_prune_surgeon(es_surgeon job, double *w, const double *inverse, double *factor, double *diagonal,
                         int32_t *state, int32_t *order, double *losses);

// MARK: Net-Trim

/// Moves each value towards 0 by `threshold`, stopping there: sign(x) max(|x| - threshold, 0).
void es_prune_shrink(const double *values, int64_t n, double threshold, double *shrunk);

// MARK: Errors of what came of it

/// difference[i] = a[i] - b[i] in float64; without `b` a[i].
void es_prune_difference(const float *a, const float *b, int64_t n, double *difference);

/// The sum of a[i] b[i], over eight lanes.
double es_prune_dot(const double *a, const double *b, int64_t n);

/// The sums of weights[i] (a[i] - b[i])² and of weights[i] a[i]² in float64; without `weights` they are 1.
void es_prune_weighed_squares(const float *a, const float *b, const double *weights, int64_t n, double *difference,
                              double *whole);

/// How many of n values are not zero.
int64_t es_prune_count_kept(const float *values, int64_t n);

/// kept[i] = 0 where marks[i] is not 0, else values[i].
void es_prune_apply(const float *values, const uint8_t *marks, int64_t n, float *kept);
