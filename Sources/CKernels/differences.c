#include "differences.h"

#include <string.h>

#include "clones.h"

#define JOIN2_(a, b) a##_##b
#define JOIN2(a, b) JOIN2_(a, b)

int32_t es_difference_limit(es_difference_form form) {
  // |g| < 2^(mantissa + 1): exponents differ by at most one.
  const int32_t rows = form.mantissa > form.fine ? form.mantissa + 2 - form.fine : 2;
  return 2 * (rows << form.fine);
}

void es_difference_make_symbols(
    es_difference_form form, const int64_t *exact, int32_t exact_count, es_difference_symbols *symbols) {
  memset(symbols, 0, sizeof *symbols);
  const int32_t limit = es_difference_limit(form);
  symbols->limit = limit;
  symbols->exact_count = exact_count;
  for (int32_t k = 0; k < limit; k++) {
    const int32_t row = k >> 1 >> form.fine, shift = row > 1 ? row - 1 : 0;
    symbols->magnitudes[k] = ((uint64_t)(k >> 1) - ((uint64_t)shift << form.fine)) << shift;
    symbols->negative[k] = k & 1;
    symbols->bits[k] = (uint8_t)shift;
  }
  symbols->bits[limit] = symbols->bits[limit + 1] =
      (uint8_t)(form.mantissa + (form.exponent > 8 ? form.exponent - 8 : 0));
  for (int32_t k = 0; k < exact_count; k++) {
    symbols->magnitudes[limit + 2 + k] = exact[k] < 0 ? 0 - (uint64_t)exact[k] : (uint64_t)exact[k];
    symbols->negative[limit + 2 + k] = exact[k] < 0;
  }
}

/// Where entries of the dictionary are found by their value; what finds its place taken is left out.
struct dictionary {
  int64_t values[64];
  uint8_t symbols[64];
};

ES_INLINE uint32_t place_of(int64_t g) { return (uint32_t)((uint64_t)g * 0x9e3779b97f4a7c15u >> 58); }

static struct dictionary dictionary_of(const es_difference_symbols *table) {
  struct dictionary found = {0};
  for (int32_t k = table->exact_count - 1; k >= 0; k--) {
    const int32_t symbol = table->limit + 2 + k;
    const uint64_t m = table->magnitudes[symbol];
    const int64_t g = (int64_t)(table->negative[symbol] ? 0 - m : m);
    found.values[place_of(g)] = g;
    found.symbols[place_of(g)] = (uint8_t)symbol;
  }
  return found;
}

void es_difference_contexts(const uint8_t contexts[256], uint8_t *keys, int64_t n) {
  for (int64_t i = 0; i < n; i++) keys[i] = contexts[keys[i]];
}

#define BITS 8
#define WIDE 32
#include "differences_kernel.h"
#undef BITS
#define BITS 16
#include "differences_kernel.h"
#undef BITS
#define BITS 32
#include "differences_kernel.h"
#undef BITS
#undef WIDE
#define BITS 64
#define WIDE 64
#include "differences_kernel.h"

#define BY_WIDTH(function, ...) \
  switch (form.width) { \
  case 1: return function##_8(__VA_ARGS__); \
  case 2: return function##_16(__VA_ARGS__); \
  case 4: return function##_32(__VA_ARGS__); \
  default: return function##_64(__VA_ARGS__); \
  }

int32_t es_difference_common_zeros(int32_t width, const void *x, const void *y, int64_t n) {
  const es_difference_form form = {.width = width};
  BY_WIDTH(common_zeros, x, y, n)
}

int64_t es_difference_sample(
    es_difference_form form, const void *x, const void *y, int64_t n, int64_t stride, int64_t least,
    int64_t *differences) {
  BY_WIDTH(sample, form, x, y, n, stride, least, differences)
}

void es_difference_encode(
    es_difference_form form, const es_difference_symbols *table, const void *x, const void *y, int64_t n,
    uint8_t *symbols) {
  if (table->exact_count > 0) {
    const struct dictionary dictionary = dictionary_of(table);
    BY_WIDTH(encode_exact, form, &dictionary, x, y, n, symbols)
  }
  BY_WIDTH(encode, form, x, y, n, symbols)
}

void es_difference_encode_rest(
    es_difference_form form, const es_difference_symbols *table, const void *x, const void *y,
    const uint8_t *symbols, int64_t n, uint8_t *bits, uint8_t *exponents) {
  BY_WIDTH(encode_rest, form, table, x, y, symbols, n, bits, exponents)
}

void es_difference_decode(
    es_difference_form form, const es_difference_symbols *table, const void *y, const uint8_t *symbols, int64_t n,
    const uint8_t *bits, const uint8_t *exponents, void *x) {
  BY_WIDTH(decode, form, table, y, symbols, n, bits, exponents, x)
}

void es_difference_keys(es_difference_form form, es_difference_key key, const void *y, int64_t n, uint8_t *keys) {
  BY_WIDTH(keys_of, form, key, y, n, keys)
}
