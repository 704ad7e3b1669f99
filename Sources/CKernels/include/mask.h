#pragma once
#include <stdint.h>

/// Bit i of `bits` (bit i mod 64 of word i / 64) = whether values[i] is not 0; the bits behind n in the last word are 0.
void es_pack_mask(const float *values, int64_t n, uint64_t *bits);

/// Sets to 0 the values whose bit is 0.
void es_apply_mask(float *values, int64_t n, const uint64_t *bits);
