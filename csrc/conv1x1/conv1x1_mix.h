// Product of a small matrix with every pixel of a tile: z = A y, the 1x1 convolution.
#pragma once

#include "cpu/vector.h"

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
                                    int64_t channels, int64_t stride, bool streamed) {
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
        const int64_t left = channels - o;
#pragma GCC unroll 8
        for (int64_t p = 0; p < PIXELS; ++p) {
            float* const out = z + p * channels + o;
            if (left >= 2 * LANES) {
                store_result(streamed, out, low[p], Whole());
                store_result(streamed, out + LANES, high[p], Whole());
            } else {
                store(out, low[p], smaller(left, LANES));
                if (left > LANES) store(out + LANES, high[p], left - LANES);
            }
        }
    }
}

// As above where all output channels fit one vector.
template <int64_t PIXELS>
static inline void mix_pixels_narrow(const float* y, const float* transposed, float* z,
                                     int64_t channels, int64_t stride, bool streamed) {
    Vector sum[PIXELS] = {};
    for (int64_t i = 0; i < channels; ++i) {
        const Vector a = load(transposed + i * stride);
#pragma GCC unroll 8
        for (int64_t p = 0; p < PIXELS; ++p) sum[p] += a * splat(y[p * channels + i]);
    }
#pragma GCC unroll 8
    for (int64_t p = 0; p < PIXELS; ++p) {
        float* const out = z + p * channels;
        if (channels == LANES)
            store_result(streamed, out, sum[p], Whole());
        else
            store(out, sum[p], channels);
    }
}

static inline void mix_pixels(const float* y, const float* transposed, float* z, int64_t channels,
                              int64_t pixels, bool streamed) {
    const int64_t stride = padded(channels);
    int64_t p = 0;
    const auto mix = [&](int64_t at_once, auto mix_block) PYRAMIDFLOW_INLINE_LAMBDA {
        for (; p + at_once <= pixels; p += at_once)
            mix_block(y + p * channels, transposed, z + p * channels, channels, stride, streamed);
    };
    if (channels <= LANES) {
        mix(8, mix_pixels_narrow<8>);
        mix(1, mix_pixels_narrow<1>);
    } else {
        mix(6, mix_pixels_block<6>);
        mix(1, mix_pixels_block<1>);
    }
}

// Rows of a contiguous tensor, `stride` apart, one behind the other.
static inline void pack(const float* from, int64_t stride, int64_t channels, int64_t pixels,
                        float* to) {
    for (int64_t c = 0; c < channels; ++c) {
        const float* source = from + c * stride;
        const float* next = c + 1 < channels ? source + stride : from + pixels;
        for_vectors(pixels, [&](int64_t j, auto count) {
            prefetch(next + j);
            store(to + c * pixels + j, load(source + j, count), count);
        });
    }
}

// Contiguous: y [C, pixels] with rows y_stride apart -> z likewise; vectors hold pixels. The rows
// of y are read several times and lie together in a cache: those of an image may all want the same
// place in it. Each of `next`, rows z_stride apart too, is asked for on the way.
template <int64_t OUTPUTS, typename... Next>
static inline void mix_planes_block(const float* y, int64_t y_stride, const float* transposed,
                                    float* z, int64_t z_stride, int64_t channels, int64_t stride,
                                    bool streamed, Next... next) {
    Vector low[OUTPUTS] = {}, high[OUTPUTS] = {};
    for (int64_t i = 0; i < channels; ++i) {
        (prefetch(next + i * z_stride), ...);
        (prefetch(next + i * z_stride + LANES), ...);
        const Vector a = load(y + i * y_stride), b = load(y + i * y_stride + LANES);
#pragma GCC unroll 8
        for (int64_t o = 0; o < OUTPUTS; ++o) {
            const Vector value = splat(transposed[i * stride + o]);
            low[o] += value * a;
            high[o] += value * b;
        }
    }
#pragma GCC unroll 8
    for (int64_t o = 0; o < OUTPUTS; ++o) {
        store_result(streamed, z + o * z_stride, low[o], Whole());
        store_result(streamed, z + o * z_stride + LANES, high[o], Whole());
    }
}

template <typename... Next>
static inline void mix_planes(const float* y, int64_t y_stride, const float* transposed, float* z,
                              int64_t z_stride, int64_t channels, int64_t pixels, bool streamed,
                              Next... next) {
    const int64_t outputs = LANES == 16 ? 8 : 4;  // as many as there are registers for
    const int64_t stride = padded(channels);
    const int64_t whole = pixels / (2 * LANES) * 2 * LANES;
    int64_t o = 0;
    if (outputs <= channels) {
        for (int64_t p = 0; p < whole; p += 2 * LANES)
            mix_planes_block<outputs>(y + p, y_stride, transposed, z + p, z_stride, channels,
                                      stride, streamed, (next + p)...);
        o = outputs;
    }
    for (; o + outputs <= channels; o += outputs)
        for (int64_t p = 0; p < whole; p += 2 * LANES)
            mix_planes_block<outputs>(y + p, y_stride, transposed + o, z + o * z_stride + p,
                                      z_stride, channels, stride, streamed);
    for (; o < channels; ++o)
        for (int64_t p = 0; p < whole; p += 2 * LANES)
            mix_planes_block<1>(y + p, y_stride, transposed + o, z + o * z_stride + p, z_stride,
                                channels, stride, streamed);
    for (o = 0; o < channels && whole < pixels; ++o) {
        for (int64_t q = whole; q < pixels; ++q) {
            float sum = 0.0f;
            for (int64_t i = 0; i < channels; ++i)
                sum += transposed[i * stride + o] * y[i * y_stride + q];
            z[o * z_stride + q] = sum;
        }
    }
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
