#include <math.h>
#include <string.h>

#include "clones.h"
#include "prune.h"

// Order statistics of float64 values. A sample brackets the value that is sought; one pass without branches, which random
// values would mispredict half of the time, keeps what lies in the bracket; what is left goes the same way until it is
// little. The result depends on the values alone.

/// Hoare's quickselect with the middle element as pivot (Communications of the ACM 4, 1961, algorithm 65).
static double quickselect(double *values, int64_t n, int64_t rank) {
  int64_t low = 0, high = n - 1;
  while (low < high) {
    const double pivot = values[low + (high - low) / 2];
    int64_t i = low, j = high;
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i > j) break;
      const double moved = values[i];
      values[i++] = values[j];
      values[j--] = moved;
    }
    if (rank <= j) high = j;
    else if (rank >= i) low = i;
    else return values[rank];
  }
  return values[low];
}

ES_CLONES static int64_t count_below(const double *values, int64_t n, double low) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++) count += values[i] < low;
  return count;
}

/// The values from `low` to `high` in their order; `kept` may be `values`.
static int64_t keep_between(const double *values, int64_t n, double low, double high, double *kept) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++) {
    const double value = values[i];
    kept[count] = value;
    count += (value >= low) & (value <= high);
  }
  return count;
}

double es_prune_select(const double *values, int64_t n, int64_t rank, double *room) {
  enum { little = 160, largest_sample = 512 };
  const double *from = values;
  int64_t count = n, place = rank;
  while (count > little) {
    double sample[largest_sample];
    const int64_t size = count / 8 < largest_sample ? count / 8 : largest_sample, step = count / size;
    for (int64_t k = 0; k < size; k++) sample[k] = from[step / 2 + k * step];
    // Four standard deviations of a rank in a large sample, less in a small one, where missing costs little.
    const int64_t margin = (int64_t)((size < 128 ? 1.25 : 2) * sqrt((double)size)) + 1;
    const int64_t center = (int64_t)((double)place / (double)count * (double)size);
    const double low = center < margin ? -INFINITY : quickselect(sample, size, center - margin);
    const double high = center + margin >= size ? INFINITY : quickselect(sample, size, center + margin);
    const int64_t below = count_below(from, count, low);
    const int64_t kept = keep_between(from, count, low, high, room);
    if (place < below || place - below >= kept) {
      // The sample misled: the slow way, through all.
      memcpy(room, values, (size_t)n * sizeof *room);
      return quickselect(room, n, rank);
    }
    const int stuck = kept > count - count / 4;
    from = room, count = kept, place -= below;
    if (stuck) break;
  }
  if (from != room) memcpy(room, from, (size_t)count * sizeof *room);
  return quickselect(room, count, place);
}

ES_CLONES static int64_t mark_below(const double *values, int64_t n, double cut, uint8_t *marks) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++) marks[i] = values[i] < cut;
  for (int64_t i = 0; i < n; i++) count += marks[i];
  return count;
}

ES_CLONES void es_prune_mark_up_to(const double *values, int64_t n, double cut, uint8_t *marks) {
  for (int64_t i = 0; i < n; i++) marks[i] = values[i] <= cut;
}

void es_prune_mark_least(const double *values, int64_t n, int64_t count, double *room, uint8_t *marks) {
  if (count <= 0 || count >= n) {
    memset(marks, count > 0, (size_t)n);
    return;
  }
  const double cut = es_prune_select(values, n, count - 1, room);
  int64_t equal = count - mark_below(values, n, cut, marks);
  for (int64_t i = 0; equal > 0; i++) {
    if (values[i] != cut) continue;
    marks[i] = 1;
    equal--;
  }
}

/// How many of a group come before each: smaller ones, and equal ones of lower index.
ES_INLINE void mark_group(const double *values, int64_t of, int64_t drop, uint8_t *marks) {
  for (int64_t i = 0; i < of; i++) {
    int64_t before = 0;
    for (int64_t j = 0; j < i; j++) before += values[j] <= values[i];
    for (int64_t j = i + 1; j < of; j++) before += values[j] < values[i];
    marks[i] = before < drop;
  }
}

ES_CLONES void es_prune_mark_least_of_groups(const double *values, int64_t n, int64_t of, int64_t drop,
                                             uint8_t *marks) {
  if (of == 4) {
    for (int64_t i = 0; i + 4 <= n; i += 4) mark_group(values + i, 4, drop, marks + i);
  } else {
    for (int64_t i = 0; i + of <= n; i += of) mark_group(values + i, of, drop, marks + i);
  }
}
