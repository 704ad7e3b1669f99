#pragma once
#include <xxhash.h>

// xxHash's library may have entry points that use the widest vectors the CPU has (Debian's and Ubuntu's shared one does,
// on x86-64: 57 against 20 GB/s measured; their static one does not). They are taken where they are.
#if defined(__linux__) && defined(__x86_64__)
__attribute__((weak)) XXH128_hash_t XXH3_128bits_dispatch(const void *data, size_t length);
__attribute__((weak)) XXH_errorcode XXH3_128bits_update_dispatch(XXH3_state_t *state, const void *data, size_t length);
#define ES_DISPATCHES(function) (function != 0)
#else
#define XXH3_128bits_dispatch XXH3_128bits
#define XXH3_128bits_update_dispatch XXH3_128bits_update
#define ES_DISPATCHES(function) 0
#endif

static inline XXH128_hash_t es_xxh3_128(const void *data, size_t length) {
  return ES_DISPATCHES(XXH3_128bits_dispatch) ? XXH3_128bits_dispatch(data, length) : XXH3_128bits(data, length);
}

static inline void es_xxh3_update(XXH3_state_t *state, const void *data, size_t length) {
  if (ES_DISPATCHES(XXH3_128bits_update_dispatch)) {
    XXH3_128bits_update_dispatch(state, data, length);
  } else {
    XXH3_128bits_update(state, data, length);
  }
}
