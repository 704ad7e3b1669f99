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

es_difference_symbols es_difference_make_symbols(
    es_difference_form form, const int64_t *exact, int32_t exact_count) {
  es_difference_symbols symbols = {
      .limit = es_difference_limit(form),
      .exact_count = exact_count,
      .far_bits = form.mantissa + (form.exponent > 8 ? form.exponent - 8 : 0)};
  for (int32_t k = 0; k < exact_count; k++) symbols.exact[k] = exact[k];
  return symbols;
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
    const int64_t g = table->exact[k];
    found.values[place_of(g)] = g;
    found.symbols[place_of(g)] = (uint8_t)(table->limit + 2 + k);
  }
  return found;
}

/// How many bits follow a symbol.
ES_INLINE uint32_t length_of(uint32_t symbol, uint32_t limit, uint32_t far_bits, int32_t fine) {
  const uint32_t row = symbol >> 1 >> fine, near = row > 1 ? row - 1 : 0;
  return symbol < limit ? near : symbol < limit + 2 ? far_bits : 0;
}

ES_CLONES es_difference_rest es_difference_measure_rest(
    es_difference_form form, const es_difference_symbols *table, const uint8_t *symbols, int64_t n) {
  const uint32_t limit = (uint32_t)table->limit, far_bits = (uint32_t)table->far_bits;
  es_difference_rest rest = {0};
  // Blocks whose sums fit 32 bits.
  enum { stride = 1 << 20 };
  for (int64_t start = 0; start < n; start += stride) {
    const int64_t end = n - start < stride ? n : start + stride;
    uint32_t bits = 0, far = 0;
    for (int64_t i = start; i < end; i++) {
      bits += length_of(symbols[i], limit, far_bits, form.fine);
      far += symbols[i] - limit < 2;
    }
    rest.bits += bits;
    rest.far += far;
  }
  return rest;
}

ES_CLONES void es_difference_contexts(const uint8_t *starts, int32_t count, uint8_t *keys, int64_t n) {
  enum { stride = 256 };
  for (int64_t first = 0; first < n; first += stride) {
    const int64_t length = n - first < stride ? n - first : stride;
    uint8_t contexts[stride] = {0};
    for (int32_t k = 0; k < count; k++)
      for (int64_t i = 0; i < length; i++) contexts[i] += keys[first + i] >= starts[k];
    memcpy(keys + first, contexts, (size_t)length);
  }
}

enum { block = 256 };

/// Joins words of so many bits each, two to one while they surely fit 56 bits, `most` the bits of the longest; there are
/// `block`, and `block` lengths. Returns how many are left. (This the compiler vectorizes, writing them it does not.)
ES_CLONES static int32_t join_words(uint64_t *restrict words, uint64_t *restrict lengths, int32_t most) {
  int32_t count = block;
  for (; 2 * most <= 56 && count > 1; most *= 2) {
    count /= 2;
    for (int32_t i = 0; i < count; i++) {
      words[i] = words[2 * i] | words[2 * i + 1] << lengths[2 * i];
      lengths[i] = lengths[2 * i] + lengths[2 * i + 1];
    }
  }
  return count;
}

/// Bits not yet written, fewer than eight after each word.
struct bit_writer {
  uint8_t *bytes;
  uint64_t held;
  uint32_t fill;
};

/// Appends words; up to eight bytes after the last are overwritten.
static void append_words(struct bit_writer *writer, const uint64_t *words, const uint64_t *lengths, int32_t count) {
  struct bit_writer w = *writer;
  for (int32_t i = 0; i < count; i++) {
    w.held |= words[i] << w.fill;
    w.fill += (uint32_t)lengths[i];
    memcpy(w.bytes, &w.held, 8);
    w.bytes += w.fill >> 3;
    w.held >>= w.fill & ~7u;
    w.fill &= 7;
  }
  *writer = w;
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

static void words_of_block(
    es_difference_form form, const es_difference_symbols *table, const void *x, const void *y, int64_t start,
    const uint8_t *symbols, int32_t n, uint64_t *words, uint64_t *lengths, uint8_t *exponents) {
  BY_WIDTH(words_of, form, table, x, y, start, symbols, n, words, lengths, exponents)
}

void es_difference_encode_rest(
    es_difference_form form, const es_difference_symbols *table, const void *x, const void *y,
    const uint8_t *symbols, int64_t n, uint8_t *bits, uint8_t *exponents) {
  struct bit_writer writer = {.bytes = bits};
  const int32_t most = table->far_bits > form.mantissa ? table->far_bits : form.mantissa;
  for (int64_t i = 0; i < n; i += block) {
    const int32_t count = (int32_t)(n - i < block ? n - i : block);
    uint64_t words[block] = {0}, lengths[block] = {0};
    uint8_t block_exponents[block];
    const uint8_t *here = symbols + i;
    words_of_block(form, table, x, y, i, here, count, words, lengths, block_exponents);
    for (int32_t k = 0; k < count; k++) {
      *exponents = block_exponents[k];
      exponents += (uint32_t)(here[k] - table->limit) < 2;
    }
    append_words(&writer, words, lengths, join_words(words, lengths, most));
  }
}

void es_difference_decode(
    es_difference_form form, const es_difference_symbols *table, const void *y, const uint8_t *symbols, int64_t n,
    const uint8_t *bits, const uint8_t *exponents, void *x) {
  BY_WIDTH(decode, form, table, y, symbols, n, bits, exponents, x)
}

void es_difference_keys(es_difference_form form, es_difference_key key, const void *y, int64_t n, uint8_t *keys) {
  BY_WIDTH(keys_of, form, key, y, n, keys)
}
