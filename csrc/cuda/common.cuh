// What every kernel shares: element types, 128-bit access, launches, sums over a block.
#pragma once

#include <climits>
#include <cmath>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "api.cuh"

namespace pyramidflow {

constexpr int WARP = 32;
constexpr int THREADS = 128;
constexpr int BLOCKS =
    4;  // on a multiprocessor, at least; for more the compiler would spill registers
constexpr int64_t SHARED_LIMIT = 48 * 1024;  // bytes any device gives without being asked

extern __shared__ __align__(16) float shared_memory[];

// Elements of T in 128 bits.
template <typename T>
constexpr int VECTOR = 16 / sizeof(T);

template <typename T>
struct alignas(16) Vector {
    T elements[VECTOR<T>];
};

inline __device__ float to_float(float value) { return value; }
inline __device__ float to_float(__half value) { return __half2float(value); }
inline __device__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

inline __device__ void from_float(float value, float& out) { out = value; }
inline __device__ void from_float(float value, __half& out) { out = __float2half_rn(value); }
inline __device__ void from_float(float value, __nv_bfloat16& out) {
    out = __float2bfloat16_rn(value);
}

// Elements [low, high) of the vector at `start`; the others are zero and not touched. `aligned`
// says that a vector is never cut and lies on 16 bytes.
template <typename T>
__device__ void load_vector(const T* start, int low, int high, bool aligned,
                            float (&values)[VECTOR<T>]) {
    if (aligned && high > low) {
        const uint4 bits = *reinterpret_cast<const uint4*>(start);
        const Vector<T> vector = reinterpret_cast<const Vector<T>&>(bits);
#pragma unroll
        for (int i = 0; i < VECTOR<T>; ++i) values[i] = to_float(vector.elements[i]);
        return;
    }
#pragma unroll
    for (int i = 0; i < VECTOR<T>; ++i)
        values[i] = i >= low && i < high ? to_float(start[i]) : 0.0f;
}

template <typename T>
__device__ void store_vector(T* start, int high, bool aligned, const float (&values)[VECTOR<T>]) {
    Vector<T> vector;
#pragma unroll
    for (int i = 0; i < VECTOR<T>; ++i) from_float(values[i], vector.elements[i]);
    if (aligned && high > 0) {
        *reinterpret_cast<uint4*>(start) = reinterpret_cast<const uint4&>(vector);
        return;
    }
#pragma unroll
    for (int i = 0; i < VECTOR<T>; ++i)
        if (i < high) start[i] = vector.elements[i];
}

inline bool on_16_bytes(const void* pointer) {
    return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

// Whether rows of `length` elements keep every vector on 16 bytes; a null pointer is not accessed.
template <typename T, typename... Pointers>
bool vectors_fit(int64_t length, const Pointers*... pointers) {
    return length % VECTOR<T> == 0 && (on_16_bytes(pointers) && ...);
}

template <typename A>
__host__ __device__ A divide_up(A a, int b) {
    return (a + b - 1) / b;
}

// Kernels count pixels, channels and blocks in 32 bits, and multiply them in 64.
inline bool countable(int64_t count) { return count <= INT_MAX - 65536; }

template <typename T, bool CHANNELS_LAST>
struct Kind {
    using Type = T;
    static constexpr bool channels_last = CHANNELS_LAST;
};

// Calls `run` with the Kind that the caller's type and layout name.
template <typename Run>
int64_t dispatch(int64_t type, int64_t channels_last, Run run) {
    switch (2 * type + (channels_last != 0)) {
        case 2 * PYRAMIDFLOW_FLOAT32: return run(Kind<float, false>());
        case 2 * PYRAMIDFLOW_FLOAT32 + 1: return run(Kind<float, true>());
        case 2 * PYRAMIDFLOW_FLOAT16: return run(Kind<__half, false>());
        case 2 * PYRAMIDFLOW_FLOAT16 + 1: return run(Kind<__half, true>());
        case 2 * PYRAMIDFLOW_BFLOAT16: return run(Kind<__nv_bfloat16, false>());
        case 2 * PYRAMIDFLOW_BFLOAT16 + 1: return run(Kind<__nv_bfloat16, true>());
        default: return cudaErrorInvalidValue;
    }
}

template <typename Run>
int64_t dispatch(const PyramidflowLevel& level, Run run) {
    return dispatch(level.type, level.channels_last, run);
}

template <typename T>
struct Identity {
    using Type = T;
};

// One-dimensional launch; no blocks is no work.
template <typename... Parameters>
int64_t launch(void (*kernel)(Parameters...), int64_t blocks, int threads, int64_t shared_bytes,
               cudaStream_t stream, typename Identity<Parameters>::Type... arguments) {
    if (blocks == 0) return cudaSuccess;
    if (!countable(blocks) || shared_bytes > SHARED_LIMIT) return cudaErrorInvalidConfiguration;
    void* pointers[] = {&arguments...};
    return cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(blocks)), dim3(threads), pointers,
                            static_cast<size_t>(shared_bytes), stream);
}

// Sum over the block, valid in thread 0. `scratch` holds a float for each warp.
inline __device__ float block_sum(float value, float* scratch) {
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        value += __shfl_down_sync(0xffffffffu, value, distance);
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = value;
    __syncthreads();
    float sum = 0.0f;
    for (int warp = 0; warp < static_cast<int>(blockDim.x) / WARP; ++warp) sum += scratch[warp];
    return sum;
}

// Second stage of every reduction, in a fixed order:
// out[r] = scale · Σ_o Σ_i partials[r · row_stride + o · outer_stride + i · inner_stride].
struct Partials {
    const float* data;
    int64_t rows, row_stride, outer, outer_stride, inner, inner_stride;
};
int64_t sum_partials(const Partials& partials, float scale, float* out, cudaStream_t stream);

}  // namespace pyramidflow
