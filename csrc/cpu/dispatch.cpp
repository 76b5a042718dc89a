// Picks, once, the best instruction set that both this build and this machine have.
#define PYRAMIDFLOW_STRUCTURE(name, ...) \
    struct name {                        \
        __VA_ARGS__                      \
    };                                   \
    PYRAMIDFLOW_KEPT(pyramidflow_cpu_##name##_fields, __VA_ARGS__)

#include "api.h"

#ifndef PYRAMIDFLOW_SOURCES
#define PYRAMIDFLOW_SOURCES
#endif

// One level is enough where the build is for a test of the sources.
#if defined(__x86_64__) && !defined(PYRAMIDFLOW_BASELINE_ONLY)
#define PYRAMIDFLOW_X86 1
#endif

namespace {

enum Level { BASELINE = 0, AVX2 = 1, AVX512 = 2 };

Level best_level() {
#ifdef PYRAMIDFLOW_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return AVX2;
#endif
    return BASELINE;
}

Level active = best_level();

}  // namespace

// Hash of the sources and flags of this build, behind an "h"; setup.py computes it.
PYRAMIDFLOW_API const char* pyramidflow_cpu_sources() {
    return PYRAMIDFLOW_TEXT(PYRAMIDFLOW_SOURCES);
}

PYRAMIDFLOW_API const char* pyramidflow_cpu_level() {
#ifdef PYRAMIDFLOW_X86
    static const char* const names[] = {"x86-64", "AVX2", "AVX-512"};
#else
    static const char* const names[] = {"baseline", "", ""};
#endif
    return names[active];
}

// What the names of the functions that were compiled for it begin with, behind pyramidflow_cpu_.
PYRAMIDFLOW_API const char* pyramidflow_cpu_prefix() {
    static const char* const names[] = {"baseline", "avx2", "avx512"};
    return names[active];
}

// Whether products of bfloat16 are there: AVX-512 BF16, in the machine and in this build.
PYRAMIDFLOW_API int pyramidflow_cpu_has_bfloat16() {
#if defined(PYRAMIDFLOW_X86) && PYRAMIDFLOW_HAS_BFLOAT16
    return active == AVX512 && __builtin_cpu_supports("avx512bf16");
#else
    return 0;
#endif
}

// Lowers the instruction set (never above the machine's), so that each can be tested on one
// machine.
PYRAMIDFLOW_API int pyramidflow_cpu_limit_level(int limit) {
    Level best = best_level();
    active = limit < best ? static_cast<Level>(limit < 0 ? 0 : limit) : best;
    return active;
}

PYRAMIDFLOW_API const char* pyramidflow_cpu_compiler() { return __VERSION__; }
