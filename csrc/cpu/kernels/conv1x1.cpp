// The invertible 1x1 convolution, z = A y at every pixel, and the gradient of A.
//
// The gradient of y is the same product with A transposed: the caller passes it.
#include "mix.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

const int64_t TILE = 256;       // pixels: the tile stays in cache between its uses
const int64_t CHUNKS = 64;      // of the weight's gradient, whatever the number of threads

// Rows of a contiguous tensor, `stride` apart, one behind the other.
void pack(const float* from, int64_t stride, int64_t channels, int64_t pixels, float* to) {
    for (int64_t c = 0; c < channels; ++c) {
        const float* source = from + c * stride;
        const float* next = c + 1 < channels ? source + stride : from + pixels;
        for_vectors(pixels, [&](int64_t j, auto count) {
            prefetch(next + j);
            store(to + c * pixels + j, load(source + j, count), count);
        });
    }
}

// sum [C, C] += grad_z y^T over a tile, channels-last.
template <int64_t OUTPUTS>
void outer_pixels(const float* grad_z, const float* y, double* sum, int64_t channels, int64_t pixels,
                  int64_t o) {
    for_vectors(channels, [&](int64_t i, auto count) {
        Vector total[OUTPUTS] = {};
        for (int64_t p = 0; p < pixels; ++p) {
            const Vector value = load(y + p * channels + i, count);
#pragma GCC unroll 8
            for (int64_t k = 0; k < OUTPUTS; ++k) total[k] += splat(grad_z[p * channels + o + k]) * value;
        }
        for (int64_t k = 0; k < OUTPUTS; ++k)
            for (int64_t lane = 0; lane < count; ++lane)
                sum[(o + k) * channels + i + lane] += static_cast<double>(total[k][lane]);
    });
}

// The same for contiguous planes, rows `stride` apart.
template <int64_t OUTPUTS, int64_t INPUTS>
void outer_planes(const float* grad_z, const float* y, double* sum, int64_t channels, int64_t pixels,
                  int64_t stride) {
    Vector total[OUTPUTS][INPUTS] = {};
    int64_t p = 0;
    for (; p + LANES <= pixels; p += LANES) {
        Vector value[INPUTS];
#pragma GCC unroll 4
        for (int64_t i = 0; i < INPUTS; ++i) value[i] = load(y + i * stride + p);
#pragma GCC unroll 4
        for (int64_t o = 0; o < OUTPUTS; ++o) {
            const Vector g = load(grad_z + o * stride + p);
#pragma GCC unroll 4
            for (int64_t i = 0; i < INPUTS; ++i) total[o][i] += g * value[i];
        }
    }
    for (int64_t o = 0; o < OUTPUTS; ++o) {
        for (int64_t i = 0; i < INPUTS; ++i) {
            float rest = sum_lanes(total[o][i]);
            for (int64_t q = p; q < pixels; ++q) rest += grad_z[o * stride + q] * y[i * stride + q];
            sum[o * channels + i] += static_cast<double>(rest);
        }
    }
}

template <int64_t OUTPUTS>
void outer_planes_row(const float* grad_z, const float* y, double* sum, int64_t channels,
                      int64_t pixels, int64_t stride) {
    int64_t i = 0;
    for (; i + 4 <= channels; i += 4)
        outer_planes<OUTPUTS, 4>(grad_z, y + i * stride, sum + i, channels, pixels, stride);
    for (; i < channels; ++i)
        outer_planes<OUTPUTS, 1>(grad_z, y + i * stride, sum + i, channels, pixels, stride);
}

}  // namespace

int conv1x1(const float* y, const float* weight, float* z, PyramidflowImage image, int64_t threads) {
    const int64_t channels = image.channels, area = image.height * image.width;
    Scratch<float> transposed(mix_weight_size(channels)), packed(threads * channels * TILE);
    if (transposed.failed() || packed.failed()) return 1;
    prepare_mix(weight, channels, transposed.get());
    const int64_t tiles = ceil_div(area, TILE);
    const int64_t stride = image.channels_last ? channels : area;
    with_flags(streams(z, image.batch * channels * area, stride), [&](auto past_caches) {
        in_parallel(threads, image.batch * tiles, [&](int64_t task) {
            const int64_t b = task / tiles, p = (task % tiles) * TILE;
            const int64_t pixels = smaller(TILE, area - p);
            if (image.channels_last) {
                const int64_t offset = (b * area + p) * channels;
                mix_pixels<past_caches.value>(y + offset, transposed.get(), z + offset, channels, pixels);
            } else {
                const int64_t offset = b * channels * area + p;
                float* const rows = packed.get() + thread_index() * channels * TILE;
                pack(y + offset, area, channels, pixels, rows);
                mix_planes<past_caches.value>(rows, pixels, transposed.get(), z + offset, area, channels,
                                              pixels);
            }
        });
    });
    return 0;
}

int conv1x1_grad_weight(const float* grad_z, const float* y, float* grad_weight,
                        PyramidflowImage image, int64_t threads) {
    const int64_t channels = image.channels, area = image.height * image.width;
    const int64_t entries = channels * channels;
    // Sums over the lanes are due at the end of a contiguous tile: it is longer.
    const int64_t tile = image.channels_last ? TILE : larger(TILE, 16384 / larger(channels, 1));
    Scratch<double> partial(CHUNKS * entries);
    if (partial.failed()) return 1;
    memset(partial.get(), 0, static_cast<size_t>(CHUNKS * entries) * sizeof(double));
    const int64_t tiles = ceil_div(area, tile), all = image.batch * tiles;
    in_parallel(threads, CHUNKS, [&](int64_t chunk) {
        double* const sum = partial.get() + chunk * entries;
        for (int64_t task = all * chunk / CHUNKS; task < all * (chunk + 1) / CHUNKS; ++task) {
            const int64_t b = task / tiles, p = (task % tiles) * tile;
            const int64_t pixels = smaller(tile, area - p);
            int64_t o = 0;
            if (image.channels_last) {
                const int64_t offset = (b * area + p) * channels;
                for (; o + 8 <= channels; o += 8)
                    outer_pixels<8>(grad_z + offset, y + offset, sum, channels, pixels, o);
                for (; o < channels; ++o)
                    outer_pixels<1>(grad_z + offset, y + offset, sum, channels, pixels, o);
            } else {
                const int64_t offset = b * channels * area + p;
                for (; o + 4 <= channels; o += 4)
                    outer_planes_row<4>(grad_z + offset + o * area, y + offset, sum + o * channels,
                                        channels, pixels, area);
                for (; o < channels; ++o)
                    outer_planes_row<1>(grad_z + offset + o * area, y + offset, sum + o * channels,
                                        channels, pixels, area);
            }
        }
    });
    for (int64_t k = 0; k < entries; ++k) {
        double sum = 0.0;
        for (int64_t chunk = 0; chunk < CHUNKS; ++chunk) sum += partial.get()[chunk * entries + k];
        grad_weight[k] = static_cast<float>(sum);
    }
    return 0;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
