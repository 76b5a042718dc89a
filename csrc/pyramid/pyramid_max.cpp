// The pyramid's other reduction: the maximum of each 2x2 cell of the filtered image.
//
// Forward keeps the place of the maximum, 2 dy + dx, as one byte. Backward filters the gradients
// where they stand in the cells: D = max o G, and G is its own transpose.
#include "pyramid_columns.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

// A row at the even and at the odd pixels of a vector of cells, filtered along it, too.
struct Filtered {
    Vector even, odd;
};

PYRAMIDFLOW_INLINE Filtered filter_along(int64_t row, const Values<4>& before,
                                         const Values<4>& here, const Values<4>& after) {
    const Vector *a = before.of + 2 * row, *b = here.of + 2 * row, *c = after.of + 2 * row;
    return {binomial(a[0], a[1], b[0], b[1], c[0]), binomial(a[1], b[0], b[1], c[0], c[1])};
}

// The largest of a cell's pixels.
struct Largest {
    Vector value;
    Integers place;
};

// A later one wins only by being larger.
template <int32_t COUNT, typename Wins>
PYRAMIDFLOW_INLINE Largest largest_by(const Vector* pixels, const Wins& is_larger) {
    Largest best = {pixels[0], {}};
#pragma GCC unroll 3
    for (int32_t k = 1; k < COUNT; ++k) {
        const Integers wins = is_larger(pixels[k], best.value);
        best.value = wins ? pixels[k] : best.value;
        best.place = wins ? Integers{} + k : best.place;
    }
    return best;
}

// Not-a-number always wins, as in PyTorch, but it is rare.
template <int32_t COUNT>
PYRAMIDFLOW_INLINE Largest largest(const Vector* pixels) {
    Vector sum = pixels[0];
#pragma GCC unroll 3
    for (int32_t k = 1; k < COUNT; ++k) sum += pixels[k];
    if (has_nan(sum))
        return largest_by<COUNT>(pixels, [](Vector a, Vector b) { return (a > b) | (a != a); });
    return largest_by<COUNT>(pixels, [](Vector a, Vector b) { return a > b; });
}

// Pixels from `count` on are outside of the image: they never win.
PYRAMIDFLOW_INLINE Vector only_first(Vector pixels, int64_t count) {
    float lanes[LANES];
    store(lanes, pixels);
    for (int64_t k = count; k < LANES; ++k) lanes[k] = -__builtin_inff();
    return load(lanes);
}

// Gradients of three rows of cells, where they stand in the cells, filtered down the columns for
// the fine rows 2m and 2m + 1.
template <typename Channels>
struct GradientRows {
    const float* gradients[3];
    const uint8_t* places[3];
    Channels channels;

    template <typename Count>
    PYRAMIDFLOW_INLINE Values<4> operator()(int64_t m, int64_t c, Count count) const {
        const int64_t j = m * channels + c;
        Vector gradient[3];
        Integers place[3];
#pragma GCC unroll 3
        for (int64_t k = 0; k < 3; ++k) {
            gradient[k] = load(gradients[k] + j, count);
            place[k] = load_bytes(places[k] + j, count);
        }
        Values<4> filtered;
#pragma GCC unroll 2
        for (int32_t dx = 0; dx < 2; ++dx) {
            Vector column[6];
#pragma GCC unroll 6
            for (int32_t k = 0; k < 6; ++k)
                column[k] = place[k / 2] == 2 * (k % 2) + dx ? gradient[k / 2] : Vector{};
            filtered.of[dx] = binomial(column[0], column[1], column[2], column[3], column[4]);
            filtered.of[2 + dx] = binomial(column[1], column[2], column[3], column[4], column[5]);
        }
        return filtered;
    }
};

}  // namespace

PYRAMIDFLOW_FUNCTION(pyramid_down_max, const float* x, float* y, uint8_t* index,
                     PyramidflowImage fine, int64_t threads) {
    const Planes planes(fine);
    const Zeros zeros(planes.width * planes.channels);
    if (zeros.failed()) return 1;
    const bool streamed = planes.streams_coarse(y);
    const auto filter = [](const Vector* r, Vector* sums) {
        sums[0] = binomial(r[0], r[1], r[2], r[3], r[4]);
        sums[1] = binomial(r[1], r[2], r[3], r[4], r[5]);
    };
    const int64_t whole = planes.width / 2;  // cells with a right half

    with_pixel(planes.channels, [&](auto channels) {
        in_parallel(threads, planes.count * planes.half_height, [&](int64_t task) {
            const int64_t plane = task / planes.half_height, row = task % planes.half_height;
            const int64_t offset = task * planes.half_width * channels;
            const FineRows<6, 2, decltype(channels), decltype(filter)> rows(
                planes, x + plane * planes.fine_size(), 2 * row - 2, zeros.get(), channels, filter);
            // The last cells of an odd height lack the lower half.
            with_flag(2 * row + 1 < planes.height, [&](auto has_lower) {
                const auto reduce = [&](int64_t, int64_t m, int64_t c, const auto& before,
                                        const auto& here, const auto& after, auto count)
                                        PYRAMIDFLOW_INLINE_LAMBDA {
                    const int64_t last = m + (channels == 1 ? int64_t{count} : 1);
                    Vector pixels[4];
#pragma GCC unroll 2
                    for (int64_t r = 0; r < 1 + has_lower.value; ++r) {
                        const Filtered pair = filter_along(r, before, here, after);
                        pixels[2 * r] = pair.even;
                        pixels[2 * r + 1] =
                            last > whole ? only_first(pair.odd, whole - m) : pair.odd;
                    }
                    const Largest best = largest<2 + 2 * has_lower.value>(pixels);
                    const int64_t to = offset + m * channels + c;
                    store_result(streamed, y + to, best.value, count);
                    store_bytes(index + to, best.place, count);
                };
                walk_row<4, 1>(planes.half_width, planes, channels, rows, reduce);
            });
        });
    });
    return 0;
}

PYRAMIDFLOW_FUNCTION(pyramid_down_max_backward, const float* grad_y, const uint8_t* index,
                     float* grad_x, PyramidflowImage fine, int64_t threads) {
    const Planes planes(fine);
    const Zeros zeros(planes.half_width * planes.channels);
    if (zeros.failed()) return 1;
    const bool streamed = planes.streams_fine(grad_x);

    with_pixel(planes.channels, [&](auto channels) {
        in_parallel(threads, planes.count * planes.half_height, [&](int64_t task) {
            const int64_t plane = task / planes.half_height, row = task % planes.half_height;
            GradientRows<decltype(channels)> rows = {{}, {}, channels};
            for (int64_t k = 0; k < 3; ++k) {
                const int64_t q = row - 1 + k;
                const int64_t offset =
                    (plane * planes.half_height + q) * planes.half_width * channels;
                const bool inside = q >= 0 && q < planes.half_height;
                rows.gradients[k] = inside ? grad_y + offset : zeros.get();
                rows.places[k] =
                    inside ? index + offset : reinterpret_cast<const uint8_t*>(zeros.get());
            }
            const int64_t row_size = planes.width * channels;
            float* const out = grad_x + plane * planes.fine_size() + 2 * row * row_size;
            const int64_t rows_below = planes.height - 2 * row;  // one or more
            const auto write_row = [&](int64_t r, int64_t m, int64_t c, const auto& before,
                                       const auto& here, const auto& after, auto count)
                                       PYRAMIDFLOW_INLINE_LAMBDA {
                if (r >= rows_below) return;
                const Filtered pair = filter_along(r, before, here, after);
                const auto write = [&](int64_t place, Vector values, auto n) {
                    store_result(streamed, out + r * row_size + place, values, n);
                };
                write_pair(m, c, pair.even, pair.odd, planes.width, channels, count, write);
            };
            walk_row<4, 2>(planes.half_width, planes, channels, rows, write_row);
        });
    });
    return 0;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
