// The affine coupling: y = exp(s) x + t with s = clamp * 0.636 * atan(s0 / clamp) - mean.
//
// One pass over memory: clamp, mean, exp and multiply-add of a vector are done in registers. A mean
// over the channels waits in a buffer of cache size, and so does what the 1x1 convolution behind
// the coupling takes, if it is asked for. Only a mean over all pixels needs a pass of its own
// before.
#include "coupling_tile.h"
#include "conv1x1/conv1x1_mix.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

// Log-scales that wait in a buffer, clamped before.
struct AsTheyAre {
    PYRAMIDFLOW_INLINE Vector operator()(Vector s) const { return s; }
};

// Where some pixels are left out, the processor's own prefetch would bring these, too.
const int64_t PIXELS_AHEAD = 32;

// y (or x) of a tile, and the sum of its log-scales.
template <int64_t GAP, typename ChannelsLast, typename LogScale, typename Length>
double couple(ChannelsLast channels_last, bool inverse, const LogScale log_scale, const Runs& s0,
              const Source& source, const Runs& x, float* y, int64_t y_stride, bool streamed,
              int64_t rows, Length length) {
    Vector total = {};
    // Copies: to the compiler, a store past the caches may change anything that has an address.
    const bool mean_varies = source.mean_varies, mapped = source.t.map != nullptr;
    const Ahead ahead(length);
    const int64_t floats_ahead = PIXELS_AHEAD * source.step;
    for (int64_t r = 0; r < rows; ++r) {
        const float *xr = x[r], *s0r = s0[r], *tr = source.t[r], *mean = source.mean[r];
        float* const yr = y + r * y_stride;
        const float *x_after = x.after(r, rows, length), *s0_after = s0.after(r, rows, source.next),
                    *t_after = source.t.after(r, rows, source.next);
        const float *x_next_tile = x.in_next_tile(channels_last, r, rows, length),
                    *t_next_tile = source.t.in_next_tile(channels_last, r, rows, length);
        for_vectors(length, [&](int64_t j, auto count) {
            if (!channels_last) {
                ahead.template ask<1>(xr, x_after, j);
                ahead.template ask<GAP>(s0r, s0_after, j);
                ahead.template ask<GAP>(tr, t_after, j);
            } else if (mapped) {
                prefetch(s0r + floats_ahead + j);
                prefetch(tr + floats_ahead + j);
            } else {
                prefetch(x_next_tile + j);
                prefetch(t_next_tile + j);
            }
            const Vector m = mean_varies ? load_apart<GAP>(mean, j, count) : splat(mean[0]);
            const Vector s = log_scale(load_apart<GAP>(s0r, j, count)) - m;
            const Vector value = load(xr + j, count), t = load_apart<GAP>(tr, j, count);
            total += first_lanes(s, count);
            store_result(streamed, yr + j,
                         inverse ? (value - t) * exp_of(-s) : exp_of(s) * value + t, count);
        });
    }
    return static_cast<double>(inverse ? -sum_lanes(total) : sum_lanes(total));
}

template <bool TAKES_MEAN>
int forward(const float* x, const float* params, const float* mean, float* mean_out,
            const float* weight, float* y, float* log_det, const PyramidflowCoupling& shape,
            int64_t threads) {
    Scratch<int64_t> maps(shape.height + shape.width);
    if (maps.failed()) return 1;
    const Coupling coupling(shape, params, mean, maps.get());
    const int64_t members = TAKES_MEAN && shape.mean_batch == 1 ? shape.batch : 1;
    const int64_t groups = members == 0 ? 0 : shape.batch / members;
    const int64_t waiting = TAKES_MEAN ? members : 0;
    const int64_t capacity =
        coupling.pixels_per_tile(larger(waiting, TAKES_MEAN || weight ? 1 : 0));
    const int64_t tiles_per_row = ceil_div(coupling.grid_width, capacity);
    const int64_t tiles = coupling.grid_height * tiles_per_row;
    const int64_t C = shape.channels, member_size = C * capacity;
    const int64_t collected = coupling.gathers() ? 3 : 0;
    const int64_t per_thread = (waiting + collected + (weight ? 1 : 0)) * member_size;
    Scratch<float> scratch(threads * per_thread), transposed(mix_weight_size(C));
    Scratch<double> partial(log_det ? shape.batch * tiles : 0);
    if (scratch.failed() || partial.failed() || transposed.failed()) return 1;
    if (weight) prepare_mix(weight, C, transposed.get());
    const SoftClamp clamp(shape.clamp);
    const float scale = 1.0f / static_cast<float>(members * C);
    const int64_t stride = coupling.level_stride();
    // The parameters of a down block, read at the same time, drive its result out.
    const int64_t largest = larger(coupling.area, coupling.params_area);
    const bool streamed = streams(y, shape.batch * C * largest, stride);

    with_runs(shape, [&](auto channels_last, auto channels) {
        in_parallel(threads, groups * tiles, [&](int64_t task) {
            const int64_t group = task / tiles, tile_index = task % tiles;
            float* const s = scratch.get() + thread_index() * per_thread;
            float* const gathered = s + waiting * member_size;
            float* const mixed = gathered + collected * member_size;
            Tile tile;
            tile.row = tile_index / tiles_per_row;
            tile.column = (tile_index % tiles_per_row) * capacity;
            tile.pixels = smaller(capacity, coupling.grid_width - tile.column);
            const auto length = run_length(channels_last, channels, tile.pixels);
            const int64_t rows = run_count(channels_last, channels, tile.pixels);
            float* const pixel =
                TAKES_MEAN ? mean_out + group * coupling.area + tile.column : nullptr;
            if (TAKES_MEAN) {
                for (int64_t i = 0; i < tile.pixels; ++i) pixel[i] = 0.0f;
                for (int64_t m = 0; m < members; ++m) {
                    tile.b = group * members + m;
                    clamp_and_sum(channels_last, clamp, coupling.source(tile, gathered).s0, rows,
                                  length, s + m * member_size, pixel);
                }
                for (int64_t i = 0; i < tile.pixels; ++i) pixel[i] *= scale;
            }
            for (int64_t m = 0; m < members; ++m) {
                tile.b = group * members + m;
                Source source = coupling.source(tile, gathered);
                const Runs in = {x + coupling.level_offset(tile), stride, nullptr};
                float* const out = y + coupling.level_offset(tile);
                float* const target = weight ? mixed : out;
                const int64_t target_stride = weight ? static_cast<int64_t>(length) : stride;
                double sum = 0.0;
                if constexpr (TAKES_MEAN) {
                    source.mean = {pixel, channels_last, nullptr};
                    source.mean_varies = !channels_last;
                    const Runs buffer = {s + m * member_size, length, nullptr};
                    sum = couple<1>(channels_last, shape.inverse, AsTheyAre(), buffer, source, in,
                                    target, target_stride, streamed && !weight, rows, length);
                } else {
                    with_gap(channels_last, source, [&](auto gap) {
                        sum = couple<gap.value>(channels_last, shape.inverse, clamp, source.s0,
                                                source, in, target, target_stride,
                                                streamed && !weight, rows, length);
                    });
                }
                if (log_det) partial.get()[tile.b * tiles + tile_index] = sum;
                if (!weight) continue;
                if (channels_last)
                    mix_pixels(mixed, transposed.get(), out, C, tile.pixels, streamed);
                else
                    mix_planes(mixed, tile.pixels, transposed.get(), out, stride, C, tile.pixels,
                               streamed);
            }
        });
    });
    if (!log_det) return 0;
    for (int64_t b = 0; b < shape.batch; ++b) {
        double sum = 0.0;
        for (int64_t k = 0; k < tiles; ++k) sum += partial.get()[b * tiles + k];
        log_det[b] = static_cast<float>(sum);
    }
    return 0;
}

}  // namespace

// The mean is read, or, for PYRAMIDFLOW_MEAN_TAKEN, taken over the channels of each pixel and
// written. log_det is written unless null; its terms, of values that are in registers, cost
// nothing.
PYRAMIDFLOW_FUNCTION(coupling, const float* x, const float* params, float* mean,
                     const float* weight, float* y, float* log_det, PyramidflowCoupling shape,
                     int64_t threads) {
    if (shape.mean_kind != PYRAMIDFLOW_MEAN_TAKEN)
        return forward<false>(x, params, mean, nullptr, weight, y, log_det, shape, threads);
    shape.mean_kind = PYRAMIDFLOW_MEAN_NONE;
    return forward<true>(x, params, nullptr, mean, weight, y, log_det, shape, threads);
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
