#include "blocks.h"

#include "bell_levels.h"
#include "float_bits.h"

#pragma STDC FP_CONTRACT OFF

// One function a block; loops over 16 or 32 numbers of one scale, which become a vector or two.

ES_INLINE uint32_t load16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }

ES_INLINE uint32_t load32(const uint8_t *p) { return load16(p) | load16(p + 2) << 16; }

/// A little-endian IEEE half.
ES_INLINE float load_half(const uint8_t *p) {
  const uint32_t code = load16(p);
  const uint32_t magnitude = code & 0x7fff;
  const uint32_t subnormal = bits_of((float)(int32_t)magnitude * 0x1p-24f);
  const uint32_t normal = (magnitude << 13) + (112u << 23);
  const uint32_t special = 0x7f800000u | magnitude << 13 | (magnitude > 0x7c00 ? 0x400000u : 0);
  const uint32_t finite = magnitude < 0x400 ? subnormal : normal;
  return float_of((code & 0x8000) << 16 | (magnitude < 0x7c00 ? finite : special));
}

// Kept a loop until the vectorizer sees it: unrolled first, sixteen numbers become scalar code.
#define FOR_NUMBERS(l, count) _Pragma("clang loop unroll(disable) vectorize(enable)") for (int l = 0; l < (count); l++)

#define DECODE_BLOCKS(name, block_length, block_bytes)                                                   \
  ES_CLONES void es_decode_##name(const void *restrict source, float *restrict destination, int64_t n) { \
    const uint8_t *block = source;                                                                       \
    for (int64_t i = 0; i < n; i += block_length, block += block_bytes) name(block, destination + i);    \
  }

// MARK: - Blocks of 32: the first half of the numbers in the low nibbles, the second in the high ones

// x = d (q - 8); d: half, q: 4 bits.
ES_INLINE void q4_0(const uint8_t *restrict block, float *restrict x) {
  const float d = load_half(block);
  const uint8_t *codes = block + 2;
  FOR_NUMBERS(j, 16) x[j] = (float)((codes[j] & 15) - 8) * d;
  FOR_NUMBERS(j, 16) x[j + 16] = (float)((codes[j] >> 4) - 8) * d;
}
DECODE_BLOCKS(q4_0, 32, 18)

// x = d q + m; d, m: halves, q: 4 bits.
ES_INLINE void q4_1(const uint8_t *restrict block, float *restrict x) {
  const float d = load_half(block), m = load_half(block + 2);
  const uint8_t *codes = block + 4;
  FOR_NUMBERS(j, 16) x[j] = (float)(codes[j] & 15) * d + m;
  FOR_NUMBERS(j, 16) x[j + 16] = (float)(codes[j] >> 4) * d + m;
}
DECODE_BLOCKS(q4_1, 32, 20)

// x = d (q - 16); d: half, the fifth bits of all numbers: 32 bits, the others: nibbles.
ES_INLINE void q5_0(const uint8_t *restrict block, float *restrict x) {
  const float d = load_half(block);
  const uint32_t high = load32(block + 2);
  const uint8_t *codes = block + 6;
  FOR_NUMBERS(j, 16) {
    x[j] = (float)((int32_t)((codes[j] & 15) | (high >> j & 1) << 4) - 16) * d;
  }
  FOR_NUMBERS(j, 16) {
    x[j + 16] = (float)((int32_t)((codes[j] >> 4) | (high >> (j + 16) & 1) << 4) - 16) * d;
  }
}
DECODE_BLOCKS(q5_0, 32, 22)

// x = d q + m; d, m: halves, then as above.
ES_INLINE void q5_1(const uint8_t *restrict block, float *restrict x) {
  const float d = load_half(block), m = load_half(block + 2);
  const uint32_t high = load32(block + 4);
  const uint8_t *codes = block + 8;
  FOR_NUMBERS(j, 16) {
    x[j] = (float)(int32_t)((codes[j] & 15) | (high >> j & 1) << 4) * d + m;
  }
  FOR_NUMBERS(j, 16) {
    x[j + 16] = (float)(int32_t)((codes[j] >> 4) | (high >> (j + 16) & 1) << 4) * d + m;
  }
}
DECODE_BLOCKS(q5_1, 32, 24)

// x = d q; d: half, q: signed bytes.
ES_INLINE void q8_0(const uint8_t *restrict block, float *restrict x) {
  const float d = load_half(block);
  const int8_t *codes = (const int8_t *)(block + 2);
  FOR_NUMBERS(j, 32) x[j] = (float)codes[j] * d;
}
DECODE_BLOCKS(q8_0, 32, 34)

// x = d level[q].
ES_INLINE void iq4_nl(const uint8_t *restrict block, float *restrict x) {
  const float d = load_half(block);
  const uint8_t *codes = block + 2;
  FOR_NUMBERS(j, 16) x[j] = bell_levels[codes[j] & 15] * d;
  FOR_NUMBERS(j, 16) x[j + 16] = bell_levels[codes[j] >> 4] * d;
}
DECODE_BLOCKS(iq4_nl, 32, 18)

// x = 2^(e - 128) table[q]: 4-bit floats (sign, two bits of exponent, one of significand) in halves of their unit. The
// negative zero counts as zero.
static const float doubled_e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

ES_INLINE void mxfp4(const uint8_t *restrict block, float *restrict x) {
  const uint32_t exponent = block[0];
  // The two smallest powers are subnormal.
  const float d = float_of(exponent < 2 ? 0x200000u << exponent : (exponent - 1) << 23);
  const uint8_t *codes = block + 1;
  FOR_NUMBERS(j, 16) x[j] = doubled_e2m1[codes[j] & 15] * d;
  FOR_NUMBERS(j, 16) x[j + 16] = doubled_e2m1[codes[j] >> 4] * d;
}
DECODE_BLOCKS(mxfp4, 32, 17)

// MARK: - Blocks of 256: sub-blocks whose scales are coded themselves

// Where number 16 k + l of a block with codes of two bits has them: in half k / 8, four numbers a byte.
#define TWO_BITS(codes, k, l) ((codes)[(k) / 8 * 32 + (k) % 2 * 16 + (l)] >> ((k) / 2 % 4 * 2) & 3)

// x = (d s) q - (dmin m), sub-blocks of 16; s, m: nibbles, q: 2 bits.
ES_INLINE void q2_K(const uint8_t *restrict block, float *restrict x) {
  const uint8_t *scales = block, *codes = block + 16;
  const float d = load_half(block + 80), dmin = load_half(block + 82);
#pragma clang loop unroll(full)
  for (int k = 0; k < 16; k++) {
    const float scale = d * (float)(scales[k] & 15), minimum = dmin * (float)(scales[k] >> 4);
    FOR_NUMBERS(l, 16) x[16 * k + l] = scale * (float)TWO_BITS(codes, k, l) - minimum;
  }
}
DECODE_BLOCKS(q2_K, 256, 84)

// x = (d (s - 32)) (q - 4), sub-blocks of 16; s: 6 bits, q: 2 bits and a third in the mask.
ES_INLINE void q3_K(const uint8_t *restrict block, float *restrict x) {
  const uint8_t *mask = block, *codes = block + 32, *scales = block + 96;
  const float d = load_half(block + 108);
#pragma clang loop unroll(full)
  for (int k = 0; k < 16; k++) {
    // Low nibbles in the first eight bytes, four numbers' upper two bits in each of the last four.
    const int low = scales[k % 8] >> (k / 8 * 4) & 15, high = scales[8 + k % 4] >> (k / 4 * 2) & 3;
    const float scale = d * (float)((low | high << 4) - 32);
    FOR_NUMBERS(l, 16) {
      const int third = mask[k % 2 * 16 + l] >> (k / 2) & 1;
      x[16 * k + l] = scale * (float)(TWO_BITS(codes, k, l) + 4 * third - 4);
    }
  }
}
DECODE_BLOCKS(q3_K, 256, 110)

// Scale and minimum of sub-block k of eight, 6 bits each, in twelve bytes.
ES_INLINE int six_bit_scale(const uint8_t *packed, int k) {
  return k < 4 ? packed[k] & 63 : (packed[k + 4] & 15) | packed[k - 4] >> 6 << 4;
}

ES_INLINE int six_bit_minimum(const uint8_t *packed, int k) {
  return k < 4 ? packed[k + 4] & 63 : packed[k + 4] >> 4 | packed[k] >> 6 << 4;
}

// x = (d s) q - (dmin m), sub-blocks of 32; q: nibbles, two sub-blocks in 32 bytes.
ES_INLINE void q4_K(const uint8_t *restrict block, float *restrict x) {
  const float d = load_half(block), dmin = load_half(block + 2);
#pragma clang loop unroll(full)
  for (int k = 0; k < 8; k++) {
    const float scale = d * (float)six_bit_scale(block + 4, k), minimum = dmin * (float)six_bit_minimum(block + 4, k);
    const uint8_t *codes = block + 16 + k / 2 * 32;
    FOR_NUMBERS(l, 32) x[32 * k + l] = scale * (float)(codes[l] >> (k % 2 * 4) & 15) - minimum;
  }
}
DECODE_BLOCKS(q4_K, 256, 144)

// The same with a fifth bit: bit k of byte l for number l of sub-block k.
ES_INLINE void q5_K(const uint8_t *restrict block, float *restrict x) {
  const float d = load_half(block), dmin = load_half(block + 2);
  const uint8_t *high = block + 16;
#pragma clang loop unroll(full)
  for (int k = 0; k < 8; k++) {
    const float scale = d * (float)six_bit_scale(block + 4, k), minimum = dmin * (float)six_bit_minimum(block + 4, k);
    const uint8_t *codes = block + 48 + k / 2 * 32;
    FOR_NUMBERS(l, 32) {
      const int code = (codes[l] >> (k % 2 * 4) & 15) | (high[l] >> k & 1) << 4;
      x[32 * k + l] = scale * (float)code - minimum;
    }
  }
}
DECODE_BLOCKS(q5_K, 256, 176)

// x = (d s) (q - 32), sub-blocks of 16; s: signed bytes, q: 4 and 2 bits.
ES_INLINE void q6_K(const uint8_t *restrict block, float *restrict x) {
  const uint8_t *low = block, *high = block + 128;
  const int8_t *scales = (const int8_t *)(block + 192);
  const float d = load_half(block + 208);
#pragma clang loop unroll(full)
  for (int k = 0; k < 16; k++) {
    const float scale = d * (float)scales[k];
    // In a half: quarters 0 and 1 in the low nibbles of 64 bytes, 2 and 3 in the high ones.
    const uint8_t *codes = low + k / 8 * 64 + k / 2 % 2 * 32 + k % 2 * 16;
    const int shift = k / 4 % 2 * 4;
    FOR_NUMBERS(l, 16) {
      const int code = (codes[l] >> shift & 15) | TWO_BITS(high, k, l) << 4;
      x[16 * k + l] = scale * (float)(code - 32);
    }
  }
}
DECODE_BLOCKS(q6_K, 256, 210)

// x = d q; d: float32, q: signed bytes; sums of 16 codes follow, for products.
ES_INLINE void q8_K(const uint8_t *restrict block, float *restrict x) {
  const float d = float_of(load32(block));
  const int8_t *codes = (const int8_t *)(block + 4);
  FOR_NUMBERS(l, 256) x[l] = d * (float)codes[l];
}
DECODE_BLOCKS(q8_K, 256, 292)

// x = (d (s - 32)) level[q], sub-blocks of 32; s: 6 bits.
ES_INLINE void iq4_xs(const uint8_t *restrict block, float *restrict x) {
  const float d = load_half(block);
  const uint32_t high = load16(block + 2);
#pragma clang loop unroll(full)
  for (int k = 0; k < 8; k++) {
    const uint32_t code = (block[4 + k / 2] >> (k % 2 * 4) & 15) | (high >> 2 * k & 3) << 4;
    const float scale = d * (float)((int32_t)code - 32);
    const uint8_t *codes = block + 8 + 16 * k;
    FOR_NUMBERS(l, 16) x[32 * k + l] = scale * bell_levels[codes[l] & 15];
    FOR_NUMBERS(l, 16) x[32 * k + 16 + l] = scale * bell_levels[codes[l] >> 4];
  }
}
DECODE_BLOCKS(iq4_xs, 256, 136)
