// The pyramid's other reduction: the maximum of each 2x2 cell of the filtered image.
//
// Forward keeps the place of the maximum, 2 dy + dx, as one byte. Backward filters the gradients
// where they stand in the cells: D = max o G, and G is its own transpose.
#include "columns.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

// A filtered row at the even and at the odd pixels of a vector of cells.
struct Filtered {
    Vector even, odd;
};

template <typename Count>
PYRAMIDFLOW_INLINE Filtered filter_along(const Columns& columns, int64_t from, Count count) {
    const float *even = columns.even + from, *odd = columns.odd + from;
    const int64_t step = columns.step;
    const Vector even_before = load(even - step, count), odd_before = load(odd - step, count);
    const Vector even_here = load(even, count), odd_here = load(odd, count);
    const Vector even_after = load(even + step, count), odd_after = load(odd + step, count);
    return {(even_before + even_after) * (1.0f / 16) + (odd_before + odd_here) * (4.0f / 16) +
                even_here * (6.0f / 16),
            (odd_before + odd_after) * (1.0f / 16) + (even_here + even_after) * (4.0f / 16) +
                odd_here * (6.0f / 16)};
}

// The later pixel wins only by being larger; not-a-number always wins, as in PyTorch.
PYRAMIDFLOW_INLINE void offer(Vector value, int32_t candidate, Vector* best, Integers* place) {
    const Integers wins = (value > *best) | (value != value);
    *best = wins ? value : *best;
    *place = wins ? Integers{} + candidate : *place;
}

}  // namespace

int pyramid_down_max(const float* x, float* y, uint8_t* index, PyramidflowImage fine, int64_t threads) {
    const Planes planes(fine);
    const int64_t run = pixels_per_run(planes), buffer = columns_size(planes);
    Scratch<float> scratch(threads * 3 * buffer);
    if (scratch.failed()) return 1;
    memset(scratch.get(), 0, static_cast<size_t>(threads * 3 * buffer) * sizeof(float));

    with_pixel(planes.channels, [&](auto channels) {
        in_parallel(threads, planes.count * planes.half_height, [&](int64_t task) {
            const int64_t plane = task / planes.half_height, m = task % planes.half_height;
            const float* const zeros = scratch.get() + thread_index() * 3 * buffer;
            float* const upper_row = scratch.get() + thread_index() * 3 * buffer + buffer;
            float* const lower_row = upper_row + buffer;
            const float* const source = x + plane * planes.fine_size();
            float* const out = y + task * planes.half_width * channels;
            uint8_t* const places = index + task * planes.half_width * channels;
            for (int64_t first = 0; first < planes.half_width; first += run) {
                const int64_t last = smaller(first + run, planes.half_width);
                const Columns upper = filter_columns<5>(planes, source, 2 * m - 2, BINOMIAL, first, last,
                                                        channels, zeros, upper_row);
                const Columns lower = filter_columns<5>(planes, source, 2 * m - 1, BINOMIAL, first, last,
                                                        channels, zeros, lower_row);
                // Cells at odd borders lack the right or the lower half.
                const auto maxima = [&](int64_t start, int64_t end, auto right, auto below) {
                    for_coarse(first, start, end, channels, [&](int64_t from, int64_t to, auto count) {
                        const Filtered above = filter_along(upper, from, count);
                        Vector best = above.even;
                        Integers place = {};
                        if (right) offer(above.odd, 1, &best, &place);
                        if (below) {
                            const Filtered under = filter_along(lower, from, count);
                            offer(under.even, 2, &best, &place);
                            if (right) offer(under.odd, 3, &best, &place);
                        }
                        store(out + to, best, count);
                        const Bytes bytes = __builtin_convertvector(place, Bytes);
                        memcpy(places + to, &bytes, static_cast<size_t>(count));
                    });
                };
                const int64_t whole = smaller(last, planes.width / 2);
                with_flags(2 * m + 1 < planes.height, [&](auto below) {
                    maxima(first, whole, Constant<1>(), below);
                    maxima(whole, last, Constant<0>(), below);
                });
            }
        });
    });
    return 0;
}

int pyramid_down_max_backward(const float* grad_y, const uint8_t* index, float* grad_x,
                              PyramidflowImage fine, int64_t threads) {
    const Planes planes(fine);
    const int64_t buffer = (planes.half_width + 2) * planes.channels;
    // Zeros for rows outside, and the filtered rows of even and odd columns between zeros.
    Scratch<float> scratch(threads * 3 * buffer);
    if (scratch.failed()) return 1;
    memset(scratch.get(), 0, static_cast<size_t>(threads * 3 * buffer) * sizeof(float));

    const int64_t stride = fine.channels_last ? planes.channels : planes.width;
    const bool streamed = streams(grad_x, planes.count * planes.fine_size(), stride);

    with_pixel(planes.channels, [&](auto channels) {
        in_parallel(threads, planes.count * planes.height, [&](int64_t task) {
            const int64_t plane = task / planes.height, r = task % planes.height, m = r / 2;
            const int64_t row_size = planes.half_width * channels;
            const float* const zeros = scratch.get() + thread_index() * 3 * buffer;
            const uint8_t* const zero_bytes = reinterpret_cast<const uint8_t*>(zeros);
            float* const even = scratch.get() + thread_index() * 3 * buffer + buffer;
            float* const odd = even + buffer;
            const float* g[3];
            const uint8_t* i[3];
            for (int64_t k = 0; k < 3; ++k) {
                const int64_t q = m - 1 + k;
                const int64_t offset = (plane * planes.half_height + q) * row_size;
                const bool inside = q >= 0 && q < planes.half_height;
                g[k] = inside ? grad_y + offset : zeros;
                i[k] = inside ? index + offset : zero_bytes;
            }
            // Weights of the upper (dy = 0) and lower (dy = 1) row of the cells m-1, m, m+1.
            const float at_even[6] = {1, 4, 6, 4, 1, 0}, at_odd[6] = {0, 1, 4, 6, 4, 1};
            float w[6];
            for (int64_t k = 0; k < 6; ++k) w[k] = (r % 2 == 0 ? at_even[k] : at_odd[k]) / 16;
            const float *ga = g[0], *gb = g[1], *gc = g[2];
            const uint8_t *ia = i[0], *ib = i[1], *ic = i[2];
            const float wa0 = w[0], wa1 = w[1], wb0 = w[2], wb1 = w[3], wc0 = w[4], wc1 = w[5];
            float* __restrict even_row = even + channels;
            float* __restrict odd_row = odd + channels;
#pragma omp simd
            for (int64_t j = 0; j < row_size; ++j) {
                const float a = (ia[j] & 2 ? wa1 : wa0) * ga[j];
                const float b = (ib[j] & 2 ? wb1 : wb0) * gb[j];
                const float c = (ic[j] & 2 ? wc1 : wc0) * gc[j];
                even_row[j] = (ia[j] & 1 ? 0.0f : a) + (ib[j] & 1 ? 0.0f : b) + (ic[j] & 1 ? 0.0f : c);
                odd_row[j] = (ia[j] & 1 ? a : 0.0f) + (ib[j] & 1 ? b : 0.0f) + (ic[j] & 1 ? c : 0.0f);
            }
            float* const out = grad_x + task * planes.width * channels;
            const Columns columns = {even + channels, odd + channels, channels};
            const int64_t whole = planes.width / 2;
            with_flags(streamed, [&](auto past_caches) {
                if (channels == 1) {
                    for_vectors(whole, [&](int64_t j, auto count) {
                        const Filtered pixels = filter_along(columns, j, count);
                        store_alternating<past_caches.value>(out + 2 * j, pixels.even, pixels.odd, count);
                    });
                    return;
                }
                for (int64_t j = 0; j < whole; ++j) {
                    float* const place = out + 2 * j * channels;
                    for_vectors(channels, [&](int64_t c, auto count) {
                        const Filtered pixels = filter_along(columns, j * channels + c, count);
                        store_result<past_caches.value>(place + c, pixels.even, count);
                        store_result<past_caches.value>(place + channels + c, pixels.odd, count);
                    });
                }
            });
            if (planes.width % 2 == 0) return;
            for_vectors(channels, [&](int64_t c, auto count) {
                const Filtered pixels = filter_along(columns, whole * channels + c, count);
                store(out + 2 * whole * channels + c, pixels.even, count);
            });
        });
    });
    return 0;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
