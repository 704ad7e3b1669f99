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
typedef uint32_t words __attribute__((ext_vector_type(LANES)));
#define TO_REALS(v) __builtin_convertvector(v, reals)
#define TO_INTS(v) __builtin_convertvector(v, ints)
#define BITS(v) ((ints)(v))
#define OF_BITS(v) ((reals)(v))
#define LANE(v, lane) ((v)[lane])
#endif

/// A loop over numbers: unrolled whole, as the compiler would, it only makes for a lot of code.
#define EACH(i, count) _Pragma("clang loop unroll_count(2)") for (int i = 0; i < (count); i++)

/// A loop over sub-blocks or trials, whose body is long.
#define PART(k, count) _Pragma("clang loop unroll(disable)") for (int k = 0; k < (count); k++)

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

/// What the search is after.
enum quantizer_search {
  /// The reference's, without importance and with it.
  PLAIN,
  WEIGHTED,
  /// The least error, which counts by importance alone.
  REFINED,
};

/// What is encoded at a time: number i of every lane's block is a vector.
struct lane_blocks {
  reals numbers[256];
  reals importance[256];
  /// The mean square of each lane's row, for types whose importance asks for it.
  reals row_mean_square;
  /// Set where a half of the block has come out infinite or not a number.
  ints overflow;
};

#if LANES == 16
// Of two vectors of four parts with four words each: in every part words 0 and 1, or 2 and 3, in turn; words 0 and 1,
// or 2 and 3, of one after those of the other; the even parts, or the odd ones.
#define LOW_IN_TURN(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HIGH_IN_TURN(a, b) __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LOW_PAIRS(a, b) __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HIGH_PAIRS(a, b) __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define EVEN_PARTS(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define ODD_PARTS(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)

/// Transposes 16 x 16 words: first tiles of 4 x 4 in their places, then the tiles, which is free for short vectors.
ES_INLINE void transpose(ints *rows) {
  ints columns[16];
#pragma clang loop unroll(full)
  for (int tile = 0; tile < 16; tile += 4) {
    const ints a = LOW_IN_TURN(rows[tile], rows[tile + 1]), b = HIGH_IN_TURN(rows[tile], rows[tile + 1]);
    const ints c = LOW_IN_TURN(rows[tile + 2], rows[tile + 3]), d = HIGH_IN_TURN(rows[tile + 2], rows[tile + 3]);
    columns[tile] = LOW_PAIRS(a, c);
    columns[tile + 1] = HIGH_PAIRS(a, c);
    columns[tile + 2] = LOW_PAIRS(b, d);
    columns[tile + 3] = HIGH_PAIRS(b, d);
  }
#pragma clang loop unroll(full)
  for (int k = 0; k < 4; k++) {
    const ints a = EVEN_PARTS(columns[k], columns[k + 4]), b = ODD_PARTS(columns[k], columns[k + 4]);
    const ints c = EVEN_PARTS(columns[k + 8], columns[k + 12]), d = ODD_PARTS(columns[k + 8], columns[k + 12]);
    rows[k] = EVEN_PARTS(a, c);
    rows[k + 4] = EVEN_PARTS(b, d);
    rows[k + 8] = ODD_PARTS(a, c);
    rows[k + 12] = ODD_PARTS(b, d);
  }
}
#endif

/// The first `count` numbers of each lane's array; `count` is a multiple of 16.
ES_INLINE void gather(const float *const *lanes, int count, reals *numbers) {
#if LANES == 1
  memcpy(numbers, lanes[0], (size_t)count * sizeof(float));
#else
#pragma clang loop unroll(disable)
  for (int tile = 0; tile < count; tile += 16) {
    ints rows[16];
#pragma clang loop unroll(full)
    for (int lane = 0; lane < 16; lane++) memcpy(&rows[lane], lanes[lane] + tile, sizeof *rows);
    transpose(rows);
    memcpy(numbers + tile, rows, sizeof rows);
  }
#endif
}

/// Writes the first `lanes` blocks of `count` bytes, one after the other. Of each code the low eight bits count.
ES_INLINE void scatter(ints *bytes, int count, int lanes, uint8_t *destination) {
#if LANES == 1
  for (int i = 0; i < count * lanes; i++) destination[i] = (uint8_t)bytes[i];
#else
  uint8_t blocks[LANES][256];
  const int tiles = (count + 63) / 64;
  EACH(i, 64 * tiles - count) bytes[count + i] = (ints)0;
#pragma clang loop unroll(disable)
  for (int tile = 0; tile < tiles; tile++) {
    ints rows[16];
    EACH(i, 16) {
      const words *four = (const words *)(bytes + 64 * tile + 4 * i);
      rows[i] = (ints)((four[0] & 255) | (four[1] & 255) << 8 | (four[2] & 255) << 16 | four[3] << 24);
    }
    transpose(rows);
    EACH(lane, LANES) memcpy(blocks[lane] + 64 * tile, &rows[lane], sizeof *rows);
  }
#pragma clang loop unroll(disable)
  for (int lane = 0; lane < lanes; lane++) memcpy(destination + lane * count, blocks[lane], (size_t)count);
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
