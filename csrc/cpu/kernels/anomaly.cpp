// One level of the anomaly map: the channel mean of |z - template|, and its gradient.
#include "vector.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

const int64_t TILE = 4096;  // pixels: long runs, each is a start for the prefetcher
const int64_t AHEAD = 64;   // pixels

PYRAMIDFLOW_INLINE Vector magnitude(Vector value) { return (Vector)((Integers)value & 0x7fffffff); }

float sign(float value) { return value > 0.0f ? 1.0f : value < 0.0f ? -1.0f : value; }

}  // namespace

int anomaly_level(const float* latent, const float* mean, float* level, PyramidflowImage image,
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
            float* __restrict out = level + b * area + p;
            if (image.channels_last) {
                for (int64_t i = 0; i < pixels; ++i) {
                    const float* zi = z + (p + i) * channels;
                    const float* mi = m + (p + i) * channels;
                    Vector sum = {};
                    for_vectors(channels, [&](int64_t c, auto count) {
                        prefetch(zi + AHEAD * channels + c);
                        prefetch(mi + AHEAD * channels + c);
                        sum += magnitude(load(zi + c, count) - load(mi + c, count));
                    });
                    out[i] = sum_lanes(sum) * scale;
                }
            } else {
                float sum[TILE];
                for (int64_t i = 0; i < pixels; ++i) sum[i] = 0.0f;
                for (int64_t c = 0; c < channels; ++c) {
                    const float *zc = z + c * area + p, *mc = m + c * area + p;
                    // The next channel's pixels, at last the next tile's.
                    const int64_t next = c + 1 < channels ? area : pixels - c * area;
                    for_vectors(pixels, [&](int64_t i, auto count) {
                        prefetch(zc + next + i);
                        prefetch(mc + next + i);
                        const Vector difference = load(zc + i, count) - load(mc + i, count);
                        store(sum + i, load(sum + i, count) + magnitude(difference), count);
                    });
                }
                for (int64_t i = 0; i < pixels; ++i) out[i] = sum[i] * scale;
            }
        }
    });
    return 0;
}

int anomaly_level_backward(const float* grad_level, const float* latent, const float* mean,
                           float* grad_latent, PyramidflowImage image, int64_t mean_batch,
                           int64_t threads) {
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
