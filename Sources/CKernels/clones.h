#pragma once

// Compiles a plain C loop for AVX-512, AVX2 and the baseline; the loader picks one by the CPU's features (ifunc).
// Every file that uses it turns FP contraction off, so that all clones give the same bits.
#if defined(__linux__) && defined(__x86_64__)
#define ES_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define ES_CLONES
#endif

#define ES_INLINE static inline __attribute__((always_inline))

// Before a loop whose steps do not depend on each other though an output may be an input, element for element: left to
// itself the compiler takes such a loop one element at a time.
#if defined(__clang__)
#define ES_ELEMENTWISE _Pragma("clang loop vectorize(assume_safety)")
#else
#define ES_ELEMENTWISE
#endif
