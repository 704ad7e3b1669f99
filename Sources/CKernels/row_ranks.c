#include "row_ranks.h"

#include <stdbool.h>

#include "float_bits.h"

enum {
  digit_bits = 9,
  bins = 1 << digit_bits,
  index_bits = 32 - digit_bits,  // of an index that shares a word with a digit
};

// Keys are magnitudes less the smallest one of the row, without the low bits that are zero in all of them: differences
// of bf16 values have a dozen such bits, and what is left fits two digits.
struct row {
  const float *values;
  int64_t n;
  uint32_t smallest, largest;  // magnitudes
  int dropped;  // low bits
  int width;    // bits of the largest key
};

ES_INLINE uint32_t magnitude(float value) { return bits_of(value) & 0x7fffffffu; }

ES_CLONES static struct row find_range(const float *values, int64_t n) {
  uint32_t low = 0x7fffffff, high = 0, used = 0;
  for (int64_t i = 0; i < n; i++) {
    const uint32_t key = magnitude(values[i]);
    low = key < low ? key : low;
    high = key > high ? key : high;
    used |= key;
  }
  const int dropped = used ? __builtin_ctz(used) : 0;
  const uint32_t range = high > low ? (high - low) >> dropped : 0;
  return (struct row){values, n, low, high, dropped, range ? 32 - __builtin_clz(range) : 0};
}

ES_INLINE uint32_t key_of(struct row row, int64_t i) {
  return (magnitude(row.values[i]) - row.smallest) >> row.dropped;
}

/// `level[i]` = the magnitude of element `i` on a linear scale of two digits: never out of order with it, and spread
/// over the bins as magnitudes are (their leading bits would crowd into a few exponents, and counts that follow each
/// other into one bin wait for each other).
ES_CLONES static void find_levels(struct row row, float scale, uint32_t *level) {
  const int32_t highest = (1 << 2 * digit_bits) - 1;
  for (int64_t i = 0; i < row.n; i++) {
    const int32_t scaled = (int32_t)(float_of(magnitude(row.values[i])) * scale);
    level[i] = (uint32_t)(scaled < highest ? scaled : highest);
  }
}

/// Turns counts into the places where their bins start.
static void place(uint32_t counts[bins]) {
  uint32_t sum = 0;
  for (int bin = 0; bin < bins; bin++) {
    const uint32_t count = counts[bin];
    counts[bin] = sum;
    sum += count;
  }
}

/// Sorts nearly sorted indices by magnitude, equal ones staying in order; gives up after `n` moves.
static bool insertion_sort(struct row row, uint32_t *indices) {
  int64_t moves = row.n;
  uint32_t previous = 0;
  for (int64_t i = 0; i < row.n; i++) {
    const uint32_t moving = indices[i], key = magnitude(row.values[moving]);
    if (key >= previous) {
      previous = key;
      continue;
    }
    int64_t j = i;
    for (; j > 0 && magnitude(row.values[indices[j - 1]]) > key; j--) indices[j] = indices[j - 1];
    indices[j] = moving;
    moves -= i - j;
    if (moves < 0) return false;
  }
  return true;
}

/// False if it gave up.
static bool rank_by_levels(struct row row, uint32_t *ranks, uint32_t *scratch) {
  const int64_t n = row.n;
  const float largest = float_of(row.largest);
  // Below and above, the scale would not be a normal number.
  if (n > 1 << index_bits || !(largest > 0x1p-100f && largest < 0x1p100f)) return false;
  uint32_t *level = scratch, *by_low = scratch + n, *indices = level;
  uint32_t low[bins] = {0}, high[bins] = {0};
  find_levels(row, (float)(1 << 2 * digit_bits) / largest, level);
  for (int64_t i = 0; i < n; i++) {
    low[level[i] & (bins - 1)]++;
    high[level[i] >> digit_bits]++;
  }
  place(low);
  place(high);
  for (int64_t i = 0; i < n; i++)
    by_low[low[level[i] & (bins - 1)]++] = level[i] >> digit_bits << index_bits | (uint32_t)i;
  for (int64_t i = 0; i < n; i++) indices[high[by_low[i] >> index_bits]++] = by_low[i] & ((1u << index_bits) - 1);
  if (!insertion_sort(row, indices)) return false;
  for (int64_t i = 0; i < n; i++) ranks[indices[i]] = (uint32_t)i;
  return true;
}

/// A radix sort of keys above their indices.
static void rank_by_all_bits(struct row row, uint32_t *ranks, uint64_t *scratch) {
  const int64_t n = row.n;
  uint64_t *from = scratch, *to = scratch + n;
  for (int64_t i = 0; i < n; i++) from[i] = (uint64_t)key_of(row, i) << 32 | (uint64_t)i;
  for (int shift = 32; shift < 32 + row.width; shift += digit_bits) {
    uint32_t places[bins] = {0};
    for (int64_t i = 0; i < n; i++) places[from[i] >> shift & (bins - 1)]++;
    place(places);
    for (int64_t i = 0; i < n; i++) to[places[from[i] >> shift & (bins - 1)]++] = from[i];
    uint64_t *swap = from;
    from = to;
    to = swap;
  }
  for (int64_t i = 0; i < n; i++) ranks[(uint32_t)from[i]] = (uint32_t)i;
}

void es_row_ranks(const float *values, int64_t n, uint32_t *ranks, uint64_t *scratch) {
  const struct row row = find_range(values, n);
  if (!rank_by_levels(row, ranks, (uint32_t *)scratch)) rank_by_all_bits(row, ranks, scratch);
}
