// Integer dot products of es_packed_rows: a part of linear_dot_kernel.h, with its macros.

/// 64 codes of a stream, in order, as bytes.
INLINE void NAME(unpacked)(const uint8_t *stream, const int bits, u8x64 *codes) {
  if (bits == 8) {
    LOAD(*codes, stream);
  } else if (bits == 4) {
    u8x32 pairs;
    LOAD(pairs, stream);
    const u16x32 wide = __builtin_convertvector(pairs, u16x32);
    *codes = (u8x64)((wide | wide << 4) & 0x0f0f);
  } else if (bits == 2) {
    u8x16 fours;
    LOAD(fours, stream);
    const u32x16 wide = __builtin_convertvector(fours, u32x16);
    *codes = (u8x64)((wide | wide << 6 | wide << 12 | wide << 18) & 0x03030303);
  } else if (bits == 1) {
    uint64_t all;
    LOAD(all, stream);
    SPREAD_BITS(all, *codes);
    *codes &= 1;
  } else {
    SPREAD_CODES(stream, bits, *codes);
  }
}

/// At most ROWS rows. Columns that the last 64 lack meet zeros of x, whatever is read there.
INLINE void NAME(packed_some)(
    const int rows, const int bits, const es_packed_rows *weights, ptrdiff_t row, ptrdiff_t columns,
    const es_linear_codes *x, float *y, const uint8_t *end) {
  f32x16 sums[ROWS];
  f32x4 minima[ROWS], factors[ROWS];
  ptrdiff_t places[ROWS];
  UNROLL for (int r = 0; r < rows; r++) {
    sums[r] = (f32x16){0}, minima[r] = (f32x4){0};
    places[r] = (row + r) / weights->block_rows * weights->groups;
  }
  const ptrdiff_t last = weights->groups - 1, blocks = last == 0 ? PTRDIFF_MAX - 1 : weights->group_columns / 32;
  const int8_t *zeros = weights->zeros;
  const uint8_t *codes = weights->codes + row * weights->stride;
  const uint8_t *ahead = codes + rows * weights->stride + PREFETCH_LEAD;
  // The group, and how many of its blocks were read.
  ptrdiff_t group = 0, held = 0;
  for (ptrdiff_t part = 0; 64 * part < columns; part++, codes += 8 * bits, ahead += rows * 8 * bits) {
    NAME(prefetch)(ahead, rows * 8 * bits, end);
    if (held < 2 || held + 1 >= blocks) {
      const ptrdiff_t next = held + 1 >= blocks && group < last ? group + 1 : group;
      UNROLL for (int r = 0; r < rows; r++) {
        const float a = weights->scales[places[r] + group], b = weights->scales[places[r] + next];
        factors[r] = (f32x4){a, 0, b, 0};
        if (zeros) {
          factors[r][1] = -a * (float)zeros[places[r] + group];
          factors[r][3] = -b * (float)zeros[places[r] + next];
        }
      }
    }
    held += 2;
    // A group of one block is done before the part is.
    if (held >= blocks) {
      group += blocks == 1 ? 2 : 1;
      held -= blocks == 1 ? 2 : blocks;
    }
    UNROLL for (int r = 0; r < rows; r++) {
      u8x64 unpacked;
      NAME(unpacked)(codes + r * weights->stride, bits, &unpacked);
      NAME(add_pair)(&factors[r], &unpacked, x + part / 4, part % 4, 1 << (bits - 1), &sums[r], &minima[r]);
    }
  }
  UNROLL for (int r = 0; r < rows; r++)
    y[r] = zeros ? SUM(sums[r]) + (minima[r][1] + minima[r][3]) : SUM(sums[r]);
}

#define DOT_PACKED(bits) \
  TARGET static void NAME(packed_##bits)( \
      const es_packed_rows *weights, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t columns, const es_linear_codes *x, \
      ptrdiff_t tokens, float *y, ptrdiff_t y_stride) { \
    const ptrdiff_t count = es_linear_codes_count(columns), stride = weights->stride; \
    const uint8_t *first = weights->codes + row * stride, *end = first + rows * stride; \
    for (const uint8_t *line = first; line < first + ROWS * stride + PREFETCH_LEAD && line < end; line += 64) \
      __builtin_prefetch(line); \
    for (; rows >= ROWS; rows -= ROWS, row += ROWS, y += ROWS) \
      for (ptrdiff_t t = 0; t < tokens; t++) \
        NAME(packed_some)(ROWS, bits, weights, row, columns, x + t * count, y + t * y_stride, end); \
    for (; rows > 0; rows--, row++, y++) \
      for (ptrdiff_t t = 0; t < tokens; t++) \
        NAME(packed_some)(1, bits, weights, row, columns, x + t * count, y + t * y_stride, end); \
  }

DOT_PACKED(1)
DOT_PACKED(2)
DOT_PACKED(3)
DOT_PACKED(4)
DOT_PACKED(5)
DOT_PACKED(6)
DOT_PACKED(7)
DOT_PACKED(8)

static const packed_dot_function NAME(packed)[] = {
    [1] = NAME(packed_1), [2] = NAME(packed_2), [3] = NAME(packed_3), [4] = NAME(packed_4),
    [5] = NAME(packed_5), [6] = NAME(packed_6), [7] = NAME(packed_7), [8] = NAME(packed_8),
};

#undef DOT_PACKED
