#pragma once
#include <stdbool.h>
#include <stdint.h>

/// Sweeps the columns of one row of a block from left to right (SparseGPT): a pruned weight becomes 0, and the weights to
/// its right make up for it by the inverse factor U of the second moment (upper triangular, H⁻¹ = Uᵀ U):
///
///     e[i] = w[i] / u[i][i] if pruned, else 0;   w[j] -= e[i] u[i][j] for j > i
///
/// @param w `width` weights of the row; on return those that stay, and 0.
/// @param u the diagonal block of U, rows `stride` apart.
/// @param pruned 1 where a weight is to go. With `of` > 0 it is written, not read: of every `of` columns the `drop` of
///   least w² / u[i][i]² go, as the row stands when the sweep comes to them; equal ones by column.
/// @param negated_errors `width` values -e[i], for the columns to the right of the block.
void es_prune_sweep(double *w, int64_t width, const double *u, int64_t stride, uint8_t *pruned, int64_t drop,
                    int64_t of, double *negated_errors);

/// How es_prune_surgeon works on a row of n weights.
typedef struct {
  /// Weights of the row.
  int64_t n;
  /// Weights to remove.
  int64_t steps;
  /// With `of` > 0 no `of` consecutive weights (from a multiple of `of`) lose more than `drop`.
  int64_t drop, of;
} es_surgeon;

/// Optimal brain surgeon on one row: `steps` times removes the weight of least w² / d, d the diagonal of the inverse
/// moment of the weights that are left, and updates the others. The inverse is never changed: the columns that were
/// eliminated are kept as a partial Cholesky factor, pivots in the order of removal.
///
/// @param w n weights, changed in place.
/// @param inverse `[n, n]`, symmetric positive definite, only read.
/// @param factor room for steps * n values.
/// @param diagonal room for n values.
/// @param state room for n + n / max(of, 1) + 1 values.
/// @param order the columns removed, in turn.
/// @param losses what each step adds to half the squared error, w² / (2 d).
/// @return steps done: fewer if rounding left a pivot that is not positive, or if `drop` leaves nothing to remove.
int64_t es_prune_surgeon(es_surgeon job, double *w, const double *inverse, double *factor, double *diagonal,
                         int32_t *state, int32_t *order, double *losses);

/// values[i] = w[i]² / d[i]² for a row of n.
void es_prune_scores(const double *w, const double *d, int64_t n, double *scores);

/// How many of n values are below `low`, and those from `low` to `high` (both included), written to `between` (room for
/// n) in their order; the return value is how many those are. NaN counts nowhere.
int64_t es_prune_bracket(const double *values, int64_t n, double low, double high, int64_t *below, double *between);

/// Moves each value towards 0 by `threshold`, stopping there: sign(x) max(|x| - threshold, 0).
void es_prune_shrink(const double *values, int64_t n, double threshold, double *shrunk);
