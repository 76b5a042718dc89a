// Patches to spectra: two-dimensional transforms of pairs of tiles, a vector of channels at a time.
#include "convolution_spectral.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

PYRAMIDFLOW_INLINE int64_t resized(int64_t position, int64_t resize) {
    return resize == 0 ? position : resize > 0 ? position / 2 : position * 2;
}

// One row of a patch: `tile` vectors, zero outside the image.
void load_row(const PyramidflowSource& source, const PyramidflowSpectral& shape, const Place& place,
              int64_t y, int64_t column, int64_t extent, int64_t tile, int64_t channel,
              int64_t lanes, float* out) {
    const int64_t from = larger(0, -column);
    const int64_t to = larger(from, smaller(extent, shape.width - column));
    const bool inside = place.present && y >= 0 && y < shape.height;
    if (!inside) {
        memset(out, 0, static_cast<size_t>(tile * LANES) * sizeof(float));
        return;
    }
    const float* const row =
        source.data +
        (place.image * source.height + resized(y, source.resize)) * source.width * source.channels +
        channel;
    for (int64_t x = 0; x < from; ++x) store(out + x * LANES, Vector{});
    if (source.resize == 0 && lanes == LANES) {
        const float* pixel = row + (column + from) * source.channels;
        for (int64_t x = from; x < to; ++x, pixel += source.channels)
            store(out + x * LANES, load(pixel));
    } else {
        for (int64_t x = from; x < to; ++x) {
            const int64_t at = resized(column + x, source.resize);
            store(out + x * LANES, load_channels(row + at * source.channels, lanes));
        }
    }
    for (int64_t x = to; x < tile; ++x) store(out + x * LANES, Vector{});
}

void forward_pair(const PyramidflowSource& source, const SpectralLayout& layout,
                  const PyramidflowSpectral& shape, int64_t extent, int64_t margin, int64_t pair,
                  int64_t channel, float* out, float* scratch) {
    const int64_t n = layout.tile, line = 2 * LANES, pitch = (n + 1) * line;
    float* const plane = scratch;
    float* const row_a = scratch + n * pitch;
    float* const row_b = row_a + n * LANES;
    const Place a(layout, 2 * pair), b(layout, 2 * pair + 1);
    const int64_t lanes = smaller(LANES, source.channels - channel);
    for (int64_t y = 0; y < n; ++y) {
        const int64_t ya = y < extent ? a.row - margin + y : -1;
        const int64_t yb = y < extent ? b.row - margin + y : -1;
        const bool any = (a.present && ya >= 0 && ya < shape.height) ||
                         (b.present && yb >= 0 && yb < shape.height);
        float* const target = plane + y * pitch;
        if (!any) {
            memset(target, 0, static_cast<size_t>(n * line) * sizeof(float));
            continue;
        }
        load_row(source, shape, a, ya, a.column - margin, extent, n, channel, lanes, row_a);
        load_row(source, shape, b, yb, b.column - margin, extent, n, channel, lanes, row_b);
        fft(n, Conjugate::UPPER_SECOND_OUT, row_a, row_b, LANES, target, target + LANES, line);
    }
    const int64_t stride = layout.frequency_stride, row = 2 * layout.slot;
    for (int64_t fx = 0; fx < n; ++fx) {
        const float* const column = plane + fx * line;
        if (2 * fx < n && fx > 0) {
            float* const target = out + layout.first_frequency(fx) * stride;
            fft(n, Conjugate::NOTHING, column, column + LANES, pitch, target, target + layout.slot,
                stride);
        } else if (2 * fx > n) {
            float* const target = out + layout.first_frequency(n - fx) * stride + row;
            fft(n, Conjugate::NOTHING, column, column + LANES, pitch, target, target + layout.slot,
                stride);
        } else {
            // A column that is its own mirror image: f and -f are both in it.
            float* const re = row_a;
            float* const im = row_b;
            fft(n, Conjugate::NOTHING, column, column + LANES, pitch, re, im, LANES);
            float* target = out + layout.first_frequency(fx) * stride;
            for (int64_t fy = 0; 2 * fy <= n; ++fy, target += stride) {
                const int64_t mirror = (n - fy) % n;
                store(target, load(re + fy * LANES));
                store(target + layout.slot, load(im + fy * LANES));
                store(target + row, load(re + mirror * LANES));
                store(target + row + layout.slot, -load(im + mirror * LANES));
            }
        }
    }
}

}  // namespace

void spectral_forward(const PyramidflowSource* sources, const SpectralLayout& layout,
                      const PyramidflowSpectral& shape, int64_t extent, int64_t margin,
                      int64_t first, int64_t count, float* spectrum, float* scratch,
                      int64_t threads) {
    const int64_t first_vectors = vectors_of(shape.channels0);
    const int64_t vectors = first_vectors + vectors_of(shape.channels1);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < count * vectors; ++task) {
        const int64_t pair = task / vectors, vector = task % vectors;
        const bool second = vector >= first_vectors;
        forward_pair(sources[second], layout, shape, extent, margin, first + pair,
                     (second ? vector - first_vectors : vector) * LANES,
                     spectrum + pair * 4 * layout.slot + vector * LANES,
                     scratch + thread_index() * spectral_scratch(layout.tile));
    }
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
