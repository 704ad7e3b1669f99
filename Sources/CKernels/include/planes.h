#pragma once
#include <stdint.h>

// Elements taken apart into planes of bytes, so that bits of one kind lie together.
//
// An element is read as a little-endian integer, turned left by `turn` bits, and its byte p goes to plane p. Turned by 1,
// the sign of a float lies beneath its mantissa, and the plane of the highest byte has the exponents (of float16, five
// bits of exponent above three of mantissa); turned by 4, that of a float64 has the low eight bits of the exponent.

/// Splits n elements of 1, 2, 4 or 8 bytes: planes[0 ..< width], each of n bytes.
void es_planes_split(int32_t width, int32_t turn, const void *elements, int64_t n, uint8_t *const *planes);

/// The inverse of `es_planes_split`.
void es_planes_join(int32_t width, int32_t turn, const uint8_t *const *planes, int64_t n, void *elements);

/// x[i] ^= y[i] into z, bytes.
void es_planes_xor(const uint8_t *x, const uint8_t *y, int64_t n, uint8_t *z);
