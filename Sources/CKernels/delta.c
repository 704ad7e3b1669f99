#include "delta.h"

#include <string.h>

#include "clones.h"

#pragma STDC FP_CONTRACT OFF

ES_INLINE uint32_t trit(float value) { return (uint32_t)(value > 0) + 2 * (uint32_t)(value < 0); }

ES_CLONES void es_pack_trits(const float *values, int64_t n, uint8_t *codes) {
  const int64_t whole = n / 5;
  for (int64_t i = 0; i < whole; i++) {
    const float *five = values + 5 * i;
    codes[i] = (uint8_t)(trit(five[0]) + 3 * trit(five[1]) + 9 * trit(five[2]) + 27 * trit(five[3]) + 81 * trit(five[4]));
  }
  if (n % 5 == 0) return;
  uint32_t code = 0, place = 1;
  for (int64_t i = 5 * whole; i < n; i++, place *= 3) code += place * trit(values[i]);
  codes[whole] = (uint8_t)code;
}

ES_CLONES void es_add_trits(const uint8_t *codes, int64_t first, int64_t n, float scale, float *out) {
  static const float signs[3] = {0, 1, -1};
  int64_t i = 0;
  while (i < n) {
    const int64_t element = first + i;
    uint32_t code = codes[element / 5];
    int place = (int)(element % 5);
    for (int skipped = 0; skipped < place; skipped++) code /= 3;
    for (; place < 5 && i < n; place++, i++, code /= 3) out[i] += scale * signs[code % 3];
  }
}

ES_CLONES int64_t es_gather_kept(const float *values, const uint64_t *bits, int64_t n, float *kept) {
  int64_t count = 0;
  for (int64_t start = 0; start < n; start += 64) {
    uint64_t word = bits[start / 64];
    if (n - start < 64) word &= ((uint64_t)1 << (n - start)) - 1;
    for (; word; word &= word - 1) kept[count++] = values[start + __builtin_ctzll(word)];
  }
  return count;
}

ES_CLONES int64_t es_count_bits(const uint64_t *bits, int64_t n) {
  int64_t count = 0;
  for (int64_t word = 0; word < n / 64; word++) count += __builtin_popcountll(bits[word]);
  if (n % 64) count += __builtin_popcountll(bits[n / 64] & (((uint64_t)1 << (n % 64)) - 1));
  return count;
}

ES_CLONES void es_add_kept(
    const uint64_t *bits, int64_t from, int64_t to, const float *kept, float scale, float *out) {
  int64_t rank = es_count_bits(bits, from);
  for (int64_t start = from / 64 * 64; start < to; start += 64) {
    uint64_t word = bits[start / 64];
    if (start < from) word &= ~(uint64_t)0 << (from - start);
    if (to - start < 64) word &= ((uint64_t)1 << (to - start)) - 1;
    for (; word; word &= word - 1) out[start + __builtin_ctzll(word) - from] += scale * kept[rank++];
  }
}

void es_count_bytes(const uint8_t *bytes, int64_t n, int64_t counts[256]) {
  for (int64_t i = 0; i < n; i++) counts[bytes[i]]++;
}

int64_t es_gather_changed(void *old, const void *new_elements, int64_t width, int64_t n, uint8_t *bits) {
  uint8_t *const before = old;
  const uint8_t *const after = new_elements;
  int64_t count = 0;
  for (int64_t start = 0; start < n; start += 8) {
    const int64_t end = n - start < 8 ? n : start + 8;
    uint8_t byte = 0;
    for (int64_t i = start; i < end; i++) {
      if (memcmp(before + i * width, after + i * width, (size_t)width) == 0) continue;
      byte |= (uint8_t)(1 << (i - start));
      memmove(before + count * width, before + i * width, (size_t)width);
      count++;
    }
    bits[start / 8] = byte;
  }
  return count;
}

int64_t es_scatter_changed(void *elements, const void *packed, int64_t width, int64_t n, const uint8_t *bits) {
  const uint8_t *const source = packed;
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++) {
    if (!(bits[i / 8] >> (i % 8) & 1)) continue;
    memcpy((uint8_t *)elements + i * width, source + count * width, (size_t)width);
    count++;
  }
  return count;
}
