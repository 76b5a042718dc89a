// The affine coupling of one tile of pixels; coupling.cu and coupling_conv1x1.cu build on
// it.
#pragma once

#include "cuda/pixels.cuh"

namespace pyramidflow {

constexpr float SOFT_CLAMP_GAIN = 0.636f;

// Which way a coupling runs; the arithmetic takes it as the sign of s.
constexpr float FORWARD = 1.0f;
constexpr float INVERSE = -1.0f;

struct SoftClamp {
    float bound, reciprocal;

    __device__ float apply(float s0) const {
        return bound * SOFT_CLAMP_GAIN * atanf(s0 * reciprocal);
    }
    __device__ float slope(float s0) const {
        const float ratio = s0 * reciprocal;
        return __fdividef(SOFT_CLAMP_GAIN, 1.0f + ratio * ratio);
    }
};

// A mean that is broadcast over samples, channels or pixels; null is zero.
struct MeanView {
    const float* data;
    int64_t sample, channel, pixel;

    __device__ float at(int64_t b, int64_t c, int64_t p) const {
        return data == nullptr ? 0.0f : data[b * sample + c * channel + p * pixel];
    }
};

// Nearest-neighbour source of a pixel, in PyTorch's float arithmetic.
inline __host__ __device__ int nearest(int position, float scale, int size) {
    const int source = static_cast<int>(floorf(static_cast<float>(position) * scale));
    return source < size - 1 ? source : size - 1;
}

// Sizes of the transformed level and of its parameters.
struct CouplingSizes {
    int64_t batch;
    int channels, height, width, params_height, params_width;
    float scale_y, scale_x;  // parameters' pixels per pixel
    SoftClamp clamp;
    float share;  // of one channel in a mean over channels
    bool resized;
    bool aligned, params_aligned;

    __host__ __device__ int pixels() const { return height * width; }
    __host__ __device__ int params_pixels() const { return params_height * params_width; }
    __device__ int source_pixel(int pixel) const {
        if (!resized) return pixel;
        return nearest(pixel / width, scale_y, params_height) * params_width +
               nearest(pixel % width, scale_x, params_width);
    }
};

// Elements of channel `channel` on (of 2C) that belong to the pixels `pixel` on of the level.
template <typename T, bool CHANNELS_LAST>
__device__ void load_params(const T* params, const CouplingSizes& sizes, int sample, int channel,
                            int pixel, int valid, float (&values)[VECTOR<T>]) {
    if constexpr (!CHANNELS_LAST) {
        if (sizes.resized) {
#pragma unroll
            for (int i = 0; i < VECTOR<T>; ++i) {
                const int source = i < valid ? sizes.source_pixel(pixel + i) : 0;
                const int64_t offset = pixel_offset<false>(
                    sample, channel, source, 2 * sizes.channels, sizes.params_pixels());
                values[i] = i < valid ? to_float(params[offset]) : 0.0f;
            }
            return;
        }
    }
    const int64_t offset = pixel_offset<CHANNELS_LAST>(sample, channel, sizes.source_pixel(pixel),
                                                       2 * sizes.channels, sizes.params_pixels());
    load_vector(params + offset, 0, valid, sizes.params_aligned, values);
}

template <typename T>
struct CouplingInput {
    const T* input;
    const T* params;
    MeanView mean;
    float* new_mean;  // [B, H'·W'] of channel means to take and write, or null
    CouplingSizes sizes;
};

// Floats of shared memory of couple_tile beside the tile.
constexpr int COUPLING_SCRATCH = THREADS + PIXELS;

// Transforms the block's tile; returns this thread's share of ±Σ s. The tile [C, PITCH] is used if
// there is a mean to take, and holds the results afterwards if KEEP. `output` may be null.
template <typename T, bool CHANNELS_LAST, bool KEEP>
__device__ float couple_tile(const CouplingInput<T>& in, float direction, T* output, float* tile,
                             float* scratch) {
    const CouplingSizes& sizes = in.sizes;
    const PixelTile place(blockIdx.x, sizes.pixels());
    const int vectors = PixelVector<T, CHANNELS_LAST>::count(sizes.channels);
    float* means = scratch + THREADS;
    if (in.new_mean != nullptr) {
        for (int v = threadIdx.x; v < vectors; v += THREADS) {
            const PixelVector<T, CHANNELS_LAST> at(v, sizes.channels, place.pixels_left);
            if (at.valid <= 0) continue;
            float s0[VECTOR<T>];
            load_params<T, CHANNELS_LAST>(in.params, sizes, place.sample, at.channel,
                                          place.pixel + at.pixel, at.valid, s0);
#pragma unroll
            for (int i = 0; i < VECTOR<T>; ++i)
                if (i < at.valid) tile[at.tile_index(i)] = sizes.clamp.apply(s0[i]);
        }
        __syncthreads();
        sum_channels(tile, sizes.channels, scratch, means);
        if (static_cast<int>(threadIdx.x) < min(PIXELS, place.pixels_left))
            in.new_mean[pixel_offset<false>(place.sample, 0, place.pixel + threadIdx.x, 1,
                                            sizes.pixels())] = means[threadIdx.x] * sizes.share;
    }
    float log_scale = 0.0f;
    for (int v = threadIdx.x; v < vectors; v += THREADS) {
        const PixelVector<T, CHANNELS_LAST> at(v, sizes.channels, place.pixels_left);
        if (at.valid <= 0) continue;
        const int pixel = place.pixel + at.pixel;
        const int64_t offset = pixel_offset<CHANNELS_LAST>(place.sample, at.channel, pixel,
                                                           sizes.channels, sizes.pixels());
        float values[VECTOR<T>], s[VECTOR<T>], t[VECTOR<T>];
        load_vector(in.input + offset, 0, at.valid, sizes.aligned, values);
        load_params<T, CHANNELS_LAST>(in.params, sizes, place.sample, sizes.channels + at.channel,
                                      pixel, at.valid, t);
        if (in.new_mean == nullptr)
            load_params<T, CHANNELS_LAST>(in.params, sizes, place.sample, at.channel, pixel,
                                          at.valid, s);
#pragma unroll
        for (int i = 0; i < VECTOR<T>; ++i) {
            if (i >= at.valid) continue;
            if (in.new_mean != nullptr)
                s[i] = tile[at.tile_index(i)] - means[at.pixel_of(i)] * sizes.share;
            else
                s[i] = sizes.clamp.apply(s[i]) -
                       in.mean.at(place.sample, at.channel_of(i),
                                  sizes.source_pixel(place.pixel + at.pixel_of(i)));
            log_scale += direction * s[i];
            const float scale = expf(direction * s[i]);
            values[i] =
                direction == FORWARD ? scale * values[i] + t[i] : scale * (values[i] - t[i]);
            if (KEEP) tile[at.tile_index(i)] = values[i];
        }
        if (output != nullptr) store_vector(output + offset, at.valid, sizes.aligned, values);
    }
    return log_scale;
}

// What the launchers of a coupling share.
template <typename T, bool CHANNELS_LAST, typename... Pointers>
CouplingSizes coupling_sizes(const PyramidflowCoupling& coupling, const void* params,
                             const Pointers*... level) {
    CouplingSizes sizes;
    sizes.batch = coupling.batch;
    sizes.channels = static_cast<int>(coupling.channels);
    sizes.height = static_cast<int>(coupling.height);
    sizes.width = static_cast<int>(coupling.width);
    sizes.params_height = static_cast<int>(coupling.params_height);
    sizes.params_width = static_cast<int>(coupling.params_width);
    sizes.scale_y = static_cast<float>(sizes.params_height) / static_cast<float>(sizes.height);
    sizes.scale_x = static_cast<float>(sizes.params_width) / static_cast<float>(sizes.width);
    sizes.share = 1.0f / static_cast<float>(sizes.channels);
    sizes.clamp = {coupling.clamp, 1.0f / coupling.clamp};
    sizes.resized = sizes.height != sizes.params_height || sizes.width != sizes.params_width;
    sizes.aligned = vectors_fit<T>(CHANNELS_LAST ? sizes.channels : sizes.pixels(), level...);
    sizes.params_aligned =
        vectors_fit<T>(CHANNELS_LAST ? sizes.channels : sizes.params_pixels(), params);
    return sizes;
}

inline int64_t coupling_tile_floats(int64_t channels) { return channels * PITCH; }

// Whether a block can take the channel means of its own pixels: the parameters have the level's
// size, the mean is of one sample, and `tiles` tiles of all channels fit into shared memory.
inline bool mean_fits_block(const PyramidflowCoupling& coupling, int tiles, int64_t more_floats) {
    return !coupling.mean_given && coupling.volume_norm == PYRAMIDFLOW_CVN &&
           coupling.statistics == PYRAMIDFLOW_SAMPLE && coupling.height == coupling.params_height &&
           coupling.width == coupling.params_width &&
           (tiles * coupling_tile_floats(coupling.channels) + COUPLING_SCRATCH + more_floats) *
                   static_cast<int64_t>(sizeof(float)) <=
               SHARED_LIMIT;
}

inline MeanView given_mean(const PyramidflowCoupling& coupling, const float* mean) {
    return {mean, coupling.mean_stride_sample, coupling.mean_stride_channel,
            coupling.mean_stride_pixel};
}

// How a mean of this kind, taken from the parameters, lies in memory.
inline MeanView taken_mean(const PyramidflowCoupling& coupling, const float* mean) {
    const int64_t pixels = coupling.params_height * coupling.params_width;
    const bool of_samples = coupling.statistics == PYRAMIDFLOW_SAMPLE;
    if (coupling.volume_norm == PYRAMIDFLOW_CVN) return {mean, of_samples ? pixels : 0, 0, 1};
    return {mean, of_samples ? coupling.channels : 0, 1, 0};
}

inline bool countable(const PyramidflowCoupling& coupling) {
    return countable(coupling.height * coupling.width) &&
           countable(coupling.params_height * coupling.params_width);
}

// Takes the mean of the soft-clamped log-scales over the dimensions that the coupling names, into
// mean and in the order of taken_mean.
int64_t take_mean(const void* params, float* mean, float* workspace,
                  const PyramidflowCoupling& coupling, cudaStream_t stream);

}  // namespace pyramidflow
