// Gradients of the coupling, forward and inverse.
#include "coupling_mean.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

struct Identity {
    PYRAMIDFLOW_INLINE float operator()(float value) const { return value; }
};

// Gradients of x, t and s of a tile; that of s replaces s.
template <typename Length>
void gradients(bool inverse, float* s, const float* grad_y, const float* x, int64_t x_stride,
               const float* t, int64_t t_stride, float grad_log_det, float* grad_x, float* grad_t,
               int64_t grad_t_stride, int64_t rows, Length length) {
    for (int64_t r = 0; r < rows; ++r) {
        float* __restrict sr = s + r * length;
        const float* g = grad_y + r * x_stride;
        const float* xr = x + r * x_stride;
        const float* tr = t + r * t_stride;
        float* __restrict gx = grad_x + r * x_stride;
        float* __restrict gt = grad_t + r * grad_t_stride;
        if (inverse) {
#pragma omp simd
            for (int64_t j = 0; j < length; ++j) {
                const float scaled = g[j] * exp_lane(-sr[j]);
                gx[j] = scaled;
                gt[j] = -scaled;
                sr[j] = -scaled * (xr[j] - tr[j]) - grad_log_det;
            }
        } else {
#pragma omp simd
            for (int64_t j = 0; j < length; ++j) {
                const float scaled = g[j] * exp_lane(sr[j]);
                gx[j] = scaled;
                gt[j] = g[j];
                sr[j] = scaled * xr[j] + grad_log_det;
            }
        }
    }
}

// Gradient of s0 from that of s: times the soft clamp's derivative.
template <typename Length>
void through_clamp(const float* grad_s, const float* s0, int64_t stride, int64_t rows, Length length,
                   float clamp, float* grad_s0) {
    const float inverse = 1.0f / clamp;
    for (int64_t r = 0; r < rows; ++r) {
        const float* g = grad_s + r * length;
        const float* in = s0 + r * stride;
        float* __restrict out = grad_s0 + r * stride;
#pragma omp simd
        for (int64_t j = 0; j < length; ++j) {
            const float z = in[j] * inverse;
            out[j] = g[j] * (SOFT_CLAMP_GAIN / (1.0f + z * z));
        }
    }
}

// Where the level has the parameters' size; grad_params gets the gradient of s, unfinished, if its
// mean over pixels must still be subtracted.
int backward_same_size(const float* grad_y, const float* grad_log_det, const float* x,
                       const Coupling& coupling, float* grad_x, float* grad_params,
                       int64_t through_mean, int64_t threads) {
    const PyramidflowCoupling& shape = coupling.shape;
    const bool pixel_means = through_mean == PYRAMIDFLOW_MEAN_PIXEL;
    const int64_t members = pixel_means && shape.mean_batch == 1 ? shape.batch : 1;
    const int64_t groups = members == 0 ? 0 : shape.batch / members;
    const int64_t capacity = coupling.pixels_per_tile(larger(members, 1));
    const int64_t tiles = ceil_div(coupling.area, capacity);
    const int64_t C = shape.channels, member_size = C * capacity;
    const int64_t per_thread = members * member_size + capacity;
    Scratch<float> scratch(threads * per_thread);
    if (scratch.failed()) return 1;
    with_runs(shape, [&](auto channels_last, auto channels) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t task = 0; task < groups * tiles; ++task) {
            const int64_t group = task / tiles;
            float* const s = scratch.get() + thread_index() * per_thread;
            float* const pixel = s + members * member_size;
            Tile tile;
            tile.row = 0;
            tile.column = (task % tiles) * capacity;
            tile.pixels = smaller(capacity, coupling.area - tile.column);
            const auto with_length = [&](auto length) {
                const int64_t rows = channels_last ? tile.pixels : C;
                for (int64_t m = 0; m < members; ++m) {
                    float* const sm = s + m * member_size;
                    tile.b = group * members + m;
                    const Source source = coupling.source(tile, nullptr);
                    const int64_t offset = coupling.level_offset(tile);
                    float* const grad_s0 = grad_params + (source.s0 - coupling.params);
                    log_scale(source.s0, source.stride, rows, length, shape.clamp, sm);
                    if (shape.mean_kind != PYRAMIDFLOW_MEAN_NONE)
                        subtract(sm, source.mean, source.mean_row, source.mean_lane, rows, length);
                    gradients(shape.inverse, sm, grad_y + offset, x + offset, coupling.level_stride(),
                              source.t, source.stride, grad_log_det[tile.b], grad_x + offset,
                              grad_s0 + coupling.half(), source.stride, rows, length);
                }
                if (pixel_means)
                    pixel_mean(s, members, member_size, rows, length, channels_last, pixel);
                for (int64_t m = 0; m < members; ++m) {
                    float* const sm = s + m * member_size;
                    tile.b = group * members + m;
                    const Source source = coupling.source(tile, nullptr);
                    float* const grad_s0 = grad_params + (source.s0 - coupling.params);
                    if (pixel_means) subtract(sm, pixel, channels_last, !channels_last, rows, length);
                    if (through_mean == PYRAMIDFLOW_MEAN_CHANNEL) {
                        for (int64_t r = 0; r < rows; ++r)
                            for (int64_t j = 0; j < length; ++j)
                                grad_s0[r * source.stride + j] = sm[r * length + j];
                    } else {
                        through_clamp(sm, source.s0, source.stride, rows, length, shape.clamp, grad_s0);
                    }
                }
            };
            if constexpr (channels_last.value)
                with_length(channels);
            else
                with_length(tile.pixels);
        }
    });
    return 0;
}

// Where the parameters have another size: gradients are summed over the level's pixels that took
// each parameter. One task per row of the parameters, so that no two add to the same place.
int backward_resized(const float* grad_y, const float* grad_log_det, const float* x,
                     const Coupling& coupling, float* grad_x, float* grad_params, int64_t threads) {
    const PyramidflowCoupling& shape = coupling.shape;
    const int64_t capacity = coupling.pixels_per_tile(1);
    const int64_t C = shape.channels, size = C * capacity, per_thread = 5 * size;
    Scratch<float> scratch(threads * per_thread);
    if (scratch.failed()) return 1;
    with_runs(shape, [&](auto channels_last, auto channels) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t task = 0; task < shape.batch * shape.params_height; ++task) {
            const int64_t params_row = task % shape.params_height;
            float* const s = scratch.get() + thread_index() * per_thread;
            float* const grad_t = s + size;
            float* const gathered = grad_t + size;
            Tile tile;
            tile.b = task / shape.params_height;
            float* const target =
                grad_params + coupling.params_offset(tile.b, params_row * shape.params_width);
            const int64_t stride = coupling.params_stride();
            if (channels_last) {
                memset(target, 0, static_cast<size_t>(shape.params_width * stride) * sizeof(float));
            } else {
                for (int64_t c = 0; c < 2 * C; ++c)
                    memset(target + c * stride, 0,
                           static_cast<size_t>(shape.params_width) * sizeof(float));
            }
            for (tile.row = 0; tile.row < shape.height; ++tile.row) {
                if (coupling.row_map[tile.row] != params_row) continue;
                for (tile.column = 0; tile.column < shape.width; tile.column += capacity) {
                    tile.pixels = smaller(capacity, shape.width - tile.column);
                    const Source source = coupling.source(tile, gathered);
                    const int64_t offset = coupling.level_offset(tile);
                    const int64_t* map = coupling.column_map + tile.column;
                    const auto with_length = [&](auto length) {
                        const int64_t rows = channels_last ? tile.pixels : C;
                        log_scale(source.s0, source.stride, rows, length, shape.clamp, s);
                        if (shape.mean_kind != PYRAMIDFLOW_MEAN_NONE)
                            subtract(s, source.mean, source.mean_row, source.mean_lane, rows, length);
                        gradients(shape.inverse, s, grad_y + offset, x + offset,
                                  coupling.level_stride(), source.t, source.stride,
                                  grad_log_det[tile.b], grad_x + offset, grad_t,
                                  static_cast<int64_t>(length), rows, length);
                        for (int64_t r = 0; r < rows; ++r) {
                            for (int64_t j = 0; j < length; ++j) {
                                const int64_t k = channels_last ? map[r] * stride + j
                                                                : r * stride + map[j];
                                target[k] += s[r * length + j];
                                target[k + coupling.half()] += grad_t[r * length + j];
                            }
                        }
                    };
                    if constexpr (channels_last.value)
                        with_length(channels);
                    else
                        with_length(tile.pixels);
                }
            }
        }
    });
    return 0;
}

// Turns the gradient of s in grad_params into that of s0: minus its mean, through the clamp.
int finish_params(float* grad_params, const float* params, const float* channel_means,
                  const PyramidflowCoupling& level, int64_t through_mean, int64_t threads) {
    PyramidflowCoupling shape = level;
    shape.height = level.params_height;
    shape.width = level.params_width;
    shape.mean_kind = through_mean == PYRAMIDFLOW_MEAN_CHANNEL ? through_mean : PYRAMIDFLOW_MEAN_NONE;
    Scratch<int64_t> maps(shape.height + shape.width);
    if (maps.failed()) return 1;
    const Coupling coupling(shape, params, channel_means, maps.get());
    const bool pixel_means = through_mean == PYRAMIDFLOW_MEAN_PIXEL;
    const int64_t members = pixel_means && shape.mean_batch == 1 ? shape.batch : 1;
    const int64_t groups = members == 0 ? 0 : shape.batch / members;
    const int64_t capacity = coupling.pixels_per_tile(larger(members, 1));
    const int64_t tiles = ceil_div(coupling.area, capacity);
    const int64_t C = shape.channels, member_size = C * capacity;
    const int64_t per_thread = members * member_size + capacity;
    Scratch<float> scratch(threads * per_thread);
    if (scratch.failed()) return 1;
    with_runs(shape, [&](auto channels_last, auto channels) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t task = 0; task < groups * tiles; ++task) {
            const int64_t group = task / tiles;
            float* const s = scratch.get() + thread_index() * per_thread;
            float* const pixel = s + members * member_size;
            Tile tile;
            tile.row = 0;
            tile.column = (task % tiles) * capacity;
            tile.pixels = smaller(capacity, coupling.area - tile.column);
            const auto with_length = [&](auto length) {
                const int64_t rows = channels_last ? tile.pixels : C;
                for (int64_t m = 0; m < members; ++m) {
                    tile.b = group * members + m;
                    const Source source = coupling.source(tile, nullptr);
                    const float* grad_s = grad_params + (source.s0 - params);
                    for (int64_t r = 0; r < rows; ++r)
                        for (int64_t j = 0; j < length; ++j)
                            s[m * member_size + r * length + j] = grad_s[r * source.stride + j];
                }
                if (pixel_means)
                    pixel_mean(s, members, member_size, rows, length, channels_last, pixel);
                for (int64_t m = 0; m < members; ++m) {
                    float* const sm = s + m * member_size;
                    tile.b = group * members + m;
                    const Source source = coupling.source(tile, nullptr);
                    if (pixel_means)
                        subtract(sm, pixel, channels_last, !channels_last, rows, length);
                    else if (through_mean == PYRAMIDFLOW_MEAN_CHANNEL)
                        subtract(sm, source.mean, source.mean_row, source.mean_lane, rows, length);
                    through_clamp(sm, source.s0, source.stride, rows, length, shape.clamp,
                                  grad_params + (source.s0 - params));
                }
            };
            if constexpr (channels_last.value)
                with_length(channels);
            else
                with_length(tile.pixels);
        }
    });
    return 0;
}

}  // namespace

int coupling_backward(const float* grad_y, const float* grad_log_det, const float* x,
                      const float* params, const float* mean, float* grad_x, float* grad_params,
                      PyramidflowCoupling shape, int64_t through_mean, int64_t threads) {
    Scratch<int64_t> maps(shape.height + shape.width);
    Scratch<float> channel_means(shape.mean_batch * shape.channels);
    if (maps.failed() || channel_means.failed()) return 1;
    const Coupling coupling(shape, params, mean, maps.get());
    int failed = coupling.resized
                     ? backward_resized(grad_y, grad_log_det, x, coupling, grad_x, grad_params, threads)
                     : backward_same_size(grad_y, grad_log_det, x, coupling, grad_x, grad_params,
                                          through_mean, threads);
    if (failed || (!coupling.resized && through_mean != PYRAMIDFLOW_MEAN_CHANNEL)) return failed;
    if (through_mean == PYRAMIDFLOW_MEAN_CHANNEL)
        failed = channel_mean(grad_params, channel_means.get(), shape, threads, Identity());
    if (failed) return failed;
    return finish_params(grad_params, params, channel_means.get(), shape, through_mean, threads);
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
