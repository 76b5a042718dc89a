// The affine coupling: y = exp(s) x + t with s = clamp * 0.636 * atan(s0 / clamp) - mean.
//
// A tile of pixels is worked on while its log-scales are in a buffer of cache size: clamp, mean,
// exp, multiply-add and, on request, the 1x1 convolution behind it cost one pass over memory. Only
// a mean over all pixels needs a pass of its own before.
//
// A tile is `rows` runs of `length` neighbours in memory: pixels of C channels in channels-last
// tensors, C channels of neighbouring pixels in contiguous ones.
#include "mix.h"
#include "vector_math.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

const float SOFT_CLAMP_GAIN = 0.636f;
const int64_t BUFFER = 8192;  // floats of log-scale in one tile
const int64_t CHUNKS = 32;    // of a sample's pixels in a sum, whatever the number of threads

// Source pixel of each pixel when `from` pixels are resized to `to`, nearest neighbour.
void nearest_map(int64_t from, int64_t to, int64_t* map) {
    const float scale = static_cast<float>(from) / static_cast<float>(to);
    for (int64_t i = 0; i < to; ++i) {
        if (from == to) {
            map[i] = i;
        } else if (to == 2 * from) {
            map[i] = i / 2;
        } else {
            const int64_t source = static_cast<int64_t>(static_cast<float>(i) * scale);
            map[i] = smaller(source, from - 1);
        }
    }
}

struct Tile {
    int64_t b, row, column, pixels;  // row and column of the level; one long row if same-sized
};

// Where a tile's parameters and mean are, after gathering them if they have another size.
struct Source {
    const float *s0, *t;
    int64_t stride;  // between rows of s0 and t
    const float* mean;
    int64_t mean_row, mean_lane;  // strides of the mean
};

struct Coupling {
    const PyramidflowCoupling& shape;
    const float* params;
    const float* mean;
    int64_t area, params_area;
    bool resized;
    int64_t grid_height, grid_width;
    const int64_t *row_map, *column_map;

    Coupling(const PyramidflowCoupling& s, const float* params_, const float* mean_, int64_t* maps)
        : shape(s),
          params(params_),
          mean(mean_),
          area(s.height * s.width),
          params_area(s.params_height * s.params_width),
          resized(s.height != s.params_height || s.width != s.params_width),
          grid_height(resized ? s.height : 1),
          grid_width(resized ? s.width : area),
          row_map(maps),
          column_map(maps + s.height) {
        nearest_map(s.params_height, s.height, maps);
        nearest_map(s.params_width, s.width, maps + s.height);
    }

    // Start of the tile's first row in a tensor of the level's size.
    int64_t level_offset(const Tile& tile) const {
        const int64_t pixel = tile.row * grid_width + tile.column;
        const int64_t sample = tile.b * shape.channels * area;
        return sample + (shape.channels_last ? pixel * shape.channels : pixel);
    }
    int64_t level_stride() const { return shape.channels_last ? shape.channels : area; }

    // The same in the parameters: s0 first, t `half` later.
    int64_t params_offset(int64_t b, int64_t pixel) const {
        const int64_t sample = b * 2 * shape.channels * params_area;
        return sample + (shape.channels_last ? pixel * 2 * shape.channels : pixel);
    }
    int64_t params_stride() const { return shape.channels_last ? 2 * shape.channels : params_area; }
    int64_t half() const { return shape.channels_last ? shape.channels : shape.channels * params_area; }

    int64_t pixels_per_tile(int64_t members) const {
        const int64_t fit = BUFFER / (shape.channels * members);
        return larger(smaller(larger(fit, shape.channels_last ? 8 : 64), grid_width), 1);
    }

    Source source(const Tile& tile, float* gathered) const {
        const int64_t batch = shape.mean_batch == 1 ? 0 : tile.b;
        Source found;
        const int64_t pixel = resized ? row_map[tile.row] * shape.params_width : tile.column;
        const int64_t C = shape.channels;
        found.s0 = params + params_offset(tile.b, pixel);
        found.t = found.s0 + half();
        found.stride = params_stride();
        found.mean = mean;
        found.mean_row = found.mean_lane = 0;
        const int64_t kind = shape.mean_kind;
        if (kind == PYRAMIDFLOW_MEAN_PIXEL) {
            found.mean = mean + batch * params_area + pixel;
            (shape.channels_last ? found.mean_row : found.mean_lane) = 1;
        } else if (kind == PYRAMIDFLOW_MEAN_CHANNEL) {
            found.mean = mean + batch * C;
            (shape.channels_last ? found.mean_lane : found.mean_row) = 1;
        } else if (kind == PYRAMIDFLOW_MEAN_FULL) {
            found.mean = mean + batch * C * params_area + pixel * (shape.channels_last ? C : 1);
            found.mean_row = shape.channels_last ? C : params_area;
            found.mean_lane = 1;
        }
        if (resized) gather(tile, gathered, &found);
        return found;
    }

private:
    void gather(const Tile& tile, float* gathered, Source* found) const {
        const int64_t C = shape.channels, count = C * tile.pixels;
        const int64_t* map = column_map + tile.column;
        gather_runs(found->s0, found->stride, map, tile.pixels, gathered);
        gather_runs(found->t, found->stride, map, tile.pixels, gathered + count);
        if (shape.mean_kind == PYRAMIDFLOW_MEAN_FULL) {
            gather_runs(found->mean, found->mean_row, map, tile.pixels, gathered + 2 * count);
            found->mean_row = shape.channels_last ? C : tile.pixels;
            found->mean = gathered + 2 * count;
        } else if (shape.mean_kind == PYRAMIDFLOW_MEAN_PIXEL) {
            for (int64_t i = 0; i < tile.pixels; ++i) gathered[2 * count + i] = found->mean[map[i]];
            found->mean = gathered + 2 * count;
        }
        found->s0 = gathered;
        found->t = gathered + count;
        found->stride = shape.channels_last ? C : tile.pixels;
    }

    void gather_runs(const float* from, int64_t stride, const int64_t* map, int64_t pixels,
                     float* to) const {
        if (shape.channels_last) {
            with_channels(shape.channels, [&](auto channels) {
                for (int64_t i = 0; i < pixels; ++i) {
                    const float* source = from + map[i] * stride;
                    float* __restrict target = to + i * channels;
#pragma omp simd
                    for (int64_t c = 0; c < channels; ++c) target[c] = source[c];
                }
            });
            return;
        }
        // The down block takes every second pixel: neighbours, not a gather.
        bool halved = true;
        for (int64_t i = 0; i < pixels; ++i) halved &= map[i] == map[0] + 2 * i;
        for (int64_t c = 0; c < shape.channels; ++c) {
            float* __restrict target = to + c * pixels;
            const float* source = from + c * stride;
            if (halved) {
                source += map[0];
#pragma omp simd
                for (int64_t i = 0; i < pixels; ++i) target[i] = source[2 * i];
            } else {
                for (int64_t i = 0; i < pixels; ++i) target[i] = source[map[i]];
            }
        }
    }
};

template <typename Body>
void with_runs(const PyramidflowCoupling& shape, const Body& body) {
    if (shape.channels_last)
        with_channels(shape.channels, [&](auto channels) { body(Constant<1>(), channels); });
    else
        body(Constant<0>(), int64_t{0});
}

template <typename Length>
void log_scale(const float* s0, int64_t stride, int64_t rows, Length length, float clamp, float* s) {
    const float gain = clamp * SOFT_CLAMP_GAIN, inverse = 1.0f / clamp;
    for (int64_t r = 0; r < rows; ++r) {
        const float* in = s0 + r * stride;
        float* __restrict out = s + r * length;
#pragma omp simd
        for (int64_t j = 0; j < length; ++j) out[j] = gain * atan_lane(in[j] * inverse);
    }
}

template <typename Length>
void subtract(float* s, const float* mean, int64_t mean_row, int64_t mean_lane, int64_t rows,
              Length length) {
    for (int64_t r = 0; r < rows; ++r) {
        float* __restrict out = s + r * length;
        const float* m = mean + r * mean_row;
        if (mean_lane == 0) {
            const float value = m[0];
#pragma omp simd
            for (int64_t j = 0; j < length; ++j) out[j] -= value;
        } else {
#pragma omp simd
            for (int64_t j = 0; j < length; ++j) out[j] -= m[j];
        }
    }
}

// Mean over the channels and the `members` samples of a tile.
template <typename Length>
void pixel_mean(const float* s, int64_t members, int64_t member_size, int64_t rows, Length length,
                bool channels_last, float* mean) {
    const int64_t pixels = channels_last ? rows : static_cast<int64_t>(length);
    const int64_t channels = channels_last ? static_cast<int64_t>(length) : rows;
    const float scale = 1.0f / static_cast<float>(members * channels);
    for (int64_t i = 0; i < pixels; ++i) mean[i] = 0.0f;
    for (int64_t m = 0; m < members; ++m) {
        for (int64_t r = 0; r < rows; ++r) {
            const float* in = s + m * member_size + r * length;
            if (channels_last) {
                float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
                for (int64_t j = 0; j < length; ++j) sum += in[j];
                mean[r] += sum;
            } else {
#pragma omp simd
                for (int64_t j = 0; j < length; ++j) mean[j] += in[j];
            }
        }
    }
    for (int64_t i = 0; i < pixels; ++i) mean[i] *= scale;
}

double sum_of(const float* s, int64_t count) {
    double total = 0.0;
    for (int64_t first = 0; first < count; first += 1024) {
        float sum = 0.0f;
        const int64_t last = smaller(first + 1024, count);
#pragma omp simd reduction(+ : sum)
        for (int64_t j = first; j < last; ++j) sum += s[j];
        total += static_cast<double>(sum);
    }
    return total;
}

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

struct SoftClamp {
    float gain, inverse;
    PYRAMIDFLOW_INLINE float operator()(float s0) const { return gain * atan_lane(s0 * inverse); }
};
struct Identity {
    PYRAMIDFLOW_INLINE float operator()(float value) const { return value; }
};

// Mean over pixels (and over the batch, if the result has one sample) of f(first half of params).
template <typename Function>
int channel_mean(const float* params, float* mean, const PyramidflowCoupling& shape, int64_t threads,
                 const Function& function) {
    const int64_t C = shape.channels, area = shape.params_height * shape.params_width;
    Scratch<double> partial(shape.batch * CHUNKS * C);
    const int64_t run = 256, per_thread = larger(C, run);
    Scratch<float> scratch(threads * per_thread);
    if (partial.failed() || scratch.failed()) return 1;
    memset(partial.get(), 0, static_cast<size_t>(shape.batch * CHUNKS * C) * sizeof(double));
    with_channels(C, [&](auto channels) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t task = 0; task < shape.batch * CHUNKS; ++task) {
            const int64_t b = task / CHUNKS, chunk = task % CHUNKS;
            const int64_t first = area * chunk / CHUNKS, last = area * (chunk + 1) / CHUNKS;
            double* const total = partial.get() + task * channels;
            float* __restrict sum = scratch.get() + thread_index() * per_thread;
            const Function f = function;  // a copy: the compiler then knows that no store changes it
            if (!shape.channels_last) {
                for (int64_t c = 0; c < channels; ++c) {
                    const float* in = params + (b * 2 * channels + c) * area;
                    for (int64_t p = first; p < last; p += run) {
                        const int64_t count = smaller(run, last - p);
                        const float* source = in + p;
#pragma omp simd
                        for (int64_t i = 0; i < count; ++i) sum[i] = f(source[i]);
                        total[c] += sum_of(sum, count);
                    }
                }
                continue;
            }
            for (int64_t p = first; p < last; p += run) {
                const int64_t end = smaller(p + run, last);
                for (int64_t c = 0; c < channels; ++c) sum[c] = 0.0f;
                for (int64_t i = p; i < end; ++i) {
                    const float* in = params + (b * area + i) * 2 * channels;
#pragma omp simd
                    for (int64_t c = 0; c < channels; ++c) sum[c] += f(in[c]);
                }
                for (int64_t c = 0; c < channels; ++c) total[c] += static_cast<double>(sum[c]);
            }
        }
    });
    const int64_t members = shape.mean_batch == 1 ? shape.batch : 1;
    for (int64_t group = 0; group < shape.mean_batch; ++group) {
        for (int64_t c = 0; c < C; ++c) {
            double sum = 0.0;
            for (int64_t k = 0; k < members * CHUNKS; ++k)
                sum += partial.get()[(group * members * CHUNKS + k) * C + c];
            mean[group * C + c] = static_cast<float>(sum / static_cast<double>(members * area));
        }
    }
    return 0;
}

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

int coupling(const float* x, const float* params, const float* mean, const float* weight, float* y,
             float* log_det, PyramidflowCoupling shape, int64_t threads) {
    return forward<false>(x, params, mean, nullptr, weight, y, log_det, shape, threads);
}

int coupling_pixel_mean(const float* x, const float* params, float* mean, const float* weight,
                        float* y, float* log_det, PyramidflowCoupling shape, int64_t threads) {
    shape.mean_kind = PYRAMIDFLOW_MEAN_NONE;
    return forward<true>(x, params, nullptr, mean, weight, y, log_det, shape, threads);
}

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
