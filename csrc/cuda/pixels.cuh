// Tiles of 32 pixels with their channels: how the operations that mix channels see an image.
//
// A block owns PIXELS flat pixels of one sample. It visits them in vectors of 128 bits, which lie
// along pixels in contiguous order and along channels in channels-last order; a tile in shared
// memory is [channel, PITCH] floats in both.
#pragma once

#include "common.cuh"

namespace pyramidflow {

constexpr int PIXELS = 32;
constexpr int PITCH = PIXELS + 1;  // an odd pitch keeps columns of the tile off one memory bank

static_assert(PIXELS == WARP, "a warp sums a tile's pixels, one lane each");

// One vector of a tile.
template <typename T, bool CHANNELS_LAST>
struct PixelVector {
    int channel, pixel;  // of its first element, in the tile
    int valid;           // elements inside the image, may be negative

    static __host__ __device__ int count(int channels) {
        return CHANNELS_LAST ? PIXELS * divide_up(channels, VECTOR<T>)
                             : channels * (PIXELS / VECTOR<T>);
    }

    // Vector v of a tile of `channels` channels, of whose pixels `pixels_left` are inside the
    // image.
    __device__ PixelVector(int v, int channels, int pixels_left) {
        if (CHANNELS_LAST) {
            const int across = divide_up(channels, VECTOR<T>);
            pixel = v / across;
            channel = v % across * VECTOR<T>;
            valid = pixel < pixels_left ? channels - channel : 0;
        } else {
            constexpr int across = PIXELS / VECTOR<T>;
            channel = v / across;
            pixel = v % across * VECTOR<T>;
            valid = pixels_left - pixel < VECTOR<T> ? pixels_left - pixel : VECTOR<T>;
        }
    }
    __device__ int channel_of(int i) const { return CHANNELS_LAST ? channel + i : channel; }
    __device__ int pixel_of(int i) const { return CHANNELS_LAST ? pixel : pixel + i; }
    __device__ int tile_index(int i) const { return channel_of(i) * PITCH + pixel_of(i); }
};

template <bool CHANNELS_LAST>
__device__ int64_t pixel_offset(int64_t sample, int64_t channel, int64_t pixel, int64_t channels,
                                int64_t pixels) {
    if (CHANNELS_LAST) return (sample * pixels + pixel) * channels + channel;
    return (sample * channels + channel) * pixels + pixel;
}

// Position of a block among the tiles of a batch of images.
struct PixelTile {
    int sample, pixel, pixels_left;

    __device__ PixelTile(int block, int pixels) {
        const int tiles = divide_up(pixels, PIXELS);
        sample = block / tiles;
        pixel = block % tiles * PIXELS;
        pixels_left = pixels - pixel;
    }
};

// Sum of the tile's channels at each pixel, into sums[PIXELS]. `scratch` holds THREADS floats. The
// block must be in step before and is after.
inline __device__ void sum_channels(const float* tile, int channels, float* scratch, float* sums) {
    const int pixel = threadIdx.x % PIXELS;
    float sum = 0.0f;
    for (int c = threadIdx.x / PIXELS; c < channels; c += THREADS / PIXELS)
        sum += tile[c * PITCH + pixel];
    scratch[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x < PIXELS) {
        float total = 0.0f;
        for (int part = 0; part < THREADS / PIXELS; ++part) total += scratch[part * PIXELS + pixel];
        sums[pixel] = total;
    }
    __syncthreads();
}

}  // namespace pyramidflow
