// Rows of a pyramid: filtered down the columns, then along the row, all in registers.
//
// A walk along a row has what is filtered down the columns at three neighbouring coarse pixels:
// each is read and filtered once and handed on. In a contiguous row a vector holds neighbouring
// pixels, and what a pixel takes from its neighbours is a shift away; in a channels-last one it
// holds channels.
#pragma once

#include "pyramid_planes.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

static const float BINOMIAL[5] = {1.0f / 16, 4.0f / 16, 6.0f / 16, 4.0f / 16, 1.0f / 16};

// The binomial sum of five values.
static PYRAMIDFLOW_INLINE Vector binomial(Vector a, Vector b, Vector c, Vector d, Vector e) {
    return (a + e) * BINOMIAL[0] + (b + d) * BINOMIAL[1] + c * BINOMIAL[2];
}

// A row outside of the image.
class Zeros {
public:
    explicit Zeros(int64_t count) : row_(count) {
        if (!failed()) memset(row_.get(), 0, static_cast<size_t>(count) * sizeof(float));
    }
    bool failed() const { return row_.failed(); }
    const float* get() const { return row_.get(); }

private:
    Scratch<float> row_;
};

// What the rows of a pyramid give at the pixels of a vector.
template <int64_t COUNT>
struct Values {
    Vector of[COUNT];
};

// The values one pixel away, READ of those of a vector and of the next one.
template <Vector (*READ)(Vector, Vector), int64_t COUNT>
static PYRAMIDFLOW_INLINE Values<COUNT> shifted(const Values<COUNT>& first,
                                                const Values<COUNT>& second) {
    Values<COUNT> result;
#pragma GCC unroll 4
    for (int64_t k = 0; k < COUNT; ++k) result.of[k] = READ(first.of[k], second.of[k]);
    return result;
}

static const int64_t LINE = 16;  // floats in a line of memory

// Calls `body(r, m, c, before, here, after, count)` for the coarse pixels of a row before `end`: m
// and c are the first pixel and the first channel of a vector, `count` says how much it holds, and
// r < ROWS is the row of results. `load(m, c, count)` gives the values in the row; outside of it
// are zeros.
template <int64_t COUNT, int64_t ROWS, typename Channels, typename Load, typename Body>
static PYRAMIDFLOW_INLINE void walk_row(int64_t end, const Planes& planes, Channels channels,
                                        const Load& load, const Body& body) {
    typedef Values<COUNT> At;
    const int64_t width = planes.half_width;
    if (end == 0) return;
    if (channels == 1) {
        const int64_t whole = planes.width / 2;  // pixels to which two fine ones belong
        const auto rest = [&](int64_t m) {
            const int64_t count = smaller(width - m, LANES);
            return count > 0 ? load(m, 0, count) : At{};
        };
        At before = {}, here = LANES <= whole ? load(0, 0, Whole()) : rest(0);
        const auto step = [&](int64_t m, const At& after, auto count) PYRAMIDFLOW_INLINE_LAMBDA {
            const At left = shifted<from_last>(before, here);
            const At right = shifted<from_second>(here, after);
            repeat<0, ROWS>(
                [&](auto r) PYRAMIDFLOW_INLINE_LAMBDA { body(r, m, 0, left, here, right, count); });
            before = here;
            here = after;
        };
        int64_t m = 0;
        for (; m + 2 * LANES <= whole && m + LANES <= end; m += LANES)
            step(m, load(m + LANES, 0, Whole()), Whole());
        for (; m < end; m += LANES) step(m, rest(m + LANES), smaller(end - m, LANES));
        return;
    }
    // The channels of a line of memory go together: written past the caches it must be whole. Two
    // lines are better where there are, as the processor fetches pairs of them.
    const auto walk = [&](int64_t first, auto vectors, auto count) {
        const int64_t last = channels - count;
        At before[vectors.value] = {}, here[vectors.value], after[vectors.value];
        repeat<0, vectors.value>([&](auto v) PYRAMIDFLOW_INLINE_LAMBDA {
            here[v] = load(0, smaller(first + v * LANES, last), count);
        });
        for (int64_t m = 0; m < end; ++m) {
            repeat<0, vectors.value>([&](auto v) PYRAMIDFLOW_INLINE_LAMBDA {
                const int64_t c = smaller(first + v * LANES, last);
                after[v] = m + 1 < width ? load(m + 1, c, count) : At{};
            });
            repeat<0, ROWS>([&](auto r) PYRAMIDFLOW_INLINE_LAMBDA {
                repeat<0, vectors.value>([&](auto v) PYRAMIDFLOW_INLINE_LAMBDA {
                    const int64_t c = smaller(first + v * LANES, last);
                    body(r, m, c, before[v], here[v], after[v], count);
                });
            });
            repeat<0, vectors.value>([&](auto v) PYRAMIDFLOW_INLINE_LAMBDA {
                before[v] = here[v];
                here[v] = after[v];
            });
        }
    };
    if (channels < LANES) return walk(0, Constant<1>(), int64_t{channels});
    int64_t c = 0;
    for (; c + 2 * LINE <= channels; c += 2 * LINE) walk(c, Constant<2 * LINE / LANES>(), Whole());
    for (; c < channels; c += LINE) walk(c, Constant<LINE / LANES>(), Whole());
}

// One pixel of the row, with all of its channels.
template <int64_t COUNT, int64_t ROWS, typename Channels, typename Load, typename Body>
static PYRAMIDFLOW_INLINE void visit_pixel(int64_t m, const Planes& planes, Channels channels,
                                           const Load& load, const Body& body) {
    typedef Values<COUNT> At;
    for (int64_t c = 0; c < channels; c += LANES) {
        const int64_t count = smaller(channels - c, LANES);
        const At before = m > 0 ? load(m - 1, c, count) : At{}, here = load(m, c, count);
        const At after = m + 1 < planes.half_width ? load(m + 1, c, count) : At{};
        repeat<0, ROWS>([&](auto r) { body(r, m, c, before, here, after, count); });
    }
}

// ROWS fine rows from `top` on, filtered down the columns: `filter` makes of a vector of each row a
// vector of each of RESULTS rows. At a coarse pixel m there are the fine pixels 2m and 2m + 1 of
// the first of these, then those of the second.
template <int64_t ROWS, int64_t RESULTS, typename Channels, typename Filter>
class FineRows {
public:
    // `zeros` is a row of them, for those outside of the plane.
    FineRows(const Planes& planes, const float* plane, int64_t top, const float* zeros,
             Channels channels, const Filter& filter)
        : width_(planes.width), channels_(channels), filter_(filter) {
        const int64_t row_size = planes.width * channels;
        for (int64_t k = 0; k < ROWS; ++k) {
            const int64_t r = top + k;
            const bool inside = r >= 0 && r < planes.height;
            rows_[k] = inside ? plane + r * row_size : zeros;
        }
        // The two rows that the next row of coarse pixels needs besides.
        for (int64_t k = 0; k < 2; ++k)
            ahead_[k] = plane + smaller(top + ROWS + k, planes.height - 1) * row_size;
    }

    template <typename Count>
    PYRAMIDFLOW_INLINE Values<2 * RESULTS> operator()(int64_t m, int64_t c, Count count) const {
        if (channels_ == 1) return separated(2 * m, count);
        const Values<RESULTS> even = filtered(2 * m * channels_ + c, count);
        Values<RESULTS> odd = {};
        if (2 * m + 1 < width_) odd = filtered((2 * m + 1) * channels_ + c, count);
        Values<2 * RESULTS> both;
#pragma GCC unroll 4
        for (int64_t k = 0; k < RESULTS; ++k) {
            both.of[2 * k] = even.of[k];
            both.of[2 * k + 1] = odd.of[k];
        }
        return both;
    }

private:
    template <typename Count>
    PYRAMIDFLOW_INLINE Values<RESULTS> filtered(int64_t j, Count count) const {
        Vector values[ROWS];
#pragma GCC unroll 6
        for (int64_t k = 0; k < ROWS; ++k) values[k] = load(rows_[k] + j, count);
        prefetch(ahead_[0] + j);
        prefetch(ahead_[1] + j);
        Values<RESULTS> results;
        filter_(values, results.of);
        return results;
    }
    // Of a contiguous row the even and the odd pixels of two vectors.
    PYRAMIDFLOW_INLINE Values<2 * RESULTS> separated(int64_t j, Whole) const {
        return separated(filtered(j, Whole()), filtered(j + LANES, Whole()));
    }
    PYRAMIDFLOW_INLINE Values<2 * RESULTS> separated(int64_t j, int64_t count) const {
        const int64_t pixels = smaller(2 * count, width_ - j);
        Values<RESULTS> high = {};
        if (pixels > LANES) high = filtered(j + LANES, pixels - LANES);
        return separated(filtered(j, smaller(pixels, LANES)), high);
    }
    PYRAMIDFLOW_INLINE Values<2 * RESULTS> separated(const Values<RESULTS>& low,
                                                     const Values<RESULTS>& high) const {
        Values<2 * RESULTS> both;
#pragma GCC unroll 4
        for (int64_t k = 0; k < RESULTS; ++k) {
            both.of[2 * k] = every_second<0>(low.of[k], high.of[k]);
            both.of[2 * k + 1] = every_second<1>(low.of[k], high.of[k]);
        }
        return both;
    }

    int64_t width_;
    Channels channels_;
    const Filter& filter_;
    const float *rows_[ROWS], *ahead_[2];
};

// Writes what belongs to the coarse pixels from m on: `even` at the fine pixels 2m, `odd` behind
// them where the row of `width` has not ended. `write(offset in the fine row, values, count)` does
// it.
template <typename Channels, typename Count, typename Write>
static PYRAMIDFLOW_INLINE void write_pair(int64_t m, int64_t c, Vector even, Vector odd,
                                          int64_t width, Channels channels, Count count,
                                          const Write& write) {
    const int64_t to = 2 * m * channels + c;
    if (channels != 1) {
        write(to, even, count);
        if (2 * m + 1 < width) write(to + channels, odd, count);
        return;
    }
    const Vector low = alternate<false>(even, odd), high = alternate<true>(even, odd);
    const int64_t pixels = smaller(2 * count, width - to);
    if (pixels < LANES) return write(to, low, pixels);
    write(to, low, Whole());
    if (pixels == 2 * LANES) return write(to + LANES, high, Whole());
    if (pixels > LANES) write(to + LANES, high, pixels - LANES);
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
