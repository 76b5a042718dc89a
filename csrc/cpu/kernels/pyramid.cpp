// The Laplacian pyramid, polyphase: no zero and no repeated pixel is ever filtered.
//
// Both directions are separable. `decimate` takes every second pixel of a filtered image (5 taps
// for D, 6 for the transpose of U); `expand` goes to twice the size (3 coarse pixels for an even, 3
// for an odd output). Rows first, into a buffer that stays in the first-level cache, then columns.
#include "planes.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

const int64_t BUFFER = 2048;  // floats: 8 KB of one row buffer

int64_t tile_of(const Planes& planes) {
    return smaller(planes.half_width, larger(8, BUFFER / (2 * planes.channels)));
}

const float BINOMIAL[5] = {1.0f / 16, 4.0f / 16, 6.0f / 16, 4.0f / 16, 1.0f / 16};

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
    const int64_t tile = tile_of(planes);
    const int64_t buffer = (2 * tile + 4) * planes.channels;
    Scratch<float> scratch(threads * 2 * buffer);
    if (scratch.failed()) return 1;
    float inner[6];
    Filter::weights(1, 1 << 20, inner);

    with_pixel(planes.channels, [&](auto channels) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t task = 0; task < planes.count * planes.half_height; ++task) {
            const int64_t plane = task / planes.half_height, m = task % planes.half_height;
            const int64_t row_size = planes.width * channels;
            float* const v = scratch.get() + thread_index() * 2 * buffer;
            float* const zeros = v + buffer;
            memset(zeros, 0, static_cast<size_t>(buffer) * sizeof(float));
            float w[6];
            Filter::weights(m, planes.height, w);
            float* const out = coarse + (plane * planes.half_height + m) * planes.half_width * channels;

            for (int64_t first = 0; first < planes.half_width; first += tile) {
                const int64_t last = smaller(first + tile, planes.half_width);
                const int64_t origin = 2 * first - 2;
                const int64_t left = larger(origin, 0);
                const int64_t right = smaller(2 * last + 2, planes.width);
                const float* rows[6];
                for (int64_t k = 0; k < 6; ++k) {
                    const int64_t r = 2 * m - 2 + k;
                    const bool inside = r >= 0 && r < planes.height && w[k] != 0.0f;
                    rows[k] = inside ? fine + plane * planes.fine_size() + r * row_size + left * channels
                                     : zeros;
                }
                const int64_t before = (left - origin) * channels;
                const int64_t count = (right - left) * channels;
                const int64_t total = 2 * (last - first + 2) * channels;
                for (int64_t j = 0; j < before; ++j) v[j] = 0.0f;
                for (int64_t j = before + count; j < total; ++j) v[j] = 0.0f;
                float* __restrict middle = v + before;
                const float *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3], *r4 = rows[4];
                const float* r5 = rows[5];
#pragma omp simd
                for (int64_t j = 0; j < count; ++j) {
                    float sum = w[0] * r0[j] + w[1] * r1[j] + w[2] * r2[j] + w[3] * r3[j] + w[4] * r4[j];
                    if (Filter::TAPS == 6) sum += w[5] * r5[j];
                    middle[j] = sum;
                }
                const auto columns = [&](int64_t start, int64_t end, const float* taps) {
                    const float t0 = taps[0], t1 = taps[1], t2 = taps[2], t3 = taps[3], t4 = taps[4];
                    const float t5 = taps[5];
                    const auto sum_at = [&](const float* u, int64_t c) {
                        float sum = t0 * u[c] + t1 * u[channels + c] + t2 * u[2 * channels + c] +
                                    t3 * u[3 * channels + c] + t4 * u[4 * channels + c];
                        if (Filter::TAPS == 6) sum += t5 * u[5 * channels + c];
                        return sum;
                    };
                    if (channels == 1) {
                        float* __restrict o = out + start;
                        const float* u = v + 2 * (start - first);
#pragma omp simd
                        for (int64_t j = 0; j < end - start; ++j) o[j] = sum_at(u + 2 * j, 0);
                    } else {
                        for (int64_t j = start; j < end; ++j) {
                            float* __restrict o = out + j * channels;
                            const float* u = v + 2 * (j - first) * channels;
#pragma omp simd
                            for (int64_t c = 0; c < channels; ++c) o[c] = sum_at(u, c);
                        }
                    }
                };
                if (Filter::is_border(last - 1, planes.width)) {
                    float border[6];
                    Filter::weights(last - 1, planes.width, border);
                    columns(first, last - 1, inner);
                    columns(last - 1, last, border);
                } else {
                    columns(first, last, inner);
                }
            }
        }
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
    const int64_t tile = tile_of(planes);
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
