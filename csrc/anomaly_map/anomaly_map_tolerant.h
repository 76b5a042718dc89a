// One level of the anomaly map with a tolerance: each pixel against the template's around it.
//
// The template's rows are copied on the way down, so that a vector holds one channel of
// neighbouring pixels in either memory format and a vector of latents meets that of each neighbour.
// Beside the image the copy repeats the border: these pixels are neighbours anyway, and the least
// of values stays the same if one comes twice.
#pragma once

#include "cpu/vector.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

static const int64_t COPIED = 1 << 14;  // floats of a block's copies, which the second cache holds
static const int64_t ROWS = 8;          // of a block at least: what lies above it is copied anew
static const int64_t BLOCKS = 4;        // for each thread, if there are so many

// The smaller one; a NaN where either is.
static PYRAMIDFLOW_INLINE Vector least_of(Vector a, Vector b) { return (a < b) | (a != a) ? a : b; }

// Pixels of one sample; beside the image its border is repeated.
struct Pixels {
    const float* data;
    int64_t channels, width;
    int64_t pixel_step, channel_step;

    Pixels(const float* x, int64_t sample, const PyramidflowImage& image)
        : data(x + sample * image.channels * image.height * image.width),
          channels(image.channels),
          width(image.width),
          pixel_step(image.channels_last ? image.channels : 1),
          channel_step(image.channels_last ? 1 : image.height * image.width) {}

    // One pixel of row y, its channels `stride` apart.
    void copy_one(int64_t y, int64_t x, float* to, int64_t stride) const {
        const int64_t column = smaller(larger(x, 0), width - 1);
        const float* const from = data + (y * width + column) * pixel_step;
        for (int64_t c = 0; c < channels; ++c) to[c * stride] = from[c * channel_step];
    }

    // A vector of each channel: pixels x, x + 1 ... of row y. The next row's are asked for.
    void copy(int64_t y, int64_t x, float* to, int64_t stride) const {
        if (x + LANES > width) {
            for (int64_t k = 0; k < LANES; ++k) copy_one(y, x + k, to + k, stride);
            return;
        }
        const float* const from = data + (y * width + x) * pixel_step;
        const float* const next = from + width * pixel_step;
        if (pixel_step == 1)
            for (int64_t c = 0; c < channels; ++c) {
                prefetch(next + c * channel_step);
                store(to + c * stride, load(from + c * channel_step));
            }
        else
            for_vectors(channels, [&](int64_t c, auto count) PYRAMIDFLOW_INLINE_LAMBDA {
                Vector lanes[LANES];
#pragma GCC unroll 16
                for (int64_t k = 0; k < LANES; ++k) {
                    prefetch(next + k * channels + c);
                    lanes[k] = load(from + k * channels + c, count);
                }
                transpose(lanes);
#pragma GCC unroll 16
                for (int64_t k = 0; k < LANES; ++k)
                    if (k < count) store(to + (c + k) * stride, lanes[k]);
            });
    }
};

// Sizes of blocks, each the work of one thread, and of the memory that it needs.
struct Blocks {
    int64_t channels, tolerance, columns, rows;
    int64_t across, down;  // blocks of an image
    int64_t margin;        // beside the copied columns, whole vectors
    int64_t stride;        // of a copied row of one channel

    Blocks(const PyramidflowImage& image, int64_t tolerance_, bool has_spread, int64_t threads)
        : channels(image.channels), tolerance(tolerance_), margin(whole_vectors(tolerance_)) {
        const int64_t per_column = kept() * channels * (has_spread ? 2 : 1);
        const int64_t most = COPIED / per_column / LANES * LANES - 2 * margin;
        columns = larger(smaller(most, whole_vectors(image.width)), LANES);
        across = ceil_div(image.width, columns);
        const int64_t strips = larger(image.batch * across, 1);
        rows = larger(ceil_div(image.height, ceil_div(BLOCKS * threads, strips)), ROWS);
        down = ceil_div(image.height, rows);
        // An odd number of vectors: an even one would give many rows one place in the first cache.
        stride = ((columns + 2 * margin) / LANES | 1) * LANES;
    }

    // Rows of the template that are kept: a pixel's neighbours.
    int64_t kept() const { return 2 * tolerance + 1; }
    int64_t row_size() const { return channels * stride; }
    int64_t template_size() const { return kept() * row_size(); }
    int64_t latents_size() const { return channels * LANES; }
    // Where the copy of a row begins, without its margin.
    int64_t place(int64_t row) const { return row % kept() * row_size() + margin; }
};

// A row of the template, its columns x ... right - 1 and what lies beside them.
static inline void copy_row(const Pixels& normal, const Blocks& blocks, int64_t row, int64_t x,
                            int64_t right, float* to) {
    const int64_t columns = whole_vectors(right - x);
    float* const own = to + blocks.place(row);
    for (int64_t j = 0; j < columns; j += LANES) normal.copy(row, x + j, own + j, blocks.stride);
    for (int64_t j = 0; j < blocks.tolerance; ++j) {
        normal.copy_one(row, x - 1 - j, own - 1 - j, blocks.stride);
        normal.copy_one(row, x + columns + j, own + columns + j, blocks.stride);
    }
}

// A vector's contrast to neighbours OFFSET columns aside. With a spread loads are what takes time.
template <int64_t OFFSET, typename HasSpread>
static PYRAMIDFLOW_INLINE Vector contrast(HasSpread has_spread, Vector z, const float* normal,
                                          const float* weight) {
    if (!has_spread) return magnitude(z - load(normal + OFFSET));
    return magnitude(z - load_beside<OFFSET>(normal)) * load_beside<OFFSET>(weight);
}

// The least sum over the channels of a vector of latents z [C, LANES] among the rows from first to
// last of the copies, COUNT neighbours of a row at a time.
template <int64_t COUNT, typename HasSpread>
static PYRAMIDFLOW_INLINE Vector least_sum(HasSpread has_spread, const Blocks& blocks,
                                           int64_t first, int64_t last, const float* z,
                                           const float* normal, const float* weight) {
    const int64_t aside = blocks.tolerance - COUNT / 2;
    Vector least = splat(__builtin_inff());
    for (int64_t row = first; row <= last; ++row)
        for (int64_t k = -aside; k <= aside; ++k) {
            int64_t at = blocks.place(row) + k;
            Vector sums[COUNT] = {};
            for (int64_t c = 0; c < blocks.channels; ++c, at += blocks.stride) {
                const Vector value = load(z + c * LANES);
                repeat<0, COUNT>([&](auto i) PYRAMIDFLOW_INLINE_LAMBDA {
                    sums[i] +=
                        contrast<i.value - COUNT / 2>(has_spread, value, normal + at, weight + at);
                });
            }
            repeat<0, COUNT>([&](auto i)
                                 PYRAMIDFLOW_INLINE_LAMBDA { least = least_of(least, sums[i]); });
        }
    return least;
}

// Calls `body` with how many neighbours of a row have their sums in registers at once.
template <typename Body>
static inline void with_neighbours(int64_t tolerance, const Body& body) {
    if (tolerance == 1) return body(Constant<3>());
    if (tolerance == 2) return body(Constant<5>());
    if (tolerance == 3) return body(Constant<7>());
    body(Constant<1>());
}

// The level, or 1 if scratch memory could not be had.
static inline int compare_around(const float* latent, const float* mean,
                                 const float* inverse_spread, const float* shift, float* level,
                                 PyramidflowImage image, int64_t mean_batch, int64_t tolerance,
                                 int64_t threads) {
    const int64_t height = image.height, width = image.width, C = image.channels;
    const Blocks blocks(image, tolerance, inverse_spread != nullptr, threads);
    const int64_t copied = blocks.template_size(), per_image = blocks.down * blocks.across;
    const int64_t own = blocks.latents_size() + copied * (inverse_spread ? 2 : 1);
    Scratch<float> scratch(threads * own);
    if (scratch.failed()) return 1;
    const float scale = 1.0f / static_cast<float>(C);
    const auto compare = [&](auto count, auto has_spread, int64_t task) {
        const int64_t b = task / per_image, x = task % blocks.across * blocks.columns;
        const int64_t top = task % per_image / blocks.across * blocks.rows;
        const int64_t bottom = smaller(top + blocks.rows, height);
        const int64_t right = smaller(x + blocks.columns, width);
        float* const z = scratch.get() + thread_index() * own;
        float* const normal = z + blocks.latents_size();
        float* const weight = normal + copied;
        const Pixels latents(latent, b, image), spread(inverse_spread, 0, image);
        const Pixels means(mean, mean_batch == 1 ? 0 : b, image);
        int64_t row = larger(top - tolerance, 0);
        for (int64_t y = top; y < bottom; ++y) {
            const int64_t first = larger(y - tolerance, 0);
            const int64_t last = smaller(y + tolerance, height - 1);
            for (; row <= last; ++row) {
                copy_row(means, blocks, row, x, right, normal);
                if (has_spread) copy_row(spread, blocks, row, x, right, weight);
            }
            for (int64_t column = x; column < right; column += LANES) {
                latents.copy(y, column, z, LANES);
                for (int64_t c = 0; shift && c < C; ++c)
                    store(z + c * LANES, load(z + c * LANES) - shift[b * C + c]);
                const Vector least = least_sum<count.value>(
                    has_spread, blocks, first, last, z, normal + column - x, weight + column - x);
                store(level + (b * height + y) * width + column, least * scale,
                      smaller(LANES, right - column));
            }
        }
    };
    with_neighbours(tolerance, [&](auto count) {
        with_flag(inverse_spread != nullptr, [&](auto has_spread) {
            in_parallel(threads, image.batch * per_image,
                        [&](int64_t task) { compare(count, has_spread, task); });
        });
    });
    return 0;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
