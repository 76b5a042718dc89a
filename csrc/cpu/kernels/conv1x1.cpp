// The invertible 1x1 convolution, z = A y at every pixel, and the gradient of A.
//
// The gradient of y is the same product with A transposed: the caller passes it.
#include "mix.h"
#include "outer.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

const int64_t TILE = 256;  // pixels: the tile stays in cache between its uses

}  // namespace

int conv1x1(const float* y, const float* weight, float* z, PyramidflowImage image, int64_t threads) {
    const int64_t channels = image.channels, area = image.height * image.width;
    Scratch<float> transposed(mix_weight_size(channels)), packed(threads * channels * TILE);
    if (transposed.failed() || packed.failed()) return 1;
    prepare_mix(weight, channels, transposed.get());
    const int64_t tiles = ceil_div(area, TILE);
    const int64_t stride = image.channels_last ? channels : area;
    const bool streamed = streams(z, image.batch * channels * area, stride);
    in_parallel(threads, image.batch * tiles, [&](int64_t task) {
        const int64_t b = task / tiles, p = (task % tiles) * TILE;
        const int64_t pixels = smaller(TILE, area - p);
        if (image.channels_last) {
            const int64_t offset = (b * area + p) * channels;
            mix_pixels(y + offset, transposed.get(), z + offset, channels, pixels, streamed);
        } else {
            const int64_t offset = b * channels * area + p;
            float* const rows = packed.get() + thread_index() * channels * TILE;
            pack(y + offset, area, channels, pixels, rows);
            mix_planes(rows, pixels, transposed.get(), z + offset, area, channels, pixels, streamed);
        }
    });
    return 0;
}

int conv1x1_grad_weight(const float* grad_z, const float* y, float* grad_weight,
                        PyramidflowImage image, int64_t threads) {
    const int64_t channels = image.channels, area = image.height * image.width;
    // Sums over the lanes are due at the end of a contiguous tile: it is longer.
    const int64_t tile = image.channels_last ? TILE : larger(TILE, 16384 / larger(channels, 1));
    const WeightGradient gradient(channels);
    if (gradient.failed()) return 1;
    const int64_t tiles = ceil_div(area, tile);
    in_chunks(threads, WeightGradient::CHUNKS, image.batch * tiles, [&](int64_t task, int64_t chunk) {
        const int64_t b = task / tiles, p = (task % tiles) * tile;
        const int64_t pixels = smaller(tile, area - p);
        if (image.channels_last) {
            const int64_t offset = (b * area + p) * channels;
            gradient.add_pixels(chunk, grad_z + offset, y + offset, pixels);
        } else {
            const int64_t offset = b * channels * area + p;
            gradient.add_planes(chunk, grad_z + offset, y + offset, pixels, area);
        }
    });
    gradient.write(grad_weight);
    return 0;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
