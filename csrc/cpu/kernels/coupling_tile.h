// A tile of a coupling: where its tensors lie, and the steps on its log-scales
// s = clamp * 0.636 * atan(s0 / clamp) - mean that results and gradients share.
//
// A tile is `rows` runs of `length` neighbours in memory: pixels of C channels in channels-last
// tensors, C channels of neighbouring pixels in contiguous ones.
#pragma once

#include "mix.h"
#include "vector_math.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

static const float SOFT_CLAMP_GAIN = 0.636f;
static const int64_t BUFFER = 8192;  // floats of log-scale in one tile

// Source pixel of each pixel when `from` pixels are resized to `to`, nearest neighbour.
static inline void nearest_map(int64_t from, int64_t to, int64_t* map) {
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

static inline double sum_of(const float* s, int64_t count) {
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

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
