// The part of the CUDA runtime that the kernels use, on the host: what makes csrc/cuda/*.cu compile
// unchanged with `g++ -x c++ -I csrc/host`, so that they run, and can be watched, without a GPU.
//
// Blocks run one after another; the threads of a block are fibers that change places at barriers
// and shuffles only, so a missing barrier shows. launcher.cpp has the scheduler.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#define __global__
#define __host__
#define __device__
#define __shared__
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

using std::isnan;
using std::max;
using std::min;

inline float __fdividef(float a, float b) { return a / b; }

typedef void* cudaStream_t;
enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorLaunchFailure = 719,
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace pyramidflow::host {

// Runs every block of a launch; the kernel's arguments are bound.
cudaError_t run(const void* address, const std::function<void()>& kernel, dim3 grid, dim3 block,
                size_t shared_bytes);

// Waits for the threads of the block, or of the warp. `site` tells barriers apart.
void wait_for_block(const void* site);
float exchange_in_warp(float value, unsigned source_lane, const void* site);

template <typename... Parameters, size_t... Index>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, void** arguments,
                   size_t shared_bytes, std::index_sequence<Index...>) {
    return run(reinterpret_cast<const void*>(kernel), [&] {
        kernel(*static_cast<Parameters*>(arguments[Index])...);
    }, grid, block, shared_bytes);
}

}  // namespace pyramidflow::host

template <typename... Parameters>
cudaError_t cudaLaunchKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, void** arguments,
                             size_t shared_bytes, cudaStream_t) {
    return pyramidflow::host::launch(kernel, grid, block, arguments, shared_bytes,
                                     std::index_sequence_for<Parameters...>());
}

__attribute__((noinline)) void __syncthreads();
__attribute__((noinline)) float __shfl_down_sync(unsigned mask, float value, unsigned distance);

const char* cudaGetErrorName(cudaError_t error);
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = 0;
    return cudaSuccess;
}
inline cudaError_t cudaDriverGetVersion(int* version) {
    *version = 0;
    return cudaSuccess;
}
