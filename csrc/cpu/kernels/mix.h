// Product of a small matrix with every pixel of a tile: z = A y, the 1x1 convolution.
#pragma once

#include "vector.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

static inline int64_t padded(int64_t channels) { return ceil_div(channels, 2 * LANES) * 2 * LANES; }

// Floats that `prepare_mix` needs.
static inline int64_t mix_weight_size(int64_t channels) { return channels * padded(channels); }

// A transposed, rows padded with zeros: [C in, C out rounded up].
static inline void prepare_mix(const float* weight, int64_t channels, float* transposed) {
    const int64_t stride = padded(channels);
    for (int64_t i = 0; i < channels; ++i)
        for (int64_t o = 0; o < stride; ++o)
            transposed[i * stride + o] = o < channels ? weight[o * channels + i] : 0.0f;
}

// Channels-last: y [pixels, C] -> z [pixels, C]; vectors hold output channels.
template <int64_t PIXELS>
static inline void mix_pixels_block(const float* y, const float* transposed, float* z,
                                    int64_t channels, int64_t stride) {
    for (int64_t o = 0; o < channels; o += 2 * LANES) {
        Vector low[PIXELS] = {}, high[PIXELS] = {};
        for (int64_t i = 0; i < channels; ++i) {
            const Vector a = load(transposed + i * stride + o);
            const Vector b = load(transposed + i * stride + o + LANES);
#pragma GCC unroll 8
            for (int64_t p = 0; p < PIXELS; ++p) {
                const Vector value = splat(y[p * channels + i]);
                low[p] += a * value;
                high[p] += b * value;
            }
        }
        for (int64_t p = 0; p < PIXELS; ++p) {
            float* out = z + p * channels + o;
            if (o + 2 * LANES <= channels) {
                store(out, low[p]);
                store(out + LANES, high[p]);
            } else {
                float both[2 * LANES];
                store(both, low[p]);
                store(both + LANES, high[p]);
                memcpy(out, both, static_cast<size_t>(channels - o) * sizeof(float));
            }
        }
    }
}

// As above where all output channels fit one vector.
template <int64_t PIXELS>
static inline void mix_pixels_narrow(const float* y, const float* transposed, float* z,
                                     int64_t channels, int64_t stride) {
    Vector sum[PIXELS] = {};
    for (int64_t i = 0; i < channels; ++i) {
        const Vector a = load(transposed + i * stride);
#pragma GCC unroll 8
        for (int64_t p = 0; p < PIXELS; ++p) sum[p] += a * splat(y[p * channels + i]);
    }
    for (int64_t p = 0; p < PIXELS; ++p) {
        if (channels == LANES) {
            store(z + p * channels, sum[p]);
        } else {
            float lanes[LANES];
            store(lanes, sum[p]);
            memcpy(z + p * channels, lanes, static_cast<size_t>(channels) * sizeof(float));
        }
    }
}

static inline void mix_pixels(const float* y, const float* transposed, float* z, int64_t channels,
                              int64_t pixels) {
    const int64_t stride = padded(channels);
    int64_t p = 0;
    if (channels <= LANES) {
        for (; p + 8 <= pixels; p += 8)
            mix_pixels_narrow<8>(y + p * channels, transposed, z + p * channels, channels, stride);
        for (; p < pixels; ++p)
            mix_pixels_narrow<1>(y + p * channels, transposed, z + p * channels, channels, stride);
        return;
    }
    for (; p + 6 <= pixels; p += 6)
        mix_pixels_block<6>(y + p * channels, transposed, z + p * channels, channels, stride);
    for (; p < pixels; ++p)
        mix_pixels_block<1>(y + p * channels, transposed, z + p * channels, channels, stride);
}

// Contiguous: y [C, pixels] with rows y_stride apart -> z likewise; vectors hold pixels.
template <int64_t OUTPUTS, int64_t VECTORS>
static inline void mix_planes_block(const float* y, int64_t y_stride, const float* transposed,
                                    float* z, int64_t z_stride, int64_t channels, int64_t stride) {
    Vector sum[OUTPUTS][VECTORS] = {};
    for (int64_t i = 0; i < channels; ++i) {
        Vector value[VECTORS];
#pragma GCC unroll 2
        for (int64_t v = 0; v < VECTORS; ++v) value[v] = load(y + i * y_stride + v * LANES);
#pragma GCC unroll 8
        for (int64_t o = 0; o < OUTPUTS; ++o) {
            const Vector a = splat(transposed[i * stride + o]);
#pragma GCC unroll 2
            for (int64_t v = 0; v < VECTORS; ++v) sum[o][v] += a * value[v];
        }
    }
    for (int64_t o = 0; o < OUTPUTS; ++o)
        for (int64_t v = 0; v < VECTORS; ++v) store(z + o * z_stride + v * LANES, sum[o][v]);
}

static inline void mix_planes(const float* y, int64_t y_stride, const float* transposed, float* z,
                              int64_t z_stride, int64_t channels, int64_t pixels) {
    const int64_t stride = padded(channels);
    int64_t p = 0;
    for (; p + 2 * LANES <= pixels; p += 2 * LANES) {
        int64_t o = 0;
        for (; o + 4 <= channels; o += 4)
            mix_planes_block<4, 2>(y + p, y_stride, transposed + o, z + o * z_stride + p, z_stride,
                                   channels, stride);
        for (; o < channels; ++o)
            mix_planes_block<1, 2>(y + p, y_stride, transposed + o, z + o * z_stride + p, z_stride,
                                   channels, stride);
    }
    for (int64_t o = 0; o < channels && p < pixels; ++o) {
        for (int64_t q = p; q < pixels; ++q) {
            float sum = 0.0f;
            for (int64_t i = 0; i < channels; ++i)
                sum += transposed[i * stride + o] * y[i * y_stride + q];
            z[o * z_stride + q] = sum;
        }
    }
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
