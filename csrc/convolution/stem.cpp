// From camera pixels to the first feature map, channels-last: the lift's 1x1 convolution, and the
// stem of a ResNet. Normalisation, (pixel / full scale - mean) / deviation, happens on the way.
#include "cpu/vector.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

// scale and shift of a camera channel.
struct Normalization {
    float scale[3], shift[3];

    Normalization(const float* mean, const float* std, float full_scale) {
        for (int64_t c = 0; c < 3; ++c) {
            scale[c] = 1.0f / (full_scale * std[c]);
            shift[c] = -mean[c] / std[c];
        }
    }
};

template <typename Pixel>
int lift(const Pixel* image, const float* mean, const float* std, const float* weight, float* y,
         int64_t pixels, int64_t channels, float full_scale, int64_t threads) {
    const Normalization normal(mean, std, full_scale);
    const int64_t vectors = ceil_div(channels, LANES), padded = vectors * LANES;
    Scratch<float> folded(4 * padded);  // [red, green, blue, constant][C]
    if (folded.failed()) return 1;
    for (int64_t c = 0; c < padded; ++c) {
        float constant = 0.0f;
        for (int64_t j = 0; j < 3; ++j) {
            const float w = c < channels ? weight[c * 3 + j] : 0.0f;
            folded.get()[j * padded + c] = w * normal.scale[j];
            constant += w * normal.shift[j];
        }
        folded.get()[3 * padded + c] = constant;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t p = 0; p < pixels; ++p) {
        const Vector red = splat(static_cast<float>(image[p * 3]));
        const Vector green = splat(static_cast<float>(image[p * 3 + 1]));
        const Vector blue = splat(static_cast<float>(image[p * 3 + 2]));
        for (int64_t v = 0; v < vectors; ++v) {
            const float* const w = folded.get() + v * LANES;
            const Vector value = red * load(w) + green * load(w + padded) +
                                 blue * load(w + 2 * padded) + load(w + 3 * padded);
            store_channels(y + p * channels + v * LANES, value,
                           smaller(LANES, channels - v * LANES));
        }
    }
    return 0;
}

const int64_t SIDE = 7, MARGIN = 3, TAPS = SIDE * 3;  // of the stem's kernel; floats of its row

#if defined(__AVX512F__)
const int64_t PIXELS = 6, VECTORS = 4;  // of a register tile
#else
const int64_t PIXELS = 4, VECTORS = 2;
#endif

// PIXELS_ outputs, two input pixels apart, of VECTORS vectors of channels.
template <int64_t PIXELS_>
PYRAMIDFLOW_INLINE void convolve_pixels(const float* const* rows, int64_t x, const float* weight,
                                        const float* bias, float* out, int64_t channels) {
    Vector sum[PIXELS_][VECTORS];
    for (int64_t p = 0; p < PIXELS_; ++p)
        for (int64_t v = 0; v < VECTORS; ++v) sum[p][v] = load(bias + v * LANES);
    for (int64_t u = 0; u < SIDE; ++u) {
        const float* const row = rows[u] + 2 * x * 3;
        for (int64_t t = 0; t < TAPS; ++t, weight += VECTORS * LANES) {
            Vector w[VECTORS];
#pragma GCC unroll 4
            for (int64_t v = 0; v < VECTORS; ++v) w[v] = load(weight + v * LANES);
#pragma GCC unroll 6
            for (int64_t p = 0; p < PIXELS_; ++p) {
                const Vector value = splat(row[p * 6 + t]);
#pragma GCC unroll 4
                for (int64_t v = 0; v < VECTORS; ++v) sum[p][v] += value * w[v];
            }
        }
    }
    for (int64_t p = 0; p < PIXELS_; ++p)
        for (int64_t v = 0; v < VECTORS; ++v)
            store(out + (x + p) * channels + v * LANES, sum[p][v]);
}

template <typename Pixel>
int stem(const Pixel* image, const float* mean, const float* std, const float* weight,
         const float* bias, float* y, int64_t batch, int64_t height, int64_t width,
         int64_t channels, float full_scale, int64_t threads) {
    const Normalization normal(mean, std, full_scale);
    const int64_t half_height = ceil_div(height, 2), half_width = ceil_div(width, 2);
    const int64_t pooled_height = ceil_div(half_height, 2), pooled_width = ceil_div(half_width, 2);
    const int64_t group = VECTORS * LANES, groups = ceil_div(channels, group);
    const int64_t padded = groups * group;
    // [group][7 rows][7 pixels, 3 colours][lanes], channels beyond the last one zero.
    Scratch<float> packed(groups * SIDE * TAPS * group + padded);
    const int64_t input_pitch = (2 * half_width + 2 * MARGIN + 2 * PIXELS) * 3;
    const int64_t output_pitch = half_width * padded;
    const int64_t band_size = SIDE * input_pitch + 3 * output_pitch;
    Scratch<float> bands(threads * band_size);
    if (packed.failed() || bands.failed()) return 1;
    float* const padded_bias = packed.get() + groups * SIDE * TAPS * group;
    for (int64_t o = 0; o < padded; ++o) {
        padded_bias[o] = o < channels ? bias[o] : 0.0f;
        for (int64_t u = 0; u < SIDE; ++u)
            for (int64_t v = 0; v < SIDE; ++v)
                for (int64_t c = 0; c < 3; ++c)
                    packed.get()[((o / group * SIDE + u) * TAPS + v * 3 + c) * group + o % group] =
                        o < channels ? weight[((o * 3 + c) * SIDE + u) * SIDE + v] : 0.0f;
    }
    const int64_t rows_at_once = 8;  // pooled rows of a band: one row in sixteen is made twice
    const int64_t bands_each = ceil_div(pooled_height, rows_at_once);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < batch * bands_each; ++task) {
        const int64_t b = task / bands_each, top = task % bands_each * rows_at_once;
        float* const inputs = bands.get() + thread_index() * band_size;
        float* const outputs = inputs + SIDE * input_pitch;
        const int64_t end = smaller(top + rows_at_once, pooled_height);
        // Rows are kept at their number modulo 7, and modulo 3 for the convolution's.
        int64_t next_input = 2 * (2 * top - 1) - MARGIN, next_output = 2 * top - 1;
        if (next_output < 0) {
            next_output = 0;
            next_input = -MARGIN;
        }
        for (int64_t pooled = top; pooled < end; ++pooled) {
            const int64_t last = smaller(2 * pooled + 1, half_height - 1);
            for (; next_output <= last; ++next_output) {
                for (; next_input <= 2 * next_output + MARGIN; ++next_input) {
                    float* const row = inputs + (next_input + SIDE) % SIDE * input_pitch;
                    memset(row, 0, static_cast<size_t>(input_pitch) * sizeof(float));
                    if (next_input < 0 || next_input >= height) continue;
                    const Pixel* const pixels = image + (b * height + next_input) * width * 3;
                    for (int64_t x = 0; x < width; ++x)
                        for (int64_t c = 0; c < 3; ++c)
                            row[(x + MARGIN) * 3 + c] =
                                static_cast<float>(pixels[x * 3 + c]) * normal.scale[c] +
                                normal.shift[c];
                }
                const float* rows[SIDE];
                for (int64_t u = 0; u < SIDE; ++u)
                    rows[u] = inputs + (2 * next_output - MARGIN + u + SIDE) % SIDE * input_pitch;
                float* const out = outputs + next_output % 3 * output_pitch;
                for (int64_t g = 0; g < groups; ++g) {
                    const float* const w = packed.get() + g * SIDE * TAPS * group;
                    int64_t x = 0;
                    for (; x + PIXELS <= half_width; x += PIXELS)
                        convolve_pixels<PIXELS>(rows, x, w, padded_bias + g * group,
                                                out + g * group, padded);
                    for (; x < half_width; ++x)
                        convolve_pixels<1>(rows, x, w, padded_bias + g * group, out + g * group,
                                           padded);
                }
            }
            // Maximum of 3 x 3 cells, two apart; ReLU last, as it keeps the order.
            const int64_t first_row = larger(2 * pooled - 1, 0);
            float* const target = y + (b * pooled_height + pooled) * pooled_width * channels;
            for (int64_t x = 0; x < pooled_width; ++x) {
                const int64_t from = larger(2 * x - 1, 0), to = smaller(2 * x + 1, half_width - 1);
                for (int64_t c = 0; c < channels; c += LANES) {
                    Vector most = {};
                    for (int64_t r = first_row; r <= last; ++r) {
                        for (int64_t q = from; q <= to; ++q) {
                            const Vector value =
                                load(outputs + r % 3 * output_pitch + q * padded + c);
                            most = value > most ? value : most;
                        }
                    }
                    store_channels(target + x * channels + c, most, smaller(LANES, channels - c));
                }
            }
        }
    }
    return 0;
}

}  // namespace

PYRAMIDFLOW_FUNCTION(lift_uint8, const uint8_t* image, const float* mean, const float* std,
                     const float* weight, float* y, int64_t pixels, int64_t channels,
                     int64_t threads) {
    return lift(image, mean, std, weight, y, pixels, channels, 255.0f, threads);
}

PYRAMIDFLOW_FUNCTION(lift_uint16, const uint16_t* image, const float* mean, const float* std,
                     const float* weight, float* y, int64_t pixels, int64_t channels,
                     int64_t threads) {
    return lift(image, mean, std, weight, y, pixels, channels, 65535.0f, threads);
}

PYRAMIDFLOW_FUNCTION(resnet_stem_uint8, const uint8_t* image, const float* mean, const float* std,
                     const float* weight, const float* bias, float* y, int64_t batch,
                     int64_t height, int64_t width, int64_t channels, int64_t threads) {
    return stem(image, mean, std, weight, bias, y, batch, height, width, channels, 255.0f, threads);
}

PYRAMIDFLOW_FUNCTION(resnet_stem_uint16, const uint16_t* image, const float* mean, const float* std,
                     const float* weight, const float* bias, float* y, int64_t batch,
                     int64_t height, int64_t width, int64_t channels, int64_t threads) {
    return stem(image, mean, std, weight, bias, y, batch, height, width, channels, 65535.0f,
                threads);
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
