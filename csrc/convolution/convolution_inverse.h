// Spectra of pairs of tiles to the rows of their outputs, a vector of channels at a time.
#pragma once

#include "convolution_spectral.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

// Spectrum of a pair of tiles -> `sink.write_row(tile, place, row, values, channel)` for every row
// that the sink wants; `values` are the row's vectors of channels.
template <typename Sink>
static inline void inverse_pair(const float* in, const SpectralLayout& layout, const Sink& sink,
                                int64_t pair, int64_t channel, float* scratch) {
    const int64_t n = layout.tile, line = 2 * LANES, pitch = (n + 1) * line;
    float* const plane = scratch;
    float* const row_a = scratch + n * pitch;
    float* const row_b = row_a + n * LANES;
    const int64_t stride = layout.frequency_stride, row = 2 * layout.slot;
    // Real and imaginary parts change places: the transform is the inverse one.
    for (int64_t fx = 0; fx < n; ++fx) {
        float* const column = plane + fx * line;
        if (2 * fx < n && fx > 0) {
            const float* const source = in + layout.first_frequency(fx) * stride;
            fft(n, Conjugate::NOTHING, source + layout.slot, source, stride, column + LANES, column,
                pitch);
        } else if (2 * fx > n) {
            const float* const source = in + layout.first_frequency(n - fx) * stride + row;
            fft(n, Conjugate::NOTHING, source + layout.slot, source, stride, column + LANES, column,
                pitch);
        } else {
            float* const re = row_a;
            float* const im = row_b;
            const float* source = in + layout.first_frequency(fx) * stride;
            for (int64_t fy = 0; 2 * fy <= n; ++fy, source += stride) {
                const int64_t mirror = (n - fy) % n;
                store(re + mirror * LANES, load(source + row));
                store(im + mirror * LANES, -load(source + row + layout.slot));
                store(re + fy * LANES, load(source));
                store(im + fy * LANES, load(source + layout.slot));
            }
            fft(n, Conjugate::NOTHING, im, re, LANES, column + LANES, column, pitch);
        }
    }
    const Place a(layout, 2 * pair), b(layout, 2 * pair + 1);
    for (int64_t y = 0; y < layout.outputs; ++y) {
        if (!sink.wants_row(a.row + y) && !sink.wants_row(b.row + y)) continue;
        const float* const source = plane + y * pitch;
        fft(n, Conjugate::UPPER_FIRST_IN, source + LANES, source, line, row_b, row_a, LANES);
        sink.write_row(0, a, y, row_a, channel);
        sink.write_row(1, b, y, row_b, channel);
    }
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
