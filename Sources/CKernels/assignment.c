#include "assignment.h"

#include <math.h>

#include "clones.h"

#pragma STDC FP_CONTRACT OFF

enum { lanes = 16 };

ES_CLONES double es_assignment_relax(
    const double *costs, const double *prices, double offset, int64_t n, double *distances, int32_t *rows,
    int32_t row) {
  // The least of numbers is the same in any order, so lanes only help the compiler.
  double least[lanes];
  for (int k = 0; k < lanes; k++) least[k] = INFINITY;
  int64_t start = 0;
  for (; start + lanes <= n; start += lanes) {
    for (int k = 0; k < lanes; k++) {
      const double offered = (costs[start + k] - prices[start + k]) + offset;
      const double known = distances[start + k];
      const int isLess = offered < known;
      const double best = isLess ? offered : known;
      rows[start + k] = isLess ? row : rows[start + k];
      distances[start + k] = best;
      least[k] = best < least[k] ? best : least[k];
    }
  }
  for (int64_t j = start; j < n; j++) {
    const double offered = (costs[j] - prices[j]) + offset;
    if (offered < distances[j]) {
      distances[j] = offered;
      rows[j] = row;
    }
    least[0] = distances[j] < least[0] ? distances[j] : least[0];
  }
  double result = least[0];
  for (int k = 1; k < lanes; k++) result = least[k] < result ? least[k] : result;
  return result;
}

ES_CLONES int64_t es_assignment_pick(const double *distances, double least, const int32_t *owners, int64_t n) {
  int32_t first = INT32_MAX;
  for (int32_t j = 0; j < (int32_t)n; j++) {
    const int32_t rank = j + (owners[j] < 0 ? 0 : 1 << 30);
    const int32_t found = distances[j] == least ? rank : INT32_MAX;
    first = found < first ? found : first;
  }
  return first == INT32_MAX ? -1 : first & ((1 << 30) - 1);
}
