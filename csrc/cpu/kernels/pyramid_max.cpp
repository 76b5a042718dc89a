// The pyramid's other reduction: the maximum of each 2x2 cell of the filtered image.
//
// Forward keeps the place of the maximum, 2 dy + dx, as one byte. Backward filters the gradients
// where they stand in the cells: D = max o G, and G is its own transpose.
#include "planes.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

// v = rows filtered down the columns, with two pixels of zeros on either side.
void filter_rows(const float* plane, int64_t height, int64_t row_size, int64_t r, int64_t padding,
                 const float* zeros, float* v) {
    const float* rows[5];
    for (int64_t k = 0; k < 5; ++k) {
        const int64_t q = r - 2 + k;
        rows[k] = q >= 0 && q < height ? plane + q * row_size : zeros;
    }
    const float *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3], *e = rows[4];
    float* __restrict middle = v + padding;
#pragma omp simd
    for (int64_t j = 0; j < row_size; ++j)
        middle[j] = (a[j] + e[j]) * (1.0f / 16) + (b[j] + d[j]) * (4.0f / 16) + c[j] * (6.0f / 16);
}

template <typename Channels>
PYRAMIDFLOW_INLINE float filtered(const float* v, int64_t j, Channels channels) {
    return (v[j] + v[j + 4 * channels]) * (1.0f / 16) +
           (v[j + channels] + v[j + 3 * channels]) * (4.0f / 16) + v[j + 2 * channels] * (6.0f / 16);
}

// The later pixel wins only by being larger; not-a-number always wins, as in PyTorch.
PYRAMIDFLOW_INLINE void offer(float value, float candidate, float* best, float* place) {
    const bool wins = (value > *best) | (value != value);
    *best = wins ? value : *best;
    *place = wins ? candidate : *place;
}

template <bool RIGHT, bool LOWER, typename Channels>
PYRAMIDFLOW_INLINE void cell(const float* upper, const float* lower, Channels channels, int64_t j, float* y,
          uint8_t* index) {
    float best = filtered(upper, j, channels), place = 0.0f;
    if (RIGHT) offer(filtered(upper, j + channels, channels), 1.0f, &best, &place);
    if (LOWER) offer(filtered(lower, j, channels), 2.0f, &best, &place);
    if (RIGHT && LOWER) offer(filtered(lower, j + channels, channels), 3.0f, &best, &place);
    *y = best;
    *index = static_cast<uint8_t>(static_cast<int32_t>(place));
}

// Maxima of the cells first ... last - 1 of one row; cells at odd borders lack the right or lower half.
template <bool RIGHT, bool LOWER, typename Channels>
void cells(const float* __restrict upper, const float* __restrict lower, Channels channels,
           int64_t first, int64_t last, float* __restrict y, uint8_t* __restrict index) {
    if (channels == 1) {
#pragma omp simd
        for (int64_t w = first; w < last; ++w)
            cell<RIGHT, LOWER>(upper, lower, Constant<1>(), 2 * w, y + w, index + w);
        return;
    }
    for (int64_t w = first; w < last; ++w) {
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c)
            cell<RIGHT, LOWER>(upper, lower, channels, 2 * w * channels + c, y + w * channels + c,
                               index + w * channels + c);
    }
}

}  // namespace

int pyramid_down_max(const float* x, float* y, uint8_t* index, PyramidflowImage fine, int64_t threads) {
    const Planes planes(fine);
    const int64_t padding = 2 * planes.channels;
    const int64_t buffer = (2 * planes.half_width + 4) * planes.channels;
    Scratch<float> scratch(threads * 3 * buffer);
    if (scratch.failed()) return 1;
    memset(scratch.get(), 0, static_cast<size_t>(threads * 3 * buffer) * sizeof(float));

    with_pixel(planes.channels, [&](auto channels) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t task = 0; task < planes.count * planes.half_height; ++task) {
            const int64_t plane = task / planes.half_height, m = task % planes.half_height;
            const int64_t row_size = planes.width * channels;
            const float* const zeros = scratch.get() + thread_index() * 3 * buffer;
            float* const upper = scratch.get() + thread_index() * 3 * buffer + buffer;
            float* const lower = upper + buffer;
            const float* const source = x + plane * planes.height * row_size;
            const bool has_lower = 2 * m + 1 < planes.height;
            filter_rows(source, planes.height, row_size, 2 * m, padding, zeros, upper);
            if (has_lower) filter_rows(source, planes.height, row_size, 2 * m + 1, padding, zeros, lower);
            const int64_t offset = task * planes.half_width * channels;

            const int64_t whole = planes.width / 2;
            float* const out = y + offset;
            uint8_t* const places = index + offset;
            if (has_lower)
                cells<true, true>(upper, lower, channels, 0, whole, out, places);
            else
                cells<true, false>(upper, lower, channels, 0, whole, out, places);
            if (has_lower)
                cells<false, true>(upper, lower, channels, whole, planes.half_width, out, places);
            else
                cells<false, false>(upper, lower, channels, whole, planes.half_width, out, places);
        }
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

    with_pixel(planes.channels, [&](auto channels) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t task = 0; task < planes.count * planes.height; ++task) {
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
            const auto left = [&](int64_t j) {
                return (even[j] + even[j + 2 * channels]) * (1.0f / 16) +
                       (odd[j] + odd[j + channels]) * (4.0f / 16) + even[j + channels] * (6.0f / 16);
            };
            const auto right = [&](int64_t j) {
                return (odd[j] + odd[j + 2 * channels]) * (1.0f / 16) +
                       (even[j + channels] + even[j + 2 * channels]) * (4.0f / 16) +
                       odd[j + channels] * (6.0f / 16);
            };
            const int64_t whole = planes.width / 2;
            if (channels == 1) {
                float* __restrict o = out;
#pragma omp simd
                for (int64_t j = 0; j < whole; ++j) {
                    o[2 * j] = left(j);
                    o[2 * j + 1] = right(j);
                }
            } else {
                for (int64_t j = 0; j < whole; ++j) {
                    float* __restrict o = out + 2 * j * channels;
#pragma omp simd
                    for (int64_t c = 0; c < channels; ++c) o[c] = left(j * channels + c);
#pragma omp simd
                    for (int64_t c = 0; c < channels; ++c) o[channels + c] = right(j * channels + c);
                }
            }
            for (int64_t j = 2 * whole; j < planes.width; ++j)
                for (int64_t c = 0; c < channels; ++c) out[j * channels + c] = left((j / 2) * channels + c);
        }
    });
    return 0;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
