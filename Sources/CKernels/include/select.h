#pragma once
#include <stdint.h>

// Ranking floats by their bits. A key is an unsigned integer that is larger for what comes first:
//
//   b = bits & mask;  key = b ^ (b negative ? 0x7fffffff : 0) ^ flip
//
//   largest magnitude first   mask 0x7fffffff  flip 0
//   smallest magnitude first  mask 0x7fffffff  flip 0x7fffffff
//   largest value first       mask 0xffffffff  flip 0x80000000   (-0 is less than 0)
//   smallest value first      mask 0xffffffff  flip 0x7fffffff
//
// A NaN has a larger magnitude than infinity.
struct es_key_order {
  uint32_t mask, flip;
};

struct es_bracket_count {
  /// Keys greater than `high`, equal to it, between the two, and equal to `low` (0 if that is `high` too).
  int64_t above, at_high, inside, at_low;
};

enum {
  /// What `es_collect_in_bracket` may write past the last collected key.
  ES_COLLECT_SLACK = 16
};

/// Counts the keys above and equal to one key.
struct es_bracket_count es_count_at_key(const float *values, int64_t n, struct es_key_order order, uint32_t key);

/// Counts, and writes the keys between `low` and `high` (without these two) to `inside` in the order of the values; it
/// has room for `n + ES_COLLECT_SLACK` keys, and what follows the collected ones is undefined. `low <= high`.
struct es_bracket_count es_collect_in_bracket(
    const float *values, int64_t n, struct es_key_order order, uint32_t low, uint32_t high, uint32_t *inside);

/// The slow twin of `es_collect_in_bracket`, used where the processor has no compressing store.
struct es_bracket_count es_collect_in_bracket_portable(
    const float *values, int64_t n, struct es_key_order order, uint32_t low, uint32_t high, uint32_t *inside);

/// Sets to 0 each value that is not kept: kept is a key above `cut`, and of the keys equal to it the first `quota`.
void es_apply_cut(float *values, int64_t n, struct es_key_order order, uint32_t cut, int64_t quota);
