// The affine coupling: y = exp(s) x + t with s = clamp * 0.636 * atan(s0 / clamp) - mean.
//
// A tile of pixels is worked on while its log-scales are in a buffer of cache size: clamp, mean,
// exp, multiply-add and, on request, the 1x1 convolution behind it cost one pass over memory. Only
// a mean over all pixels needs a pass of its own before.
#include "coupling_tile.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

// y (or x) of a tile.
template <typename Length>
void scale_and_shift(bool inverse, const float* s, const float* x, int64_t x_stride, const float* t,
                     int64_t t_stride, float* y, int64_t y_stride, int64_t rows, Length length) {
    for (int64_t r = 0; r < rows; ++r) {
        const float* sr = s + r * length;
        const float* xr = x + r * x_stride;
        const float* tr = t + r * t_stride;
        float* __restrict yr = y + r * y_stride;
        if (inverse) {
#pragma omp simd
            for (int64_t j = 0; j < length; ++j) yr[j] = (xr[j] - tr[j]) * exp_lane(-sr[j]);
        } else {
#pragma omp simd
            for (int64_t j = 0; j < length; ++j) yr[j] = exp_lane(sr[j]) * xr[j] + tr[j];
        }
    }
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
    const int64_t capacity = coupling.pixels_per_tile(larger(members, 1));
    const int64_t tiles_per_row = ceil_div(coupling.grid_width, capacity);
    const int64_t tiles = coupling.grid_height * tiles_per_row;
    const int64_t C = shape.channels, member_size = C * capacity;
    const int64_t per_thread = (members + 4) * member_size;
    Scratch<float> scratch(threads * per_thread), transposed(mix_weight_size(C));
    Scratch<double> partial(shape.batch * tiles);
    if (scratch.failed() || partial.failed() || transposed.failed()) return 1;
    if (weight) prepare_mix(weight, C, transposed.get());

    with_runs(shape, [&](auto channels_last, auto channels) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t task = 0; task < groups * tiles; ++task) {
            const int64_t group = task / tiles, tile_index = task % tiles;
            float* const s = scratch.get() + thread_index() * per_thread;
            float* const gathered = s + members * member_size;
            float* const mixed = gathered + 3 * member_size;
            Tile tile;
            tile.row = tile_index / tiles_per_row;
            tile.column = (tile_index % tiles_per_row) * capacity;
            tile.pixels = smaller(capacity, coupling.grid_width - tile.column);
            const auto with_length = [&](auto length) {
                const int64_t rows = channels_last ? tile.pixels : C;
                for (int64_t m = 0; m < members; ++m) {
                    tile.b = group * members + m;
                    const Source source = coupling.source(tile, gathered);
                    log_scale(source.s0, source.stride, rows, length, shape.clamp, s + m * member_size);
                    if (!TAKES_MEAN && shape.mean_kind != PYRAMIDFLOW_MEAN_NONE)
                        subtract(s + m * member_size, source.mean, source.mean_row, source.mean_lane,
                                 rows, length);
                }
                if (TAKES_MEAN) {
                    float* const pixel = mean_out + group * coupling.area + tile.column;
                    pixel_mean(s, members, member_size, rows, length, channels_last, pixel);
                    for (int64_t m = 0; m < members; ++m)
                        subtract(s + m * member_size, pixel, channels_last, !channels_last, rows, length);
                }
                for (int64_t m = 0; m < members; ++m) {
                    tile.b = group * members + m;
                    const Source source = coupling.source(tile, gathered);
                    const int64_t offset = coupling.level_offset(tile);
                    const int64_t stride = coupling.level_stride();
                    float* const target = weight ? mixed : y + offset;
                    const int64_t target_stride = weight ? static_cast<int64_t>(length) : stride;
                    const double log_scales = sum_of(s + m * member_size, rows * length);
                    partial.get()[tile.b * tiles + tile_index] =
                        shape.inverse ? -log_scales : log_scales;
                    scale_and_shift(shape.inverse, s + m * member_size, x + offset, stride, source.t,
                                    source.stride, target, target_stride, rows, length);
                    if (!weight) continue;
                    if (channels_last)
                        mix_pixels(mixed, transposed.get(), y + offset, C, tile.pixels);
                    else
                        mix_planes(mixed, tile.pixels, transposed.get(), y + offset, stride, C,
                                   tile.pixels);
                }
            };
            if constexpr (channels_last.value)
                with_length(channels);
            else
                with_length(tile.pixels);
        }
    });
    for (int64_t b = 0; b < shape.batch; ++b) {
        double sum = 0.0;
        for (int64_t k = 0; k < tiles; ++k) sum += partial.get()[b * tiles + k];
        log_det[b] = static_cast<float>(sum);
    }
    return 0;
}

}  // namespace

int coupling(const float* x, const float* params, const float* mean, const float* weight, float* y,
             float* log_det, PyramidflowCoupling shape, int64_t threads) {
    return forward<false>(x, params, mean, nullptr, weight, y, log_det, shape, threads);
}

int coupling_pixel_mean(const float* x, const float* params, float* mean, const float* weight,
                        float* y, float* log_det, PyramidflowCoupling shape, int64_t threads) {
    shape.mean_kind = PYRAMIDFLOW_MEAN_NONE;
    return forward<true>(x, params, nullptr, mean, weight, y, log_det, shape, threads);
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
