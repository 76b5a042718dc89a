// A tile of a coupling: where its tensors lie, and the log-scales
// s = clamp * 0.636 * atan(s0 / clamp) - mean that results and gradients share.
//
// A tile is `rows` runs of `length` neighbours in memory: pixels of C channels in channels-last
// tensors, C channels of neighbouring pixels in contiguous ones.
#pragma once

#include "cpu/vector_math.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

// A coupling on the parameters' own grid: nothing is resized.
static inline PyramidflowCoupling on_own_grid(PyramidflowCoupling shape, int64_t mean_kind) {
    shape.height = shape.params_height;
    shape.width = shape.params_width;
    shape.mean_kind = mean_kind;
    return shape;
}

static const float SOFT_CLAMP_GAIN = 0.636f;

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

// The runs of a tile in one tensor; with a map, those of other pixels.
struct Runs {
    const float* first;
    int64_t stride;
    const int64_t* map;

    PYRAMIDFLOW_INLINE const float* operator[](int64_t r) const {
        return first + (map ? map[r] : r) * stride;
    }
    // What is read after run r of a contiguous tensor: the next run, at last the next tile's first.
    PYRAMIDFLOW_INLINE const float* after(int64_t r, int64_t rows, int64_t next) const {
        return r + 1 < rows ? (*this)[r + 1] : first + next;
    }
    // The same run of the next tile.
    PYRAMIDFLOW_INLINE const float* in_next_tile(Constant<1>, int64_t r, int64_t rows,
                                                 int64_t) const {
        return (*this)[r] + rows * stride;
    }
    PYRAMIDFLOW_INLINE const float* in_next_tile(Constant<0>, int64_t r, int64_t,
                                                 int64_t length) const {
        return (*this)[r] + length;
    }
};

// Asks for what a contiguous tile reads soon: some way on in a run, then at the start of the next.
// A whole long run ahead, it would drive out the lines of this one.
struct Ahead {
    static constexpr int64_t FURTHEST = 384;  // floats
    int64_t length, distance;

    explicit Ahead(int64_t length_) : length(length_), distance(smaller(length_, FURTHEST)) {}
    template <int64_t GAP>
    PYRAMIDFLOW_INLINE void ask(const float* run, const float* next, int64_t j) const {
        const int64_t k = j + distance;
        if (k < length)
            prefetch_apart<GAP>(run, k);
        else
            prefetch_apart<GAP>(next, k - length);
    }
};

// Where a tile's parameters and mean are, after gathering them if they have another size.
struct Source {
    Runs s0, t, mean;
    bool mean_varies;  // along a run
    bool spread;       // over every second float of a run twice as long: a down block's, contiguous
    int64_t step;      // floats between those of neighbouring pixels, channels-last
    int64_t next;      // floats to the same run of the next tile, contiguous
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

    // Of same-sized levels: one long row.
    Tile tile(int64_t b, int64_t index, int64_t capacity) const {
        return {b, 0, index * capacity, smaller(capacity, area - index * capacity)};
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
    int64_t half() const {
        return shape.channels_last ? shape.channels : shape.channels * params_area;
    }

    // Whether a run's parameters are every second float, and whether they are collected first.
    bool spread() const { return !shape.channels_last && shape.params_width == 2 * shape.width; }
    bool gathers() const { return !shape.channels_last && resized && !spread(); }

    // Tiles are as large as it takes for `waiting` values per element to stay in the first cache.
    // Contiguous runs are longer, and stay in the second: each is a start for the prefetcher. Where
    // nothing waits they are longer still, but for levels that would be too few tiles.
    static constexpr int64_t LONG_RUN = 2048, TILES = 32;
    int64_t pixels_per_tile(int64_t waiting) const {
        const int64_t buffer = shape.channels_last ? (waiting ? 1024 : 4096) : 16384;  // floats
        const int64_t fit = buffer / (shape.channels * larger(waiting, 1)) / LANES * LANES;
        int64_t least = shape.channels_last ? LANES : 64;
        if (!shape.channels_last && !waiting && !gathers())
            least = larger(smaller(area / TILES / LANES * LANES, LONG_RUN), least);
        return larger(smaller(larger(fit, least), grid_width), 1);
    }

    // The mean of a tile where there is none: one zero.
    Source source(const Tile& tile, float* gathered) const {
        static const float zero = 0.0f;
        const int64_t batch = shape.mean_batch == 1 ? 0 : tile.b;
        int64_t pixel = resized ? row_map[tile.row] * shape.params_width : tile.column;
        if (spread()) pixel += 2 * tile.column;
        const int64_t C = shape.channels;
        const int64_t* const map =
            resized && shape.channels_last ? column_map + tile.column : nullptr;
        const float* const s0 = params + params_offset(tile.b, pixel);
        Source found = {{s0, params_stride(), map},
                        {s0 + half(), params_stride(), map},
                        {},
                        false,
                        spread(),
                        params_stride() * (shape.params_width / shape.width),
                        spread() ? 2 * tile.pixels : tile.pixels};
        if (spread() && tile.column + tile.pixels == shape.width && tile.row + 1 < shape.height)
            found.next = row_map[tile.row + 1] * shape.params_width - pixel;
        switch (shape.mean_kind) {
            case PYRAMIDFLOW_MEAN_PIXEL:
                found.mean = {mean + batch * params_area + pixel, shape.channels_last ? 1 : 0, map};
                found.mean_varies = !shape.channels_last;
                break;
            case PYRAMIDFLOW_MEAN_CHANNEL:
                found.mean = {mean + batch * C, shape.channels_last ? 0 : 1, nullptr};
                found.mean_varies = shape.channels_last;
                break;
            case PYRAMIDFLOW_MEAN_FULL:
                found.mean = {
                    mean + batch * C * params_area + pixel * (shape.channels_last ? C : 1),
                    shape.channels_last ? C : params_area, map};
                found.mean_varies = true;
                break;
            default: found.mean = {&zero, 0, nullptr};
        }
        if (gathers()) gather(tile, gathered, &found);
        return found;
    }

private:
    void gather(const Tile& tile, float* gathered, Source* found) const {
        const int64_t C = shape.channels, count = C * tile.pixels;
        gather_runs(tile, C, gathered, &found->s0);
        gather_runs(tile, C, gathered + count, &found->t);
        if (shape.mean_kind == PYRAMIDFLOW_MEAN_FULL)
            gather_runs(tile, C, gathered + 2 * count, &found->mean);
        else if (shape.mean_kind == PYRAMIDFLOW_MEAN_PIXEL)
            gather_runs(tile, 1, gathered + 2 * count, &found->mean);
    }

    void gather_runs(const Tile& tile, int64_t rows, float* gathered, Runs* runs) const {
        const int64_t* map = column_map + tile.column;
        for (int64_t r = 0; r < rows; ++r) {
            const float* const source = (*runs)[r];
            float* const target = gathered + r * tile.pixels;
            for (int64_t i = 0; i < tile.pixels; ++i) target[i] = source[map[i]];
        }
        *runs = {gathered, rows == 1 ? 0 : tile.pixels, nullptr};
    }
};

template <typename Body>
void with_runs(const PyramidflowCoupling& shape, const Body& body) {
    if (shape.channels_last)
        with_channels(shape.channels, [&](auto channels) { body(Constant<1>(), channels); });
    else
        body(Constant<0>(), shape.channels);
}

// Length and number of a tile's runs.
template <typename Channels>
static inline Channels run_length(Constant<1>, Channels channels, int64_t) {
    return channels;
}
static inline int64_t run_length(Constant<0>, int64_t, int64_t pixels) { return pixels; }
static inline int64_t run_count(Constant<1>, int64_t, int64_t pixels) { return pixels; }
static inline int64_t run_count(Constant<0>, int64_t channels, int64_t) { return channels; }

// Calls `body` with what lies between the parameters of neighbours in a run: 1 float or 2.
template <typename Body>
void with_gap(Constant<1>, const Source&, const Body& body) {
    body(Constant<1>());
}
template <typename Body>
void with_gap(Constant<0>, const Source& source, const Body& body) {
    if (source.spread)
        body(Constant<2>());
    else
        body(Constant<1>());
}

struct SoftClamp {
    float gain, inverse;

    explicit SoftClamp(float clamp) : gain(clamp * SOFT_CLAMP_GAIN), inverse(1.0f / clamp) {}
    PYRAMIDFLOW_INLINE Vector operator()(Vector s0) const { return gain * atan_of(inverse * s0); }
};

// Adds a vector of a run to the sums of its pixels: one sum in channels-last tensors, many in
// contiguous ones.
template <typename ChannelsLast, typename Count>
static PYRAMIDFLOW_INLINE void add_to_pixels(ChannelsLast channels_last, Vector value, Count count,
                                             int64_t r, int64_t j, float* sums) {
    if (channels_last)
        sums[r] += sum_lanes(first_lanes(value, count));
    else
        store(sums + j, load(sums + j, count) + value, count);
}

// s = clamped s0, and its sum over the channels of each pixel.
template <typename ChannelsLast, typename Length>
void clamp_and_sum(ChannelsLast channels_last, SoftClamp clamp, const Runs& s0, int64_t rows,
                   Length length, float* s, float* sums) {
    for (int64_t r = 0; r < rows; ++r) {
        const float* const in = s0[r];
        const float* const next = channels_last ? s0.in_next_tile(channels_last, r, rows, length)
                                                : s0.after(r, rows, length);
        for_vectors(length, [&](int64_t j, auto count) {
            prefetch(next + j);
            const Vector value = clamp(load(in + j, count));
            store(s + r * length + j, value, count);
            add_to_pixels(channels_last, value, count, r, j, sums);
        });
    }
}

// mean [groups, C] of `per_group` partial sums of C channels each, `count` values in all.
static inline void channel_means(const double* partial, int64_t groups, int64_t per_group,
                                 int64_t C, int64_t count, float* mean) {
    for (int64_t group = 0; group < groups; ++group) {
        for (int64_t c = 0; c < C; ++c) {
            double sum = 0.0;
            for (int64_t k = 0; k < per_group; ++k) sum += partial[(group * per_group + k) * C + c];
            mean[group * C + c] = static_cast<float>(sum / static_cast<double>(count));
        }
    }
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
