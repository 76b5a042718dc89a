// The Laplacian pyramid, polyphase: no zero and no repeated pixel is ever filtered.
//
// Both directions are separable. `decimate` takes every second pixel of a filtered image (5 taps
// for D, 6 for the transpose of U); `expand` goes to twice the size (3 coarse pixels for an even, 3
// for an odd output). Rows first, into a buffer that stays in the first-level cache, then columns.
#include "pairs.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

// Weights of the fine pixels 2m-2 ... 2m+3 in the coarse pixel m.
struct Down {
    static const int64_t TAPS = 5;
    static void weights(int64_t, int64_t, float* w) {
        for (int64_t k = 0; k < 5; ++k) w[k] = BINOMIAL[k];
        w[5] = 0.0f;
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
    const int64_t run = pixels_per_run(planes), size = 2 * columns_size(planes);
    Scratch<float> scratch(threads * size);
    if (scratch.failed()) return 1;
    memset(scratch.get(), 0, static_cast<size_t>(threads * size) * sizeof(float));
    float inner[6];
    Filter::weights(1, 1 << 20, inner);
    const bool streamed = planes.streams_coarse(coarse);

    with_pixel(planes.channels, [&](auto channels) {
        in_parallel(threads, planes.count * planes.half_height, [&](int64_t task) {
            const int64_t plane = task / planes.half_height, m = task % planes.half_height;
            float* const own = scratch.get() + thread_index() * size;
            float weights[6];
            Filter::weights(m, planes.height, weights);
            Vector w[6];
            for (int64_t k = 0; k < 6; ++k) w[k] = splat(weights[k]);
            const auto filter = [&](const Vector* rows, Vector* sum) {
                *sum = w[0] * rows[0];
#pragma GCC unroll 6
                for (int64_t k = 1; k < Filter::TAPS; ++k) *sum += w[k] * rows[k];
            };
            float* const out = coarse + task * planes.half_width * channels;
            for (int64_t first = 0; first < planes.half_width; first += run) {
                const int64_t last = smaller(first + run, planes.half_width);
                Columns columns;
                filter_columns<Filter::TAPS, 1>(planes, fine + plane * planes.fine_size(), 2 * m - 2,
                                                first, last, channels, own, filter, &columns);
                const auto reduce = [&](int64_t start, int64_t end, const float* taps) {
                    const int64_t step = columns.step;
                    for_coarse(first, start, end, channels, [&](int64_t from, int64_t to, auto count) {
                        const float *even = columns.even + from, *odd = columns.odd + from;
                        Vector sum = taps[0] * load(even - step, count) +
                                     taps[1] * load(odd - step, count) + taps[2] * load(even, count) +
                                     taps[3] * load(odd, count) + taps[4] * load(even + step, count);
                        if (Filter::TAPS == 6) sum += taps[5] * load(odd + step, count);
                        store_result(streamed, out + to, sum, count);
                    });
                };
                const bool has_border = Filter::is_border(last - 1, planes.width);
                reduce(first, last - has_border, inner);
                if (has_border) {
                    float border[6];
                    Filter::weights(last - 1, planes.width, border);
                    reduce(last - 1, last, border);
                }
            }
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

struct Plain {
    template <typename Count>
    static PYRAMIDFLOW_INLINE Vector apply(const float*, int64_t, Vector up, Count) {
        return up;
    }
};
struct Add {
    template <typename Count>
    static PYRAMIDFLOW_INLINE Vector apply(const float* base, int64_t place, Vector up, Count count) {
        return load(base + place, count) + up;
    }
};
struct Subtract {
    template <typename Count>
    static PYRAMIDFLOW_INLINE Vector apply(const float* base, int64_t place, Vector up, Count count) {
        return load(base + place, count) - up;
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

template <typename Filter, typename Combine>
int expand(const float* coarse, const float* base, float* out, const Planes& planes, int64_t threads) {
    const int64_t run = pixels_per_run(planes);
    const int64_t buffer = pairs_size(planes), margin = pairs_margin(planes);
    Scratch<float> scratch(threads * 3 * buffer);
    if (scratch.failed()) return 1;
    memset(scratch.get(), 0, static_cast<size_t>(threads * 3 * buffer) * sizeof(float));
    const int64_t border = Filter::border(planes.width);
    const Pair<Filter> along(1 << 20, 1 << 22);
    const bool streamed = planes.streams_fine(out);

    with_pixel(planes.channels, [&](auto channels) {
        in_parallel(threads, planes.count * planes.half_height, [&](int64_t task) {
            const int64_t plane = task / planes.half_height, m = task % planes.half_height;
            const float* const zeros = scratch.get() + thread_index() * 3 * buffer;
            float* const filtered[2] = {scratch.get() + (thread_index() * 3 + 1) * buffer + margin,
                                        scratch.get() + (thread_index() * 3 + 2) * buffer + margin};
            const int64_t coarse_row = planes.half_width * channels;
            const Pair<Filter> down(m, planes.height);

            for (int64_t first = 0; first < planes.half_width; first += run) {
                const int64_t last = smaller(first + run, planes.half_width);
                const int64_t left = larger(first - 1, 0);
                const int64_t right = smaller(last + 1, planes.half_width);
                const int64_t before = (left - (first - 1)) * channels;
                const int64_t count = (right - left) * channels;
                const int64_t total = (last - first + 2) * channels;
                const float* rows[3];
                for (int64_t k = 0; k < 3; ++k) {
                    const int64_t q = m - 1 + k;
                    const bool inside = q >= 0 && q < planes.half_height;
                    rows[k] = inside ? coarse + plane * planes.coarse_size() + q * coarse_row +
                                           left * channels
                                     : zeros;
                }
                for (float* row : filtered) {
                    for (int64_t j = 0; j < before; ++j) row[j] = 0.0f;
                    for (int64_t j = before + count; j < total; ++j) row[j] = 0.0f;
                }
                for_vectors(count, [&](int64_t j, auto n) {
                    const Vector a = load(rows[0] + j, n), b = load(rows[1] + j, n);
                    const Vector c = load(rows[2] + j, n);
                    store(filtered[0] + before + j, down.even(a, b, c), n);
                    store(filtered[1] + before + j, down.odd(a, b, c), n);
                });

                const int64_t end = smaller(2 * last, planes.width);
                const int64_t pairs = larger(smaller(end, border) / 2 - first, 0);
                for (int64_t r = 2 * m; r < smaller(2 * m + 2, planes.height); ++r) {
                    const int64_t offset = plane * planes.fine_size() + r * planes.width * channels;
                    const float* const u = filtered[r % 2];
                    for_pairs(pairs, channels, [&](int64_t j, int64_t to, auto n) {
                        const Vector p = load(u + j, n), q = load(u + j + channels, n);
                        const Vector s = load(u + j + 2 * channels, n);
                        const auto combine = [&](int64_t place, Vector up, auto k) {
                            place += offset + 2 * first * channels;
                            store_result(streamed, out + place, Combine::apply(base, place, up, k), k);
                        };
                        write_pair(to, along.even(p, q, s), along.odd(p, q, s), channels, n, combine);
                    });
                    for (int64_t column = 2 * (first + pairs); column < end; ++column) {
                        const Pair<Filter> taps(column / 2, planes.width);
                        const float* const p = u + (column / 2 - first) * channels;
                        for_vectors(channels, [&](int64_t k, auto n) {
                            const Vector a = load(p + k, n), b = load(p + channels + k, n);
                            const Vector c = load(p + 2 * channels + k, n);
                            const Vector up = column % 2 == 0 ? taps.even(a, b, c) : taps.odd(a, b, c);
                            const int64_t place = offset + column * channels + k;
                            store(out + place, Combine::apply(base, place, up, n), n);
                        });
                    }
                }
            }
        });
    });
    return 0;
}

}  // namespace

int pyramid_down(const float* x, float* y, PyramidflowImage fine, int64_t threads) {
    return decimate<Down>(x, y, Planes(fine), threads);
}

int pyramid_down_backward(const float* grad_y, float* grad_x, PyramidflowImage fine, int64_t threads) {
    return expand<DownTransposed, Plain>(grad_y, nullptr, grad_x, Planes(fine), threads);
}

int pyramid_residual(const float* fine_level, const float* coarse, float* out, PyramidflowImage fine,
                     int64_t threads) {
    return expand<Up, Subtract>(coarse, fine_level, out, Planes(fine), threads);
}

int pyramid_merge(const float* coarse, const float* residual, float* out, PyramidflowImage fine,
                  int64_t threads) {
    return expand<Up, Add>(coarse, residual, out, Planes(fine), threads);
}

int pyramid_up_backward(const float* grad, float* grad_coarse, PyramidflowImage fine, int64_t threads) {
    return decimate<UpTransposed>(grad, grad_coarse, Planes(fine), threads);
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
