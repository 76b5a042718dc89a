// z = A y for a tile of pixels; conv1x1.cu and coupling_conv1x1.cu build on it.
#pragma once

#include "cuda/pixels.cuh"

namespace pyramidflow {

constexpr int MIX_CHANNELS =
    64;                       // results of a block at a time: a thread has 4 channels × 4 pixels
constexpr int MIX_LANES = 8;  // threads along pixels

static_assert(MIX_CHANNELS / 4 * MIX_LANES == THREADS, "a thread for every 4×4 results");
static_assert(PIXELS == 4 * MIX_LANES, "four pixels a thread");

// sums[i][j] += Σ_c A[first + 4·group + i, begin + c] · tile[c, lane + MIX_LANES·j], c < count.
inline __device__ void accumulate_mix(const float* tile, const float* weight_transposed, int begin,
                                      int count, int first, int channels, bool weight_aligned,
                                      float (&sums)[4][4]) {
    const int lane = threadIdx.x % MIX_LANES;
    const int row = first + threadIdx.x / MIX_LANES * 4;
    for (int c = 0; c < count; ++c) {
        float weights[4];
        load_vector(weight_transposed + static_cast<int64_t>(begin + c) * channels + row, 0,
                    channels - row, weight_aligned, weights);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const float value = tile[c * PITCH + lane + MIX_LANES * j];
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[i][j] += weights[i] * value;
        }
    }
}

// Writes the block's results of channels `first` on through the tile `results` [MIX_CHANNELS,
// PITCH]. The block must be in step before and is after.
template <typename T, bool CHANNELS_LAST>
__device__ void store_mix(const float (&sums)[4][4], float* results, const PixelTile& place,
                          int first, int channels, int pixels, bool aligned, T* z) {
    const int lane = threadIdx.x % MIX_LANES;
    const int row = threadIdx.x / MIX_LANES * 4;
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) results[(row + i) * PITCH + lane + MIX_LANES * j] = sums[i][j];
    __syncthreads();
    const int here = channels - first < MIX_CHANNELS ? channels - first : MIX_CHANNELS;
    for (int v = threadIdx.x; v < PixelVector<T, CHANNELS_LAST>::count(here); v += THREADS) {
        const PixelVector<T, CHANNELS_LAST> at(v, here, place.pixels_left);
        if (at.valid <= 0) continue;
        float values[VECTOR<T>];
#pragma unroll
        for (int i = 0; i < VECTOR<T>; ++i)
            values[i] = i < at.valid ? results[at.tile_index(i)] : 0.0f;
        store_vector(z + pixel_offset<CHANNELS_LAST>(place.sample, first + at.channel,
                                                     place.pixel + at.pixel, channels, pixels),
                     at.valid, aligned, values);
    }
    __syncthreads();
}

}  // namespace pyramidflow
