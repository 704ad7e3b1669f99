#include "keep_by_rank.h"

#include <math.h>

#include "float_bits.h"
#include "row_ranks.h"

#pragma STDC FP_CONTRACT OFF

enum { bins = 1024, most_undecided = 160 };

ES_INLINE uint32_t magnitude(float value) { return bits_of(value) & 0x7fffffffu; }

ES_INLINE float probability_of(uint32_t rank, float lowest, float slope) { return lowest + slope * (float)rank; }

ES_INLINE bool is_kept(uint32_t word, float probability) { return (double)word < (double)probability * 0x1p32; }

ES_CLONES static void to_probabilities(float *ranks, int64_t n, float lowest, float slope) {
  for (int64_t i = 0; i < n; i++) ranks[i] = probability_of(bits_of(ranks[i]), lowest, slope);
}

void es_random_keep_by_rank_exact(struct es_random_stream stream, uint64_t first, float *values, int64_t n,
                                  float lowest, float slope, bool rescale, uint64_t *scratch) {
  float *ranks = (float *)scratch;
  es_row_ranks(values, n, (uint32_t *)ranks, scratch + n);
  to_probabilities(ranks, n, lowest, slope);
  es_random_keep_each(stream, first, values, ranks, n, rescale);
}

ES_CLONES static float largest_magnitude(const float *values, int64_t n) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; i++) {
    const uint32_t bits = magnitude(values[i]);
    largest = bits > largest ? bits : largest;
  }
  return float_of(largest);
}

/// The bin of each magnitude on a linear scale, never out of order with it.
ES_CLONES static void find_bins(const float *values, int64_t n, float scale, int32_t *bin) {
  for (int64_t i = 0; i < n; i++) {
    const int32_t scaled = (int32_t)(float_of(magnitude(values[i])) * scale);
    bin[i] = scaled < bins - 1 ? scaled : bins - 1;
  }
}

/// `start[b]` = elements in bins before b; one more entry holds n.
static void count_starts(const int32_t *bin, int64_t n, uint32_t start[bins + 1]) {
  // Two tables, since a count that follows one of the same bin waits for it.
  uint32_t even[bins] = {0}, odd[bins] = {0};
  int64_t i = 0;
  for (; i + 2 <= n; i += 2) {
    even[bin[i]]++;
    odd[bin[i + 1]]++;
  }
  if (i < n) even[bin[i]]++;
  uint32_t sum = 0;
  for (int b = 0; b < bins; b++) {
    start[b] = sum;
    sum += even[b] + odd[b];
  }
  start[bins] = sum;
}

/// The number of words that keep an element: word < probability * 2^32 is word < its ceiling.
ES_INLINE uint32_t threshold_of(float probability) {
  const double scaled = ceil((double)probability * 0x1p32);
  return scaled < 0 ? 0 : scaled < 0x1p32 ? (uint32_t)scaled : UINT32_MAX;
}

/// Thresholds for the lowest and the highest rank in every bin; those of empty bins are not used.
ES_CLONES static void find_thresholds(const uint32_t *start, float lowest, float slope, uint32_t *at_low,
                                      uint32_t *at_high) {
  for (int b = 0; b < bins; b++) {
    at_low[b] = threshold_of(probability_of(start[b], lowest, slope));
    at_high[b] = threshold_of(probability_of(start[b + 1] - 1, lowest, slope));
  }
}

/// decision[i]: 0 drop, 1 keep, 2 depends on the rank within the bin. Returns how many depend.
ES_CLONES static int64_t decide(const int32_t *bin, const uint32_t *at_low, const uint32_t *at_high,
                                const uint32_t *words, int64_t n, int32_t *decision) {
  int32_t undecided = 0;
  for (int64_t i = 0; i < n; i++) {
    const uint32_t word = words[i], low = at_low[bin[i]], high = at_high[bin[i]];
    const int32_t kept = word < low, depends = (word >= low) & (word < high);
    decision[i] = kept + 2 * depends;
    undecided += depends;
  }
  return undecided;
}

/// Whether all magnitudes in a bin are the same as one of them.
ES_CLONES static bool is_single_valued(const float *values, const int32_t *bin, int64_t n, int32_t b, uint32_t key) {
  uint32_t differing = 0;
  for (int64_t j = 0; j < n; j++) differing |= (bin[j] == b) & (magnitude(values[j]) != key);
  return !differing;
}

/// How many of the first `i` elements are in a bin.
ES_CLONES static uint32_t count_before(const int32_t *bin, int64_t i, int32_t b) {
  uint32_t count = 0;
  for (int64_t j = 0; j < i; j++) count += bin[j] == b;
  return count;
}

/// The exact rank of one element: those before it that are not larger, those behind it that are smaller.
ES_CLONES static uint32_t rank_of(const float *values, int64_t n, int64_t i) {
  const uint32_t key = magnitude(values[i]);
  uint32_t rank = 0;
  for (int64_t j = 0; j < i; j++) rank += magnitude(values[j]) <= key;
  for (int64_t j = i + 1; j < n; j++) rank += magnitude(values[j]) < key;
  return rank;
}

ES_CLONES static void drop(float *values, const int32_t *decision, int64_t n) {
  for (int64_t i = 0; i < n; i++) values[i] = decision[i] ? values[i] : 0;
}

void es_random_keep_by_rank(struct es_random_stream stream, uint64_t first, float *values, int64_t n, float lowest,
                            float slope, bool rescale, uint64_t *scratch) {
  const float largest = largest_magnitude(values, n);
  // A row that is to be rescaled needs every probability; outside these magnitudes the scale of bins is not a number.
  if (rescale || n > INT32_MAX || !(largest > 0x1p-100f && largest < 0x1p100f)) {
    es_random_keep_by_rank_exact(stream, first, values, n, lowest, slope, rescale, scratch);
    return;
  }
  int32_t *bin = (int32_t *)scratch, *decision = bin + n;
  uint32_t *words = (uint32_t *)(decision + n), start[bins + 1], at_low[bins], at_high[bins];
  find_bins(values, n, (float)bins / largest, bin);
  count_starts(bin, n, start);
  find_thresholds(start, lowest, slope, at_low, at_high);
  es_random_words(stream, first, words, n);
  const int64_t undecided = decide(bin, at_low, at_high, words, n, decision);
  if (undecided > most_undecided) {
    es_random_keep_by_rank_exact(stream, first, values, n, lowest, slope, rescale, scratch);
    return;
  }
  // Ranks are counted on the row as it was, so that nothing may be dropped before all are known. Elements depend on
  // their place in a bin mostly because many share one value; then their order in the row tells the rank.
  enum { unknown, single, mixed };
  uint8_t kind[bins] = {unknown};
  for (int64_t i = 0, left = undecided; left > 0; i++) {
    if (decision[i] != 2) continue;
    const int32_t b = bin[i];
    if (kind[b] == unknown) kind[b] = is_single_valued(values, bin, n, b, magnitude(values[i])) ? single : mixed;
    const uint32_t rank = kind[b] == single ? start[b] + count_before(bin, i, b) : rank_of(values, n, i);
    decision[i] = is_kept(words[i], probability_of(rank, lowest, slope));
    left--;
  }
  drop(values, decision, n);
}
