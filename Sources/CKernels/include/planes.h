#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "entropy.h"

// Elements taken apart into planes of bytes, so that bits of one kind lie together.
//
// An element is read as a little-endian integer, turned left by `turn` bits, and its byte p goes to plane p. Turned by 1,
// the sign of a float lies beneath its mantissa, and the plane of the highest byte has the exponents (of float16, five
// bits of exponent above three of mantissa); turned by 4, that of a float64 has the low eight bits of the exponent.

/// Splits n elements of 1, 2, 4 or 8 bytes: planes[0 ..< width], each of n bytes.
void es_planes_split(int32_t width, int32_t turn, const void *elements, int64_t n, uint8_t *const *planes);

/// The inverse of `es_planes_split`.
void es_planes_join(int32_t width, int32_t turn, const uint8_t *const *planes, int64_t n, void *elements);

/// z[i] = x[i] ^ y[i] for n bytes; z may be x.
void es_planes_xor(const void *x, const void *y, int64_t n, void *z);

/// Where the bytes of a plane come from: `bytes`, if that is not null; else the decoder, if that is not null; else all are
/// `constant`.
typedef struct {
  const uint8_t *bytes;
  const es_entropy_decoder *decoder;
  es_entropy_stream stream;
  uint8_t constant;
} es_plane_source;

/// Joins n elements of planes that are decoded on the way, a little of each at a time, so that what is decoded stays in
/// the nearest cache.
///
/// @return false if coded bytes end early, are not used up or leave states that no encoder began with.
bool es_planes_decode(es_entropy_kernel kernel, int32_t width, int32_t turn, es_plane_source *planes, int64_t n,
                      void *elements);
