// The pyramid's other reduction: the maximum of each 2x2 cell of the filtered image.
//
// Forward keeps the place of the maximum, 2 dy + dx, as one byte. Backward filters the gradients
// where they stand in the cells: D = max o G, and G is its own transpose.
#include "pairs.h"

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
    return {binomial(even_before, odd_before, even_here, odd_here, even_after),
            binomial(odd_before, even_here, odd_here, even_after, odd_after)};
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
    const int64_t run = pixels_per_run(planes), size = 3 * columns_size(planes);
    Scratch<float> scratch(threads * size);
    if (scratch.failed()) return 1;
    memset(scratch.get(), 0, static_cast<size_t>(threads * size) * sizeof(float));
    const bool streamed = planes.streams_coarse(y);
    const auto filter = [](const Vector* r, Vector* sums) {
        sums[0] = binomial(r[0], r[1], r[2], r[3], r[4]);
        sums[1] = binomial(r[1], r[2], r[3], r[4], r[5]);
    };

    with_pixel(planes.channels, [&](auto channels) {
        in_parallel(threads, planes.count * planes.half_height, [&](int64_t task) {
            const int64_t plane = task / planes.half_height, m = task % planes.half_height;
            float* const own = scratch.get() + thread_index() * size;
            const float* const source = x + plane * planes.fine_size();
            float* const out = y + task * planes.half_width * channels;
            uint8_t* const places = index + task * planes.half_width * channels;
            for (int64_t first = 0; first < planes.half_width; first += run) {
                const int64_t last = smaller(first + run, planes.half_width);
                Columns rows[2];
                filter_columns<6, 2>(planes, source, 2 * m - 2, first, last, channels, own, filter, rows);
                // Cells at odd borders lack the right or the lower half.
                const auto maxima = [&](int64_t start, int64_t end, auto right, auto below) {
                    for_coarse(first, start, end, channels, [&](int64_t from, int64_t to, auto count) {
                        const Filtered above = filter_along(rows[0], from, count);
                        Vector best = above.even;
                        Integers place = {};
                        if (right) offer(above.odd, 1, &best, &place);
                        if (below) {
                            const Filtered under = filter_along(rows[1], from, count);
                            offer(under.even, 2, &best, &place);
                            if (right) offer(under.odd, 3, &best, &place);
                        }
                        store_result(streamed, out + to, best, count);
                        const Bytes bytes = __builtin_convertvector(place, Bytes);
                        memcpy(places + to, &bytes, static_cast<size_t>(count));
                    });
                };
                const int64_t whole = smaller(last, planes.width / 2);
                with_flag(2 * m + 1 < planes.height, [&](auto below) {
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
    const int64_t run = pixels_per_run(planes);
    const int64_t buffer = pairs_size(planes);
    // Zeros for rows outside, and of the upper and the lower filtered row the even and odd columns.
    Scratch<float> scratch(threads * 5 * buffer);
    if (scratch.failed()) return 1;
    memset(scratch.get(), 0, static_cast<size_t>(threads * 5 * buffer) * sizeof(float));
    const bool streamed = planes.streams_fine(grad_x);

    with_pixel(planes.channels, [&](auto channels) {
        in_parallel(threads, planes.count * planes.half_height, [&](int64_t task) {
            const int64_t plane = task / planes.half_height, m = task % planes.half_height;
            const int64_t row_size = planes.half_width * channels;
            float* const zeros = scratch.get() + thread_index() * 5 * buffer;
            float* const filtered = zeros + buffer + pairs_margin(planes);
            for (int64_t first = 0; first < planes.half_width; first += run) {
                const int64_t last = smaller(first + run, planes.half_width);
                const int64_t left = larger(first - 1, 0);
                const int64_t right = smaller(last + 1, planes.half_width);
                const int64_t before = (left - (first - 1)) * channels;
                const int64_t count = (right - left) * channels;
                const float* g[3];
                const uint8_t* i[3];
                for (int64_t k = 0; k < 3; ++k) {
                    const int64_t q = m - 1 + k;
                    const int64_t offset = (plane * planes.half_height + q) * row_size + left * channels;
                    const bool inside = q >= 0 && q < planes.half_height;
                    g[k] = inside ? grad_y + offset : zeros;
                    i[k] = inside ? index + offset : reinterpret_cast<const uint8_t*>(zeros);
                }
                for (int64_t k = 0; k < 4; ++k) {
                    float* const row = filtered + k * buffer;
                    for (int64_t j = 0; j < before; ++j) row[j] = 0.0f;
                    for (int64_t j = before + count; j < (last - first + 2) * channels; ++j) row[j] = 0.0f;
                }
                const auto filter_at = [&](int64_t j, auto n) {
                    Vector gradients[3];
                    Integers places[3];
                    for (int64_t k = 0; k < 3; ++k) {
                        gradients[k] = load(g[k] + j, n);
                        places[k] = load_bytes(i[k] + j, n);
                    }
#pragma GCC unroll 2
                    for (int32_t dx = 0; dx < 2; ++dx) {
                        Vector column[6];
#pragma GCC unroll 6
                        for (int32_t k = 0; k < 6; ++k)
                            column[k] = places[k / 2] == 2 * (k % 2) + dx ? gradients[k / 2] : Vector{};
                        float* const target = filtered + dx * buffer + before + j;
                        store(target, binomial(column[0], column[1], column[2], column[3], column[4]), n);
                        store(target + 2 * buffer,
                              binomial(column[1], column[2], column[3], column[4], column[5]), n);
                    }
                };
                // Down the columns only a little ahead of along the rows: the memory takes what is
                // written there while more is being computed. Not in a contiguous row, where what lies
                // beside is part of two vectors and is read only after they have got to the cache.
                const int64_t ahead = channels == 1 ? count : 3 * channels + 8 * LANES;
                int64_t done = 0;
                const auto filter_until = [&](int64_t end) {
                    for (; done < smaller(end, count); done += LANES) {
                        if (done + LANES <= count)
                            filter_at(done, Whole());
                        else
                            filter_at(done, count - done);
                    }
                };
                const int64_t whole = smaller(last, planes.width / 2) - first;
                float* const out =
                    grad_x + plane * planes.fine_size() + (2 * m * planes.width + 2 * first) * channels;
                float* const upper = filtered + channels;
                const Columns rows[2] = {{upper, upper + buffer, channels},
                                         {upper + 2 * buffer, upper + 3 * buffer, channels}};
                const bool has_lower = 2 * m + 1 < planes.height;
                with_flag(has_lower, [&](auto lower) {
                    for_pairs(whole, channels, [&](int64_t from, int64_t to, auto n) {
                        filter_until(from + ahead);
#pragma GCC unroll 2
                        for (int64_t r = 0; r < 1 + lower.value; ++r) {
                            const Filtered pixels = filter_along(rows[r], from, n);
                            float* const row = out + r * planes.width * channels;
                            write_pair(to, pixels.even, pixels.odd, channels, n,
                                       [&](int64_t place, Vector values, auto k) {
                                           store_result(streamed, row + place, values, k);
                                       });
                        }
                    });
                });
                filter_until(count);
                if (first + whole == last) continue;
                for (int64_t r = 0; r < 1 + has_lower; ++r) {
                    float* const row = out + (r * planes.width + 2 * whole) * channels;
                    for_vectors(channels, [&](int64_t c, auto n) {
                        store(row + c, filter_along(rows[r], whole * channels + c, n).even, n);
                    });
                }
            }
        });
    });
    return 0;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
