#include "entropy.h"

#include <string.h>

#include "clones.h"

#pragma STDC FP_CONTRACT OFF

bool es_entropy_kernel_runs(es_entropy_kernel kernel) {
  switch (kernel) {
  case es_entropy_kernel_portable: return true;
#if defined(__x86_64__)
  case es_entropy_kernel_avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
  case es_entropy_kernel_avx512:
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("popcnt");
#endif
  default: return false;
  }
}

es_entropy_kernel es_entropy_fastest_kernel(void) {
  if (es_entropy_kernel_runs(es_entropy_kernel_avx512)) return es_entropy_kernel_avx512;
  if (es_entropy_kernel_runs(es_entropy_kernel_avx2)) return es_entropy_kernel_avx2;
  return es_entropy_kernel_portable;
}

void es_entropy_count(const uint8_t *symbols, int64_t n, uint32_t counts[256]) {
  // Four tables, since a symbol often follows itself and would wait for its own count.
  uint32_t parts[4][256] = {0};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    uint64_t a, b;
    memcpy(&a, symbols + i, 8);
    memcpy(&b, symbols + i + 8, 8);
    for (int shift = 0; shift < 64; shift += 16) {
      parts[0][a >> shift & 255]++;
      parts[1][a >> (shift + 8) & 255]++;
      parts[2][b >> shift & 255]++;
      parts[3][b >> (shift + 8) & 255]++;
    }
  }
  for (; i < n; i++) parts[0][symbols[i]]++;
  for (int k = 0; k < 256; k++) counts[k] = parts[0][k] + parts[1][k] + parts[2][k] + parts[3][k];
}

void es_entropy_count_pairs(const uint8_t *keys, const uint8_t *symbols, int64_t n, uint32_t *counts) {
  memset(counts, 0, 65536 * sizeof *counts);
  for (int64_t i = 0; i < n; i++) counts[(uint32_t)keys[i] << 8 | symbols[i]]++;
}

/// x log2 x of a count, 0 for 0: the exponent, and 2 / ln 2 atanh((m - 1) / (m + 1)) for the rest m in [0.71, 1.42).
ES_INLINE double times_log2(uint32_t count) {
  const double x = (double)(count ? count : 1);
  int64_t bits;
  memcpy(&bits, &x, sizeof bits);
  const int64_t exponent = (bits - 0x3fe6a09e00000000) >> 52;
  bits -= exponent << 52;
  double m;
  memcpy(&m, &bits, sizeof m);
  const double s = (m - 1) / (m + 1), z = s * s;
  const double series =
      1 + z * (1.0 / 3 + z * (1.0 / 5 + z * (1.0 / 7 + z * (1.0 / 9 + z * (1.0 / 11 + z * (1.0 / 13))))));
  return x * ((double)(int32_t)exponent + 0x1.71547652b82fep1 * s * series);
}

ES_CLONES double es_entropy_bits(const uint32_t a[256], const uint32_t *b) {
  uint32_t sums[256];
  double terms[256];
  for (int k = 0; k < 256; k++) sums[k] = a[k] + (b ? b[k] : 0);
  for (int k = 0; k < 256; k++) terms[k] = times_log2(sums[k]);
  uint32_t total = 0;
  for (int k = 0; k < 256; k++) total += sums[k];
  for (int half = 128; half > 0; half /= 2)
    for (int k = 0; k < half; k++) terms[k] += terms[k + half];
  return times_log2(total) - terms[0];
}

void es_entropy_frequencies(const uint32_t counts[256], uint16_t frequencies[256]) {
  uint64_t total = 0;
  for (int k = 0; k < 256; k++) total += counts[k];
  int64_t sum = 0;
  int used = 0, only = 0;
  for (int k = 0; k < 256; k++) {
    const uint64_t nearest = (counts[k] * (uint64_t)ES_ENTROPY_TOTAL + total / 2) / total;
    frequencies[k] = counts[k] ? (uint16_t)(nearest ? nearest : 1) : 0;
    sum += frequencies[k];
    if (counts[k]) used++, only = k;
  }
  if (used == 1) {
    frequencies[only] = ES_ENTROPY_TOTAL - 1;
    frequencies[only ? 0 : 1] = 1;
    return;
  }
  // A frequency f less by one costs about c / (f - 1/2), more by one saves c / (f + 1/2): the best each time.
  for (; sum > ES_ENTROPY_TOTAL; sum--) {
    int best = -1;
    for (int k = 0; k < 256; k++)
      if (frequencies[k] > 1 && (best < 0 || (uint64_t)counts[k] * (2u * frequencies[best] - 1) <
                                                 (uint64_t)counts[best] * (2u * frequencies[k] - 1)))
        best = k;
    frequencies[best]--;
  }
  for (; sum < ES_ENTROPY_TOTAL; sum++) {
    int best = -1;
    for (int k = 0; k < 256; k++)
      if (frequencies[k] && (best < 0 || (uint64_t)counts[k] * (2u * frequencies[best] + 1) >
                                             (uint64_t)counts[best] * (2u * frequencies[k] + 1)))
        best = k;
    frequencies[best]++;
  }
}

void es_entropy_make_encoder(const uint16_t frequencies[256], es_entropy_encoder *encoder) {
  uint32_t start = 0;
  for (int k = 0; k < 256; k++) {
    const uint32_t f = frequencies[k];
    encoder->ranges[k] = f << 16 | start;
    encoder->reciprocals[k] = f <= 1 ? UINT64_MAX : UINT64_MAX / f + 1;
    start += f;
  }
}

bool es_entropy_make_decoder(const uint16_t frequencies[256], es_entropy_decoder *decoder) {
  uint32_t sum = 0;
  for (int k = 0; k < 256; k++) {
    if (frequencies[k] >= ES_ENTROPY_TOTAL) return false;
    sum += frequencies[k];
  }
  if (sum != ES_ENTROPY_TOTAL) return false;
  uint32_t *slot = decoder->slots;
  for (uint32_t k = 0; k < 256; k++) {
    const uint32_t f = frequencies[k], same = k << 24 | f;
    for (uint32_t j = 0; j < f; j++) slot[j] = same | j << ES_ENTROPY_BITS;
    slot += f;
  }
  return true;
}
