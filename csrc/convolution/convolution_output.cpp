// Spectra to images: bias, what is added, leaky ReLU; every pixel, every other one, or channels
// that become the pixels of 2 x 2 cells.
#include "convolution_inverse.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

// A stride of 1 or 2 between the outputs that are kept.
struct PixelSink {
    const PyramidflowSpectral& shape;
    const PyramidflowEpilogue& epilogue;
    int64_t outputs, stride;
    float* y;

    bool wants_row(int64_t row) const { return row < shape.height && row % stride == 0; }

    void write_row(int64_t, const Place& place, int64_t tile_row, const float* values,
                   int64_t channel) const {
        const int64_t row = place.row + tile_row;
        if (!place.present || !wants_row(row)) return;
        const int64_t lanes = smaller(LANES, shape.out_channels - channel);
        const int64_t last = smaller(outputs, shape.width - place.column);
        const int64_t height = ceil_div(shape.height, stride),
                      width = ceil_div(shape.width, stride);
        const int64_t pixels =
            (place.image * height + row / stride) * width + place.column / stride;
        const int64_t offset = pixels * shape.out_channels + channel;
        const Vector slope = splat(epilogue.slope);
        const Vector bias =
            epilogue.bias ? load_channels(epilogue.bias + channel, lanes) : Vector{};
        float* pixel = y + offset;
        const float* added = epilogue.added ? epilogue.added + offset : nullptr;
        for (int64_t x = 0; x < last; x += stride, pixel += shape.out_channels) {
            Vector value = load(values + x * LANES) + bias;
            if (added) {
                value += load_channels(added, lanes);
                added += shape.out_channels;
            }
            store_channels(pixel, value > 0.0f ? value : value * slope, lanes);
        }
    }
};

// Outputs [phase, channel] of a pixel become a 2 x 2 cell.
struct PhaseSink {
    const PyramidflowSpectral& shape;
    const PyramidflowEpilogue& epilogue;
    int64_t outputs;
    float* y;

    bool wants_row(int64_t row) const { return row < shape.height; }

    void write_row(int64_t, const Place& place, int64_t tile_row, const float* values,
                   int64_t channel) const {
        const int64_t row = place.row + tile_row, channels = shape.out_channels / 4;
        if (!place.present || !wants_row(row)) return;
        const int64_t lanes = smaller(LANES, shape.out_channels - channel);
        const int64_t last = smaller(outputs, shape.width - place.column);
        const Vector slope = splat(epilogue.slope);
        // A vector may hold channels of several phases.
        for (int64_t k = 0, run; k < lanes; k += run) {
            const int64_t phase = (channel + k) / channels, within = (channel + k) % channels;
            run = smaller(lanes - k, channels - within);
            float* pixel =
                y +
                ((place.image * 2 * shape.height + 2 * row + phase / 2) * 2 * shape.width +
                 2 * place.column + phase % 2) *
                    channels +
                within;
            for (int64_t x = 0; x < last; ++x, pixel += 2 * channels) {
                const Vector value = load(values + x * LANES);
                const Vector result = value > 0.0f ? value : value * slope;
                if (run == LANES) {
                    store(pixel, result);
                } else {
                    for (int64_t j = 0; j < run; ++j) pixel[j] = result[k + j];
                }
            }
        }
    }
};

template <typename Sink>
void inverse(const float* spectrum, const SpectralLayout& layout, const Sink& sink, int64_t first,
             int64_t count, float* scratch, int64_t threads) {
    const int64_t vectors = layout.out_vectors;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < count * vectors; ++task) {
        const int64_t pair = task / vectors, vector = task % vectors;
        inverse_pair(spectrum + pair * 4 * layout.slot + vector * LANES, layout, sink, first + pair,
                     vector * LANES, scratch + thread_index() * spectral_scratch(layout.tile));
    }
}

}  // namespace

void spectral_inverse(const float* spectrum, const SpectralLayout& layout,
                      const PyramidflowSpectral& shape, const PyramidflowEpilogue& epilogue,
                      int64_t first, int64_t count, float* y, float* scratch, int64_t threads) {
    if (shape.layout == PYRAMIDFLOW_SPECTRAL_PHASES) {
        const PhaseSink sink = {shape, epilogue, layout.outputs, y};
        inverse(spectrum, layout, sink, first, count, scratch, threads);
    } else {
        const int64_t stride = shape.layout == PYRAMIDFLOW_SPECTRAL_HALF ? 2 : 1;
        const PixelSink sink = {shape, epilogue, layout.outputs, stride, y};
        inverse(spectrum, layout, sink, first, count, scratch, threads);
    }
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
