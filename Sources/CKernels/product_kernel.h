// One kernel for one element type. Included once for each pair; no include guard. product_type.h sets
//   KERNEL, TARGET   the kernel's name and its function attributes
//   WIDTH            bytes of a vector register to use
//   ROWS, COLUMNS    the rectangle of C whose sums, lane by lane, fit in the registers

#define NAME(base) JOIN3(base, KERNEL, SUFFIX)
#define VECTOR NAME(vector)
#define PARTS (ES_PRODUCT_LANE_BYTES / WIDTH)
#define ELEMENTS (WIDTH / (int)sizeof(REAL))
#define UNROLL _Pragma("clang loop unroll(full)")

typedef REAL VECTOR __attribute__((vector_size(WIDTH), aligned(sizeof(REAL)), may_alias));

/// The sum of the lanes, in halves: l and l + LANES / 2, and so on.
TARGET static inline __attribute__((always_inline)) REAL NAME(sum_of_lanes)(const VECTOR parts[PARTS]) {
  VECTOR sums[PARTS];
  __builtin_memcpy(sums, parts, sizeof sums);
  UNROLL for (int half = PARTS / 2; half > 0; half /= 2)
    UNROLL for (int part = 0; part < half; part++) sums[part] += sums[part + half];
#if WIDTH == 64
  FOLD(32, sums[0], sum32);
  FOLD(16, sum32, sum16);
#elif WIDTH == 32
  FOLD(16, sums[0], sum16);
#else
  VECTOR sum16 = sums[0];
#endif
  FOLD(8, sum16, sum8);
  return sizeof(REAL) == 8 ? sum8[0] : sum8[0] + sum8[8 / sizeof(REAL) - 1];
}

#if WIDTH == 64
/// The sums of the lanes of eight vectors, each in the same halves, side by side: halves of two vectors are added at
/// once, so that eight sums take a third of the instructions of eight times one.
TARGET static inline __attribute__((always_inline)) JOIN2(bytes_of_8, SUFFIX) NAME(sums_of_lanes)(
    const VECTOR vectors[8][PARTS]) {
#define UNITS(i) ((JOIN2(units, SUFFIX))vectors[i][0])
#define ADD(a, b, low, high) (JOIN2(units, SUFFIX))((VECTOR)low(a, b) + (VECTOR)high(a, b))
#define HALVES(a, b) ADD(a, b, LOW_HALVES, HIGH_HALVES)
#define QUARTERS(a, b) ADD(a, b, LOW_QUARTERS, HIGH_QUARTERS)
  // The last step interleaves its operands; this order of the first makes the sums come out in theirs.
  const JOIN2(units, SUFFIX) even = QUARTERS(HALVES(UNITS(0), UNITS(2)), HALVES(UNITS(4), UNITS(6)));
  const JOIN2(units, SUFFIX) odd = QUARTERS(HALVES(UNITS(1), UNITS(3)), HALVES(UNITS(5), UNITS(7)));
  const VECTOR eighths = (VECTOR)ADD(even, odd, LOW_EIGHTHS, HIGH_EIGHTHS);
  return LAST_SUMS(eighths);
#undef UNITS
#undef ADD
#undef HALVES
#undef QUARTERS
}
#endif

/// C[rows, columns] (+)= the products of so many rows of two panels, along `steps` groups of lanes. `rows` and
/// `columns` are constants where this is called, at most ROWS and COLUMNS, so that `sums` stays in registers.
TARGET static inline __attribute__((always_inline)) void NAME(rectangle)(
    const int rows, const int columns, ptrdiff_t steps, const REAL *a, ptrdiff_t a_stride, const REAL *b,
    ptrdiff_t b_stride, REAL *c, ptrdiff_t c_stride, bool accumulate) {
  VECTOR sums[ROWS][COLUMNS][PARTS];
  UNROLL for (int i = 0; i < rows; i++)
    UNROLL for (int j = 0; j < columns; j++)
      UNROLL for (int part = 0; part < PARTS; part++) sums[i][j][part] = (VECTOR){0};

  for (ptrdiff_t p = 0; p < steps * LANES; p += LANES) {
    UNROLL for (int part = 0; part < PARTS; part++) {
      VECTOR left[ROWS];
      UNROLL for (int i = 0; i < rows; i++) left[i] = *(const VECTOR *)(a + i * a_stride + p + part * ELEMENTS);
      UNROLL for (int j = 0; j < columns; j++) {
        VECTOR right = *(const VECTOR *)(b + j * b_stride + p + part * ELEMENTS);
        UNROLL for (int i = 0; i < rows; i++)
          sums[i][j][part] = __builtin_elementwise_fma(left[i], right, sums[i][j][part]);
      }
    }
  }

#if WIDTH == 64
  if (columns == 8) {
    UNROLL for (int i = 0; i < rows; i++) {
      JOIN2(bytes_of_8, SUFFIX) total = NAME(sums_of_lanes)(sums[i]), before;
      if (accumulate) {
        __builtin_memcpy(&before, c + i * c_stride, sizeof before);
        total = before + total;
      }
      __builtin_memcpy(c + i * c_stride, &total, sizeof total);
    }
    return;
  }
#endif
  REAL totals[ROWS][COLUMNS];
  UNROLL for (int i = 0; i < rows; i++)
    UNROLL for (int j = 0; j < columns; j++) totals[i][j] = NAME(sum_of_lanes)(sums[i][j]);
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < columns; j++)
      c[i * c_stride + j] = accumulate ? c[i * c_stride + j] + totals[i][j] : totals[i][j];
}

/// C[rows, columns] (+)= the products of two panels of any number of rows.
TARGET static void NAME(panels)(
    ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t steps, const REAL *a, ptrdiff_t a_stride, const REAL *b,
    ptrdiff_t b_stride, REAL *c, ptrdiff_t c_stride, bool accumulate) {
#define RECTANGLE(height, width) \
  NAME(rectangle)(height, width, steps, a + i * a_stride, a_stride, b + j * b_stride, b_stride, \
                  c + i * c_stride + j, c_stride, accumulate)
  ptrdiff_t j = 0;
  for (; j + COLUMNS <= columns; j += COLUMNS) {
    ptrdiff_t i = 0;
    for (; i + ROWS <= rows; i += ROWS) RECTANGLE(ROWS, COLUMNS);
    for (; i < rows; i++) RECTANGLE(1, COLUMNS);
  }
  for (; j < columns; j++) {
    ptrdiff_t i = 0;
    for (; i + ROWS <= rows; i += ROWS) RECTANGLE(ROWS, 1);
    for (; i < rows; i++) RECTANGLE(1, 1);
  }
#undef RECTANGLE
}

#undef NAME
#undef VECTOR
#undef PARTS
#undef ELEMENTS
#undef UNROLL
#undef KERNEL
#undef TARGET
#undef WIDTH
#undef ROWS
#undef COLUMNS
