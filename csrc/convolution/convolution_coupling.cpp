// A spectral convolution whose result is never stored: behind the inverse transform, while a pair
// of tiles is in cache, s0 and t are used up by the coupling in evaluation and the 1x1 convolution,
//
//   s = clamp * 0.636 * atan(s0 / clamp) - mean,  z = A (exp(s) x + t).
#include "conv1x1/conv1x1_mix.h"
#include "convolution_inverse.h"
#include "cpu/vector_math.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

const float SOFT_CLAMP_GAIN = 0.636f;

// Two tiles of parameters, pixel by pixel [s0, t]; with a stride only the pixels that are kept.
struct TileSink {
    const PyramidflowSpectral& shape;
    int64_t outputs, stride;
    float* tiles;

    bool wants_row(int64_t row) const { return row < shape.height && row % stride == 0; }

    float* row(int64_t tile, int64_t tile_row) const {
        return tiles + (tile * outputs + tile_row) * outputs * shape.out_channels;
    }

    void write_row(int64_t tile, const Place& place, int64_t tile_row, const float* values,
                   int64_t channel) const {
        if (!place.present || !wants_row(place.row + tile_row)) return;
        const int64_t lanes = smaller(LANES, shape.out_channels - channel);
        float* pixel = row(tile, tile_row) + channel;
        for (int64_t x = 0; x < outputs; x += stride) {
            store_channels(pixel, load(values + x * LANES), lanes);
            pixel += shape.out_channels;
        }
    }
};

struct Coupling {
    const float* x;
    const float* pixel_mean;    // [H, W] of the level, or null
    const float* channel_mean;  // [C], zeros without one
    const float* transposed;    // of A, see conv1x1_mix.h
    float* z;
    int64_t channels;
    float clamp;
};

// `pixels` neighbours of the level, from `at` on.
void couple(const Coupling& coupling, const float* params, int64_t image_pixels, int64_t at,
            int64_t pixels, float* y) {
    with_channels(coupling.channels, [&](auto channels) {
        const Vector gain = splat(coupling.clamp * SOFT_CLAMP_GAIN);
        const Vector inverse = splat(1.0f / coupling.clamp);
        for (int64_t p = 0; p < pixels; ++p) {
            const float* const s0 = params + p * 2 * channels;
            const float* const t = s0 + channels;
            const float* const x = coupling.x + (image_pixels + at + p) * channels;
            float* const out = y + p * channels;
            const Vector mean = splat(coupling.pixel_mean ? coupling.pixel_mean[at + p] : 0.0f);
            for_vectors(channels, [&](int64_t c, auto count) {
                const Vector s = gain * atan_of(load(s0 + c, count) * inverse) - mean -
                                 load(coupling.channel_mean + c, count);
                store(out + c, exp_of(s) * load(x + c, count) + load(t + c, count), count);
            });
        }
        mix_pixels(y, coupling.transposed, coupling.z + (image_pixels + at) * channels, channels,
                   pixels, false);
    });
}

}  // namespace

PYRAMIDFLOW_FUNCTION(spectral_coupling, const PyramidflowSource* sources, const float* spectra,
                     const float* x, const float* pixel_mean, const float* channel_mean,
                     const float* weight, float* z, float* workspace, PyramidflowSpectral shape,
                     float clamp, int64_t threads) {
    const SpectralLayout layout(shape);
    const int64_t channels = shape.out_channels / 2;
    const int64_t stride = shape.layout == PYRAMIDFLOW_SPECTRAL_HALF ? 2 : 1;
    const int64_t height = ceil_div(shape.height, stride), width = ceil_div(shape.width, stride);
    float* const tiles = workspace + blocks_workspace(layout, shape, threads);
    float* const transposed = tiles + threads * coupling_scratch(shape);
    prepare_mix(weight, channels, transposed);
    const Coupling coupling = {x, pixel_mean, channel_mean, transposed, z, channels, clamp};
    for_blocks(layout, shape, workspace, threads,
               [&](int64_t first, int64_t count, float* spectrum, float* scratch, int64_t team) {
        spectral_forward(sources, layout, shape, layout.tile, layout.kernel / 2, first, count,
                         spectrum, scratch, team);
        spectral_product(spectra, layout, count, spectrum, team);
        // Within a team of one, the thread's own tiles are those of the team around it.
        float* const own_tiles =
            team == 1 ? tiles + thread_index() * coupling_scratch(shape) : tiles;
#pragma omp parallel for num_threads(team) schedule(static)
        for (int64_t pair = 0; pair < count; ++pair) {
            float* const lines = scratch + thread_index() * spectral_scratch(shape.tile);
            float* const params = own_tiles + thread_index() * coupling_scratch(shape);
            float* const y = params + 2 * layout.outputs * layout.outputs * shape.out_channels;
            const TileSink sink = {shape, layout.outputs, stride, params};
            for (int64_t vector = 0; vector < layout.out_vectors; ++vector)
                inverse_pair(spectrum + pair * 4 * layout.slot + vector * LANES, layout, sink,
                             first + pair, vector * LANES, lines);
            for (int64_t half = 0; half < 2; ++half) {
                const Place place(layout, 2 * (first + pair) + half);
                if (!place.present) continue;
                const int64_t column = place.column / stride;
                const int64_t last = smaller(place.column + layout.outputs, shape.width);
                const int64_t pixels = ceil_div(last, stride) - column;
                for (int64_t row = 0; row < layout.outputs; ++row) {
                    if (!sink.wants_row(place.row + row)) continue;
                    couple(coupling, sink.row(half, row), place.image * height * width,
                           (place.row + row) / stride * width + column, pixels, y);
                }
            }
        }
    });
    return 0;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
