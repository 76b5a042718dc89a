// The invertible 1x1 convolution, z = A y at every pixel, and its gradients.
#include "conv1x1_mix.h"
#include "conv1x1_outer.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

// Pixels of a tile, which stays in cache between its uses. A contiguous one is longer: each of its
// rows is a start for the prefetcher, and sums over the lanes are due at its end. Tiles of whole
// vectors keep the alignment of their rows.
int64_t pixels_per_tile(const PyramidflowImage& image) {
    return image.channels_last ? 256 : larger(256, 16384 / larger(image.channels, 1) / 64 * 64);
}

}  // namespace

PYRAMIDFLOW_FUNCTION(conv1x1, const float* y, const float* weight, float* z, PyramidflowImage image,
                     int64_t threads) {
    const int64_t channels = image.channels, area = image.height * image.width;
    const int64_t tile = pixels_per_tile(image), tiles = ceil_div(area, tile);
    Scratch<float> transposed(mix_weight_size(channels)), packed(threads * channels * tile);
    if (transposed.failed() || packed.failed()) return 1;
    prepare_mix(weight, channels, transposed.get());
    const int64_t stride = image.channels_last ? channels : area;
    const bool streamed = streams(z, image.batch * channels * area, stride);
    in_parallel(threads, image.batch * tiles, [&](int64_t task) {
        const int64_t b = task / tiles, p = (task % tiles) * tile;
        const int64_t pixels = smaller(tile, area - p);
        if (image.channels_last) {
            const int64_t offset = (b * area + p) * channels;
            mix_pixels(y + offset, transposed.get(), z + offset, channels, pixels, streamed);
        } else {
            const int64_t offset = b * channels * area + p;
            float* const rows = packed.get() + thread_index() * channels * tile;
            pack(y + offset, area, channels, pixels, rows);
            mix_planes(rows, pixels, transposed.get(), z + offset, area, channels, pixels, streamed,
                       y + offset + pixels);
        }
    });
    return 0;
}

// The gradient of y is the product with A transposed.
PYRAMIDFLOW_FUNCTION(conv1x1_backward, const float* grad_z, const float* y,
                     const float* transposed_weight, float* grad_y, float* grad_weight,
                     PyramidflowImage image, int64_t threads) {
    const int64_t channels = image.channels, area = image.height * image.width;
    const int64_t tile = pixels_per_tile(image), tiles = ceil_div(area, tile);
    Scratch<float> weight(mix_weight_size(channels)), packed(threads * channels * tile);
    const WeightGradient gradient(channels);
    if (weight.failed() || packed.failed() || gradient.failed()) return 1;
    prepare_mix(transposed_weight, channels, weight.get());
    const int64_t stride = image.channels_last ? channels : area;
    const bool streamed = streams(grad_y, image.batch * channels * area, stride);
    in_chunks(threads, WeightGradient::CHUNKS, image.batch * tiles,
              [&](int64_t task, int64_t chunk) {
        const int64_t b = task / tiles, p = (task % tiles) * tile;
        const int64_t pixels = smaller(tile, area - p);
        if (image.channels_last) {
            const int64_t offset = (b * area + p) * channels;
            mix_pixels(grad_z + offset, weight.get(), grad_y + offset, channels, pixels, streamed);
            gradient.add_pixels(chunk, grad_z + offset, y + offset, pixels);
        } else {
            const int64_t offset = b * channels * area + p;
            float* const rows = packed.get() + thread_index() * channels * tile;
            pack(grad_z + offset, area, channels, pixels, rows);
            mix_planes(rows, pixels, weight.get(), grad_y + offset, area, channels, pixels,
                       streamed, y + offset, grad_z + offset + pixels);
            gradient.add_planes(chunk, rows, pixels, y + offset, area, pixels);
        }
    });
    gradient.write(grad_weight);
    return 0;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
