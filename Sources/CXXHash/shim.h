#pragma once
#include <xxhash.h>

// Where the library was built with run-time dispatch (Debian's and Ubuntu's are, on x86-64), xxHash's dispatch
// header redirects XXH3_128bits and XXH3_128bits_update to the widest vectors the CPU has (57 against 20 GB/s
// measured). Macros do not reach Swift, so the two calls are wrapped.
#if defined(__x86_64__) && defined(__has_include)
#if __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#endif
#endif

static inline XXH128_hash_t es_xxh3_128(const void *data, size_t length) { return XXH3_128bits(data, length); }

static inline void es_xxh3_update(XXH3_state_t *state, const void *data, size_t length) {
  XXH3_128bits_update(state, data, length);
}
