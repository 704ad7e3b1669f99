#pragma once
#include <stdint.h>

// Codes of quantized matrices, one a byte, as floats: x = scale (code - zero), the difference exact, one rounding.

/// n codes that share a scale and a zero.
void es_codes_decode(const uint8_t *codes, int64_t n, float scale, int32_t zero, float *x);

/// The same where column i has the scale and the zero of group groups[i].
///
/// @param zeros null: every zero is `zero`.
void es_codes_decode_grouped(const uint8_t *codes, int64_t n, const float *scales, const uint8_t *zeros, int32_t zero,
                             const int32_t *groups, float *x);

/// x[i] *= scale.
void es_codes_scale(float *x, int64_t n, float scale);

/// x[i] /= divisors[i].
void es_codes_divide(float *x, const float *divisors, int64_t n);

/// x[i] *= factors[i].
void es_codes_multiply(float *x, const float *factors, int64_t n);

/// quotients[i] = values[i] / scale, within -limit ... limit.
void es_codes_quotients(const float *values, int64_t n, float scale, float limit, float *quotients);
