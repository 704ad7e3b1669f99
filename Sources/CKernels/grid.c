#include "grid.h"

#include <string.h>

#include "grid_lanes.h"
#include "quantize.h"

#pragma STDC FP_CONTRACT OFF

ES_CLONES void es_grid_fit_rows(const double *values, int64_t stride, int64_t rows, int64_t count, es_grid_fit fit,
                                const double *importance, double *scales, uint8_t *zeros, int64_t groups, double *room) {
  for (int64_t j = 0; j < count; j++)
    for (int64_t r = 0; r < rows_at_once; r++) room[j * 8 + r] = r < rows ? values[r * stride + j] : 0;
  struct lane_grid grid;
  fit_grid(room, count, &fit, importance, &grid);
  store_grid(&grid, rows, scales, zeros, groups);
}

void es_grid_extremes_of(const float *values, int64_t n, float *low, float *high) {
  float least = 0, greatest = 0;
  for (int64_t i = 0; i < n; i++) {
    least = values[i] < least ? values[i] : least;
    greatest = values[i] > greatest ? values[i] : greatest;
  }
  *low = least;
  *high = greatest;
}

ES_CLONES void es_grid_clamp(const float *values, int64_t n, float limit, float *clamped) {
  for (int64_t i = 0; i < n; i++) {
    const float value = values[i] < limit ? values[i] : limit;
    clamped[i] = value > -limit ? value : -limit;
  }
}

// MARK: Codes of block formats; blocks.c says where their bits lie

static void put_nibbles(const uint8_t *codes, uint8_t *bytes) {
  for (int j = 0; j < 16; j++) bytes[j] = (uint8_t)((codes[j] & 15) | codes[j + 16] << 4);
}

static void put_fifth_bits(const uint8_t *codes, uint8_t *bytes) {
  memset(bytes, 0, 4);
  for (int j = 0; j < 32; j++) bytes[j / 8] |= (uint8_t)((codes[j] >> 4 & 1) << j % 8);
}

/// Two bits of each of 256 codes, from bit `shift`.
static void put_two_bits(const uint8_t *codes, int shift, uint8_t *bytes) {
  memset(bytes, 0, 64);
  for (int k = 0; k < 16; k++)
    for (int l = 0; l < 16; l++)
      bytes[k / 8 * 32 + k % 2 * 16 + l] |= (uint8_t)((codes[16 * k + l] >> shift & 3) << (k / 2 % 4 * 2));
}

/// Nibbles of sub-blocks of 32, two in 32 bytes.
static void put_paired_nibbles(const uint8_t *codes, uint8_t *bytes) {
  for (int k = 0; k < 8; k += 2)
    for (int l = 0; l < 32; l++)
      bytes[k / 2 * 32 + l] = (uint8_t)((codes[32 * k + l] & 15) | codes[32 * (k + 1) + l] << 4);
}

void es_block_put_codes(int32_t type, const uint8_t *codes, uint8_t *block) {
  switch (type) {
    case es_quantized_q4_0: return put_nibbles(codes, block + 2);
    case es_quantized_q4_1: return put_nibbles(codes, block + 4);
    case es_quantized_q5_0:
      put_fifth_bits(codes, block + 2);
      return put_nibbles(codes, block + 6);
    case es_quantized_q5_1:
      put_fifth_bits(codes, block + 4);
      return put_nibbles(codes, block + 8);
    case es_quantized_q8_0:
      for (int j = 0; j < 32; j++) block[2 + j] = (uint8_t)(codes[j] - 127);
      return;
    case es_quantized_q2_K: return put_two_bits(codes, 0, block + 16);
    case es_quantized_q3_K:
      put_two_bits(codes, 0, block + 32);
      memset(block, 0, 32);
      for (int k = 0; k < 16; k++)
        for (int l = 0; l < 16; l++)
          block[k % 2 * 16 + l] |= (uint8_t)((codes[16 * k + l] >> 2 & 1) << k / 2);
      return;
    case es_quantized_q4_K: return put_paired_nibbles(codes, block + 16);
    case es_quantized_q5_K:
      put_paired_nibbles(codes, block + 48);
      memset(block + 16, 0, 32);
      for (int k = 0; k < 8; k++)
        for (int l = 0; l < 32; l++) block[16 + l] |= (uint8_t)((codes[32 * k + l] >> 4 & 1) << k);
      return;
    case es_quantized_q6_K:
      memset(block, 0, 128);
      for (int k = 0; k < 16; k++)
        for (int l = 0; l < 16; l++)
          block[k / 8 * 64 + k / 2 % 2 * 32 + k % 2 * 16 + l] |=
              (uint8_t)((codes[16 * k + l] & 15) << (k / 4 % 2 * 4));
      return put_two_bits(codes, 4, block + 128);
    default: return;
  }
}

// MARK: Orders

void es_order_floats(const float *source, const int32_t *order, int64_t n, float *target) {
  for (int64_t i = 0; i < n; i++) target[i] = source[order[i]];
}

void es_order_doubles(const double *source, const int32_t *order, int64_t n, double *target) {
  for (int64_t i = 0; i < n; i++) target[i] = source[order[i]];
}

void es_order_bytes_back(const uint8_t *source, const int32_t *order, int64_t n, uint8_t *target) {
  for (int64_t i = 0; i < n; i++) target[order[i]] = source[i];
}

// MARK: Ternary

ES_CLONES void es_ternary_codes(const float *values, int64_t n, float threshold, uint8_t *codes) {
  for (int64_t i = 0; i < n; i++)
    codes[i] = (uint8_t)(1 + (values[i] > threshold) - (values[i] < -threshold));
}

int64_t es_ternary_sum(const float *values, int64_t n, float threshold, double *sum) {
  int64_t count = 0;
  double total = 0;
  for (int64_t i = 0; i < n; i++) {
    const float magnitude = values[i] < 0 ? -values[i] : values[i];
    if (!(magnitude > threshold)) continue;
    total += magnitude;
    count++;
  }
  *sum = total;
  return count;
}
