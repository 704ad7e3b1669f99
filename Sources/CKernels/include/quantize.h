#pragma once
#include <stdint.h>

// Block formats of quantized weights (blocks.h), encoded: rows of floats become blocks.

typedef enum {
  // Blocks of 32.
  es_quantized_q4_0 = 0,
  es_quantized_q4_1,
  es_quantized_q5_0,
  es_quantized_q5_1,
  es_quantized_q8_0,
  es_quantized_iq4_nl,
  es_quantized_mxfp4,
  // Blocks of 256.
  es_quantized_q2_K,
  es_quantized_q3_K,
  es_quantized_q4_K,
  es_quantized_q5_K,
  es_quantized_q6_K,
  es_quantized_iq4_xs,
} es_quantized_type;

typedef enum {
  /// The bytes that llama.cpp's quantizer gives when it is compiled without fused multiply-add.
  es_quantizer_reference = 0,
  /// The least square error of what is decoded that a longer search finds. Errors count by importance alone, alike
  /// without; a column without any counts a millionth of the mean.
  es_quantizer_refined,
} es_quantizer_search;

/// Encodes `rows` rows of `columns` numbers, `stride` floats apart, without gaps; columns are a multiple of the block's
/// length.
///
/// A block's bytes depend on its numbers, their importance and, for Q4_0, Q4_1, Q5_0 and Q5_1 with importance, on the
/// mean square of its row (refined: not on that, but on the mean of all importance); on nothing else. The bytes are the
/// same on every processor.
///
/// @param numbers Finite, but for MXFP4 of magnitudes up to 2^30, past which no type has a place for them.
/// @param importance Null, or for each column a number from 0 to 10^15: what an error there counts. The reference
///   ignores it for Q8_0 and MXFP4.
/// @return The index of the first block that has a scale past the largest half (or a number that decodes to infinity),
///   or -1.
typedef int64_t es_quantizer(const float *numbers, int64_t stride, int64_t rows, int64_t columns,
                             const float *importance, void *destination);

/// Quantizers that take sixteen blocks at a time.
es_quantizer *es_quantizer_of(es_quantized_type type, es_quantizer_search search);

/// The same, one block after the other.
es_quantizer *es_portable_quantizer_of(es_quantized_type type, es_quantizer_search search);

/// The index of the first of `n` numbers that is NaN or of a magnitude above `limit`, or -1.
int64_t es_quantize_first_beyond(const float *numbers, int64_t n, float limit);
