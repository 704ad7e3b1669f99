// Throughput of the element kernels on 4,096 elements in the first-level cache, best of 25 rounds. From the root:
//
//   clang -O2 -I Sources/CKernels/include Benchmarks/kernels.c \
//     Sources/CKernels/{convert,reduce,random,select,row_ranks}.c -lm -o kernels && ./kernels

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "convert.h"
#include "random.h"
#include "reduce.h"
#include "row_ranks.h"
#include "select.h"

enum { n = 4096, longest_row = 8192, repeats = 200, best_of = 25 };

static double seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

#define MEASURE(name, elements, call)                                                       \
  do {                                                                                      \
    double best = 1e9;                                                                      \
    for (int round = 0; round < best_of; round++) {                                         \
      const double start = seconds();                                                       \
      for (int i = 0; i < repeats; i++) {                                                   \
        call;                                                                               \
        __asm__ volatile("" ::: "memory");                                                  \
      }                                                                                     \
      const double time = seconds() - start;                                                \
      best = time < best ? time : best;                                                     \
    }                                                                                       \
    const double each = best * 1e9 / repeats / (elements);                                  \
    printf("%-24s %7.2f G elements/s %7.3f ns each\n", name, 1 / each, each);               \
  } while (0)

#define MEASURE_TYPE(type)                                                                  \
  es_encode_##type(values, stored, n);                                                      \
  MEASURE("decode " #type, n, es_decode_##type(stored, other, n));                          \
  MEASURE("encode " #type, n, es_encode_##type(values, stored, n));

static float values[longest_row], other[longest_row];
static char stored[8 * n];
static uint32_t words[longest_row + ES_COLLECT_SLACK];
static uint64_t scratch[2 * longest_row];
static volatile double sink;

int main(void) {
  const struct es_random_stream stream = {{1, 2}, 3};
  es_random_normals(stream, 0, values, longest_row);

  MEASURE_TYPE(f64) MEASURE_TYPE(f16) MEASURE_TYPE(bf16) MEASURE_TYPE(f8e4m3) MEASURE_TYPE(f8e5m2)
  MEASURE_TYPE(i64) MEASURE_TYPE(i32) MEASURE_TYPE(i8) MEASURE_TYPE(bool)

  MEASURE("sum", n, sink = es_sum(values, n));
  MEASURE("abs_sum", n, sink = es_abs_sum(values, n));
  MEASURE("square_sum", n, sink = es_square_sum(values, n));
  MEASURE("dot", n, sink = es_dot(values, other, n));
  MEASURE("first_nonfinite", n, sink = (double)es_first_nonfinite(values, n));

  MEASURE("random words", n, es_random_words(stream, 0, words, n));
  MEASURE("random uniforms", n, es_random_uniforms(stream, 0, other, n));
  MEASURE("random keep", n, es_random_keep(stream, 0, other, n, 1u << 31));
  for (int i = 0; i < n; i++) other[i] = 0.5f;
  MEASURE("random keep each", n, es_random_keep_each(stream, 0, values, other, n, true));
  MEASURE("random normals", n, es_random_normals(stream, 0, other, n));
  es_random_normals(stream, 0, values, longest_row);

  // One percent of normal values lies in the bracket.
  const struct es_key_order order = {0x7fffffff, 0};
  const uint32_t low = 0x3f570a3d /* 0.84 */, high = 0x3f5c28f6 /* 0.86 */;
  MEASURE("count at key", n, sink = (double)es_count_at_key(values, n, order, low).above);
  MEASURE("collect", n, sink = (double)es_collect_in_bracket(values, n, order, low, high, words).above);
  MEASURE("collect, portable", n,
          sink = (double)es_collect_in_bracket_portable(values, n, order, low, high, words).above);
  memcpy(other, values, sizeof other);
  MEASURE("apply cut", n, es_apply_cut(other, n, order, low, INT64_MAX));

  for (int row = 512; row <= longest_row; row *= 2) {
    char name[24];
    snprintf(name, sizeof name, "row ranks of %d", row);
    MEASURE(name, row, es_row_ranks(values, row, words, scratch));
  }
  for (int i = 0; i < n; i++) other[i] = 1 + values[i] * 1e-4f;
  other[77] = 0;
  MEASURE("row ranks, outlier", n, es_row_ranks(other, n, words, scratch));
  return 0;
}
