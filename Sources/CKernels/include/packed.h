#pragma once
#include <stdint.h>

// Weights as codes of a few bits, packed side by side: code i of a stream has bits i * bits up to (i + 1) * bits of its
// little-endian bytes, the lowest first. Words of 32 bits are such a stream too.

// Codes `first` up to `first + n` of a stream as floats. `bits` is 1 to 8. May read 8 bytes past the last code.
void es_packed_decode(const void *stream, int bits, int64_t first, float *values, int64_t n);

// Packs `n` codes into ceil(n * bits / 32) words, of which the bits that are left over are 0.
void es_packed_encode(const uint8_t *codes, int bits, uint32_t *words, int64_t n);

// values[i] = (values[i] - zero of its group) * scale of its group, where value i is that of column `column + i` and a
// group is `group` columns. Without `zeros` every zero is `zero`.
void es_packed_scale(float *values, int64_t n, int64_t column, int64_t group, const float *scales, const float *zeros,
                     float zero);

// The same where the group of column i is groups[i].
void es_packed_scale_indexed(float *values, int64_t n, int64_t column, const int32_t *groups, const float *scales,
                             const float *zeros, float zero);

// transposed[j * stride + i] = words[i * columns + j], of `rows` rows.
void es_packed_transpose(const uint32_t *words, int64_t rows, int64_t columns, uint32_t *transposed, int64_t stride);

// The same for codes of 4 bits: `words` has `rows` rows of 8 `columns` codes; code i of row j of the result is code j of
// row i of the source. `stride` counts words, at least ceil(rows / 8).
void es_packed_transpose_nibbles(const uint32_t *words, int64_t rows, int64_t columns, uint32_t *transposed,
                                 int64_t stride);

// Between words whose eight nibbles hold codes 0 2 4 6 1 3 5 7, the lowest first, and words in which they are in order.
void es_packed_order_nibbles(uint32_t *words, int64_t n);
void es_packed_interleave_nibbles(uint32_t *words, int64_t n);
