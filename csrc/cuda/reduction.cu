// Second stage of the reductions, and what the library says about itself.
#define PYRAMIDFLOW_STRUCTURE(name, ...) \
    struct name {                        \
        __VA_ARGS__                      \
    };                                   \
    PYRAMIDFLOW_KEPT(pyramidflow_cuda_##name##_fields, __VA_ARGS__)

#include "common.cuh"

namespace pyramidflow {

__global__ void __launch_bounds__(THREADS, BLOCKS)
    sum_partials_kernel(Partials partials, float scale, float* out) {
    const int64_t row = static_cast<int64_t>(blockIdx.x) * (THREADS / WARP) + threadIdx.x / WARP;
    const int lane = threadIdx.x % WARP;
    float sum = 0.0f;
    if (row < partials.rows) {
        const float* data = partials.data + row * partials.row_stride;
        for (int64_t o = 0; o < partials.outer; ++o)
            for (int64_t i = lane; i < partials.inner; i += WARP)
                sum += data[o * partials.outer_stride + i * partials.inner_stride];
    }
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        sum += __shfl_down_sync(0xffffffffu, sum, distance);
    if (row < partials.rows && lane == 0) out[row] = scale * sum;
}

int64_t sum_partials(const Partials& partials, float scale, float* out, cudaStream_t stream) {
    return launch(sum_partials_kernel, divide_up(partials.rows, THREADS / WARP), THREADS, 0, stream,
                  partials, scale, out);
}

}  // namespace pyramidflow

#ifndef PYRAMIDFLOW_ARCHITECTURES
#define PYRAMIDFLOW_ARCHITECTURES
#endif
#define PYRAMIDFLOW_TEXT_OF(...) #__VA_ARGS__
#define PYRAMIDFLOW_TEXT(...) PYRAMIDFLOW_TEXT_OF(__VA_ARGS__)

const char* pyramidflow_cuda_sources() { return PYRAMIDFLOW_TEXT(PYRAMIDFLOW_SOURCES); }

const char* pyramidflow_cuda_compiler() {
#if defined(__CUDACC__)
    return "nvcc " PYRAMIDFLOW_TEXT(__CUDACC_VER_MAJOR__) "." PYRAMIDFLOW_TEXT(
        __CUDACC_VER_MINOR__);
#else
    return "a host compiler";
#endif
}

const char* pyramidflow_cuda_architectures() { return PYRAMIDFLOW_TEXT(PYRAMIDFLOW_ARCHITECTURES); }

const char* pyramidflow_cuda_error_name(int64_t error) {
    return cudaGetErrorName(static_cast<cudaError_t>(error));
}

// Makes a device current for the calling thread: this library's runtime is its own.
PYRAMIDFLOW_FUNCTION(set_device, int64_t device) { return cudaSetDevice(static_cast<int>(device)); }

PYRAMIDFLOW_FUNCTION(runtime_version) {
    int version = 0;
    return cudaRuntimeGetVersion(&version) == cudaSuccess ? version : 0;
}

PYRAMIDFLOW_FUNCTION(driver_version) {
    int version = 0;
    return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}
