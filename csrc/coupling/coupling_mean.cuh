// Means of a coupling by kernels of their own: over the channels of each pixel or over the pixels
// of each channel, of one sample or of all.
//
// What a mean is taken of is a functor: vectors of values on the parameters' grid, and the sizes.
#pragma once

#include "coupling.cuh"

namespace pyramidflow {

constexpr int MEAN_CHANNELS = 64;  // of a tile when a mean is taken by kernels of its own

// The values of up to MEAN_CHANNELS channels at the tile's pixels; zero outside the image.
template <typename T, bool CHANNELS_LAST, typename Values>
__device__ void load_values(const Values& source, const PixelTile& place, int first_channel,
                            int channels, float* tile) {
    for (int v = threadIdx.x; v < PixelVector<T, CHANNELS_LAST>::count(channels); v += THREADS) {
        const PixelVector<T, CHANNELS_LAST> at(v, channels, place.pixels_left);
        float values[VECTOR<T>] = {};
        if (at.valid > 0) source(at, place, first_channel, values);
#pragma unroll
        for (int i = 0; i < VECTOR<T>; ++i)
            if (at.channel_of(i) < channels)
                tile[at.tile_index(i)] = i < at.valid ? values[i] : 0.0f;
    }
}

inline __device__ int channels_from(int first, int channels) {
    return channels - first < MEAN_CHANNELS ? channels - first : MEAN_CHANNELS;
}

// means[g, p] over the channels, and over `samples` samples, of pixel p.
template <typename T, bool CHANNELS_LAST, typename Values>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    channel_mean_kernel(Values source, int samples, float* __restrict__ means) {
    const CouplingSizes& sizes = source.sizes;
    float* scratch = shared_memory;
    float* sums = scratch + THREADS;
    float* tile = scratch + COUPLING_SCRATCH;
    PixelTile place(blockIdx.x, sizes.params_pixels());
    const int group = place.sample;
    float total = 0.0f;
    for (int sample = 0; sample < samples; ++sample) {
        place.sample = group * samples + sample;
        for (int first = 0; first < sizes.channels; first += MEAN_CHANNELS) {
            const int channels = channels_from(first, sizes.channels);
            load_values<T, CHANNELS_LAST>(source, place, first, channels, tile);
            __syncthreads();
            sum_channels(tile, channels, scratch, sums);
            if (threadIdx.x < PIXELS) total += sums[threadIdx.x];
        }
    }
    if (static_cast<int>(threadIdx.x) < min(PIXELS, place.pixels_left))
        means[pixel_offset<false>(group, 0, place.pixel + threadIdx.x, 1, sizes.params_pixels())] =
            total * sizes.share / static_cast<float>(samples);
}

// partials[b, c, k]: sum over the k-th of `parts` runs of tiles.
template <typename T, bool CHANNELS_LAST, typename Values>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pixel_sum_kernel(Values source, int parts, float* __restrict__ partials) {
    const CouplingSizes& sizes = source.sizes;
    float* tile = shared_memory;
    const int groups = divide_up(sizes.channels, MEAN_CHANNELS);
    const int block = blockIdx.x;
    const int part = block % parts;
    const int first = block / parts % groups * MEAN_CHANNELS;
    const int sample = block / parts / groups;
    const int channels = channels_from(first, sizes.channels);
    const int tiles = divide_up(sizes.params_pixels(), PIXELS);
    const int channel = threadIdx.x % MEAN_CHANNELS;
    const int half = threadIdx.x / MEAN_CHANNELS;
    float sum = 0.0f;
    for (int t = part; t < tiles; t += parts) {
        const PixelTile place(sample * tiles + t, sizes.params_pixels());
        load_values<T, CHANNELS_LAST>(source, place, first, channels, tile);
        __syncthreads();
        if (channel < channels)
            for (int p = half; p < PIXELS; p += THREADS / MEAN_CHANNELS)
                sum += tile[channel * PITCH + p];
        __syncthreads();
    }
    tile[threadIdx.x] = sum;
    __syncthreads();
    if (half == 0 && channel < channels) {
        for (int other = 1; other < THREADS / MEAN_CHANNELS; ++other)
            sum += tile[other * MEAN_CHANNELS + channel];
        partials[(static_cast<int64_t>(sample) * sizes.channels + first + channel) * parts + part] =
            sum;
    }
}

// Runs of tiles that the pixels of a sample are summed in: enough blocks for a large device, few
// enough for the second stage.
inline int64_t mean_parts(int64_t params_pixels) {
    const int64_t tiles = divide_up(params_pixels, PIXELS);
    return tiles < 64 ? tiles : 64;
}

inline int64_t mean_partials(const PyramidflowCoupling& coupling) {
    return coupling.volume_norm == PYRAMIDFLOW_SVN
               ? coupling.batch * coupling.channels *
                     mean_parts(coupling.params_height * coupling.params_width)
               : 0;
}

template <typename T, bool CHANNELS_LAST, typename Values>
int64_t take_mean_of(const Values& source, float* mean, float* workspace,
                     const PyramidflowCoupling& coupling, cudaStream_t stream) {
    const int64_t pixels = coupling.params_height * coupling.params_width;
    const int64_t together = coupling.statistics == PYRAMIDFLOW_BATCH ? coupling.batch : 1;
    if (coupling.batch == 0) return cudaSuccess;
    if (coupling.volume_norm == PYRAMIDFLOW_CVN)
        return launch(channel_mean_kernel<T, CHANNELS_LAST, Values>,
                      coupling.batch / together * divide_up(pixels, PIXELS), THREADS,
                      (COUPLING_SCRATCH + MEAN_CHANNELS * PITCH) * sizeof(float), stream, source,
                      static_cast<int>(together), mean);
    const int64_t parts = mean_parts(pixels);
    const int64_t error = launch(
        pixel_sum_kernel<T, CHANNELS_LAST, Values>,
        coupling.batch * divide_up(coupling.channels, MEAN_CHANNELS) * parts, THREADS,
        MEAN_CHANNELS * PITCH * sizeof(float), stream, source, static_cast<int>(parts), workspace);
    if (error != cudaSuccess) return error;
    const Partials partials = {workspace,
                               coupling.batch / together * coupling.channels,
                               parts,
                               together,
                               coupling.channels * parts,
                               parts,
                               1};
    return sum_partials(
        partials, 1.0f / (static_cast<float>(together) * static_cast<float>(pixels)), mean, stream);
}

}  // namespace pyramidflow
