// The means that volume normalisation subtracts from the log-scales.
#include "coupling_mean.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

struct SoftClamp {
    float gain, inverse;
    PYRAMIDFLOW_INLINE float operator()(float s0) const { return gain * atan_lane(s0 * inverse); }
};

}  // namespace

int coupling_mean_pixel(const float* params, float* mean, PyramidflowCoupling shape, int64_t threads) {
    shape.height = shape.params_height;
    shape.width = shape.params_width;
    shape.mean_kind = PYRAMIDFLOW_MEAN_NONE;
    Scratch<int64_t> maps(shape.height + shape.width);
    if (maps.failed()) return 1;
    const Coupling coupling(shape, params, nullptr, maps.get());
    const int64_t members = shape.mean_batch == 1 ? shape.batch : 1;
    const int64_t groups = members == 0 ? 0 : shape.batch / members;
    const int64_t capacity = coupling.pixels_per_tile(larger(members, 1));
    const int64_t tiles = ceil_div(coupling.area, capacity);
    const int64_t member_size = shape.channels * capacity;
    Scratch<float> scratch(threads * members * member_size);
    if (scratch.failed()) return 1;
    with_runs(shape, [&](auto channels_last, auto channels) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t task = 0; task < groups * tiles; ++task) {
            float* const s = scratch.get() + thread_index() * members * member_size;
            Tile tile;
            tile.row = 0;
            tile.column = (task % tiles) * capacity;
            tile.pixels = smaller(capacity, coupling.area - tile.column);
            const auto with_length = [&](auto length) {
                const int64_t rows = channels_last ? tile.pixels : shape.channels;
                for (int64_t m = 0; m < members; ++m) {
                    tile.b = (task / tiles) * members + m;
                    const Source source = coupling.source(tile, nullptr);
                    log_scale(source.s0, source.stride, rows, length, shape.clamp, s + m * member_size);
                }
                pixel_mean(s, members, member_size, rows, length, channels_last,
                           mean + (task / tiles) * coupling.area + tile.column);
            };
            if constexpr (channels_last.value)
                with_length(channels);
            else
                with_length(tile.pixels);
        }
    });
    return 0;
}

int coupling_mean_channel(const float* params, float* mean, PyramidflowCoupling shape,
                          int64_t threads) {
    const SoftClamp soft_clamp = {shape.clamp * SOFT_CLAMP_GAIN, 1.0f / shape.clamp};
    return channel_mean(params, mean, shape, threads, soft_clamp);
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
