#pragma once
#include <stdint.h>

// Block formats of quantized weights (blocks.h), encoded: rows of floats become blocks, with the bytes that llama.cpp's
// quantizer gives when it is compiled without fused multiply-add.
//
// `rows` rows of `columns` numbers, `stride` floats apart, are written without gaps; columns are a multiple of the block's
// length. Numbers are finite, but for MXFP4 of magnitudes up to 2^30 (past which no type has a place for them).
// `importance` is null or has one number from 0 to 10^15 a column: what an error there counts (Q8_0 and MXFP4 ignore it).
// Returned is the index of the first block that has a scale past the largest half (a number that decodes to infinity), or
// -1.
//
// A block's bytes depend on its numbers, their importance and, for Q4_0, Q4_1, Q5_0 and Q5_1 with importance, on the mean
// square of its row; on nothing else. The bytes are the same on every processor.

#define ES_QUANTIZER(name)                                                                                     \
  int64_t es_quantize_##name(const float *numbers, int64_t stride, int64_t rows, int64_t columns,              \
                             const float *importance, void *destination);                                      \
  /* The same, one block after the other. */                                                                   \
  int64_t es_quantize_##name##_portable(const float *numbers, int64_t stride, int64_t rows, int64_t columns,   \
                                        const float *importance, void *destination);

// Blocks of 32.
ES_QUANTIZER(q4_0)
ES_QUANTIZER(q4_1)
ES_QUANTIZER(q5_0)
ES_QUANTIZER(q5_1)
ES_QUANTIZER(q8_0)
ES_QUANTIZER(iq4_nl)
ES_QUANTIZER(mxfp4)

// Blocks of 256.
ES_QUANTIZER(q2_K)
ES_QUANTIZER(q3_K)
ES_QUANTIZER(q4_K)
ES_QUANTIZER(q5_K)
ES_QUANTIZER(q6_K)
ES_QUANTIZER(iq4_xs)

#undef ES_QUANTIZER

/// The index of the first of `n` numbers that is NaN or of a magnitude above `limit`, or -1.
int64_t es_quantize_first_beyond(const float *numbers, int64_t n, float limit);
