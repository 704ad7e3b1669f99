// Reads as if from a slow disk: preloaded, it lets all preads of a process together have RATE bytes a second.
//
//   cc -O2 -shared -fPIC -o slow_reads.so Benchmarks/slow_reads.c -ldl
//   RATE=100000000 LD_PRELOAD=./slow_reads.so espalier generate MODEL --prompt "Once" --max-tokens 1
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static double ready;  // when the next byte may come

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static void wait_for(ssize_t bytes) {
  const char *text = getenv("RATE");
  double rate = text ? atof(text) : 0;
  if (rate <= 0 || bytes <= 0) return;
  pthread_mutex_lock(&turn);
  double begin = now();
  if (ready < begin) ready = begin;
  ready += bytes / rate;
  double left = ready - begin;
  pthread_mutex_unlock(&turn);
  struct timespec pause = {(time_t)left, (long)((left - (time_t)left) * 1e9)};
  nanosleep(&pause, NULL);
}

ssize_t pread(int file, void *buffer, size_t count, off_t offset) {
  static ssize_t (*real)(int, void *, size_t, off_t);
  if (!real) real = (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
  ssize_t got = real(file, buffer, count, offset);
  wait_for(got);
  return got;
}

ssize_t pread64(int file, void *buffer, size_t count, off64_t offset) {
  static ssize_t (*real)(int, void *, size_t, off64_t);
  if (!real) real = (ssize_t(*)(int, void *, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");
  ssize_t got = real(file, buffer, count, offset);
  wait_for(got);
  return got;
}
