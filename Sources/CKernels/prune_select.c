#include <math.h>
#include <string.h>

#include "clones.h"
#include "prune.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

int64_t es_prune_keep_between_portable(
    const double *values, int64_t n, double low, double high, int64_t *below, double *kept) {
  int64_t count = 0, less = 0;
  for (int64_t i = 0; i < n; i++) {
    const double value = values[i];
    // Always written, kept by moving on: no branch to mispredict.
    kept[count] = value;
    count += (value >= low) & (value <= high);
    less += value < low;
  }
  *below = less;
  return count;
}

#if defined(__x86_64__)
__attribute__((target("avx512f,popcnt"))) static int64_t keep_between_avx512(
    const double *values, int64_t n, double low, double high, int64_t *below, double *kept) {
  const __m512d lows = _mm512_set1_pd(low), highs = _mm512_set1_pd(high);
  int64_t count = 0, less = 0, i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m512d value = _mm512_loadu_pd(values + i);
    const __mmask8 under = _mm512_cmp_pd_mask(value, lows, _CMP_LT_OQ);
    const __mmask8 inside = _mm512_mask_cmp_pd_mask((__mmask8)~under, value, highs, _CMP_LE_OQ);
    // Compressed in a register and stored whole: the compressing store itself is slow on some processors. What it writes
    // beyond the kept ones lies before values that are still to come.
    _mm512_storeu_pd(kept + count, _mm512_maskz_compress_pd(inside, value));
    count += __builtin_popcount(inside);
    less += __builtin_popcount(under);
  }
  int64_t rest = 0;
  count += es_prune_keep_between_portable(values + i, n - i, low, high, &rest, kept + count);
  *below = less + rest;
  return count;
}
#endif

int64_t es_prune_keep_between(
    const double *values, int64_t n, double low, double high, int64_t *below, double *kept) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return keep_between_avx512(values, n, low, high, below, kept);
#endif
  return es_prune_keep_between_portable(values, n, low, high, below, kept);
}

enum { few = 64, largest_sample = 512, lane_count = 8 };

/// The values of two ranks among few: each is compared with all, eight at a time, without a branch. The value of a rank is
/// the largest of those that no more than so many are less than.
ES_CLONES static void select_two(const double *values, int64_t n, int64_t first, int64_t second, double *a, double *b) {
  double least = INFINITY;
  for (int64_t i = 0; i < n; i++) least = values[i] < least ? values[i] : least;
  double first_value = least, second_value = least;
  for (int64_t start = 0; start < n; start += lane_count) {
    double own[lane_count];
    int64_t less[lane_count] = {0};
    for (int64_t l = 0; l < lane_count; l++) own[l] = values[start + l < n ? start + l : start];
    for (int64_t j = 0; j < n; j++)
      for (int64_t l = 0; l < lane_count; l++) less[l] += values[j] < own[l];
    for (int64_t l = 0; l < lane_count; l++) {
      first_value = less[l] <= first && own[l] > first_value ? own[l] : first_value;
      second_value = less[l] <= second && own[l] > second_value ? own[l] : second_value;
    }
  }
  *a = first_value;
  *b = second_value;
}

double es_prune_select(const double *values, int64_t n, int64_t rank, double *room) {
  const double *from = values;
  int64_t count = n, place = rank;
  while (count > few) {
    double sample[largest_sample];
    int64_t size = count / 8 < largest_sample ? count / 8 : largest_sample;
    if (size < 32) size = 32;
    const int64_t step = count / size;
    for (int64_t k = 0; k < size; k++) sample[k] = from[step / 2 + k * step];
    // Four standard deviations of a rank in a large sample, less in a small one, where missing costs little.
    const int64_t margin = (int64_t)((size < 128 ? 1.25 : 2) * sqrt((double)size)) + 1;
    const int64_t center = (int64_t)((double)place / (double)count * (double)size);
    double low, high;
    select_two(sample, size, center - margin, center + margin, &low, &high);
    if (center < margin) low = -INFINITY;
    if (center + margin >= size) high = INFINITY;
    int64_t below;
    const int64_t kept = es_prune_keep_between(from, count, low, high, &below, room);
    if (place < below || place - below >= kept) {
      // The sample misled: the slow way, through all.
      memcpy(room, values, (size_t)n * sizeof *room);
      return quickselect(room, n, rank);
    }
    const int stuck = kept > count - count / 8;
    from = room, count = kept, place -= below;
    if (stuck) break;
  }
  if (count > few) {
    if (from != room) memcpy(room, from, (size_t)count * sizeof *room);
    return quickselect(room, count, place);
  }
  double value, same;
  select_two(from, count, place, place, &value, &same);
  return value;
}

ES_CLONES static int64_t mark_up_to(const double *values, int64_t n, double cut, uint8_t *marks) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++) marks[i] = values[i] <= cut;
  for (int64_t i = 0; i < n; i++) count += marks[i];
  return count;
}

void es_prune_mark_least(const double *values, int64_t n, int64_t count, double *room, uint8_t *marks) {
  if (count <= 0 || count >= n) {
    memset(marks, count > 0, (size_t)n);
    return;
  }
  const double cut = es_prune_select(values, n, count - 1, room);
  int64_t up_to = mark_up_to(values, n, cut, marks);
  // Of those equal to the cut the last ones stay.
  for (int64_t i = n - 1; up_to > count; i--) {
    if (values[i] != cut) continue;
    marks[i] = 0;
    up_to--;
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
