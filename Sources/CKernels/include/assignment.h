#pragma once
#include <stdint.h>

/// A step of a shortest augmenting path of linear assignment: row `row`, reached at `offset` less its own price, offers
/// its costs to all n columns.
///
///     distances[j] = min(distances[j], costs[j] - prices[j] + offset),  rows[j] = row where that is less
///
/// Columns that are done have the price -inf and the distance +inf.
///
/// Returns the least distance afterwards.
double es_assignment_relax(
    const double *costs, const double *prices, double offset, int64_t n, double *distances, int32_t *rows, int32_t row);

/// The first column at the distance `least` that has no row, else the first at it. `owners` is -1 where there is none;
/// n is below 2^30.
int64_t es_assignment_pick(const double *distances, double least, const int32_t *owners, int64_t n);
