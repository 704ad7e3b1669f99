#define _GNU_SOURCE
#include "platform.h"

#include <errno.h>
#include <stdio.h>

#if defined(__linux__)
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

int es_exchange_names(const char *a, const char *b) {
  const unsigned exchange = 2; // RENAME_EXCHANGE; the call directly, since musl has no wrapper
  return (int)syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, exchange);
}

int es_allowed_processors(void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}

#elif defined(__APPLE__)

int es_exchange_names(const char *a, const char *b) { return renamex_np(a, b, RENAME_SWAP); }
int es_allowed_processors(void) { return 0; }

#else

int es_exchange_names(const char *a, const char *b) {
  errno = ENOSYS;
  return -1;
}
int es_allowed_processors(void) { return 0; }

#endif

#if defined(__GLIBC__)
#include <malloc.h>

void es_return_freed_memory(void) {
  mallopt(M_TRIM_THRESHOLD, 1 << 17);
  mallopt(M_MMAP_THRESHOLD, 1 << 17);
}

#else

void es_return_freed_memory(void) {}

#endif

void es_buffer_output_by_lines(void) { setvbuf(stdout, NULL, _IOLBF, 1 << 16); }
