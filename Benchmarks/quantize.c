// Throughput of the quantizers, with and without importance, and of the refined search; beside llama.cpp's if its
// libggml-base is given, in alternating rounds with the same rows. From the root:
//
//   clang -O2 -I Sources/CKernels/include Benchmarks/quantize.c Sources/CKernels/{quantize*,random}.c \
//     -lm -lpthread -ldl -o quantize && ./quantize [THREADS] [.../libggml-base.so] [TYPE...]
//
// Medians of a few rounds, in GB/s of float32 read. Every thread has rows of its own; a round takes as long as its
// slowest thread, in the threads' own processor time, so that it matters less what else the machine does. Said is also
// in how many blocks the bytes differ: none, unless that library was compiled with fused multiply-add.

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quantize.h"
#include "random.h"
#include "rounds.h"

enum { columns = 4096, rows = 1024, rounds = 5 };

typedef size_t peer_quantizer(int type, const float *, void *, int64_t start, int64_t rows, int64_t columns,
                              const float *importance);

struct type {
  const char *name;
  int length, bytes, peer_id;
  es_quantized_type id;
};

#define TYPE(name, length, bytes, peer_id) {#name, length, bytes, peer_id, es_quantized_##name}

static const struct type types[] = {
    TYPE(q8_0, 32, 34, 8),     TYPE(q4_0, 32, 18, 2),     TYPE(q4_1, 32, 20, 3),     TYPE(q5_0, 32, 22, 6),
    TYPE(q5_1, 32, 24, 7),     TYPE(iq4_nl, 32, 18, 20),  TYPE(mxfp4, 32, 17, 39),   TYPE(q2_K, 256, 84, 10),
    TYPE(q3_K, 256, 110, 11),  TYPE(q4_K, 256, 144, 12),  TYPE(q5_K, 256, 176, 13),  TYPE(q6_K, 256, 210, 14),
    TYPE(iq4_xs, 256, 136, 23)};

static const struct type *type;
static float *numbers, *column_importance;
static const float *importance;
static es_quantizer *quantizer;
static char *blocks, *peer_blocks;
static peer_quantizer *peer;

static void quantize(int thread) {
  const int64_t share = rows / thread_count, first = thread * share;
  quantizer(numbers + first * columns, columns, share, columns, importance,
            blocks + first * (columns / type->length * type->bytes));
}

static void quantize_by_peer(int thread) {
  const int64_t share = rows / thread_count;
  peer(type->peer_id, numbers, peer_blocks, thread * share * columns, share, columns, importance);
}

static double gigabytes_a_second(double time) {
  return (double)(rows / thread_count * thread_count) * columns * sizeof(float) / time * 1e-9;
}

static void measure(void) {
  double refined[rounds], ours[rounds], theirs[rounds];
  for (int round = 0; round < rounds; round++) {
    quantizer = es_quantizer_of(type->id, es_quantizer_refined);
    refined[round] = timed(quantize);
    quantizer = es_quantizer_of(type->id, es_quantizer_reference);
    ours[round] = timed(quantize);
    if (peer) theirs[round] = timed(quantize_by_peer);
  }
  sort(refined, rounds);
  sort(ours, rounds);
  printf("%-7s %-10s %6.2f GB/s, refined %5.2f", type->name, importance ? "importance" : "",
         gigabytes_a_second(ours[rounds / 2]), gigabytes_a_second(refined[rounds / 2]));
  if (peer) {
    sort(theirs, rounds);
    const int64_t count = (int64_t)rows / thread_count * thread_count * (columns / type->length);
    int64_t different = 0;
    for (int64_t i = 0; i < count; i++)
      different += memcmp(blocks + i * type->bytes, peer_blocks + i * type->bytes, (size_t)type->bytes) != 0;
    printf("; peer %6.3f, ratio %5.2f, blocks that differ %.3f %%", gigabytes_a_second(theirs[rounds / 2]),
           theirs[rounds / 2] / ours[rounds / 2], 100.0 * (double)different / (double)count);
  }
  printf("\n");
  fflush(stdout);
}

int main(int argument_count, char **arguments) {
  if (argument_count > 1) thread_count = atoi(arguments[1]);
  if (thread_count < 1 || thread_count > most_threads) return 1;
  if (argument_count > 2) {
    void *library = dlopen(arguments[2], RTLD_NOW);
    if (library) peer = (peer_quantizer *)dlsym(library, "ggml_quantize_chunk");
    if (!peer) return fprintf(stderr, "no ggml_quantize_chunk in %s\n", arguments[2]), 1;
  }
  numbers = malloc(sizeof(float) * rows * columns);
  column_importance = malloc(sizeof(float) * columns);
  blocks = malloc((size_t)rows * columns * 2);
  peer_blocks = malloc((size_t)rows * columns * 2);
  const struct es_random_stream stream = {{1, 2}, 3};
  es_random_normals(stream, 0, numbers, (int64_t)rows * columns);
  for (int64_t i = 0; i < (int64_t)rows * columns; i++) numbers[i] *= 0.02f;
  es_random_normals(stream, (uint64_t)rows * columns, column_importance, columns);
  for (int i = 0; i < columns; i++) column_importance[i] *= column_importance[i];

  start_threads();
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    type = &types[i];
    int wanted = argument_count <= 3;
    for (int k = 3; k < argument_count; k++) wanted |= strcmp(arguments[k], type->name) == 0;
    if (!wanted) continue;
    importance = NULL;
    measure();
    importance = column_importance;
    if (type->peer_id != 8 && type->peer_id != 39) measure();
  }
  end_threads();
  return 0;
}
