// One level of the anomaly map, with and without tolerance, the means that it may take off, and the
// gradient of its plain form.
#include "anomaly_map_tolerant.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

const int64_t TILE = 4096;  // pixels: long runs, each is a start for the prefetcher
const int64_t AHEAD = 64;   // pixels
const int64_t CHUNKS = 32;  // of a sample's pixels in a mean, whatever the number of threads
const int64_t RUN = 256;    // pixels that are summed in single precision

// Calls `body` with whether each operand is there, both flags known to the compiler.
template <typename Body>
void with_operands(const float* spread, const float* shift, const Body& body) {
    with_flag(spread != nullptr, [&](auto has_spread) {
        with_flag(shift != nullptr, [&](auto has_shift) { body(has_spread, has_shift); });
    });
}

float sign(float value) { return value > 0.0f ? 1.0f : value < 0.0f ? -1.0f : value; }

void compare_in_place(const float* latent, const float* mean, const float* inverse_spread,
                      const float* shift, float* level, PyramidflowImage image, int64_t mean_batch,
                      int64_t threads) {
    const int64_t area = image.height * image.width, size = image.channels * area;
    const int64_t tiles = ceil_div(area, TILE);
    const float scale = 1.0f / static_cast<float>(image.channels);
    const auto last = [&](auto channels, auto has_spread, auto has_shift, int64_t b, int64_t p,
                          int64_t pixels, float* out) PYRAMIDFLOW_INLINE_LAMBDA {
        const float* z = latent + b * size + p * channels;
        const float* m = mean + (mean_batch == 1 ? 0 : b) * size + p * channels;
        const float* w = has_spread ? inverse_spread + p * channels : nullptr;
        const float* const taken = has_shift ? shift + b * channels : nullptr;
        for (int64_t i = 0; i < pixels; ++i, z += channels, m += channels) {
            Vector sum = {};
            for_vectors(channels, [&](int64_t c, auto count) PYRAMIDFLOW_INLINE_LAMBDA {
                prefetch(z + AHEAD * channels + c);
                prefetch(m + AHEAD * channels + c);
                Vector difference = load(z + c, count) - load(m + c, count);
                if (has_shift) difference -= load(taken + c, count);
                Vector contrast = magnitude(difference);
                if (has_spread) {
                    prefetch(w + AHEAD * channels + c);
                    contrast *= load(w + c, count);
                }
                sum += contrast;
            });
            out[i] = sum_lanes(sum) * scale;
            if (has_spread) w += channels;
        }
    };
    const auto first = [&](auto channels, auto has_spread, auto has_shift, int64_t b, int64_t p,
                           int64_t pixels, float* out) PYRAMIDFLOW_INLINE_LAMBDA {
        float sum[TILE];
        for (int64_t i = 0; i < pixels; ++i) sum[i] = 0.0f;
        for (int64_t c = 0; c < channels; ++c) {
            const float* const z = latent + b * size + c * area + p;
            const float* const m = mean + (mean_batch == 1 ? 0 : b) * size + c * area + p;
            const float* const w = has_spread ? inverse_spread + c * area + p : nullptr;
            const Vector taken = splat(has_shift ? shift[b * channels + c] : 0.0f);
            // The next channel's pixels, at last the next tile's.
            const int64_t next = c + 1 < channels ? area : pixels - c * area;
            for_vectors(pixels, [&](int64_t i, auto count) PYRAMIDFLOW_INLINE_LAMBDA {
                prefetch(z + next + i);
                prefetch(m + next + i);
                Vector difference = load(z + i, count) - load(m + i, count);
                if (has_shift) difference -= taken;
                Vector contrast = magnitude(difference);
                if (has_spread) {
                    prefetch(w + next + i);
                    contrast *= load(w + i, count);
                }
                store(sum + i, load(sum + i, count) + contrast, count);
            });
        }
        for (int64_t i = 0; i < pixels; ++i) out[i] = sum[i] * scale;
    };
    with_channels(image.channels, [&](auto channels) {
        with_operands(inverse_spread, shift, [&](auto has_spread, auto has_shift) {
            in_parallel(threads, image.batch * tiles, [&](int64_t task) {
                const int64_t b = task / tiles, p = (task % tiles) * TILE;
                const int64_t pixels = smaller(TILE, area - p);
                float* const out = level + b * area + p;
                if (image.channels_last)
                    last(channels, has_spread, has_shift, b, p, pixels, out);
                else
                    first(channels, has_spread, has_shift, b, p, pixels, out);
            });
        });
    });
}

}  // namespace

// Of each pixel the contrast with the template's, or the least one up to `tolerance` pixels around.
PYRAMIDFLOW_FUNCTION(anomaly_level, const float* latent, const float* mean,
                     const float* inverse_spread, const float* shift, float* level,
                     PyramidflowImage image, int64_t mean_batch, int64_t tolerance,
                     int64_t threads) {
    if (tolerance > 0)
        return compare_around(latent, mean, inverse_spread, shift, level, image, mean_batch,
                              tolerance, threads);
    compare_in_place(latent, mean, inverse_spread, shift, level, image, mean_batch, threads);
    return 0;
}

PYRAMIDFLOW_FUNCTION(pixel_means, const float* x, float* mean, PyramidflowImage image,
                     int64_t threads) {
    const int64_t area = image.height * image.width, C = image.channels;
    Scratch<double> partial(image.batch * CHUNKS * C);
    if (partial.failed()) return 1;
    memset(partial.get(), 0, static_cast<size_t>(image.batch * CHUNKS * C) * sizeof(double));
    with_channels(C, [&](auto channels) {
        in_parallel(threads, image.batch * CHUNKS, [&](int64_t task) {
            const int64_t b = task / CHUNKS, chunk = task % CHUNKS;
            const int64_t begin = area * chunk / CHUNKS, end = area * (chunk + 1) / CHUNKS;
            double* const total = partial.get() + task * channels;
            for (int64_t p = begin; p < end; p += RUN) {
                const int64_t pixels = smaller(RUN, end - p);
                if (image.channels_last) {
                    const float* const run = x + (b * area + p) * channels;
                    for_vectors(channels, [&](int64_t c, auto count) {
                        Vector sum = {};
                        for (int64_t i = 0; i < pixels; ++i) {
                            prefetch(run + (i + AHEAD) * channels + c);
                            sum += load(run + i * channels + c, count);
                        }
                        for (int64_t k = 0; k < count; ++k)
                            total[c + k] += static_cast<double>(sum[k]);
                    });
                    continue;
                }
                for (int64_t c = 0; c < channels; ++c) {
                    const float* const run = x + (b * channels + c) * area + p;
                    Vector sum = {};
                    for_vectors(pixels,
                                [&](int64_t i, auto count) { sum += load(run + i, count); });
                    total[c] += static_cast<double>(sum_lanes(sum));
                }
            }
        });
    });
    for (int64_t b = 0; b < image.batch; ++b)
        for (int64_t c = 0; c < C; ++c) {
            double sum = 0.0;
            for (int64_t k = 0; k < CHUNKS; ++k) sum += partial.get()[(b * CHUNKS + k) * C + c];
            mean[b * C + c] = static_cast<float>(sum / static_cast<double>(area));
        }
    return 0;
}

PYRAMIDFLOW_FUNCTION(anomaly_level_backward, const float* grad_level, const float* latent,
                     const float* mean, float* grad_latent, PyramidflowImage image,
                     int64_t mean_batch, int64_t threads) {
    const int64_t area = image.height * image.width, size = image.channels * area;
    const int64_t tiles = ceil_div(area, TILE);
    const float scale = 1.0f / static_cast<float>(image.channels);
    with_channels(image.channels, [&](auto channels) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t task = 0; task < image.batch * tiles; ++task) {
            const int64_t b = task / tiles, p = (task % tiles) * TILE;
            const int64_t pixels = smaller(TILE, area - p);
            const float* const z = latent + b * size;
            const float* const m = mean + (mean_batch == 1 ? 0 : b) * size;
            float* const out = grad_latent + b * size;
            const float* const g = grad_level + b * area + p;
            if (image.channels_last) {
                for (int64_t i = 0; i < pixels; ++i) {
                    const float* zi = z + (p + i) * channels;
                    const float* mi = m + (p + i) * channels;
                    float* __restrict o = out + (p + i) * channels;
                    const float grad = g[i] * scale;
#pragma omp simd
                    for (int64_t c = 0; c < channels; ++c) o[c] = grad * sign(zi[c] - mi[c]);
                }
            } else {
                for (int64_t c = 0; c < channels; ++c) {
                    const float* zc = z + c * area + p;
                    const float* mc = m + c * area + p;
                    float* __restrict o = out + c * area + p;
#pragma omp simd
                    for (int64_t i = 0; i < pixels; ++i) o[i] = g[i] * scale * sign(zc[i] - mc[i]);
                }
            }
        }
    });
    return 0;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
