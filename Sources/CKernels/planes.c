#include "planes.h"

#include <string.h>

#include "clones.h"

#define ELEMENTS(bits) \
  typedef uint##bits##_t u##bits __attribute__((aligned(1), may_alias)); \
  ES_INLINE uint##bits##_t turned_##bits(uint##bits##_t x, int32_t turn) { \
    return (uint##bits##_t)(x << turn | x >> ((bits - turn) & (bits - 1))); \
  }
ELEMENTS(16)
ELEMENTS(32)
ELEMENTS(64)

ES_CLONES static void split_16(int32_t turn, const u16 *elements, int64_t n, uint8_t *restrict a, uint8_t *restrict b) {
  for (int64_t i = 0; i < n; i++) {
    const uint16_t x = turned_16(elements[i], turn);
    a[i] = (uint8_t)x;
    b[i] = (uint8_t)(x >> 8);
  }
}

ES_CLONES static void join_16(
    int32_t turn, const uint8_t *a, const uint8_t *b, int64_t n, u16 *restrict elements) {
  for (int64_t i = 0; i < n; i++)
    elements[i] = turned_16((uint16_t)(a[i] | b[i] << 8), (16 - turn) & 15);
}

ES_CLONES static void split_32(
    int32_t turn, const u32 *elements, int64_t n, uint8_t *restrict a, uint8_t *restrict b, uint8_t *restrict c,
    uint8_t *restrict d) {
  for (int64_t i = 0; i < n; i++) {
    const uint32_t x = turned_32(elements[i], turn);
    a[i] = (uint8_t)x;
    b[i] = (uint8_t)(x >> 8);
    c[i] = (uint8_t)(x >> 16);
    d[i] = (uint8_t)(x >> 24);
  }
}

ES_CLONES static void join_32(
    int32_t turn, const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d, int64_t n,
    u32 *restrict elements) {
  for (int64_t i = 0; i < n; i++)
    elements[i] = turned_32(a[i] | (uint32_t)b[i] << 8 | (uint32_t)c[i] << 16 | (uint32_t)d[i] << 24, (32 - turn) & 31);
}

// Two halves of the integer a pass: four streams are as many as vectorize well.
ES_CLONES static void split_64(
    int32_t turn, int32_t shift, const u64 *elements, int64_t n, uint8_t *restrict a, uint8_t *restrict b,
    uint8_t *restrict c, uint8_t *restrict d) {
  for (int64_t i = 0; i < n; i++) {
    const uint32_t x = (uint32_t)(turned_64(elements[i], turn) >> shift);
    a[i] = (uint8_t)x;
    b[i] = (uint8_t)(x >> 8);
    c[i] = (uint8_t)(x >> 16);
    d[i] = (uint8_t)(x >> 24);
  }
}

ES_CLONES static void join_64(int32_t turn, const uint8_t *const *p, int64_t n, u64 *restrict elements) {
  const uint8_t *a = p[0], *b = p[1], *c = p[2], *d = p[3], *e = p[4], *f = p[5], *g = p[6], *h = p[7];
  for (int64_t i = 0; i < n; i++) {
    const uint32_t low = a[i] | (uint32_t)b[i] << 8 | (uint32_t)c[i] << 16 | (uint32_t)d[i] << 24;
    const uint32_t high = e[i] | (uint32_t)f[i] << 8 | (uint32_t)g[i] << 16 | (uint32_t)h[i] << 24;
    elements[i] = turned_64(low | (uint64_t)high << 32, (64 - turn) & 63);
  }
}

void es_planes_split(int32_t width, int32_t turn, const void *elements, int64_t n, uint8_t *const *planes) {
  switch (width) {
  case 1: memcpy(planes[0], elements, (size_t)n); break;
  case 2: split_16(turn, elements, n, planes[0], planes[1]); break;
  case 4: split_32(turn, elements, n, planes[0], planes[1], planes[2], planes[3]); break;
  case 8:
    split_64(turn, 0, elements, n, planes[0], planes[1], planes[2], planes[3]);
    split_64(turn, 32, elements, n, planes[4], planes[5], planes[6], planes[7]);
    break;
  default: break;
  }
}

void es_planes_join(int32_t width, int32_t turn, const uint8_t *const *planes, int64_t n, void *elements) {
  switch (width) {
  case 1: memcpy(elements, planes[0], (size_t)n); break;
  case 2: join_16(turn, planes[0], planes[1], n, elements); break;
  case 4: join_32(turn, planes[0], planes[1], planes[2], planes[3], n, elements); break;
  case 8: join_64(turn, planes, n, elements); break;
  default: break;
  }
}

ES_CLONES void es_planes_xor(const void *x, const void *y, int64_t n, void *z) {
  const uint8_t *a = x, *b = y;
  uint8_t *c = z;
  ES_ELEMENTWISE
  for (int64_t i = 0; i < n; i++) c[i] = a[i] ^ b[i];
}

bool es_planes_decode(
    es_entropy_kernel kernel, int32_t width, int32_t turn, es_plane_source *planes, int64_t n, void *elements) {
  enum { stretch = 512, line = 64 };
  uint8_t decoded[8][stretch];
  const uint8_t *found[8] = {0};
  for (int32_t p = 0; p < width; p++) {
    found[p] = decoded[p];
    if (!planes[p].bytes && !planes[p].decoder) memset(decoded[p], planes[p].constant, stretch);
  }
  for (int64_t start = 0; start < n; start += stretch) {
    const int64_t length = n - start < stretch ? n - start : stretch;
    char *here = (char *)elements + start * width;
    // What is written, and what is stored, comes from memory while the rest is decoded.
    for (int64_t i = 0; i < length * width; i += line) __builtin_prefetch(here + i, 1);
    for (int32_t p = 0; p < width; p++)
      if (planes[p].bytes) {
        found[p] = planes[p].bytes + start;
        for (int64_t i = 0; i < length; i += line) __builtin_prefetch(found[p] + i);
      }
    for (int32_t p = 0; p < width; p++)
      if (!planes[p].bytes && planes[p].decoder &&
          !es_entropy_decode(kernel, &planes[p].stream, planes[p].decoder, 0, decoded[p], length))
        return false;
    es_planes_join(width, turn, found, length, here);
  }
  for (int32_t p = 0; p < width; p++)
    if (!planes[p].bytes && planes[p].decoder && !es_entropy_end(&planes[p].stream)) return false;
  return true;
}
