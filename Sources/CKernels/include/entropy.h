#pragma once
#include <stdbool.h>
#include <stdint.h>

// A coder of bytes by their frequencies: asymmetric numeral systems (duda2014ans), the range variant, in
// ES_ENTROPY_LANES interleaved lanes (giesen2014interleaved).
//
// Symbol i belongs to lane i mod lanes. Frequencies f of a table sum to 4,096 = 2^12, starts s are their running sums in
// the order of symbols. A lane's state x >= 2^16 holds what is coded; to decode a symbol,
//
//   slot = x mod 4096;  the symbol is the one with s <= slot < s + f;  x = f (x div 4096) + slot - s;
//   if x < 2^16: x = 2^16 x + the next word of 16 bits
//
// and the encoder does the inverse from the last symbol to the first. It begins with all states at 2^16, so that a
// decoder must end there. What is coded: the states, 32 bits each, then the words, all little-endian.
//
// A symbol may be coded in a context: its table is tables[contexts[i]].

enum {
  ES_ENTROPY_BITS = 12,
  ES_ENTROPY_TOTAL = 1 << ES_ENTROPY_BITS,
  ES_ENTROPY_LANES = 64,
  /// Bytes of the states.
  ES_ENTROPY_STATES = 4 * ES_ENTROPY_LANES,
};

/// The same arithmetic for different processors, the slowest first.
typedef enum __attribute__((enum_extensibility(closed))) {
  es_entropy_kernel_portable = 0,
  es_entropy_kernel_avx2 = 1,
  es_entropy_kernel_avx512 = 2,
} es_entropy_kernel;

/// Whether this processor runs `kernel`.
bool es_entropy_kernel_runs(es_entropy_kernel kernel);

/// The fastest kernel that this processor runs.
es_entropy_kernel es_entropy_fastest_kernel(void);

/// How often each symbol occurs.
void es_entropy_count(const uint8_t *symbols, int64_t n, uint32_t counts[256]);

/// counts[256 key + symbol], cleared first; n at most 2^32 - 1.
void es_entropy_count_pairs(const uint8_t *keys, const uint8_t *symbols, int64_t n, uint32_t *counts);

/// The entropy of counts a (plus b, unless that is null) in bits: sum of c log2(total / c). The same bits everywhere.
double es_entropy_bits(const uint32_t a[256], const uint32_t *b);

/// Frequencies that sum to 4,096, at least 1 for every symbol that occurs, near the best. At least two are not 0: a
/// symbol that occurs alone leaves 1 to another, so that all fit twelve bits. At least one count is not 0.
void es_entropy_frequencies(const uint32_t counts[256], uint16_t frequencies[256]);

typedef struct {
  /// Frequency in the upper, start in the lower half.
  uint32_t ranges[256];
  /// ceil(2^64 / frequency); 2^64 - 1 for 1.
  uint64_t reciprocals[256];
} es_entropy_encoder;

/// A decoder's table: frequency in bits 0 to 11, slot - start in bits 12 to 23, symbol in bits 24 to 31.
typedef struct {
  uint32_t slots[ES_ENTROPY_TOTAL];
} es_entropy_decoder;

void es_entropy_make_encoder(const uint16_t frequencies[256], es_entropy_encoder *encoder);

/// @return false unless the frequencies sum to 4,096 and none is larger than 4,095.
bool es_entropy_make_decoder(const uint16_t frequencies[256], es_entropy_decoder *decoder);

/// Codes n symbols, all with frequencies that are not 0.
///
/// @param contexts null: all in the first table.
/// @param end where the coded bytes shall end; before it there is room for ES_ENTROPY_STATES + 2 n bytes.
/// @return how many bytes they are.
int64_t es_entropy_encode(es_entropy_kernel kernel, const es_entropy_encoder *encoders, const uint8_t *contexts,
                          const uint8_t *symbols, int64_t n, uint8_t *end);

/// Coded bytes being decoded: the states, and what is left of the words. It refers to the bytes.
typedef struct {
  uint32_t states[ES_ENTROPY_LANES];
  const uint8_t *next, *end;
} es_entropy_stream;

/// @return false if there are too few bytes for the states, or an odd number.
bool es_entropy_begin(const uint8_t *coded, int64_t size, es_entropy_stream *stream);

/// Decodes the next n symbols; all but the last time n is a multiple of ES_ENTROPY_LANES.
///
/// @param contexts of these symbols, or null.
/// @return false if the coded bytes end early. Never reads beyond them.
bool es_entropy_decode(es_entropy_kernel kernel, es_entropy_stream *stream, const es_entropy_decoder *decoders,
                       const uint8_t *contexts, uint8_t *symbols, int64_t n);

/// @return whether the coded bytes are used up and the states those that an encoder begins with.
bool es_entropy_end(const es_entropy_stream *stream);
