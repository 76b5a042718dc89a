// How a spectral convolution is laid out in memory, and its steps.
//
// The image is cut into tiles of m x m outputs, m = N - k + 1; each needs an N x N patch of the
// input (overlap-save). Two tiles a, b share one complex transform: Z = FFT(a + i b). As the
// kernels are real, Y = Z V with V = conj(FFT(kernel)) / N^2 gives both results at once, a's in the
// real part of the inverse transform and b's in the imaginary part.
//
// V[-f] = conj(V[f]), so only half of V is kept, and -f is worked on through its conjugate:
// conj(Y[-f]) = conj(Z[-f]) V[f]. A frequency f of the kept half then has two rows for each pair of
// tiles, Z[f] and conj(Z[-f]), and one matrix of weights.
//
//   spectrum [frequencies][2 * pairs][re, im][slot channels]
//   weights  [frequencies][output vectors][input channels][re, im][LANES]
//            in bfloat16: [...][input channels / 2][re, im][LANES][two inputs]
#pragma once

#include "cpu/vector.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

static const int64_t MAX_SPECTRAL_CHANNELS = 512;

static inline int64_t vectors_of(int64_t channels) { return ceil_div(channels, LANES); }

struct SpectralLayout {
    int64_t tile, kernel, outputs;     // even N, odd k, m: even, so strides of 2 fit
    int64_t rows, columns, tiles;      // of tiles: per image, and in all images
    int64_t pairs;                     // of tiles
    int64_t frequencies;               // of the kept half
    int64_t in_channels, out_vectors;  // inputs padded to whole vectors, source by source
    int64_t slot;                      // channels of a row of the spectrum
    int64_t block;                     // pairs in the spectrum at once
    int64_t frequency_stride;          // floats
    bool bfloat16;                     // weights and operands of the product

    SpectralLayout(const PyramidflowSpectral& s)
        : tile(s.tile),
          kernel(s.kernel),
          outputs(s.tile - s.kernel + 1),
          rows(ceil_div(s.height, outputs)),
          columns(ceil_div(s.width, outputs)),
          tiles(s.batch * rows * columns),
          pairs(ceil_div(tiles, 2)),
          frequencies(s.tile * s.tile / 2 + 2),
          in_channels((vectors_of(s.channels0) + vectors_of(s.channels1)) * LANES),
          out_vectors(vectors_of(s.out_channels)),
          slot(larger(in_channels, out_vectors * LANES)),
          block(smaller(larger(s.block, 1), larger(pairs, 1))),
          // One vector more: a power of two would put all frequencies into the same cache set.
          frequency_stride(block * 4 * slot + LANES),
          bfloat16(s.bfloat16) {}

    int64_t spectrum_size() const { return frequencies * frequency_stride; }
    int64_t weights_size() const { return frequencies * out_vectors * in_channels * 2 * LANES; }

    // Place of the first frequency of column fx: columns 0 and N / 2 keep rows 0 to N / 2 alone.
    int64_t first_frequency(int64_t fx) const {
        return fx == 0 ? 0 : tile / 2 + 1 + (fx - 1) * tile;
    }
    int64_t column_length(int64_t fx) const {
        return fx == 0 || 2 * fx == tile ? tile / 2 + 1 : tile;
    }
};

// Where a tile is.
struct Place {
    int64_t image, row, column;  // of the tile's first output
    bool present;

    Place(const SpectralLayout& layout, int64_t index)
        : image(index / (layout.rows * layout.columns)),
          row(index / layout.columns % layout.rows * layout.outputs),
          column(index % layout.columns * layout.outputs),
          present(index < layout.tiles) {}
};

// Which numbers of a line change the sign of one part: those above N / 2, where the other half of a
// spectrum is kept conjugated.
enum class Conjugate { NOTHING, UPPER_FIRST_IN, UPPER_SECOND_OUT };

// The transform of a line: `n` (8, 12, 16, 20, 24 or 32) pairs of vectors, `stride` floats apart.
void fft(int64_t n, Conjugate part, const float* re_in, const float* im_in, int64_t stride_in,
         float* re_out, float* im_out, int64_t stride_out);

// Patches of `extent` x `extent` pixels that start `margin` above and left of their tiles, zero
// elsewhere -> spectrum of the pairs [first, first + count).
void spectral_forward(const PyramidflowSource* sources, const SpectralLayout& layout,
                      const PyramidflowSpectral& shape, int64_t extent, int64_t margin,
                      int64_t first, int64_t count, float* spectrum, float* scratch,
                      int64_t threads);

// The weights in bfloat16, in place: they shrink to the first half of their memory.
void spectral_round_weights(float* weights, const SpectralLayout& layout);

// spectrum <- spectrum x weights, frequency by frequency, in place.
void spectral_product(const float* weights, const SpectralLayout& layout, int64_t count,
                      float* spectrum, int64_t threads);

// Spectrum of the pairs [first, first + count) -> their pixels of y.
void spectral_inverse(const float* spectrum, const SpectralLayout& layout,
                      const PyramidflowSpectral& shape, const PyramidflowEpilogue& epilogue,
                      int64_t first, int64_t count, float* y, float* scratch, int64_t threads);

// Floats of scratch that the transforms need for every thread: one plane of lines, complex.
static inline int64_t spectral_scratch(int64_t tile) {
    return tile * (tile + 1) * 2 * LANES + 4 * tile * LANES;
}

// Floats that `for_blocks` needs: spectra of a block, for every thread or for all, and scratch.
static inline int64_t blocks_workspace(const SpectralLayout& layout,
                                       const PyramidflowSpectral& shape, int64_t threads) {
    return (shape.independent ? threads : 1) * layout.spectrum_size() +
           threads * spectral_scratch(shape.tile);
}

// Calls `body(first pair, count, spectrum, scratch, threads)` for every block. Independent blocks
// each belong to one thread and its cache, else the threads share the work within each block.
template <typename Body>
static inline void for_blocks(const SpectralLayout& layout, const PyramidflowSpectral& shape,
                              float* workspace, int64_t threads, const Body& body) {
    const int64_t blocks = ceil_div(layout.pairs, layout.block);
    const int64_t spectra = (shape.independent ? threads : 1) * layout.spectrum_size();
    if (!shape.independent) {
        for (int64_t k = 0; k < blocks; ++k)
            body(k * layout.block, smaller(layout.block, layout.pairs - k * layout.block),
                 workspace, workspace + spectra, threads);
        return;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t k = 0; k < blocks; ++k) {
        const int64_t own = thread_index();
        body(k * layout.block, smaller(layout.block, layout.pairs - k * layout.block),
             workspace + own * layout.spectrum_size(),
             workspace + spectra + own * spectral_scratch(shape.tile), int64_t{1});
    }
}

// The same for a coupling behind the inverse transform: parameters of two tiles, a row of y.
static inline int64_t coupling_scratch(const PyramidflowSpectral& shape) {
    const int64_t outputs = shape.tile - shape.kernel + 1;
    return ceil_div((2 * outputs + 1) * outputs * shape.out_channels, LANES) * LANES;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
