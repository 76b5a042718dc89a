// pyramid_residual, pyramid_merge and their gradient: one level up, subtracted or added.
#include "pyramid.cuh"

namespace pyramidflow {
namespace {

// U: fine pixel o from coarse pixels o/2−1 … o/2+1. The last coarse pixel of an odd size stands for
// one fine pixel, not two, and weighs less.
struct Up {
    static constexpr bool REFINES = true;
    static constexpr int TAPS = 3;
    static constexpr int span(int outputs) { return outputs / 2 + 2; }
    static __device__ int first(int o) { return o / 2 - 1; }
    static __device__ int taps(int) { return TAPS; }
    static __device__ float weight(int o, int tap, int fine_size) {
        const bool odd = o % 2 == 1;
        const bool cut = o + 1 + o % 2 >= fine_size;
        if (tap == 0) return (odd ? 1.0f : 5.0f) / 16.0f;
        if (tap == 1) return (cut && !odd ? 6.0f : 10.0f) / 16.0f;
        return (odd ? (cut ? 4.0f : 5.0f) : 1.0f) / 16.0f;
    }
};

// Uᵀ: coarse pixel o from fine pixels 2o−2 … 2o+3.
struct UpTransposed : Coarsening<6> {
    static __device__ float weight(int o, int tap, int fine_size) {
        const bool cut = 2 * o + 1 >= fine_size;
        const float reach_even = tap == 2               ? 6.0f
                                 : tap == 1 || tap == 3 ? 4.0f
                                 : tap < 5              ? 1.0f
                                                        : 0.0f;
        const float reach_odd = tap == 3               ? 6.0f
                                : tap == 2 || tap == 4 ? 4.0f
                                : tap > 0              ? 1.0f
                                                       : 0.0f;
        return (reach_even + (cut ? 0.0f : reach_odd)) / 16.0f;
    }
};

// out = other + SIGN · U(coarse)
template <typename T, bool CHANNELS_LAST, int SIGN>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pyramid_up_forward_kernel(const T* __restrict__ coarse, const T* __restrict__ other,
                              T* __restrict__ out, Sizes sizes) {
    Separable<T, CHANNELS_LAST, Up>::run(
        coarse, sizes, [&](int64_t offset, int valid, const float (&values)[VECTOR<T>]) {
        float sums[VECTOR<T>];
        load_vector(other + offset, 0, valid, sizes.out_aligned, sums);
#pragma unroll
        for (int i = 0; i < VECTOR<T>; ++i) sums[i] += SIGN * values[i];
        store_vector(out + offset, valid, sizes.out_aligned, sums);
    });
}

template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pyramid_up_backward_kernel(const T* __restrict__ grad, T* __restrict__ grad_coarse,
                               Sizes sizes) {
    Separable<T, CHANNELS_LAST, UpTransposed>::write(grad, grad_coarse, sizes);
}

template <int SIGN>
int64_t add_upsampled(const void* coarse, const void* other, void* out,
                      const PyramidflowLevel& fine, cudaStream_t stream) {
    return dispatch(fine, [&](auto kind) -> int64_t {
        using T = typename decltype(kind)::Type;
        constexpr bool LAST = decltype(kind)::channels_last;
        const Sizes sizes = make_sizes<T, LAST>(true, fine, coarse, out, other);
        return launch_tiles<OutputTile<LAST, true>>(
            pyramid_up_forward_kernel<T, LAST, SIGN>, Separable<T, LAST, Up>::SHARED_BYTES, stream,
            sizes, static_cast<const T*>(coarse), static_cast<const T*>(other),
            static_cast<T*>(out));
    });
}

}  // namespace
}  // namespace pyramidflow

using namespace pyramidflow;

// out = fine_level − U(coarse)
PYRAMIDFLOW_FUNCTION(pyramid_residual, const void* fine_level, const void* coarse, void* out,
                     PyramidflowLevel fine, cudaStream_t stream) {
    return add_upsampled<-1>(coarse, fine_level, out, fine, stream);
}

// out = U(coarse) + residual
PYRAMIDFLOW_FUNCTION(pyramid_merge, const void* coarse, const void* residual, void* out,
                     PyramidflowLevel fine, cudaStream_t stream) {
    return add_upsampled<1>(coarse, residual, out, fine, stream);
}

// grad_coarse = Uᵀ grad
PYRAMIDFLOW_FUNCTION(pyramid_up_backward, const void* grad, void* grad_coarse,
                     PyramidflowLevel fine, cudaStream_t stream) {
    return dispatch(fine, [&](auto kind) -> int64_t {
        using T = typename decltype(kind)::Type;
        constexpr bool LAST = decltype(kind)::channels_last;
        return launch_tiles<OutputTile<LAST, false>>(
            pyramid_up_backward_kernel<T, LAST>, Separable<T, LAST, UpTransposed>::SHARED_BYTES,
            stream, make_sizes<T, LAST>(false, fine, grad, grad_coarse),
            static_cast<const T*>(grad), static_cast<T*>(grad_coarse));
    });
}
