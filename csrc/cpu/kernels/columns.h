// Fine rows of a pyramid filtered down the columns, as far as they are needed for a run of coarse
// pixels. What a coarse pixel takes along the row is then a step away: the even and odd pixels of a
// contiguous row are told apart on the way, those of a channels-last one lie apart anyway.
#pragma once

#include "planes.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

static const float BINOMIAL[5] = {1.0f / 16, 4.0f / 16, 6.0f / 16, 4.0f / 16, 1.0f / 16};

// The binomial sum of five values.
static PYRAMIDFLOW_INLINE Vector binomial(Vector a, Vector b, Vector c, Vector d, Vector e) {
    return (a + e) * BINOMIAL[0] + (b + d) * BINOMIAL[1] + c * BINOMIAL[2];
}

// Coarse pixels in a run: the filtered rows stay in the first-level cache.
static inline int64_t pixels_per_run(const Planes& planes) {
    const int64_t most = planes.channels == 1 ? 1024 : larger(8, 256 / planes.channels);
    return smaller(planes.half_width, most);
}

// A filtered row at the fine pixels 2m and 2m + 1 of a coarse pixel m, `step` from one to the next.
struct Columns {
    float *even, *odd;
    int64_t step;
};

// Scratch memory for rows in which all that is outside of the image is zero.
static inline int64_t columns_size(const Planes& planes) {
    return whole_vectors((2 * pixels_per_run(planes) + 6) * planes.channels) + 8 * LANES;
}

// Filters the ROWS fine rows from `top` on for the coarse pixels first - 1 ... last: `filter` makes
// of a vector of each row a vector of each of the RESULTS filtered ones. Scratch memory holds a row
// of zeros, then these.
template <int64_t ROWS, int64_t RESULTS, typename Channels, typename Filter>
static PYRAMIDFLOW_INLINE void filter_columns(const Planes& planes, const float* plane, int64_t top,
                                              int64_t first, int64_t last, Channels channels,
                                              float* scratch, const Filter& filter,
                                              Columns* columns) {
    const int64_t size = columns_size(planes);
    const int64_t origin = 2 * first - 2, left = larger(origin, 0);
    const int64_t right = smaller(2 * last + 2, planes.width);
    const int64_t row_size = planes.width * channels;
    const float *rows[ROWS], *ahead[2];
    for (int64_t k = 0; k < ROWS; ++k) {
        const int64_t r = top + k;
        const bool inside = r >= 0 && r < planes.height;
        rows[k] = inside ? plane + r * row_size + left * channels : scratch;
    }
    // The two rows that the next row of coarse pixels needs besides.
    for (int64_t k = 0; k < 2; ++k)
        ahead[k] = plane + smaller(top + ROWS + k, planes.height - 1) * row_size + left * channels;
    struct Sums {
        Vector of[RESULTS];
    };
    const auto sums_at = [&](int64_t j, auto count) {
        Vector values[ROWS];
#pragma GCC unroll 6
        for (int64_t k = 0; k < ROWS; ++k) values[k] = load(rows[k] + j, count);
        prefetch(ahead[0] + j);
        prefetch(ahead[1] + j);
        Sums sums;
        filter(values, sums.of);
        return sums;
    };
    float* const results = scratch + size;
    if (channels == 1) {
        // What is stored in whole vectors begins where vectors do.
        float* const aligned = results + LANES - 1;
        const int64_t half = whole_vectors(pixels_per_run(planes) + 2) + 3 * LANES;
        const int64_t before = left - origin, pixels = right - left;
        const auto separate = [&](int64_t j, const Sums& low, const Sums& high) {
            for (int64_t k = 0; k < RESULTS; ++k) {
                float* const even = aligned + k * size + (before + j) / 2;
                store(even, every_second<0>(low.of[k], high.of[k]));
                store(even + half, every_second<1>(low.of[k], high.of[k]));
            }
        };
        int64_t j = 0;
        for (; j + 2 * LANES <= pixels; j += 2 * LANES)
            separate(j, sums_at(j, Whole()), sums_at(j + LANES, Whole()));
        const int64_t rest = pixels - j;
        Sums low = {}, high = {};
        if (rest >= LANES)
            low = sums_at(j, Whole());
        else if (rest > 0)
            low = sums_at(j, rest);
        if (rest > LANES) high = sums_at(j + LANES, rest - LANES);
        separate(j, low, high);
        for (int64_t k = 0; k < RESULTS; ++k) {
            float* const even = aligned + k * size;
            float* const odd = even + half;
            if (before > 0) even[0] = odd[0] = 0.0f;
            even[(before + j) / 2 + LANES] = odd[(before + j) / 2 + LANES] = 0.0f;
            columns[k] = {even + 1, odd + 1, 1};
        }
        return;
    }
    const int64_t before = (left - origin) * channels, count = (right - left) * channels;
    const int64_t total = 2 * (last - first + 2) * channels;
    for_vectors(count, [&](int64_t j, auto n) {
        const Sums sums = sums_at(j, n);
        for (int64_t k = 0; k < RESULTS; ++k)
            store(results + k * size + before + j, sums.of[k], n);
    });
    for (int64_t k = 0; k < RESULTS; ++k) {
        float* const row = results + k * size;
        for (int64_t j = 0; j < before; ++j) row[j] = 0.0f;
        for (int64_t j = before + count; j < total; ++j) row[j] = 0.0f;
        columns[k] = {row + 2 * channels, row + 3 * channels, 2 * channels};
    }
}

// Calls `body(offset in the columns, offset in the output, count)` for every vector of the coarse
// pixels start ... end - 1 of a run that begins at `first`.
template <typename Channels, typename Body>
static PYRAMIDFLOW_INLINE void for_coarse(int64_t first, int64_t start, int64_t end, Channels channels,
                                          const Body& body) {
    if (channels == 1) {
        for_vectors(end - start,
                    [&](int64_t j, auto count) { body(start - first + j, start + j, count); });
        return;
    }
    for (int64_t m = start; m < end; ++m) {
        for_vectors(channels, [&](int64_t c, auto count) {
            body((m - first) * 2 * channels + c, m * channels + c, count);
        });
    }
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
