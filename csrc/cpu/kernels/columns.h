// Fine rows of a pyramid filtered down the columns, as far as they are needed for a run of coarse
// pixels. What a coarse pixel takes along the row is then a step away: the even and odd pixels of a
// contiguous row are told apart on the way, those of a channels-last one lie apart anyway.
#pragma once

#include "planes.h"
#include "vector.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

static const float BINOMIAL[5] = {1.0f / 16, 4.0f / 16, 6.0f / 16, 4.0f / 16, 1.0f / 16};

// Coarse pixels in a run: the filtered rows stay in the first-level cache.
static inline int64_t pixels_per_run(const Planes& planes) {
    return smaller(planes.half_width, larger(8, 1024 / planes.channels));
}

// The filtered row at the fine pixels 2m and 2m + 1 of a coarse pixel m, `step` from one to the next.
struct Columns {
    float *even, *odd;
    int64_t step;
};

// Scratch memory for rows in which all that is outside of the image is zero.
static inline int64_t columns_size(const Planes& planes) {
    return (2 * pixels_per_run(planes) + 6) * planes.channels + 8 * LANES;
}

// Rows top ... top + TAPS - 1, weighted, for the coarse pixels first - 1 ... last.
template <int64_t TAPS, typename Channels>
Columns filter_columns(const Planes& planes, const float* plane, int64_t top, const float* weights,
                       int64_t first, int64_t last, Channels channels, const float* zeros,
                       float* buffer) {
    const int64_t origin = 2 * first - 2, left = larger(origin, 0);
    const int64_t right = smaller(2 * last + 2, planes.width);
    const int64_t row_size = planes.width * channels;
    const float *rows[TAPS], *ahead[2];
    for (int64_t k = 0; k < TAPS; ++k) {
        const int64_t r = top + k;
        const bool inside = r >= 0 && r < planes.height && weights[k] != 0.0f;
        rows[k] = inside ? plane + r * row_size + left * channels : zeros;
    }
    // The two rows that the next row of coarse pixels needs besides.
    for (int64_t k = 0; k < 2; ++k)
        ahead[k] = plane + smaller(top + TAPS + k, planes.height - 1) * row_size + left * channels;
    Vector w[TAPS];
    for (int64_t k = 0; k < TAPS; ++k) w[k] = splat(weights[k]);
    const auto sum_at = [&](int64_t j, auto count) {
        Vector sum = w[0] * load(rows[0] + j, count);
#pragma GCC unroll 6
        for (int64_t k = 1; k < TAPS; ++k) sum += w[k] * load(rows[k] + j, count);
        prefetch(ahead[0] + j);
        prefetch(ahead[1] + j);
        return sum;
    };
    if (channels == 1) {
        const int64_t half = pixels_per_run(planes) + 2 + 2 * LANES;
        const int64_t before = left - origin, pixels = right - left;
        float *const even = buffer, *const odd = buffer + half + LANES;
        even[0] = odd[0] = 0.0f;
        int64_t j = 0;
        float *const to_even = even + before / 2, *const to_odd = odd + before / 2;
        for (; j + 2 * LANES <= pixels; j += 2 * LANES) {
            const Vector low = sum_at(j, Whole()), high = sum_at(j + LANES, Whole());
            store(to_even + j / 2, every_second<0>(low, high));
            store(to_odd + j / 2, every_second<1>(low, high));
        }
        const int64_t rest = pixels - j;
        Vector low = {}, high = {};
        if (rest >= LANES)
            low = sum_at(j, Whole());
        else if (rest > 0)
            low = sum_at(j, rest);
        if (rest > LANES) high = sum_at(j + LANES, rest - LANES);
        store(to_even + j / 2, every_second<0>(low, high));
        store(to_odd + j / 2, every_second<1>(low, high));
        to_even[j / 2 + LANES] = to_odd[j / 2 + LANES] = 0.0f;
        return {even + 1, odd + 1, 1};
    }
    const int64_t before = (left - origin) * channels, count = (right - left) * channels;
    const int64_t total = 2 * (last - first + 2) * channels;
    for (int64_t j = 0; j < before; ++j) buffer[j] = 0.0f;
    for_vectors(count, [&](int64_t j, auto n) { store(buffer + before + j, sum_at(j, n), n); });
    for (int64_t j = before + count; j < total; ++j) buffer[j] = 0.0f;
    return {buffer + 2 * channels, buffer + 3 * channels, 2 * channels};
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
