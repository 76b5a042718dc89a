// What the kernels share. Each kernel file is compiled once for every instruction set, in a
// namespace of its own (PYRAMIDFLOW_LEVEL). Nothing here may use an inline function of the standard
// library: the linker would keep one copy of it, perhaps the one for the newest machines.
#pragma once

#include "api.h"
#include "system.h"

// For what an inner loop calls: one call that stays a call keeps the loop from becoming vector
// code.
#define PYRAMIDFLOW_INLINE_LAMBDA __attribute__((always_inline))
#define PYRAMIDFLOW_INLINE inline PYRAMIDFLOW_INLINE_LAMBDA

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

// A number known to the compiler, passed like any other.
template <int64_t VALUE>
struct Constant {
    static constexpr int64_t value = VALUE;
    constexpr operator int64_t() const { return VALUE; }
};

// Calls `body` with the numbers FIRST ... END - 1, each known to the compiler.
template <int64_t FIRST, int64_t END, typename Body>
static PYRAMIDFLOW_INLINE void repeat(const Body& body) {
    if constexpr (FIRST < END) {
        body(Constant<FIRST>());
        repeat<FIRST + 1, END>(body);
    }
}

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Calls `body` with the length as a compile-time constant where it is a usual channel count: one
// short inner loop then becomes a few vector instructions. Not for an x86-64 without AVX, where it
// gains less than it costs every build.
template <typename Body>
static inline void with_channels(int64_t channels, const Body& body) {
#if !defined(__SSE2__) || defined(__AVX__)
    if (channels == 16) return body(Constant<16>());
    if (channels == 32) return body(Constant<32>());
#endif
    body(channels);
}

// Scratch memory for every thread, allocated before the threads start.
template <typename T>
class Scratch {
public:
    explicit Scratch(int64_t count) : data_(nullptr) {
        size_t bytes =
            static_cast<size_t>(ceil_div(count * static_cast<int64_t>(sizeof(T)), 64) * 64);
        if (bytes == 0) bytes = 64;
        if (posix_memalign(&data_, 64, bytes) != 0) data_ = nullptr;
    }
    ~Scratch() { free(data_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    T* get() const { return static_cast<T*>(data_); }
    bool failed() const { return data_ == nullptr; }

private:
    void* data_;
};

#ifdef _OPENMP
extern "C" int omp_get_thread_num(void);
static inline int64_t thread_index() { return omp_get_thread_num(); }
#else
static inline int64_t thread_index() { return 0; }
#endif

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
