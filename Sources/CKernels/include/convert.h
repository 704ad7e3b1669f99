#pragma once
#include <stdint.h>

// Element conversions between stored types and float32, `n` elements each. Stored elements may be unaligned;
// source and destination must not overlap.
//
// Rounding is to nearest, ties to even; subnormals are exact. A NaN stays a NaN: its sign and the payload bits that
// fit are kept and the quiet bit is set. Past the largest finite value f16, bf16 and f8e5m2 give infinity, and f8e4m3
// (the "fn" variant: no infinity, largest value 448) gives NaN, as PyTorch does.

void es_decode_f64(const void *source, float *destination, int64_t n);
void es_decode_f16(const void *source, float *destination, int64_t n);
void es_decode_bf16(const void *source, float *destination, int64_t n);
void es_decode_f8e4m3(const void *source, float *destination, int64_t n);
void es_decode_f8e5m2(const void *source, float *destination, int64_t n);

void es_encode_f64(const float *source, void *destination, int64_t n);
void es_encode_f16(const float *source, void *destination, int64_t n);
void es_encode_bf16(const float *source, void *destination, int64_t n);
void es_encode_f8e4m3(const float *source, void *destination, int64_t n);
void es_encode_f8e5m2(const float *source, void *destination, int64_t n);

// Integers: decoding rounds to nearest, ties to even, where float32 has too few bits; encoding rounds likewise,
// saturates at the type's limits, and turns NaN into 0.

void es_decode_i64(const void *source, float *destination, int64_t n);
void es_decode_i32(const void *source, float *destination, int64_t n);
void es_decode_i16(const void *source, float *destination, int64_t n);
void es_decode_i8(const void *source, float *destination, int64_t n);
void es_decode_u64(const void *source, float *destination, int64_t n);
void es_decode_u32(const void *source, float *destination, int64_t n);
void es_decode_u16(const void *source, float *destination, int64_t n);
void es_decode_u8(const void *source, float *destination, int64_t n);

void es_encode_i64(const float *source, void *destination, int64_t n);
void es_encode_i32(const float *source, void *destination, int64_t n);
void es_encode_i16(const float *source, void *destination, int64_t n);
void es_encode_i8(const float *source, void *destination, int64_t n);
void es_encode_u64(const float *source, void *destination, int64_t n);
void es_encode_u32(const float *source, void *destination, int64_t n);
void es_encode_u16(const float *source, void *destination, int64_t n);
void es_encode_u8(const float *source, void *destination, int64_t n);

// Booleans: one byte; whatever differs from zero (a NaN too) is true, true is 1.

void es_decode_bool(const void *source, float *destination, int64_t n);
void es_encode_bool(const float *source, void *destination, int64_t n);
