// The Laplacian pyramid, polyphase: no zero and no repeated pixel is ever filtered.
//
// Both directions are separable. `decimate` takes every second pixel of a filtered image (5 taps
// for D, 6 for the transpose of U); `expand` goes to twice the size (3 coarse pixels for an even, 3
// for an odd output). Rows first, into a buffer that stays in the first-level cache, then columns.
#include "columns.h"

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
    const int64_t run = pixels_per_run(planes), buffer = columns_size(planes);
    Scratch<float> scratch(threads * 2 * buffer);
    if (scratch.failed()) return 1;
    memset(scratch.get(), 0, static_cast<size_t>(threads * 2 * buffer) * sizeof(float));
    float inner[6];
    Filter::weights(1, 1 << 20, inner);

    with_pixel(planes.channels, [&](auto channels) {
        in_parallel(threads, planes.count * planes.half_height, [&](int64_t task) {
            const int64_t plane = task / planes.half_height, m = task % planes.half_height;
            const float* const zeros = scratch.get() + thread_index() * 2 * buffer;
            float* const filtered = scratch.get() + thread_index() * 2 * buffer + buffer;
            float weights[6];
            Filter::weights(m, planes.height, weights);
            float* const out = coarse + task * planes.half_width * channels;
            for (int64_t first = 0; first < planes.half_width; first += run) {
                const int64_t last = smaller(first + run, planes.half_width);
                const Columns columns =
                    filter_columns<Filter::TAPS>(planes, fine + plane * planes.fine_size(), 2 * m - 2,
                                                 weights, first, last, channels, zeros, filtered);
                const auto reduce = [&](int64_t start, int64_t end, const float* taps) {
                    const int64_t step = columns.step;
                    for_coarse(first, start, end, channels, [&](int64_t from, int64_t to, auto count) {
                        const float *even = columns.even + from, *odd = columns.odd + from;
                        Vector sum = taps[0] * load(even - step, count) +
                                     taps[1] * load(odd - step, count) + taps[2] * load(even, count) +
                                     taps[3] * load(odd, count) + taps[4] * load(even + step, count);
                        if (Filter::TAPS == 6) sum += taps[5] * load(odd + step, count);
                        store(out + to, sum, count);
                    });
                };
                if (Filter::is_border(last - 1, planes.width)) {
                    float border[6];
                    Filter::weights(last - 1, planes.width, border);
                    reduce(first, last - 1, inner);
                    reduce(last - 1, last, border);
                } else {
                    reduce(first, last, inner);
                }
            }
        });
    });
    return 0;
}

// Weights of the coarse pixels m-1, m, m+1 in the fine pixel r = 2m or 2m+1.
struct Up {
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
    static void weights(int64_t r, int64_t, float* w) {
        w[0] = r % 2 == 0 ? BINOMIAL[4] : 0.0f;
        w[1] = r % 2 == 0 ? BINOMIAL[2] : BINOMIAL[3];
        w[2] = r % 2 == 0 ? BINOMIAL[0] : BINOMIAL[1];
    }
    static int64_t border(int64_t size) { return size; }
};

struct Plain {
    static const bool READS = false;
    static PYRAMIDFLOW_INLINE float apply(float, float up) { return up; }
};
struct Add {
    static const bool READS = true;
    static PYRAMIDFLOW_INLINE float apply(float base, float up) { return base + up; }
};
struct Subtract {
    static const bool READS = true;
    static PYRAMIDFLOW_INLINE float apply(float base, float up) { return base - up; }
};

template <typename Filter, typename Combine>
int expand(const float* coarse, const float* base, float* out, const Planes& planes, int64_t threads) {
    const int64_t tile = pixels_per_run(planes);
    const int64_t buffer = (tile + 2) * planes.channels;
    Scratch<float> scratch(threads * 2 * buffer);
    if (scratch.failed()) return 1;
    const int64_t border = Filter::border(planes.width);
    float even[3], odd[3];
    Filter::weights(1 << 20, 1 << 21, even);
    Filter::weights((1 << 20) + 1, 1 << 21, odd);

    with_pixel(planes.channels, [&](auto channels) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t task = 0; task < planes.count * planes.half_height; ++task) {
            const int64_t plane = task / planes.half_height, m = task % planes.half_height;
            float* const u = scratch.get() + thread_index() * 2 * buffer;
            float* const zeros = u + buffer;
            memset(zeros, 0, static_cast<size_t>(buffer) * sizeof(float));
            const int64_t coarse_row = planes.half_width * channels;

            for (int64_t first = 0; first < planes.half_width; first += tile) {
                const int64_t last = smaller(first + tile, planes.half_width);
                const int64_t left = larger(first - 1, 0);
                const int64_t right = smaller(last + 1, planes.half_width);
                const int64_t before = (left - (first - 1)) * channels;
                const int64_t count = (right - left) * channels;
                const int64_t total = (last - first + 2) * channels;
                for (int64_t r = 2 * m; r < smaller(2 * m + 2, planes.height); ++r) {
                    float w[3];
                    Filter::weights(r, planes.height, w);
                    const float* rows[3];
                    for (int64_t k = 0; k < 3; ++k) {
                        const int64_t q = m - 1 + k;
                        const bool inside = q >= 0 && q < planes.half_height && w[k] != 0.0f;
                        rows[k] = inside ? coarse + plane * planes.coarse_size() + q * coarse_row +
                                               left * channels
                                         : zeros;
                    }
                    for (int64_t j = 0; j < before; ++j) u[j] = 0.0f;
                    for (int64_t j = before + count; j < total; ++j) u[j] = 0.0f;
                    float* __restrict middle = u + before;
                    const float *a = rows[0], *b = rows[1], *c = rows[2];
                    const float wa = w[0], wb = w[1], wc = w[2];
#pragma omp simd
                    for (int64_t j = 0; j < count; ++j) middle[j] = wa * a[j] + wb * b[j] + wc * c[j];

                    const int64_t offset = plane * planes.fine_size() + r * planes.width * channels;
                    const float* const base_row = Combine::READS ? base + offset : nullptr;
                    float* const out_row = out + offset;
                    const auto pixel = [&](int64_t column, const float* taps) {
                        const float* p = u + (column / 2 - first) * channels;
                        const float ta = taps[0], tb = taps[1], tc = taps[2];
                        float* __restrict o = out_row + column * channels;
                        const float* f = Combine::READS ? base_row + column * channels : nullptr;
#pragma omp simd
                        for (int64_t k = 0; k < channels; ++k) {
                            float up = tb * p[channels + k] + tc * p[2 * channels + k];
                            if (ta != 0.0f) up += ta * p[k];
                            o[k] = Combine::apply(Combine::READS ? f[k] : 0.0f, up);
                        }
                    };
                    const int64_t end = smaller(smaller(2 * last, planes.width), border);
                    const int64_t pairs = larger(end / 2 - first, 0);
                    const float e0 = even[0], e1 = even[1], e2 = even[2];
                    const float o0 = odd[0], o1 = odd[1], o2 = odd[2];
                    if (channels == 1) {
                        float* __restrict o = out_row + 2 * first;
                        const float* f = Combine::READS ? base_row + 2 * first : nullptr;
#pragma omp simd
                        for (int64_t j = 0; j < pairs; ++j) {
                            const float at_even = e0 * u[j] + e1 * u[j + 1] + e2 * u[j + 2];
                            const float at_odd = o0 == 0.0f ? o1 * u[j + 1] + o2 * u[j + 2]
                                                            : o0 * u[j] + o1 * u[j + 1] + o2 * u[j + 2];
                            o[2 * j] = Combine::apply(Combine::READS ? f[2 * j] : 0.0f, at_even);
                            o[2 * j + 1] = Combine::apply(Combine::READS ? f[2 * j + 1] : 0.0f, at_odd);
                        }
                    } else {
                        for (int64_t j = first; j < first + pairs; ++j) {
                            pixel(2 * j, even);
                            pixel(2 * j + 1, odd);
                        }
                    }
                    for (int64_t column = 2 * (first + pairs); column < smaller(2 * last, planes.width);
                         ++column) {
                        float taps[3];
                        Filter::weights(column, planes.width, taps);
                        pixel(column, taps);
                    }
                }
            }
        }
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
