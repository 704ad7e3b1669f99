#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "narrow_float.h"

// One block a lane: a search that goes through the numbers of a block in order goes through those of LANES blocks at a
// time, each in its own order. So the bits are those of the search done block by block, which LANES = 1 is.

#pragma STDC FP_CONTRACT OFF

// Vectors are handed over between functions that are all inlined into one: no convention of calls is at stake.
#pragma clang diagnostic ignored "-Wpsabi"

#if LANES == 1
typedef float reals;
typedef int32_t ints;
#define TO_REALS(v) ((float)(v))
#define TO_INTS(v) ((int32_t)(v))
#define BITS(v) ((int32_t)bits_of(v))
#define OF_BITS(v) float_of((uint32_t)(v))
#define LANE(v, lane) (v)
#else
typedef float reals __attribute__((ext_vector_type(LANES)));
typedef int32_t ints __attribute__((ext_vector_type(LANES)));
#define TO_REALS(v) __builtin_convertvector(v, reals)
#define TO_INTS(v) __builtin_convertvector(v, ints)
#define BITS(v) ((ints)(v))
#define OF_BITS(v) ((reals)(v))
#define LANE(v, lane) ((v)[lane])
#endif

/// The larger; the second if they cannot be compared.
ES_INLINE reals larger(reals a, reals b) { return a > b ? a : b; }
ES_INLINE reals smaller(reals a, reals b) { return a < b ? a : b; }
ES_INLINE ints largest_code(ints a, ints b) { return a > b ? a : b; }
ES_INLINE ints smallest_code(ints a, ints b) { return a < b ? a : b; }
ES_INLINE reals magnitude(reals v) { return OF_BITS(BITS(v) & 0x7fffffff); }
ES_INLINE reals every(float v) { return (reals)v; }

ES_INLINE bool any(ints mask) {
#if LANES == 1
  return mask != 0;
#else
  return __builtin_reduce_or(mask) != 0;
#endif
}

// MARK: - Rounding

// Added to a smaller float32 it leaves an integer in the last bits, rounded to nearest, ties to even.
#define ANCHOR 12582912.0f

/// The nearest integer, ties to even, for magnitudes below 2^22.
ES_INLINE reals nearest(reals v) { return (v + ANCHOR) - ANCHOR; }

/// The same as a code. Past 2^22 it wraps as the reference does; what is not a number is 0.
ES_INLINE ints nearest_code(reals v) { return (BITS(v + ANCHOR) & 0x7fffff) - 0x400000; }

/// Nearest integer from `low` to `high`; `low` for what is not a number.
ES_INLINE reals nearest_between(reals v, float low, float high) {
  return smaller(larger(nearest(v), every(low)), every(high));
}

ES_INLINE ints code_between(ints code, int low, int high) {
  return smallest_code(largest_code(code, (ints)low), (ints)high);
}

/// Toward zero; 0 for what no code can hold.
ES_INLINE ints truncated(reals v) { return TO_INTS(magnitude(v) < 0x1p23f ? v : every(0)); }

/// The nearest integer, ties away from zero. Just less than half is added, as half would take 0.49999997 to 1.
ES_INLINE ints nearest_away(reals v) {
  return truncated(v + OF_BITS((BITS(v) & INT32_MIN) | BITS(every(0x1.fffffep-2f))));
}

/// 1 / v; 0 for 0.
ES_INLINE reals reciprocal(reals v) { return v != 0 ? 1 / v : every(0); }

// MARK: - Halves

#if LANES == 1
#define FOR_LANES(lane)
#else
#define FOR_LANES(lane) _Pragma("clang loop unroll(disable) vectorize(enable)") for (int lane = 0; lane < LANES; lane++)
#endif

/// The IEEE half nearest to a float, ties to even.
ES_INLINE ints half_of(reals v) {
#if LANES == 1
  return (ints)narrow(v, f16);
#else
  float from[LANES];
  int32_t to[LANES];
  memcpy(from, &v, sizeof from);
  FOR_LANES(lane) to[lane] = (int32_t)narrow(from[lane], f16);
  ints halves;
  memcpy(&halves, to, sizeof to);
  return halves;
#endif
}

ES_INLINE reals real_of_half(ints halves) {
#if LANES == 1
  return widen((uint32_t)halves, f16);
#else
  int32_t from[LANES];
  float to[LANES];
  memcpy(from, &halves, sizeof from);
  FOR_LANES(lane) to[lane] = widen((uint32_t)from[lane], f16);
  reals v;
  memcpy(&v, to, sizeof to);
  return v;
#endif
}

// MARK: - From rows to lanes and back

/// What is encoded at a time.
struct lane_blocks {
  const float *numbers[LANES];
  const float *importance[LANES];
  /// The mean square of each lane's row, for types whose importance asks for it.
  reals row_mean_square;
  /// Set where a half of the block has come out infinite or not a number.
  ints overflow;
};

#if LANES == 16
#define ZIPPED_LOW(a, b) \
  __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define ZIPPED_HIGH(a, b) \
  __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)

/// Transposes 16 x 16 words: a perfect shuffle of the rows, four times.
ES_INLINE void transpose(ints *rows) {
  ints other[16];
#define ZIP(from, to)                                        \
  _Pragma("clang loop unroll(full)") for (int i = 0; i < 8; i++) { \
    to[2 * i] = ZIPPED_LOW(from[i], from[i + 8]);            \
    to[2 * i + 1] = ZIPPED_HIGH(from[i], from[i + 8]);       \
  }
  ZIP(rows, other) ZIP(other, rows) ZIP(rows, other) ZIP(other, rows)
#undef ZIP
}
#endif

/// Numbers `start` to `start + count` of each lane's array; `count` is a multiple of 16.
ES_INLINE void gather(const float *const *lanes, int start, int count, reals *numbers) {
#if LANES == 1
  memcpy(numbers, lanes[0] + start, (size_t)count * sizeof(float));
#else
  for (int tile = 0; tile < count; tile += 16) {
    ints rows[16];
#pragma clang loop unroll(full)
    for (int lane = 0; lane < 16; lane++) memcpy(&rows[lane], lanes[lane] + start + tile, sizeof *rows);
    transpose(rows);
    memcpy(numbers + tile, rows, sizeof rows);
  }
#endif
}

/// Writes the first `lanes` blocks of `count` bytes, one after the other. Of each code the low eight bits count.
ES_INLINE void scatter(const ints *bytes, int count, int lanes, uint8_t *destination) {
#if LANES == 1
  for (int i = 0; i < count; i++) destination[i] = (uint8_t)bytes[i];
#else
  for (int tile = 0; tile < count; tile += 64) {
    const int length = count - tile < 64 ? count - tile : 64;
    ints words[16];
#pragma clang loop unroll(full)
    for (int i = 0; i < 16; i++) {
      words[i] = (ints)0;
#pragma clang loop unroll(full)
      for (int k = 0; k < 4; k++)
        if (4 * i + k < length) words[i] |= (bytes[tile + 4 * i + k] & 255) << 8 * k;
    }
    transpose(words);
    for (int lane = 0; lane < lanes; lane++) memcpy(destination + lane * count + tile, &words[lane], (size_t)length);
  }
#endif
}

/// A half in two bytes. An overflow is noted.
ES_INLINE ints put_half(struct lane_blocks *blocks, ints *bytes, reals v) {
  const ints half = half_of(v);
  bytes[0] = half;
  bytes[1] = half >> 8;
  blocks->overflow |= (half & 0x7c00) == 0x7c00;
  return half;
}
