#pragma once
#include "float_bits.h"

// Elementary functions of float32 that the compiler vectorizes: no branches, no tables, a fixed order of operations.
// Errors are the largest found over all arguments or a fine grid of them (NetworkKernelTests). A NaN stays a NaN.

/// e^x within 1.5 ulp; 0 below -104, infinity above 88.8, subnormals included.
ES_INLINE float elementary_exp(float x) {
  x = x < -104.5f ? -104.5f : x;
  x = x > 89.5f ? 89.5f : x;
  // Adding 1.5 * 2^23 leaves the nearest integer n of x / ln 2 in the low bits; r = x - n ln 2 in two steps.
  const float anchored = __builtin_fmaf(x, 0x1.715476p0f, 0x1.8p23f);
  const float n = anchored - 0x1.8p23f;
  float r = __builtin_fmaf(n, -0x1.62e4p-1f, x);
  r = __builtin_fmaf(n, -0x1.7f7d1cp-20f, r);
  float p = 0x1.6db45ep-10f;
  p = __builtin_fmaf(p, r, 0x1.123b7ep-7f);
  p = __builtin_fmaf(p, r, 0x1.55545ep-5f);
  p = __builtin_fmaf(p, r, 0x1.55548ep-3f);
  p = __builtin_fmaf(p, r, 0.5f);
  p = __builtin_fmaf(p * r, r, r) + 1.0f;
  // 2^n in two factors, since n reaches beyond the normal exponents on both sides.
  const int32_t exponent = (int32_t)(bits_of(anchored) - 0x4b400000u);
  const int32_t half = exponent >> 1;
  return p * float_of((uint32_t)(half + 127) << 23) * float_of((uint32_t)(exponent - half + 127) << 23);
}

/// 1 / (1 + e^-x) within 3 ulp.
ES_INLINE float elementary_sigmoid(float x) { return 1.0f / (1.0f + elementary_exp(-x)); }

/// tanh x within 3 ulp: an odd polynomial near zero, 1 - 2 / (e^2|x| + 1) elsewhere.
ES_INLINE float elementary_tanh(float x) {
  const float a = __builtin_fabsf(x);
  const float far = 1.0f - 2.0f / (elementary_exp(2.0f * a) + 1.0f);
  const float z = x * x;
  float p = -0x1.6f41eep-8f;
  p = __builtin_fmaf(p, z, 0x1.50b82p-6f);
  p = __builtin_fmaf(p, z, -0x1.b806a4p-5f);
  p = __builtin_fmaf(p, z, 0x1.1105a2p-3f);
  p = __builtin_fmaf(p, z, -0x1.55552cp-2f);
  const float near = __builtin_fmaf(p * z, x, x);
  return a < 0.62f ? near : __builtin_copysignf(far, x);
}

/// erf x within 3 ulp: an odd polynomial up to 1, 1 - e^-t(|x|) beyond, t a polynomial.
ES_INLINE float elementary_erf(float x) {
  const float a = __builtin_fabsf(x), z = x * x;
  float p = 0x1.4ae4c6p-14f;
  p = __builtin_fmaf(p, z, -0x1.a485e8p-11f);
  p = __builtin_fmaf(p, z, 0x1.5419f4p-8f);
  p = __builtin_fmaf(p, z, -0x1.b7fbb4p-6f);
  p = __builtin_fmaf(p, z, 0x1.ce2d2p-4f);
  p = __builtin_fmaf(p, z, -0x1.81273ep-2f);
  p = __builtin_fmaf(p, z, 0x1.20dd74p0f);
  const float b = a > 4.0f ? 4.0f : a;
  float t = 0x1.68a51cp-16f;
  t = __builtin_fmaf(t, b, -0x1.cc6fb8p-12f);
  t = __builtin_fmaf(t, b, 0x1.12d51ep-8f);
  t = __builtin_fmaf(t, b, -0x1.9c883ep-6f);
  t = __builtin_fmaf(t, b, 0x1.bbe4c8p-4f);
  t = __builtin_fmaf(t, b, 0x1.443bp-1f);
  t = __builtin_fmaf(t, b, 0x1.212aa2p0f);
  t = __builtin_fmaf(t, b, -0x1.80b5d4p-13f);
  const float far = __builtin_copysignf(1.0f - elementary_exp(-t), x);
  return a != a ? x : a < 1.0f ? p * x : far;
}

/// ln(1 + e^x) within 4 ulp: max(x, 0) + 2 atanh(u / (2 + u)) with u = e^-|x|.
ES_INLINE float elementary_softplus(float x) {
  const float u = elementary_exp(-__builtin_fabsf(x));
  const float s = u / (2.0f + u), z = s * s;
  float p = 0x1.be4eecp-4f;
  p = __builtin_fmaf(p, z, 0x1.5f301ep-4f);
  p = __builtin_fmaf(p, z, 0x1.c8bc18p-4f);
  p = __builtin_fmaf(p, z, 0x1.248a56p-3f);
  p = __builtin_fmaf(p, z, 0x1.9999bep-3f);
  p = __builtin_fmaf(p, z, 0x1.555556p-2f);
  const float log1p = 2.0f * __builtin_fmaf(p * z, s, s);
  return x > 0.0f ? x + log1p : log1p;
}
