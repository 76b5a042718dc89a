// coupling_conv1x1: the affine coupling and the 1×1 convolution behind it in one pass over memory.
#include "conv1x1/conv1x1.cuh"
#include "coupling.cuh"

namespace pyramidflow {
namespace {

template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    coupling_conv1x1_forward_kernel(CouplingInput<T> in,
                                    const float* __restrict__ weight_transposed, T* __restrict__ y,
                                    T* __restrict__ z, float* __restrict__ partials,
                                    bool weight_aligned) {
    float* scratch = shared_memory;
    float* results = scratch + COUPLING_SCRATCH;   // [MIX_CHANNELS, PITCH]
    float* tile = results + MIX_CHANNELS * PITCH;  // [C, PITCH]
    const int channels = in.sizes.channels;
    const PixelTile place(blockIdx.x, in.sizes.pixels());
    const float sum = couple_tile<T, CHANNELS_LAST, true>(in, FORWARD, y, tile, scratch);
    if (partials == nullptr) {
        __syncthreads();  // for the tile, as the sum does
    } else {
        const float total = block_sum(sum, scratch);
        if (threadIdx.x == 0) partials[blockIdx.x] = total;
    }
    for (int first = 0; first < channels; first += MIX_CHANNELS) {
        float sums[4][4] = {};
        accumulate_mix(tile, weight_transposed, 0, channels, first, channels, weight_aligned, sums);
        store_mix<T, CHANNELS_LAST>(sums, results, place, first, channels, in.sizes.pixels(),
                                    in.sizes.aligned, z);
    }
}

}  // namespace
}  // namespace pyramidflow

using namespace pyramidflow;

// The most channels that the fused kernel takes.
PYRAMIDFLOW_FUNCTION(coupling_conv1x1_channels) {
    return (SHARED_LIMIT / static_cast<int64_t>(sizeof(float)) - COUPLING_SCRATCH) / PITCH -
           MIX_CHANNELS;
}

// z = A (exp(s) ⊙ x + t) with weight_transposed [C, C] = Aᵀ; y and log_det are written unless null.
// Refuses with cudaErrorInvalidValue more channels than
// pyramidflow_cuda_coupling_conv1x1_channels().
PYRAMIDFLOW_FUNCTION(coupling_conv1x1, const void* x, const void* params, float* mean,
                     const float* weight_transposed, void* y, void* z, float* log_det,
                     float* workspace, PyramidflowCoupling coupling, cudaStream_t stream) {
    const int64_t channels = coupling.channels;
    if (channels > pyramidflow_cuda_coupling_conv1x1_channels() || !countable(coupling))
        return cudaErrorInvalidValue;
    const bool takes = !coupling.mean_given && coupling.volume_norm != PYRAMIDFLOW_NO_NORM;
    const bool in_block = mean_fits_block(coupling, 1, MIX_CHANNELS * PITCH);
    const int64_t tiles = divide_up(coupling.height * coupling.width, PIXELS);
    if (takes && !in_block) {
        const int64_t error =
            take_mean(params, mean, workspace + coupling.batch * tiles, coupling, stream);
        if (error != cudaSuccess) return error;
    }
    const int64_t error =
        dispatch(coupling.type, coupling.channels_last, [&](auto kind) -> int64_t {
        using T = typename decltype(kind)::Type;
        constexpr bool LAST = decltype(kind)::channels_last;
        CouplingInput<T> in;
        in.input = static_cast<const T*>(x);
        in.params = static_cast<const T*>(params);
        in.sizes = coupling_sizes<T, LAST>(coupling, params, x, y, z);
        in.new_mean = in_block ? mean : nullptr;
        in.mean = coupling.mean_given ? given_mean(coupling, mean)
                  : takes             ? taken_mean(coupling, mean)
                                      : MeanView{nullptr, 0, 0, 0};
        const int64_t floats =
            COUPLING_SCRATCH + MIX_CHANNELS * PITCH + coupling_tile_floats(channels);
        return launch(coupling_conv1x1_forward_kernel<T, LAST>, coupling.batch * tiles, THREADS,
                      floats * sizeof(float), stream, in, weight_transposed, static_cast<T*>(y),
                      static_cast<T*>(z), log_det == nullptr ? nullptr : workspace,
                      vectors_fit<float>(channels, weight_transposed));
    });
    if (error != cudaSuccess || log_det == nullptr) return error;
    return sum_partials({workspace, coupling.batch, tiles, 1, 0, tiles, 1}, 1.0f, log_det, stream);
}
