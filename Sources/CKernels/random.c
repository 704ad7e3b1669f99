#include "random.h"

#include <math.h>

#include "float_bits.h"

#pragma STDC FP_CONTRACT OFF

enum {
  group = 8,                  // counters in one vector, a counter word in each 64-bit lane
  groups = 4,                 // vectors in flight
  batch = 4 * group * groups  // words produced at a time
};
typedef uint64_t lanes __attribute__((vector_size(group * sizeof(uint64_t))));

static const uint64_t multiplier[2] = {0xD2511F53, 0xCD9E8D57};
static const uint32_t key_step[2] = {0x9E3779B9, 0xBB67AE85};
enum { rounds = 10 };

void es_philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]) {
  uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
  uint32_t k[2] = {key[0], key[1]};
  for (int round = 0; round < rounds; round++) {
    const uint64_t p = multiplier[0] * c[0], q = multiplier[1] * c[2];
    const uint32_t next[4] = {(uint32_t)(q >> 32) ^ c[1] ^ k[0], (uint32_t)q, (uint32_t)(p >> 32) ^ c[3] ^ k[1],
                              (uint32_t)p};
    memcpy(c, next, sizeof c);
    k[0] += key_step[0];
    k[1] += key_step[1];
  }
  memcpy(words, c, sizeof c);
}

/// The words of `batch` elements from counter `counter` on.
///
/// Only the low halves of the 64-bit lanes are counter words; the products leave rubbish above them, which the next
/// multiplication ignores.
ES_INLINE void philox_batch(struct es_random_stream stream, uint64_t counter, uint32_t *out) {
  const uint64_t low = 0xffffffff;
  const lanes index = {0, 1, 2, 3, 4, 5, 6, 7};
  lanes c0[groups], c1[groups], c2[groups], c3[groups];
  for (int g = 0; g < groups; g++) {
    const lanes position = index + (counter + (uint64_t)(g * group));
    c0[g] = position;
    c1[g] = position >> 32;
    c2[g] = (lanes){0} + stream.stream;
    c3[g] = (lanes){0};
  }
  uint32_t k0 = stream.key[0], k1 = stream.key[1];
  for (int round = 0; round < rounds; round++) {
    for (int g = 0; g < groups; g++) {
      const lanes p = (c0[g] & low) * multiplier[0], q = (c2[g] & low) * multiplier[1];
      c0[g] = (q >> 32) ^ c1[g] ^ k0;
      c1[g] = q;
      c2[g] = (p >> 32) ^ c3[g] ^ k1;
      c3[g] = p;
    }
    k0 += key_step[0];
    k1 += key_step[1];
  }
  for (int g = 0; g < groups; g++) {
    const lanes front = (c0[g] & low) | c1[g] << 32, back = (c2[g] & low) | c3[g] << 32;
    const lanes first = __builtin_shufflevector(front, back, 0, 8, 1, 9, 2, 10, 3, 11);
    const lanes second = __builtin_shufflevector(front, back, 4, 12, 5, 13, 6, 14, 7, 15);
    memcpy(out + 4 * group * g, &first, sizeof first);
    memcpy(out + 4 * group * g + 2 * group, &second, sizeof second);
  }
}

// Runs `body` over consecutive elements: inside, `words` holds a batch of words, and elements `from..<to` of the batch
// are elements `at..<at + to - from` of the caller's arrays. Whole batches are one constant-length loop.
#define FOR_EACH_BATCH(body)                                                     \
  int64_t at = 0;                                                                \
  int64_t from = (int64_t)(first % 4);                                           \
  for (uint64_t counter = first / 4; at < n; counter += batch / 4, from = 0) {   \
    uint32_t words[batch] __attribute__((aligned(64)));                          \
    philox_batch(stream, counter, words);                                        \
    const int64_t to = n - at < batch - from ? from + n - at : batch;            \
    if (from == 0 && to == batch) {                                              \
      for (int64_t j = 0; j < batch; j++) body(words[j], at + j);                \
    } else {                                                                     \
      for (int64_t j = from; j < to; j++) body(words[j], at + j - from);         \
    }                                                                            \
    at += to - from;                                                             \
  }

#define STORE_WORD(word, i) out[i] = (word)
ES_CLONES void es_random_words(struct es_random_stream stream, uint64_t first, uint32_t *out, int64_t n) {
  FOR_EACH_BATCH(STORE_WORD)
}

#define STORE_UNIFORM(word, i) out[i] = (float)(int32_t)((word) >> 8) * 0x1p-24f
ES_CLONES void es_random_uniforms(struct es_random_stream stream, uint64_t first, float *out, int64_t n) {
  FOR_EACH_BATCH(STORE_UNIFORM)
}

#define KEEP(word, i) values[i] = (word) < threshold ? values[i] : 0
ES_CLONES void es_random_keep(
    struct es_random_stream stream, uint64_t first, float *restrict values, int64_t n, uint64_t threshold) {
  FOR_EACH_BATCH(KEEP)
}

#define IS_KEPT(word, i) ((double)(word) < (double)probability[i] * 0x1p32)
#define KEEP_EACH(word, i) values[i] = IS_KEPT(word, i) ? values[i] : 0
#define KEEP_EACH_RESCALED(word, i) values[i] = IS_KEPT(word, i) ? values[i] / probability[i] : 0
ES_CLONES void es_random_keep_each(
    struct es_random_stream stream, uint64_t first, float *restrict values, const float *restrict probability,
    int64_t n, bool rescale) {
  if (rescale) {
    FOR_EACH_BATCH(KEEP_EACH_RESCALED)
  } else {
    FOR_EACH_BATCH(KEEP_EACH)
  }
}

/// sqrt(-2 ln u) for u = (word + 1) / 2^32 in (0, 1].
///
/// u = 2^e m with m in [sqrt(1/2), sqrt 2); ln m = 2 artanh s with s = (m - 1) / (m + 1), |s| < 0.172, by its series
/// to s^17: relative error below 1e-13.
ES_INLINE double radius(uint32_t word) {
  const double u = ((double)word + 1) * 0x1p-32;
  uint64_t bits;
  memcpy(&bits, &u, sizeof bits);
  const uint64_t sqrt_half = 0x3fe6a09e667f3bcd;
  const int32_t exponent = (int32_t)((bits - sqrt_half + ((uint64_t)1024 << 52)) >> 52) - 1024;
  bits -= (uint64_t)(int64_t)exponent << 52;
  double m;
  memcpy(&m, &bits, sizeof m);
  const double s = (m - 1) / (m + 1), t = s * s;
  double series = 1.0 / 17;
  series = series * t + 1.0 / 15;
  series = series * t + 1.0 / 13;
  series = series * t + 1.0 / 11;
  series = series * t + 1.0 / 9;
  series = series * t + 1.0 / 7;
  series = series * t + 1.0 / 5;
  series = series * t + 1.0 / 3;
  series = series * t + 1.0;
  const double logarithm = exponent * 0.69314718055994530942 + 2 * s * series;
  return sqrt(-2 * logarithm);
}

/// Cosine and sine of the angle 2 pi word / 2^32, by Taylor series within an eighth of a turn of a multiple of pi / 2:
/// absolute error below 1e-14.
ES_INLINE void direction(uint32_t word, double *cosine, double *sine) {
  const uint32_t quarter = (word + 0x20000000u) >> 30;
  const double x = (double)(int32_t)(word - (quarter << 30)) * (1.57079632679489661923 * 0x1p-30);
  const double t = x * x;
  double c = -1.0 / 87178291200;
  c = c * t + 1.0 / 479001600;
  c = c * t - 1.0 / 3628800;
  c = c * t + 1.0 / 40320;
  c = c * t - 1.0 / 720;
  c = c * t + 1.0 / 24;
  c = c * t - 1.0 / 2;
  c = c * t + 1.0;
  double s = -1.0 / 1307674368000;
  s = s * t + 1.0 / 6227020800;
  s = s * t - 1.0 / 39916800;
  s = s * t + 1.0 / 362880;
  s = s * t - 1.0 / 5040;
  s = s * t + 1.0 / 120;
  s = s * t - 1.0 / 6;
  s = (s * t + 1.0) * x;
  const double even = quarter & 1 ? s : c, odd = quarter & 1 ? c : s;
  *cosine = (quarter + 1) & 2 ? -even : even;
  *sine = quarter & 2 ? -odd : odd;
}

ES_CLONES void es_random_normals(struct es_random_stream stream, uint64_t first, float *out, int64_t n) {
  int64_t at = 0;
  int64_t from = (int64_t)(first % 4);
  for (uint64_t counter = first / 4; at < n; counter += batch / 4, from = 0) {
    uint32_t words[batch] __attribute__((aligned(64)));
    float normals[batch];
    philox_batch(stream, counter, words);
    for (int j = 0; j < batch / 2; j++) {
      double cosine, sine;
      const double length = radius(words[2 * j]);
      direction(words[2 * j + 1], &cosine, &sine);
      normals[2 * j] = (float)(length * cosine);
      normals[2 * j + 1] = (float)(length * sine);
    }
    const int64_t count = n - at < batch - from ? n - at : batch - from;
    memcpy(out + at, normals + from, (size_t)count * sizeof *out);
    at += count;
  }
}
