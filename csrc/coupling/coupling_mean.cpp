// The means that volume normalisation subtracts from the log-scales.
#include "coupling_tile.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

const int64_t CHUNKS = 32;   // of a sample's pixels in a sum, whatever the number of threads
const int64_t RUN = 256;     // pixels that are summed in single precision
const int64_t AHEAD = 1024;  // floats; busy with arithmetic, the processor fetches little

}  // namespace

PYRAMIDFLOW_FUNCTION(coupling_mean_pixel, const float* params, float* mean,
                     PyramidflowCoupling shape, int64_t threads) {
    shape = on_own_grid(shape, PYRAMIDFLOW_MEAN_NONE);
    Scratch<int64_t> maps(shape.height + shape.width);
    if (maps.failed()) return 1;
    const Coupling coupling(shape, params, nullptr, maps.get());
    const int64_t members = shape.mean_batch == 1 ? shape.batch : 1;
    const int64_t groups = members == 0 ? 0 : shape.batch / members;
    const int64_t capacity = coupling.pixels_per_tile(1);
    const int64_t tiles = ceil_div(coupling.area, capacity);
    const int64_t size = shape.channels * capacity;
    Scratch<float> scratch(threads * size);
    if (scratch.failed()) return 1;
    const SoftClamp clamp(shape.clamp);
    const float scale = 1.0f / static_cast<float>(members * shape.channels);
    with_runs(shape, [&](auto channels_last, auto channels) {
        in_parallel(threads, groups * tiles, [&](int64_t task) {
            const int64_t group = task / tiles;
            Tile tile = coupling.tile(group * members, task % tiles, capacity);
            const auto length = run_length(channels_last, channels, tile.pixels);
            const int64_t rows = run_count(channels_last, channels, tile.pixels);
            float* const s = scratch.get() + thread_index() * size;
            float* const pixel = mean + group * coupling.area + tile.column;
            for (int64_t i = 0; i < tile.pixels; ++i) pixel[i] = 0.0f;
            for (tile.b = group * members; tile.b < (group + 1) * members; ++tile.b)
                clamp_and_sum(channels_last, clamp, coupling.source(tile, nullptr).s0, rows, length,
                              s, pixel);
            for (int64_t i = 0; i < tile.pixels; ++i) pixel[i] *= scale;
        });
    });
    return 0;
}

PYRAMIDFLOW_FUNCTION(coupling_mean_channel, const float* params, float* mean,
                     PyramidflowCoupling shape, int64_t threads) {
    const int64_t C = shape.channels, area = shape.params_height * shape.params_width;
    Scratch<double> partial(shape.batch * CHUNKS * C);
    if (partial.failed()) return 1;
    memset(partial.get(), 0, static_cast<size_t>(shape.batch * CHUNKS * C) * sizeof(double));
    const SoftClamp clamp(shape.clamp);
    with_channels(C, [&](auto channels) {
        in_parallel(threads, shape.batch * CHUNKS, [&](int64_t task) {
            const int64_t b = task / CHUNKS, chunk = task % CHUNKS;
            const int64_t first = area * chunk / CHUNKS, last = area * (chunk + 1) / CHUNKS;
            double* const total = partial.get() + task * channels;
            if (!shape.channels_last) {
                for (int64_t c = 0; c < channels; ++c) {
                    const float* in = params + (b * 2 * channels + c) * area;
                    for (int64_t p = first; p < last; p += RUN) {
                        Vector sum = {};
                        for_vectors(smaller(RUN, last - p), [&](int64_t j, auto count) {
                            prefetch(in + p + j + AHEAD);
                            sum += clamp(load(in + p + j, count));
                        });
                        total[c] += static_cast<double>(sum_lanes(sum));
                    }
                }
                return;
            }
            for (int64_t p = first; p < last; p += RUN) {
                const float* const in = params + (b * area + p) * 2 * channels;
                const int64_t pixels = smaller(RUN, last - p);
                for_vectors(channels, [&](int64_t c, auto count) {
                    Vector sum = {};
#pragma GCC unroll 2
                    for (int64_t i = 0; i < pixels; ++i) {
                        const float* const place = in + i * 2 * channels + c;
                        prefetch(place + 64 * 2 * channels);
                        sum += clamp(load(place, count));
                    }
                    for (int64_t k = 0; k < count; ++k) total[c + k] += static_cast<double>(sum[k]);
                });
            }
        });
    });
    const int64_t members = shape.mean_batch == 1 ? shape.batch : 1;
    channel_means(partial.get(), shape.mean_batch, members * CHUNKS, C, members * area, mean);
    return 0;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
