// Picks, once, the best instruction set that both this build and this machine have.
#include "api.h"

#ifndef PYRAMIDFLOW_SOURCES
#define PYRAMIDFLOW_SOURCES
#endif
#define PYRAMIDFLOW_TEXT_OF(...) #__VA_ARGS__
#define PYRAMIDFLOW_TEXT(...) PYRAMIDFLOW_TEXT_OF(__VA_ARGS__)

#define DECLARE(name, parameters, arguments) int name parameters;

// One level is enough where the build is for a test of the sources.
#if defined(__x86_64__) && !defined(PYRAMIDFLOW_BASELINE_ONLY)
#define PYRAMIDFLOW_X86 1
namespace pyramidflow::avx2 {
PYRAMIDFLOW_FUNCTIONS(DECLARE)
}
namespace pyramidflow::avx512 {
PYRAMIDFLOW_FUNCTIONS(DECLARE)
}
#endif
namespace pyramidflow::baseline {
PYRAMIDFLOW_FUNCTIONS(DECLARE)
}

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

PYRAMIDFLOW_API int64_t pyramidflow_cpu_interface() { return PYRAMIDFLOW_INTERFACE; }

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

#ifdef PYRAMIDFLOW_X86
#define DEFINE(name, parameters, arguments)                               \
    PYRAMIDFLOW_API int pyramidflow_cpu_##name parameters {               \
        if (active == AVX512) return pyramidflow::avx512::name arguments; \
        if (active == AVX2) return pyramidflow::avx2::name arguments;     \
        return pyramidflow::baseline::name arguments;                     \
    }
#else
#define DEFINE(name, parameters, arguments)                 \
    PYRAMIDFLOW_API int pyramidflow_cpu_##name parameters { \
        return pyramidflow::baseline::name arguments;       \
    }
#endif

PYRAMIDFLOW_FUNCTIONS(DEFINE)
