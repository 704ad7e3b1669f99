#pragma once
#include <stdbool.h>
#include <stdint.h>

// Floats told by what they differ from those of a base, element by element: a symbol of one byte, which is worth
// entropy coding in the context of the base, and some bits as they are.
//
// Floats x and y (the base's) are integers of `width` bytes without their `shift` lowest bits, which are 0 in all. Their
// order o(x) is the magnitude of a positive and the bitwise complement of the magnitude of a negative number, so that
// neighbours differ by 1; g = o(x) - o(y), with its sign turned if y is negative: positive means away from zero.
//
//   near   the signs are the same and the exponents differ by at most one. With m = |g|, s = max(bits of m - 1 - fine, 0):
//          symbol 2 ((m >> s) + (s << fine)) + (g < 0), then the s low bits of m
//   far    symbol limit, or limit + 1 if the signs differ; then the mantissa and what the exponent has above eight bits.
//          The low eight bits of the exponent go to a plane of their own
//   exact  symbol limit + 2 + k: g is entry k of a dictionary
//
// where limit is twice the number of classes of near differences, `es_difference_limit`. A fine-tuned model has mostly
// near ones; weights that saw only weight decay have a few g over and over. The bits of all elements follow each other
// from the lowest bit of the first byte.

typedef struct {
  /// Bytes of an element: 1, 2, 4 or 8.
  int32_t width;
  /// Bits of the stored mantissa without the `shift` lowest; of the exponent.
  int32_t mantissa, exponent;
  int32_t shift;
  /// Bits of a difference after its leading one that belong to the symbol.
  int32_t fine;
} es_difference_form;

enum { ES_DIFFERENCE_MOST_EXACT = 16 };

/// Twice the number of classes of near differences.
int32_t es_difference_limit(es_difference_form form);

typedef struct {
  int32_t limit, exact_count;
  /// Bits that follow the symbol of a far element.
  int32_t far_bits;
  /// The dictionary.
  int64_t exact[ES_DIFFERENCE_MOST_EXACT];
} es_difference_symbols;

/// @param exact entries of the dictionary, at most ES_DIFFERENCE_MOST_EXACT.
es_difference_symbols es_difference_make_symbols(
    es_difference_form form, const int64_t *exact, int32_t exact_count);

typedef struct {
  /// Bits that follow symbols.
  int64_t bits;
  /// Elements that are far.
  int64_t far;
} es_difference_rest;

/// What follows symbols.
es_difference_rest es_difference_measure_rest(
    es_difference_form form, const es_difference_symbols *table, const uint8_t *symbols, int64_t n);

/// Of all elements of x and y, the low bits that are always 0; the width's bits if all are 0.
int32_t es_difference_common_zeros(int32_t width, const void *x, const void *y, int64_t n);

/// The g of every stride-th element, if it is near and |g| > least.
///
/// @return how many were written to `differences`, which has room for (n + stride - 1) / stride.
int64_t es_difference_sample(
    es_difference_form form, const void *x, const void *y, int64_t n, int64_t stride, int64_t least,
    int64_t *differences);

/// The symbol of every element.
void es_difference_encode(
    es_difference_form form, const es_difference_symbols *table, const void *x, const void *y, int64_t n,
    uint8_t *symbols);

/// The bits and the far exponents of elements whose symbols are known.
///
/// @param bits room for as many bytes as they need, and 8 more.
/// @param exponents room for as many as are far, and 1 more.
void es_difference_encode_rest(
    es_difference_form form, const es_difference_symbols *table, const void *x, const void *y,
    const uint8_t *symbols, int64_t n, uint8_t *bits, uint8_t *exponents);

/// The inverse.
///
/// @param bits followed by at least 8 readable bytes.
/// @param exponents as many as are far, followed by at least 1 readable byte.
void es_difference_decode(
    es_difference_form form, const es_difference_symbols *table, const void *y, const uint8_t *symbols, int64_t n,
    const uint8_t *bits, const uint8_t *exponents, void *x);

typedef enum __attribute__((enum_extensibility(closed))) {
  /// The low eight bits of the exponent.
  es_difference_key_exponent = 0,
  /// The high six bits of the mantissa.
  es_difference_key_mantissa = 1,
} es_difference_key;

/// The key of every element of the base.
void es_difference_keys(es_difference_form form, es_difference_key key, const void *y, int64_t n, uint8_t *keys);

/// keys[i] = how many of the `count` starts after the first are at most keys[i].
void es_difference_contexts(const uint8_t *starts, int32_t count, uint8_t *keys, int64_t n);
