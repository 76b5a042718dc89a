// The Laplacian pyramid, polyphase: no zero and no repeated pixel is ever filtered.
//
// Both directions are separable. `decimate` takes every second pixel of a filtered image (5 taps
// for D, 6 for the transpose of U); `expand` goes to twice the size (3 coarse pixels for an even, 3
// for an odd output). Down the columns first, then along the row.
#include "pyramid_columns.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

// Weights of the fine pixels 2m-2 ... 2m+3 in the coarse pixel m.
struct Down {
    static const int64_t TAPS = 5;
    static void weights(int64_t, int64_t, float* w) {
        for (int64_t k = 0; k < 5; ++k) w[k] = BINOMIAL[k];
    }
    static bool is_border(int64_t, int64_t) { return false; }
};

struct UpTransposed {
    static const int64_t TAPS = 6;
    static void weights(int64_t m, int64_t size, float* w) {
        for (int64_t k = 0; k < 6; ++k) w[k] = 0.0f;
        for (int64_t q = 2 * m; q < smaller(2 * m + 2, size); ++q)
            for (int64_t i = 0; i < 5; ++i) w[q - 2 * m + i] += BINOMIAL[i];
    }
    // The last coarse pixel of an odd size was repeated once, not twice.
    static bool is_border(int64_t m, int64_t size) { return 2 * m + 1 >= size; }
};

template <typename Filter>
int decimate(const float* fine, float* coarse, const Planes& planes, int64_t threads) {
    const Zeros zeros(planes.width * planes.channels);
    if (zeros.failed()) return 1;
    float inner[6], border[6];
    Filter::weights(1, 1 << 20, inner);
    Filter::weights(planes.half_width - 1, planes.width, border);
    const int64_t end = planes.half_width - Filter::is_border(planes.half_width - 1, planes.width);
    const bool streamed = planes.streams_coarse(coarse);

    with_pixel(planes.channels, [&](auto channels) {
        in_parallel(threads, planes.count * planes.half_height, [&](int64_t task) {
            const int64_t plane = task / planes.half_height, row = task % planes.half_height;
            float down[6];
            Filter::weights(row, planes.height, down);
            const auto filter = [&](const Vector* rows, Vector* sum) {
                *sum = down[0] * rows[0];
#pragma GCC unroll 6
                for (int64_t k = 1; k < Filter::TAPS; ++k) *sum += down[k] * rows[k];
            };
            const FineRows<Filter::TAPS, 1, decltype(channels), decltype(filter)> rows(
                planes, fine + plane * planes.fine_size(), 2 * row - 2, zeros.get(), channels,
                filter);
            float* const out = coarse + task * planes.half_width * channels;
            const auto reduce = [&](const float* taps) {
                return [=](int64_t, int64_t m, int64_t c, const auto& before, const auto& here,
                           const auto& after, auto count) PYRAMIDFLOW_INLINE_LAMBDA {
                    Vector sum = taps[0] * before.of[0] + taps[1] * before.of[1] +
                                 taps[2] * here.of[0] + taps[3] * here.of[1] +
                                 taps[4] * after.of[0];
                    if (Filter::TAPS == 6) sum += taps[5] * after.of[1];
                    store_result(streamed, out + m * channels + c, sum, count);
                };
            };
            walk_row<2, 1>(end, planes, channels, rows, reduce(inner));
            if (end < planes.half_width)
                visit_pixel<2, 1>(end, planes, channels, rows, reduce(border));
        });
    });
    return 0;
}

// Weights of the coarse pixels m-1, m, m+1 in the fine pixel r = 2m or 2m+1.
struct Up {
    static const bool ODD_TAKES_BEFORE = true;
    static void weights(int64_t r, int64_t size, float* w) {
        const int64_t m = r / 2;
        w[0] = w[1] = w[2] = 0.0f;
        for (int64_t i = 0; i < 5; ++i) {
            const int64_t q = r - 2 + i;
            if (q >= 0 && q < size) w[q / 2 - m + 1] += BINOMIAL[i];
        }
    }
    static int64_t border(int64_t size) { return size % 2 == 1 ? larger(size - 3, 0) : size; }
};

struct DownTransposed {
    // An odd pixel takes nothing from the coarse pixel before it, not even where that is infinite.
    static const bool ODD_TAKES_BEFORE = false;
    static void weights(int64_t r, int64_t, float* w) {
        w[0] = r % 2 == 0 ? BINOMIAL[4] : 0.0f;
        w[1] = r % 2 == 0 ? BINOMIAL[2] : BINOMIAL[3];
        w[2] = r % 2 == 0 ? BINOMIAL[0] : BINOMIAL[1];
    }
    static int64_t border(int64_t size) { return size; }
};

// What becomes of an up-sampled value: the result itself, or what is added to another level.
struct Result {
    template <typename Count>
    PYRAMIDFLOW_INLINE Vector operator()(int64_t, int64_t, Vector up, Count) const {
        return up;
    }
};
struct OnLevel {
    const float* level;
    float sign;

    template <typename Count>
    PYRAMIDFLOW_INLINE Vector operator()(int64_t place, int64_t below, Vector up,
                                         Count count) const {
        prefetch(level + below);
        return load(level + place, count) + sign * up;
    }
};

// What the fine pixels 2m and 2m + 1 take from the coarse pixels m-1, m, m+1.
template <typename Filter>
struct Pair {
    Vector even_before, even_here, even_after, odd_before, odd_here, odd_after;

    Pair(int64_t m, int64_t size) {
        float even[3], odd[3];
        Filter::weights(2 * m, size, even);
        Filter::weights(2 * m + 1, size, odd);
        even_before = splat(even[0]), even_here = splat(even[1]), even_after = splat(even[2]);
        odd_before = splat(odd[0]), odd_here = splat(odd[1]), odd_after = splat(odd[2]);
    }
    PYRAMIDFLOW_INLINE Vector even(Vector before, Vector here, Vector after) const {
        return even_before * before + even_here * here + even_after * after;
    }
    PYRAMIDFLOW_INLINE Vector odd(Vector before, Vector here, Vector after) const {
        const Vector sum = odd_here * here + odd_after * after;
        return Filter::ODD_TAKES_BEFORE ? sum + odd_before * before : sum;
    }
};

// Three coarse rows, filtered down the columns for the fine rows 2m and 2m + 1.
template <typename Filter, typename Channels>
struct CoarseRows {
    const float *rows[3], *ahead;
    Pair<Filter> down;
    Channels channels;

    CoarseRows(const Planes& planes, const float* plane, int64_t m, const float* zeros,
               Channels channels_)
        : down(m, planes.height), channels(channels_) {
        const int64_t row_size = planes.half_width * channels;
        for (int64_t k = 0; k < 3; ++k) {
            const int64_t q = m - 1 + k;
            rows[k] = q >= 0 && q < planes.half_height ? plane + q * row_size : zeros;
        }
        ahead = plane + smaller(m + 2, planes.half_height - 1) * row_size;
    }
    template <typename Count>
    PYRAMIDFLOW_INLINE Values<2> operator()(int64_t m, int64_t c, Count count) const {
        const int64_t j = m * channels + c;
        prefetch(ahead + j);
        const Vector a = load(rows[0] + j, count), b = load(rows[1] + j, count);
        const Vector d = load(rows[2] + j, count);
        return {{down.even(a, b, d), down.odd(a, b, d)}};
    }
};

template <typename Filter, typename Combine>
int expand(const float* coarse, const Combine& combine, float* out, const Planes& planes,
           int64_t threads) {
    const Zeros zeros(planes.half_width * planes.channels);
    if (zeros.failed()) return 1;
    const int64_t pairs = Filter::border(planes.width) / 2;
    const Pair<Filter> inner(1 << 20, 1 << 22);
    const bool streamed = planes.streams_fine(out);

    with_pixel(planes.channels, [&](auto channels) {
        in_parallel(threads, planes.count * planes.half_height, [&](int64_t task) {
            const int64_t plane = task / planes.half_height, row = task % planes.half_height;
            const int64_t row_size = planes.width * channels;
            const int64_t offset = plane * planes.fine_size() + 2 * row * row_size;
            const CoarseRows<Filter, decltype(channels)> rows(
                planes, coarse + plane * planes.coarse_size(), row, zeros.get(), channels);
            const int64_t rows_below = planes.height - 2 * row;  // one or more
            const auto spread = [&](const Pair<Filter>& along) {
                return [&](int64_t r, int64_t m, int64_t c, const auto& before, const auto& here,
                           const auto& after, auto count) PYRAMIDFLOW_INLINE_LAMBDA {
                    if (r >= rows_below) return;
                    const Vector a = before.of[r], b = here.of[r], d = after.of[r];
                    const auto write = [&](int64_t place, Vector up, auto n) {
                        place += offset + r * row_size;
                        const int64_t below = place + 2 * row_size;  // in the next two rows
                        store_result(streamed, out + place, combine(place, below, up, n), n);
                    };
                    write_pair(m, c, along.even(a, b, d), along.odd(a, b, d), planes.width,
                               channels, count, write);
                };
            };
            walk_row<2, 2>(pairs, planes, channels, rows, spread(inner));
            for (int64_t m = pairs; m < planes.half_width; ++m)
                visit_pixel<2, 2>(m, planes, channels, rows, spread(Pair<Filter>(m, planes.width)));
        });
    });
    return 0;
}

}  // namespace

PYRAMIDFLOW_FUNCTION(pyramid_down, const float* x, float* y, PyramidflowImage fine,
                     int64_t threads) {
    return decimate<Down>(x, y, Planes(fine), threads);
}

PYRAMIDFLOW_FUNCTION(pyramid_down_backward, const float* grad_y, float* grad_x,
                     PyramidflowImage fine, int64_t threads) {
    return expand<DownTransposed>(grad_y, Result(), grad_x, Planes(fine), threads);
}

PYRAMIDFLOW_FUNCTION(pyramid_residual, const float* fine_level, const float* coarse, float* out,
                     PyramidflowImage fine, int64_t threads) {
    return expand<Up>(coarse, OnLevel{fine_level, -1.0f}, out, Planes(fine), threads);
}

PYRAMIDFLOW_FUNCTION(pyramid_merge, const float* coarse, const float* residual, float* out,
                     PyramidflowImage fine, int64_t threads) {
    return expand<Up>(coarse, OnLevel{residual, 1.0f}, out, Planes(fine), threads);
}

PYRAMIDFLOW_FUNCTION(pyramid_up_backward, const float* grad, float* grad_coarse,
                     PyramidflowImage fine, int64_t threads) {
    return decimate<UpTransposed>(grad, grad_coarse, Planes(fine), threads);
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
