// Rounds of work that threads begin together. A round takes as long as its slowest thread, in the threads' own processor
// time, so that it matters less what else the machine does.

#pragma once
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

enum { most_threads = 64 };

static int thread_count = 2;

static pthread_t threads[most_threads];
static pthread_barrier_t barrier;
static void (*volatile work)(int);
static double thread_seconds[most_threads];

static double seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void run_share(int thread) {
  const double start = seconds();
  work(thread);
  thread_seconds[thread] = seconds() - start;
}

static void *run_thread(void *argument) {
  while (1) {
    pthread_barrier_wait(&barrier);
    if (!work) return NULL;
    run_share((int)(intptr_t)argument);
    pthread_barrier_wait(&barrier);
  }
}

/// `thread_count` threads, this one among them.
static void start_threads(void) {
  pthread_barrier_init(&barrier, NULL, (unsigned)thread_count);
  for (int i = 1; i < thread_count; i++) pthread_create(&threads[i], NULL, run_thread, (void *)(intptr_t)i);
}

static void end_threads(void) {
  work = NULL;
  pthread_barrier_wait(&barrier);
  for (int i = 1; i < thread_count; i++) pthread_join(threads[i], NULL);
}

/// The seconds of one round of `body(thread)`.
static double timed(void (*body)(int)) {
  work = body;
  pthread_barrier_wait(&barrier);
  run_share(0);
  pthread_barrier_wait(&barrier);
  double slowest = 0;
  for (int i = 0; i < thread_count; i++)
    if (thread_seconds[i] > slowest) slowest = thread_seconds[i];
  return slowest;
}

static int ascending(const void *a, const void *b) {
  const double p = *(const double *)a, q = *(const double *)b;
  return (p > q) - (p < q);
}

static void sort(double *figures, size_t count) { qsort(figures, count, sizeof *figures, ascending); }
