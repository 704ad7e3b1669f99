#pragma once
#include <stdbool.h>
#include <stdint.h>

// Philox4x32-10, a counter-based generator (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011, https://doi.org/10.1145/2063384.2063405). Element `i` of a stream is word `i mod 4` of the block with
// counter `(i / 4 low, i / 4 high, stream, 0)`; it depends on the key, the stream and `i` alone, so any range can be
// produced by anyone in any order.

struct es_random_stream {
  uint32_t key[2];
  uint32_t stream;
};

/// One block of the generator: four words from a counter and a key. The portable definition.
void es_philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]);

/// `out[j]` = word of element `first + j`.
void es_random_words(struct es_random_stream stream, uint64_t first, uint32_t *out, int64_t n);

/// `out[j]` = the upper 24 bits of the word as a fraction in [0, 1), exact.
void es_random_uniforms(struct es_random_stream stream, uint64_t first, float *out, int64_t n);

/// Standard normal deviates by the Box-Muller transform, in float64 until the last rounding. Elements `2j` and `2j + 1`
/// are the cosine and the sine branch of the words of the two. Logarithm, sine and cosine are polynomials evaluated in
/// a fixed order: the same bits everywhere.
void es_random_normals(struct es_random_stream stream, uint64_t first, float *out, int64_t n);

/// Keeps `values[j]` iff the word of element `first + j` is below `threshold` (probability `threshold / 2^32`),
/// else sets it to 0.
void es_random_keep(struct es_random_stream stream, uint64_t first, float *values, int64_t n, uint64_t threshold);

/// Keeps `values[j]` with probability `probability[j]` of its own, else sets it to 0: iff word < probability * 2^32
/// (a NaN keeps nothing). With `rescale`, what is kept is divided by its probability.
void es_random_keep_each(
    struct es_random_stream stream, uint64_t first, float *values, const float *probability, int64_t n, bool rescale);
