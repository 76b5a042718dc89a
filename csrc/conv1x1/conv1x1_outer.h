// The gradient of the 1x1 convolution's weight: the sum of grad_z y^T over all pixels.
//
// Single precision within a tile, double beyond. The sums of a fixed number of chunks of tiles are
// kept apart, so that the result does not depend on the number of threads.
#pragma once

#include "cpu/vector.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

static PYRAMIDFLOW_INLINE void add_lanes(double* sum, Vector value, int64_t count) {
    float lanes[LANES];
    store(lanes, value);
    for (int64_t k = 0; k < count; ++k) sum[k] += static_cast<double>(lanes[k]);
}

// sum [C, C] += grad_z y^T over a tile, channels-last.
template <int64_t OUTPUTS, typename Channels>
static inline void outer_pixels(const float* grad_z, const float* y, double* sum, Channels channels,
                                int64_t pixels, int64_t o) {
    for_vectors(channels, [&](int64_t i, auto count) {
        Vector total[OUTPUTS] = {};
        for (int64_t p = 0; p < pixels; ++p) {
            const Vector value = load(y + p * channels + i, count);
#pragma GCC unroll 8
            for (int64_t k = 0; k < OUTPUTS; ++k)
                total[k] += splat(grad_z[p * channels + o + k]) * value;
        }
#pragma GCC unroll 8
        for (int64_t k = 0; k < OUTPUTS; ++k)
            add_lanes(sum + (o + k) * channels + i, total[k], count);
    });
}

// The same for contiguous planes, rows g_stride and y_stride apart.
template <int64_t OUTPUTS, int64_t INPUTS>
static inline void outer_planes(const float* grad_z, int64_t g_stride, const float* y,
                                int64_t y_stride, double* sum, int64_t channels, int64_t pixels) {
    Vector total[OUTPUTS][INPUTS] = {};
    int64_t p = 0;
    for (; p + LANES <= pixels; p += LANES) {
        Vector value[INPUTS];
#pragma GCC unroll 4
        for (int64_t i = 0; i < INPUTS; ++i) value[i] = load(y + i * y_stride + p);
#pragma GCC unroll 4
        for (int64_t o = 0; o < OUTPUTS; ++o) {
            const Vector g = load(grad_z + o * g_stride + p);
#pragma GCC unroll 4
            for (int64_t i = 0; i < INPUTS; ++i) total[o][i] += g * value[i];
        }
    }
    for (int64_t o = 0; o < OUTPUTS; ++o) {
        for (int64_t i = 0; i < INPUTS; ++i) {
            float rest = sum_lanes(total[o][i]);
            for (int64_t q = p; q < pixels; ++q)
                rest += grad_z[o * g_stride + q] * y[i * y_stride + q];
            sum[o * channels + i] += static_cast<double>(rest);
        }
    }
}

template <int64_t OUTPUTS>
static inline void outer_planes_row(const float* grad_z, int64_t g_stride, const float* y,
                                    int64_t y_stride, double* sum, int64_t channels,
                                    int64_t pixels) {
    int64_t i = 0;
    for (; i + 4 <= channels; i += 4)
        outer_planes<OUTPUTS, 4>(grad_z, g_stride, y + i * y_stride, y_stride, sum + i, channels,
                                 pixels);
    for (; i < channels; ++i)
        outer_planes<OUTPUTS, 1>(grad_z, g_stride, y + i * y_stride, y_stride, sum + i, channels,
                                 pixels);
}

class WeightGradient {
public:
    static const int64_t CHUNKS = 64;

    explicit WeightGradient(int64_t channels)
        : channels_(channels), partial_(CHUNKS * channels * channels) {
        if (!failed())
            memset(partial_.get(), 0,
                   static_cast<size_t>(CHUNKS * channels * channels) * sizeof(double));
    }
    bool failed() const { return partial_.failed(); }

    // Tiles of the two tensors: pixels of C channels, or C rows so far apart.
    void add_pixels(int64_t chunk, const float* grad_z, const float* y, int64_t pixels) const {
        double* const sum = partial_.get() + chunk * channels_ * channels_;
        int64_t o = 0;
        for (; o + 8 <= channels_; o += 8) outer_pixels<8>(grad_z, y, sum, channels_, pixels, o);
        for (; o < channels_; ++o) outer_pixels<1>(grad_z, y, sum, channels_, pixels, o);
    }
    void add_planes(int64_t chunk, const float* grad_z, int64_t g_stride, const float* y,
                    int64_t y_stride, int64_t pixels) const {
        double* const sum = partial_.get() + chunk * channels_ * channels_;
        int64_t o = 0;
        for (; o + 4 <= channels_; o += 4)
            outer_planes_row<4>(grad_z + o * g_stride, g_stride, y, y_stride, sum + o * channels_,
                                channels_, pixels);
        for (; o < channels_; ++o)
            outer_planes_row<1>(grad_z + o * g_stride, g_stride, y, y_stride, sum + o * channels_,
                                channels_, pixels);
    }

    void write(float* grad_weight) const {
        const int64_t entries = channels_ * channels_;
        for (int64_t k = 0; k < entries; ++k) {
            double sum = 0.0;
            for (int64_t chunk = 0; chunk < CHUNKS; ++chunk)
                sum += partial_.get()[chunk * entries + k];
            grad_weight[k] = static_cast<float>(sum);
        }
    }

private:
    int64_t channels_;
    Scratch<double> partial_;
};

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
