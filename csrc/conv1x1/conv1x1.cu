// invertible_conv1x1 and its gradients.
#include "conv1x1.cuh"

namespace pyramidflow {
namespace {

constexpr int GRAD_TILE = 32;     // of grad_weight, both ways
constexpr int GRAD_THREADS = 64;  // a thread has 4×4 elements of it

// Up to `count` channels from `first` on at the tile's pixels, zero outside the image.
template <typename T, bool CHANNELS_LAST>
__device__ void load_tile(const T* y, const PixelTile& place, int first, int count, int channels,
                          int pixels, bool aligned, float* tile) {
    const int here = channels - first < count ? channels - first : count;
    for (int v = threadIdx.x; v < PixelVector<T, CHANNELS_LAST>::count(here); v += blockDim.x) {
        const PixelVector<T, CHANNELS_LAST> at(v, here, place.pixels_left);
        float values[VECTOR<T>] = {};
        if (at.valid > 0)
            load_vector(y + pixel_offset<CHANNELS_LAST>(place.sample, first + at.channel,
                                                        place.pixel + at.pixel, channels, pixels),
                        0, at.valid, aligned, values);
#pragma unroll
        for (int i = 0; i < VECTOR<T>; ++i)
            if (at.channel_of(i) < here) tile[at.tile_index(i)] = values[i];
    }
}

template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    invertible_conv1x1_forward_kernel(const T* __restrict__ y,
                                      const float* __restrict__ weight_transposed,
                                      T* __restrict__ z, int channels, int pixels, bool aligned,
                                      bool weight_aligned) {
    float* results = shared_memory;                      // [MIX_CHANNELS, PITCH]
    float* tile = shared_memory + MIX_CHANNELS * PITCH;  // [MIX_CHANNELS, PITCH]
    const PixelTile place(blockIdx.x, pixels);
    for (int first = 0; first < channels; first += MIX_CHANNELS) {
        float sums[4][4] = {};
        for (int begin = 0; begin < channels; begin += MIX_CHANNELS) {
            const int count = channels - begin < MIX_CHANNELS ? channels - begin : MIX_CHANNELS;
            if (channels > MIX_CHANNELS || first == 0) {
                load_tile<T, CHANNELS_LAST>(y, place, begin, count, channels, pixels, aligned,
                                            tile);
                __syncthreads();
            }
            accumulate_mix(tile, weight_transposed, begin, count, first, channels, weight_aligned,
                           sums);
            __syncthreads();
        }
        store_mix<T, CHANNELS_LAST>(sums, results, place, first, channels, pixels, aligned, z);
    }
}

// partials[s]: the share of grad_weight from every splits-th tile of pixels, s on.
template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(GRAD_THREADS)
    invertible_conv1x1_backward_kernel(const T* __restrict__ grad_z, const T* __restrict__ y,
                                       float* __restrict__ partials, int tiles, int channels,
                                       int pixels, int splits, bool aligned) {
    float* rows = shared_memory;                         // [GRAD_TILE, PITCH] of grad_z
    float* columns = shared_memory + GRAD_TILE * PITCH;  // [GRAD_TILE, PITCH] of y
    const int across = divide_up(channels, GRAD_TILE);
    const int block = blockIdx.x;
    const int split = block % splits;
    const int first_column = block / splits % across * GRAD_TILE;
    const int first_row = block / splits / across * GRAD_TILE;
    const int row = threadIdx.x / 8 * 4;
    const int column = threadIdx.x % 8 * 4;
    float sums[4][4] = {};
    for (int t = split; t < tiles; t += splits) {
        const PixelTile place(t, pixels);
        load_tile<T, CHANNELS_LAST>(grad_z, place, first_row, GRAD_TILE, channels, pixels, aligned,
                                    rows);
        load_tile<T, CHANNELS_LAST>(y, place, first_column, GRAD_TILE, channels, pixels, aligned,
                                    columns);
        __syncthreads();
        for (int p = 0; p < PIXELS; ++p) {
            float values[4];
#pragma unroll
            for (int j = 0; j < 4; ++j) values[j] = columns[(column + j) * PITCH + p];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float grad = rows[(row + i) * PITCH + p];
#pragma unroll
                for (int j = 0; j < 4; ++j) sums[i][j] += grad * values[j];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (first_row + row + i < channels && first_column + column + j < channels)
                partials[(static_cast<int64_t>(split) * channels + first_row + row + i) * channels +
                         first_column + column + j] = sums[i][j];
}

// Shares that grad_weight is summed from: about a thousand blocks, each with tiles enough.
int grad_splits(int64_t tiles, int64_t channels) {
    const int64_t across = divide_up(channels, GRAD_TILE);
    const int64_t wanted = divide_up(1024, static_cast<int>(across * across));
    return static_cast<int>(tiles < wanted ? tiles : wanted);
}

}  // namespace
}  // namespace pyramidflow

using namespace pyramidflow;

// z = A y with weight_transposed [C, C] = Aᵀ.
PYRAMIDFLOW_FUNCTION(invertible_conv1x1, const void* y, const float* weight_transposed, void* z,
                     PyramidflowLevel level, cudaStream_t stream) {
    const int64_t channels = level.channels, pixels = level.height * level.width;
    if (!countable(pixels)) return cudaErrorInvalidValue;
    return dispatch(level, [&](auto kind) -> int64_t {
        using T = typename decltype(kind)::Type;
        constexpr bool LAST = decltype(kind)::channels_last;
        return launch(invertible_conv1x1_forward_kernel<T, LAST>,
                      level.batch * divide_up(pixels, PIXELS), THREADS,
                      2 * MIX_CHANNELS * PITCH * sizeof(float), stream, static_cast<const T*>(y),
                      weight_transposed, static_cast<T*>(z), static_cast<int>(channels),
                      static_cast<int>(pixels), vectors_fit<T>(LAST ? channels : pixels, y, z),
                      vectors_fit<float>(channels, weight_transposed));
    });
}

// Floats of workspace that the gradient needs.
PYRAMIDFLOW_FUNCTION(invertible_conv1x1_backward_workspace, PyramidflowLevel level) {
    const int64_t tiles = level.batch * divide_up(level.height * level.width, PIXELS);
    return grad_splits(tiles, level.channels) * level.channels * level.channels;
}

// grad_weight [C, C] = Σ grad_z yᵀ; the gradient of y is invertible_conv1x1 with A for Aᵀ.
PYRAMIDFLOW_FUNCTION(invertible_conv1x1_backward, const void* grad_z, const void* y,
                     float* grad_weight, float* workspace, PyramidflowLevel level,
                     cudaStream_t stream) {
    const int64_t channels = level.channels, pixels = level.height * level.width;
    const int64_t tiles = level.batch * divide_up(pixels, PIXELS);
    if (!countable(pixels) || !countable(tiles)) return cudaErrorInvalidValue;
    const int splits = grad_splits(tiles, channels);
    const int64_t across = divide_up(channels, GRAD_TILE);
    const int64_t error = dispatch(level, [&](auto kind) -> int64_t {
        using T = typename decltype(kind)::Type;
        constexpr bool LAST = decltype(kind)::channels_last;
        return launch(invertible_conv1x1_backward_kernel<T, LAST>, splits * across * across,
                      GRAD_THREADS, 2 * GRAD_TILE * PITCH * sizeof(float), stream,
                      static_cast<const T*>(grad_z), static_cast<const T*>(y), workspace, tiles,
                      static_cast<int>(channels), pixels, splits,
                      vectors_fit<T>(LAST ? channels : pixels, grad_z, y));
    });
    if (error != cudaSuccess) return error;
    const int64_t elements = channels * channels;
    return sum_partials({workspace, elements, 1, 1, 0, splits, elements}, 1.0f, grad_weight,
                        stream);
}
