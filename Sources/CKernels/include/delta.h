#pragma once
#include <stdint.h>

// Coded changes of weights: trits, and values kept where a bitmap has ones.

/// Five values a byte, the first one lowest: byte = sum of digit * 3^place, digit 0 for a zero (a NaN too), 1 for what is
/// above and 2 for what is below. A last byte that is not full has zeros. `codes` has (n + 4) / 5 bytes.
void es_pack_trits(const float *values, int64_t n, uint8_t *codes);

/// out[i] += scale * trit `first + i` of `codes` (1, -1 or 0), 0 <= i < n. A byte above 242 has a sixth digit, which is
/// not looked at.
void es_add_trits(const uint8_t *codes, int64_t first, int64_t n, float scale, float *out);

/// The values whose bits are set, one after the other; how many there are.
int64_t es_gather_kept(const float *values, const uint64_t *bits, int64_t n, float *kept);

/// out[i - from] += scale * kept[rank of bit i] for the set bits from <= i < to; the rank counts from bit 0.
void es_add_kept(
    const uint64_t *bits, int64_t from, int64_t to, const float *kept, float scale, float *out);

/// Set bits of the first n.
int64_t es_count_bits(const uint64_t *bits, int64_t n);

/// Elements of `width` bytes that differ: bit i of `bits` says so of element i (bits behind n in the last byte are 0), and
/// the old ones lie packed at the beginning of `old` afterwards. How many there are.
int64_t es_gather_changed(void *old, const void *new_elements, int64_t width, int64_t n, uint8_t *bits);

/// Puts packed elements back in the places whose bits are set; how many there were.
int64_t es_scatter_changed(void *elements, const void *packed, int64_t width, int64_t n, const uint8_t *bits);

/// counts[b] += how many of the bytes are b.
void es_count_bytes(const uint8_t *bytes, int64_t n, int64_t counts[256]);
