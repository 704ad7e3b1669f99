// Integer dot products for one processor. Included once for each; no include guard. linear_dot.c sets
//   KERNEL, TARGET          the kernel's name and its function attributes
//   ROWS                    rows of the weights whose sums are kept at a time
//   HALVES(pointer, vector) the 2 halves at each of two places as 4 floats
//   DOT(codes, x, first, offset, dot)
//                           in each lane, the sum over 4 of (codes - offset) x, for the 64 columns of x from `first`
//                           on; codes below 128, or offset 128
//   LOOK_UP(table, codes)   table[code], for codes below 16
//   SPREAD_BITS(bits)       bit i of 64 in byte i, as all ones or zero
//   SPREAD_CODES(stream, bits, codes)
//                           64 codes of 3, 5, 6 or 7 bits that lie side by side, each in its byte; reads up to 64 bytes

#define NAME(base) JOIN2(base, KERNEL)
#define INLINE TARGET static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")
#define LOAD(vector, pointer) __builtin_memcpy(&(vector), pointer, sizeof(vector))

/// Asks for memory that is read soon, up to `end`. The processor's own prefetching sees sequences; several rows read at
/// a time are none. So the next rows are asked for in the order of their bytes, while these are read.
INLINE void NAME(prefetch)(const uint8_t *ahead, const int bytes, const uint8_t *end) {
  if (ahead < end)
    for (int line = 0; line < bytes; line += 64) __builtin_prefetch(ahead + line);
}

// MARK: - Codes of two blocks of 32, as unsigned bytes in the order of the columns

/// Two times 16 bytes: the low nibbles are the first half of a block, the high ones the second.
INLINE void NAME(nibbles)(const uint8_t *first, const uint8_t *second, u8x64 *codes) {
  u8x16 a, b;
  LOAD(a, first);
  LOAD(b, second);
  u8x32 both = __builtin_shufflevector(
      a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
      29, 30, 31);
  u64x4 low = (u64x4)(both & 15), high = (u64x4)(both >> 4);
  *codes = (u8x64)__builtin_shufflevector(low, high, 0, 1, 4, 5, 2, 3, 6, 7);
}

/// Two times 32 bytes.
INLINE void NAME(pair)(const void *first, const void *second, u8x64 *codes) {
  u64x4 a, b;
  LOAD(a, first);
  LOAD(b, second);
  *codes = (u8x64)__builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
}

INLINE void NAME(q4_0_codes)(const uint8_t *a, const uint8_t *b, u8x64 *codes) { NAME(nibbles)(a + 2, b + 2, codes); }
INLINE void NAME(q4_1_codes)(const uint8_t *a, const uint8_t *b, u8x64 *codes) { NAME(nibbles)(a + 4, b + 4, codes); }

INLINE void NAME(fifth_bits)(const uint8_t *a, const uint8_t *b, u8x64 *codes) {
  uint32_t first, second;
  LOAD(first, a);
  LOAD(second, b);
  u8x64 spread;
  SPREAD_BITS((uint64_t)second << 32 | first, spread);
  *codes |= spread & 16;
}

INLINE void NAME(q5_0_codes)(const uint8_t *a, const uint8_t *b, u8x64 *codes) {
  NAME(nibbles)(a + 6, b + 6, codes);
  NAME(fifth_bits)(a + 2, b + 2, codes);
}

INLINE void NAME(q5_1_codes)(const uint8_t *a, const uint8_t *b, u8x64 *codes) {
  NAME(nibbles)(a + 8, b + 8, codes);
  NAME(fifth_bits)(a + 4, b + 4, codes);
}

INLINE void NAME(q8_0_codes)(const uint8_t *a, const uint8_t *b, u8x64 *codes) {
  NAME(pair)(a + 2, b + 2, codes);
  *codes ^= 128;
}

INLINE void NAME(iq4_nl_codes)(const uint8_t *a, const uint8_t *b, u8x64 *codes) {
  NAME(nibbles)(a + 2, b + 2, codes);
  LOOK_UP(bell_levels, *codes);
}

INLINE void NAME(mxfp4_codes)(const uint8_t *a, const uint8_t *b, u8x64 *codes) {
  NAME(nibbles)(a + 1, b + 1, codes);
  LOOK_UP(e2m1_levels, *codes);
}

// MARK: - Blocks of 32 with a half for a scale, and another for a minimum; or with a power of two

/// One group of a row: two blocks.
INLINE void NAME(add_pair)(
    const f32x4 *halves, const u8x64 *codes, const es_linear_codes *x, ptrdiff_t group, const int offset, f32x16 *sum,
    f32x4 *minima) {
  f32x4 products;
  LOAD(products, x->scales_and_sums + 4 * group);
  products *= *halves;
  const f32x16 scales = __builtin_shufflevector(products, products, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2);
  i32x16 dot;
  DOT(*codes, x, 64 * group, offset, dot);
  *sum = __builtin_elementwise_fma(__builtin_convertvector(dot, f32x16), scales, *sum);
  *minima += products;
}

// A last block without a second is taken twice; the columns of x that the second would meet are zeros.
#define DOT_BLOCKS(name, bytes, offset, has_minimum, read_scales) \
  INLINE void NAME(name##_group)( \
      const int rows, const uint8_t *weights, ptrdiff_t stride, const ptrdiff_t second, const es_linear_codes *x, \
      ptrdiff_t group, f32x16 *sums, f32x4 *minima) { \
    UNROLL for (int r = 0; r < rows; r++) { \
      const uint8_t *a = weights + r * stride, *b = a + second; \
      f32x4 halves; \
      u8x64 codes; \
      read_scales(a, b, halves); \
      NAME(name##_codes)(a, b, &codes); \
      NAME(add_pair)(&halves, &codes, x, group, offset, &sums[r], &minima[r]); \
    } \
  } \
  INLINE void NAME(name##_rows)( \
      const int rows, const uint8_t *weights, ptrdiff_t stride, ptrdiff_t columns, const es_linear_codes *x, \
      float *y, const uint8_t *end) { \
    f32x16 sums[ROWS]; \
    f32x4 minima[ROWS]; \
    UNROLL for (int r = 0; r < rows; r++) sums[r] = (f32x16){0}, minima[r] = (f32x4){0}; \
    const uint8_t *ahead = weights + rows * stride + PREFETCH_LEAD; \
    ptrdiff_t group = 0; \
    for (; 64 * group + 64 <= columns; group++, weights += 2 * (bytes), ahead += rows * 2 * (bytes)) { \
      NAME(prefetch)(ahead, rows * 2 * (bytes), end); \
      NAME(name##_group)(rows, weights, stride, bytes, x + group / 4, group % 4, sums, minima); \
    } \
    if (64 * group < columns) NAME(name##_group)(rows, weights, stride, 0, x + group / 4, group % 4, sums, minima); \
    UNROLL for (int r = 0; r < rows; r++) \
      y[r] = has_minimum ? SUM(sums[r]) + (minima[r][1] + minima[r][3]) : SUM(sums[r]); \
  } \
  DOT_ALL_ROWS(name)

#define DOT_ALL_ROWS(name) \
  TARGET static void NAME(name)( \
      const uint8_t *weights, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns, const es_linear_codes *x, \
      ptrdiff_t tokens, float *y, ptrdiff_t y_stride) { \
    const ptrdiff_t count = es_linear_codes_count(columns); \
    const uint8_t *end = weights + rows * stride; \
    for (const uint8_t *line = weights; line < weights + ROWS * stride + PREFETCH_LEAD && line < end; line += 64) \
      __builtin_prefetch(line); \
    for (; rows >= ROWS; rows -= ROWS, weights += ROWS * stride, y += ROWS) \
      for (ptrdiff_t t = 0; t < tokens; t++) \
        NAME(name##_rows)(ROWS, weights, stride, columns, x + t * count, y + t * y_stride, end); \
    for (; rows > 0; rows--, weights += stride, y++) \
      for (ptrdiff_t t = 0; t < tokens; t++) \
        NAME(name##_rows)(1, weights, stride, columns, x + t * count, y + t * y_stride, end); \
  }

DOT_BLOCKS(q4_0, 18, 8, false, HALVES)
DOT_BLOCKS(q4_1, 20, 0, true, HALVES)
DOT_BLOCKS(q5_0, 22, 16, false, HALVES)
DOT_BLOCKS(q5_1, 24, 0, true, HALVES)
DOT_BLOCKS(q8_0, 34, 128, false, HALVES)
DOT_BLOCKS(iq4_nl, 18, 128, false, HALVES)
DOT_BLOCKS(mxfp4, 17, 16, false, POWERS)

// MARK: - Blocks of 256: sub-blocks of 16 or 32 whose scales are codes times d, minima codes times -dmin

// What a row's block says, times what x says: d s for each 16 columns, and m S in q2_K; or for each 32 columns d s and
// m S, one beside the other.
INLINE void NAME(scaled)(const u8x16 *codes, int offset, f32x16 *scales) {
  *scales = __builtin_convertvector(__builtin_convertvector(*codes, i32x16) - offset, f32x16);
}

INLINE void NAME(q2_K_scales)(const uint8_t *block, const es_linear_codes *x, f32x16 *scales, f32x16 *minima) {
  u8x16 codes;
  f32x4 h;
  LOAD(codes, block);
  HALVES(block + 80, block + 80, h);
  const u8x16 low = codes & 15, high = codes >> 4;
  f32x16 products;
  NAME(scaled)(&low, 0, scales);
  NAME(scaled)(&high, 0, &products);
  *scales = *scales * h[0] * *(const f32x16 *)x->half_scales;
  *minima += products * -h[1] * *(const f32x16 *)x->half_sums;
}

INLINE void NAME(q3_K_scales)(const uint8_t *block, const es_linear_codes *x, f32x16 *scales, f32x16 *minima) {
  uint32_t a, b, c;
  LOAD(a, block + 96);
  LOAD(b, block + 100);
  LOAD(c, block + 104);
  const uint32_t four = 0x0f0f0f0f, two = 0x03030303;
  const u32x4 words = {
      (a & four) | (c & two) << 4, (b & four) | (c >> 2 & two) << 4, (a >> 4 & four) | (c >> 4 & two) << 4,
      (b >> 4 & four) | (c >> 6 & two) << 4};
  f32x4 h;
  HALVES(block + 106, block + 106, h);
  const u8x16 codes = (u8x16)words;
  NAME(scaled)(&codes, 32, scales);
  *scales = *scales * h[1] * *(const f32x16 *)x->half_scales;
  (void)minima;
}

INLINE void NAME(q4_K_scales)(const uint8_t *block, const es_linear_codes *x, f32x16 *scales, f32x16 *minima) {
  uint32_t a, b, c;
  LOAD(a, block + 4);
  LOAD(b, block + 8);
  LOAD(c, block + 12);
  const uint32_t six = 0x3f3f3f3f, four = 0x0f0f0f0f, two = 0x03030303;
  const u32x4 words = {a & six, (c & four) | (a >> 6 & two) << 4, b & six, (c >> 4 & four) | (b >> 6 & two) << 4};
  const u8x16 v = (u8x16)words;
  const u8x16 codes = __builtin_shufflevector(v, v, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  f32x4 h;
  HALVES(block, block, h);
  h[1] = -h[1];
  NAME(scaled)(&codes, 0, scales);
  *scales *= __builtin_shufflevector(h, h, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1);
  *scales *= *(const f32x16 *)x->scales_and_sums;
  *minima += *scales;
}

INLINE void NAME(q5_K_scales)(const uint8_t *block, const es_linear_codes *x, f32x16 *scales, f32x16 *minima) {
  NAME(q4_K_scales)(block, x, scales, minima);
}

INLINE void NAME(q6_K_scales)(const uint8_t *block, const es_linear_codes *x, f32x16 *scales, f32x16 *minima) {
  i8x16 codes;
  f32x4 h;
  LOAD(codes, block + 192);
  HALVES(block + 206, block + 206, h);
  *scales = __builtin_convertvector(codes, f32x16) * h[1] * *(const f32x16 *)x->half_scales;
  (void)minima;
}

INLINE void NAME(iq4_xs_scales)(const uint8_t *block, const es_linear_codes *x, f32x16 *scales, f32x16 *minima) {
  uint32_t low;
  uint16_t high;
  LOAD(low, block + 4);
  LOAD(high, block + 2);
  // Two lanes for each 32 columns, of which the first counts.
  const i32x16 step = {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7};
  const u32x16 codes =
      (((u32x16){0} + low) >> (u32x16)(4 * step) & 15) | (((u32x16){0} + high) >> (u32x16)(2 * step) & 3) << 4;
  f32x4 h;
  HALVES(block, block, h);
  *scales = __builtin_convertvector((i32x16)codes - 32, f32x16) * h[0] * *(const f32x16 *)x->scales_and_sums;
  (void)minima;
}

/// 32 bytes, shifted by `first` and by `second` bits.
INLINE void NAME(shifted)(const uint8_t *bytes, const int first, const int second, u8x64 *codes) {
  u8x32 all;
  LOAD(all, bytes);
  *codes = (u8x64)__builtin_shufflevector((u64x4)(all >> first), (u64x4)(all >> second), 0, 1, 2, 3, 4, 5, 6, 7);
}

INLINE void NAME(q2_K_codes)(const uint8_t *block, const int group, u8x64 *codes) {
  NAME(shifted)(block + 16 + group / 2 * 32, group % 2 * 4, group % 2 * 4 + 2, codes);
  *codes &= 3;
}

INLINE void NAME(q3_K_codes)(const uint8_t *block, const int group, u8x64 *codes) {
  u8x64 third;
  NAME(shifted)(block + 32 + group / 2 * 32, group % 2 * 4, group % 2 * 4 + 2, codes);
  NAME(shifted)(block, 2 * group, 2 * group + 1, &third);
  *codes = (*codes & 3) | (third & 1) << 2;
}

INLINE void NAME(q4_K_codes)(const uint8_t *block, const int group, u8x64 *codes) {
  NAME(shifted)(block + 16 + 32 * group, 0, 4, codes);
  *codes &= 15;
}

INLINE void NAME(q5_K_codes)(const uint8_t *block, const int group, u8x64 *codes) {
  u8x64 fifth;
  NAME(shifted)(block + 48 + 32 * group, 0, 4, codes);
  NAME(shifted)(block + 16, 2 * group, 2 * group + 1, &fifth);
  *codes = (*codes & 15) | (fifth & 1) << 4;
}

INLINE void NAME(q6_K_codes)(const uint8_t *block, const int group, u8x64 *codes) {
  u8x64 high;
  LOAD(*codes, block + group / 2 * 64);
  NAME(shifted)(block + 128 + group / 2 * 32, group % 2 * 4, group % 2 * 4 + 2, &high);
  *codes = (*codes >> (group % 2 * 4) & 15) | (high & 3) << 4;
}

INLINE void NAME(iq4_xs_codes)(const uint8_t *block, const int group, u8x64 *codes) {
  NAME(nibbles)(block + 8 + 32 * group, block + 24 + 32 * group, codes);
  LOOK_UP(bell_levels, *codes);
}

// A group's scales, lane by lane: of 4 sub-blocks of 16, or of 2 of 32.
#define LANES_16(v, g) \
  __builtin_shufflevector( \
      v, v, 4 * g, 4 * g, 4 * g, 4 * g, 4 * g + 1, 4 * g + 1, 4 * g + 1, 4 * g + 1, 4 * g + 2, 4 * g + 2, 4 * g + 2, \
      4 * g + 2, 4 * g + 3, 4 * g + 3, 4 * g + 3, 4 * g + 3)
#define LANES_32(v, g) \
  __builtin_shufflevector( \
      v, v, 4 * g, 4 * g, 4 * g, 4 * g, 4 * g, 4 * g, 4 * g, 4 * g, 4 * g + 2, 4 * g + 2, 4 * g + 2, 4 * g + 2, \
      4 * g + 2, 4 * g + 2, 4 * g + 2, 4 * g + 2)

// Minima: none; of 16 sub-blocks; of 8, in the odd lanes.
#define FOLD_NONE(v) 0
#define FOLD_ALL(v) SUM(v)
#define FOLD_ODD(v) (((v[1] + v[9]) + (v[5] + v[13])) + ((v[3] + v[11]) + (v[7] + v[15])))

#define DOT_GROUP(name, size, offset, g) \
  UNROLL for (int r = 0; r < rows; r++) { \
    u8x64 codes; \
    i32x16 dot; \
    NAME(name##_codes)(weights + r * stride, g, &codes); \
    DOT(codes, x, 64 * g, offset, dot); \
    sums[r] = \
        __builtin_elementwise_fma(__builtin_convertvector(dot, f32x16), LANES_##size(scales[r], g), sums[r]); \
  }

#define DOT_LARGE_BLOCKS(name, bytes, size, offset, which_minima) \
  INLINE void NAME(name##_rows)( \
      const int rows, const uint8_t *weights, ptrdiff_t stride, ptrdiff_t columns, const es_linear_codes *x, \
      float *y, const uint8_t *end) { \
    f32x16 sums[ROWS], scales[ROWS], minima[ROWS]; \
    UNROLL for (int r = 0; r < rows; r++) sums[r] = (f32x16){0}, minima[r] = (f32x16){0}; \
    const uint8_t *ahead = weights + rows * stride + PREFETCH_LEAD; \
    for (ptrdiff_t column = 0; column < columns; column += 256, weights += (bytes), ahead += rows * (bytes), x++) { \
      NAME(prefetch)(ahead, rows * (bytes), end); \
      UNROLL for (int r = 0; r < rows; r++) NAME(name##_scales)(weights + r * stride, x, &scales[r], &minima[r]); \
      DOT_GROUP(name, size, offset, 0) \
      DOT_GROUP(name, size, offset, 1) \
      DOT_GROUP(name, size, offset, 2) \
      DOT_GROUP(name, size, offset, 3) \
    } \
    UNROLL for (int r = 0; r < rows; r++) y[r] = SUM(sums[r]) + FOLD_##which_minima(minima[r]); \
  } \
  DOT_ALL_ROWS(name)

DOT_LARGE_BLOCKS(q2_K, 84, 16, 0, ALL)
DOT_LARGE_BLOCKS(q3_K, 110, 16, 4, NONE)
DOT_LARGE_BLOCKS(q4_K, 144, 32, 0, ODD)
DOT_LARGE_BLOCKS(q5_K, 176, 32, 0, ODD)
DOT_LARGE_BLOCKS(q6_K, 210, 16, 32, NONE)
DOT_LARGE_BLOCKS(iq4_xs, 136, 32, 128, NONE)

static const dot_function NAME(dot)[] = {
    [es_linear_q4_0] = NAME(q4_0), [es_linear_q4_1] = NAME(q4_1), [es_linear_q5_0] = NAME(q5_0),
    [es_linear_q5_1] = NAME(q5_1), [es_linear_q8_0] = NAME(q8_0), [es_linear_iq4_nl] = NAME(iq4_nl),
    [es_linear_q2_K] = NAME(q2_K), [es_linear_q3_K] = NAME(q3_K), [es_linear_q4_K] = NAME(q4_K),
    [es_linear_q5_K] = NAME(q5_K), [es_linear_q6_K] = NAME(q6_K),
    [es_linear_iq4_xs] = NAME(iq4_xs), [es_linear_mxfp4] = NAME(mxfp4),
};

#include "packed_dot_kernel.h"

#undef NAME
#undef INLINE
#undef UNROLL
#undef LOAD
#undef DOT_BLOCKS
#undef DOT_ALL_ROWS
#undef LANES_16
#undef LANES_32
#undef FOLD_NONE
#undef FOLD_ALL
#undef FOLD_ODD
#undef DOT_GROUP
#undef DOT_LARGE_BLOCKS
#undef KERNEL
#undef TARGET
#undef ROWS
#undef HALVES
#undef DOT
#undef LOOK_UP
#undef SPREAD_BITS
#undef SPREAD_CODES
