#pragma once
#include <stdint.h>

// Block formats of quantized weights, as llama.cpp defines them: `n` numbers, a multiple of the block's length, are
// widened to float32. Blocks may be unaligned; source and destination must not overlap.
//
// The bits are those of llama.cpp's own decoders without fused multiply-add, on every processor: each step (scale of a
// sub-block, product with the code, minimum) is rounded once, in the order in which the format writes it. A scale that
// is infinite or not a number gives numbers that are not finite.

// Blocks of 32.
void es_decode_q4_0(const void *source, float *destination, int64_t n);
void es_decode_q4_1(const void *source, float *destination, int64_t n);
void es_decode_q5_0(const void *source, float *destination, int64_t n);
void es_decode_q5_1(const void *source, float *destination, int64_t n);
void es_decode_q8_0(const void *source, float *destination, int64_t n);
void es_decode_iq4_nl(const void *source, float *destination, int64_t n);
void es_decode_mxfp4(const void *source, float *destination, int64_t n);

// Blocks of 256.
void es_decode_q2_K(const void *source, float *destination, int64_t n);
void es_decode_q3_K(const void *source, float *destination, int64_t n);
void es_decode_q4_K(const void *source, float *destination, int64_t n);
void es_decode_q5_K(const void *source, float *destination, int64_t n);
void es_decode_q6_K(const void *source, float *destination, int64_t n);
void es_decode_q8_K(const void *source, float *destination, int64_t n);
void es_decode_iq4_xs(const void *source, float *destination, int64_t n);
