// The loops of differences.c for elements of BITS bits, with integers of WIDE bits.

#define TYPED_(kind, bits) kind##bits##_t
#define TYPED(kind, bits) TYPED_(kind, bits)
#define NAME(name) JOIN2(name, BITS)
#define STORED NAME(stored)
#define ELEMENT NAME(element)
#define FACTS NAME(facts)
#define SIGNED TYPED(int, WIDE)
#define UNSIGNED TYPED(uint, WIDE)
#if WIDE == 64
#define LEADING_ZEROS(x) __builtin_clzll(x)
#else
#define LEADING_ZEROS(x) __builtin_clz(x)
#endif

typedef TYPED(int, BITS) STORED __attribute__((aligned(1), may_alias));

/// What the loops need of a form. An element without its zeros is an integer with its sign, so that everything above the
/// magnitude is a copy of the sign.
struct FACTS {
  SIGNED magnitude, exponent;
  int32_t mantissa, shift, fine;
};

ES_INLINE struct FACTS NAME(facts_of)(es_difference_form form) {
  return (struct FACTS){
      .magnitude = (SIGNED)(((UNSIGNED)1 << (BITS - 1 - form.shift)) - 1),
      .exponent = (SIGNED)(((UNSIGNED)1 << form.exponent) - 1),
      .mantissa = form.mantissa,
      .shift = form.shift,
      .fine = form.fine};
}

/// What tells x from y: g, and whether it is near.
struct ELEMENT {
  SIGNED g;
  bool flipped, near;
};

ES_INLINE SIGNED NAME(order)(SIGNED x, struct FACTS form) { return x ^ (x >> (WIDE - 1) & form.magnitude); }

ES_INLINE struct ELEMENT NAME(compare)(SIGNED x, SIGNED y, struct FACTS form) {
  const UNSIGNED turn = (UNSIGNED)(y >> (WIDE - 1));
  const UNSIGNED difference = (UNSIGNED)NAME(order)(x, form) - (UNSIGNED)NAME(order)(y, form);
  const UNSIGNED apart =
      (UNSIGNED)(x >> form.mantissa & form.exponent) - (UNSIGNED)(y >> form.mantissa & form.exponent) + 1;
  const bool flipped = (x ^ y) < 0;
  return (struct ELEMENT){
      .g = (SIGNED)((difference ^ turn) - turn), .flipped = flipped, .near = !flipped & (apart <= 2)};
}

ES_INLINE uint8_t NAME(symbol_of)(struct ELEMENT e, struct FACTS form, int32_t limit) {
  const UNSIGNED m = e.g < 0 ? 0 - (UNSIGNED)e.g : (UNSIGNED)e.g;
  const int32_t length = WIDE - LEADING_ZEROS(m | 1) - 1 - form.fine;
  const int32_t s = length > 0 ? length : 0;
  const uint32_t near = 2 * ((uint32_t)(m >> s) + ((uint32_t)s << form.fine)) + (e.g < 0);
  return (uint8_t)(e.near ? near : (uint32_t)limit + e.flipped);
}

ES_CLONES static int32_t NAME(common_zeros)(const STORED *x, const STORED *y, int64_t n) {
  UNSIGNED any = 0;
  for (int64_t i = 0; i < n; i++) any |= (UNSIGNED)(SIGNED)(x[i] | y[i]);
  for (int32_t zeros = 0; zeros < BITS; zeros++)
    if (any >> zeros & 1) return zeros;
  return BITS;
}

static int64_t NAME(sample)(
    es_difference_form form, const STORED *x, const STORED *y, int64_t n, int64_t stride, int64_t least,
    int64_t *differences) {
  const struct FACTS facts = NAME(facts_of)(form);
  int64_t found = 0;
  for (int64_t i = 0; i < n; i += stride) {
    const struct ELEMENT e = NAME(compare)(x[i] >> form.shift, y[i] >> form.shift, facts);
    differences[found] = e.g;
    found += e.near && (e.g > least || e.g < -least);
  }
  return found;
}

ES_CLONES static void NAME(encode)(
    es_difference_form form, const STORED *x, const STORED *y, int64_t n, uint8_t *restrict symbols) {
  const struct FACTS facts = NAME(facts_of)(form);
  const int32_t limit = es_difference_limit(form);
  for (int64_t i = 0; i < n; i++)
    symbols[i] =
        NAME(symbol_of)(NAME(compare)((SIGNED)x[i] >> form.shift, (SIGNED)y[i] >> form.shift, facts), facts, limit);
}

static void NAME(encode_exact)(
    es_difference_form form, const struct dictionary *dictionary, const STORED *x, const STORED *y, int64_t n,
    uint8_t *symbols) {
  const struct FACTS facts = NAME(facts_of)(form);
  const int32_t limit = es_difference_limit(form);
  for (int64_t i = 0; i < n; i++) {
    const struct ELEMENT e = NAME(compare)((SIGNED)x[i] >> form.shift, (SIGNED)y[i] >> form.shift, facts);
    const uint32_t place = place_of(e.g);
    const bool exact = e.near && dictionary->symbols[place] != 0 && dictionary->values[place] == e.g;
    symbols[i] = exact ? dictionary->symbols[place] : NAME(symbol_of)(e, facts, limit);
  }
}

/// The bits that follow each symbol of the block at `start`, how many, and every exponent.
ES_CLONES static void NAME(words_of)(
    es_difference_form form, const es_difference_symbols *table, const STORED *x, const STORED *y, int64_t start,
    const uint8_t *symbols, int32_t n, uint64_t *restrict words, uint64_t *restrict lengths,
    uint8_t *restrict exponents) {
  x += start;
  y += start;
  const struct FACTS facts = NAME(facts_of)(form);
  const uint32_t limit = (uint32_t)table->limit, far_bits = (uint32_t)table->far_bits;
  const UNSIGNED mantissa = ((UNSIGNED)1 << form.mantissa) - 1;
  for (int32_t i = 0; i < n; i++) {
    const SIGNED value = (SIGNED)x[i] >> form.shift;
    const SIGNED g = NAME(compare)(value, (SIGNED)y[i] >> form.shift, facts).g;
    const UNSIGNED m = g < 0 ? 0 - (UNSIGNED)g : (UNSIGNED)g;
    const UNSIGNED exponent = (UNSIGNED)(value >> form.mantissa & facts.exponent);
    const uint32_t length = length_of(symbols[i], limit, far_bits, form.fine);
    const UNSIGNED wanted = symbols[i] < limit ? m : ((UNSIGNED)value & mantissa) | exponent >> 8 << form.mantissa;
    words[i] = wanted & (((UNSIGNED)1 << length) - 1);
    lengths[i] = length;
    exponents[i] = (uint8_t)exponent;
  }
}

/// What lies in the words that follow the symbols of a block; more may lie above the bits that are theirs.
ES_INLINE void NAME(restore)(
    es_difference_form form, const es_difference_symbols *table, const STORED *y, const uint8_t *symbols, int32_t n,
    const UNSIGNED *words, const uint8_t *exponents, STORED *restrict x) {
  const struct FACTS facts = NAME(facts_of)(form);
  const uint32_t limit = (uint32_t)table->limit, far_bits = (uint32_t)table->far_bits;
  const UNSIGNED mantissa = ((UNSIGNED)1 << form.mantissa) - 1;
  for (int32_t i = 0; i < n; i++) {
    const uint32_t symbol = symbols[i];
    const SIGNED base = (SIGNED)y[i] >> form.shift;
    const UNSIGNED base_sign = (UNSIGNED)(base >> (WIDE - 1));
    const uint32_t length = length_of(symbol, limit, far_bits, form.fine);
    const UNSIGNED word = words[i] & (((UNSIGNED)1 << length) - 1);
    const UNSIGNED top = ((UNSIGNED)(symbol >> 1) - ((UNSIGNED)length << form.fine)) << (symbol < limit ? length : 0);
    // An exact one is its word, with its sign.
    const UNSIGNED m = symbol < limit ? top + word : words[i];
    const UNSIGNED negative = (symbol < limit ? (UNSIGNED)0 - (UNSIGNED)(symbol & 1) : 0) ^ base_sign;
    const UNSIGNED g = (m ^ negative) - negative;
    const SIGNED near = NAME(order)((SIGNED)((UNSIGNED)NAME(order)(base, facts) + g), facts);
    const UNSIGNED exponent = exponents[i] | word >> form.mantissa << 8;
    const UNSIGNED sign = base_sign ^ ((UNSIGNED)0 - (UNSIGNED)(symbol - limit));
    const UNSIGNED apart = (sign & ~(UNSIGNED)facts.magnitude) |
                           (exponent << form.mantissa & (UNSIGNED)facts.magnitude) | (word & mantissa);
    x[i] = (STORED)(TYPED(uint, BITS))((symbol - limit < 2 ? apart : (UNSIGNED)near) << form.shift);
  }
}

ES_CLONES static void NAME(decode)(
    es_difference_form form, const es_difference_symbols *table, const STORED *y, const uint8_t *symbols, int64_t n,
    const uint8_t *bits, const uint8_t *exponents, STORED *restrict x) {
  const uint32_t limit = (uint32_t)table->limit, far_bits = (uint32_t)table->far_bits;
  UNSIGNED exact[256] = {0};
  for (int32_t k = 0; k < table->exact_count; k++) exact[table->limit + 2 + k] = (UNSIGNED)table->exact[k];
  uint64_t position = 0;
  for (int64_t start = 0; start < n; start += block) {
    const int32_t count = (int32_t)(n - start < block ? n - start : block);
    const uint8_t *here = symbols + start;
    UNSIGNED words[block];
    uint8_t lengths[block], block_exponents[block];
    for (int32_t i = 0; i < count; i++) lengths[i] = (uint8_t)length_of(here[i], limit, far_bits, form.fine);
    for (int32_t i = 0; i < count; i++) {
      uint64_t word;
      memcpy(&word, bits + (position >> 3), 8);
      words[i] = (UNSIGNED)(word >> (position & 7));
      position += lengths[i];
    }
    for (int32_t i = 0; i < count; i++) {
      block_exponents[i] = *exponents;
      exponents += here[i] - limit < 2;
    }
    if (table->exact_count > 0)
      for (int32_t i = 0; i < count; i++)
        if (here[i] > limit + 1) words[i] = exact[here[i]];
    NAME(restore)(form, table, y + start, here, count, words, block_exponents, x + start);
  }
}

ES_CLONES static void NAME(keys_of)(
    es_difference_form form, es_difference_key key, const STORED *y, int64_t n, uint8_t *restrict keys) {
  const bool mantissa = key == es_difference_key_mantissa;
  const int32_t down = form.shift + (!mantissa || form.mantissa < 6 ? 0 : form.mantissa - 6) +
                       (mantissa ? 0 : form.mantissa);
  const SIGNED mask = mantissa ? ((SIGNED)1 << (form.mantissa < 6 ? form.mantissa : 6)) - 1
                               : (form.exponent < 8 ? ((SIGNED)1 << form.exponent) - 1 : 255);
  for (int64_t i = 0; i < n; i++) keys[i] = (uint8_t)((SIGNED)y[i] >> down & mask);
}

#undef TYPED_
#undef TYPED
#undef NAME
#undef STORED
#undef ELEMENT
#undef FACTS
#undef SIGNED
#undef UNSIGNED
#undef LEADING_ZEROS
