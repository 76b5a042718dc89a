// Element by element: camera pixels to network input, and the vector functions for their tests.
#include "cpu/vector_math.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

const int64_t TILE = 4096;  // elements

template <typename Pixel>
int normalize(const Pixel* image, const float* mean, const float* std, float* out, int64_t batch,
              int64_t pixels, float full_scale, int64_t threads) {
    float gain[3], offset[3];
    for (int64_t c = 0; c < 3; ++c) {
        gain[c] = 1.0f / (full_scale * std[c]);
        offset[c] = -mean[c] / std[c];
    }
    const float g0 = gain[0], g1 = gain[1], g2 = gain[2];
    const float o0 = offset[0], o1 = offset[1], o2 = offset[2];
    const int64_t tiles = ceil_div(pixels, TILE);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < batch * tiles; ++task) {
        const int64_t b = task / tiles, p = (task % tiles) * TILE;
        const int64_t count = smaller(TILE, pixels - p);
        const Pixel* in = image + (b * pixels + p) * 3;
        float* __restrict red = out + b * 3 * pixels + p;
        float* __restrict green = red + pixels;
        float* __restrict blue = green + pixels;
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) {
            red[i] = static_cast<float>(in[3 * i]) * g0 + o0;
            green[i] = static_cast<float>(in[3 * i + 1]) * g1 + o1;
            blue[i] = static_cast<float>(in[3 * i + 2]) * g2 + o2;
        }
    }
    return 0;
}

template <typename Function>
int map(const float* x, float* y, int64_t count, int64_t threads, const Function& function) {
    const int64_t tiles = ceil_div(count, TILE);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t tile = 0; tile < tiles; ++tile) {
        const float* in = x + tile * TILE;
        float* const out = y + tile * TILE;
        const int64_t size = smaller(TILE, count - tile * TILE);
        for_vectors(size, [&](int64_t i, auto n) { store(out + i, function(load(in + i, n)), n); });
    }
    return 0;
}

}  // namespace

// image_type is 0 for bytes and 1 for two bytes; type, of the result, is 0: float32.
PYRAMIDFLOW_FUNCTION(normalize_image, const void* image, const float* mean, const float* std,
                     float* out, int64_t batch, int64_t pixels, int64_t image_type, int64_t type,
                     int64_t threads) {
    (void)type;
    if (image_type == 1)
        return normalize(static_cast<const uint16_t*>(image), mean, std, out, batch, pixels,
                         65535.0f, threads);
    return normalize(static_cast<const uint8_t*>(image), mean, std, out, batch, pixels, 255.0f,
                     threads);
}

PYRAMIDFLOW_FUNCTION(exp, const float* x, float* y, int64_t count, int64_t threads) {
    return map(x, y, count, threads, [](Vector value) { return exp_of(value); });
}

PYRAMIDFLOW_FUNCTION(atan, const float* x, float* y, int64_t count, int64_t threads) {
    return map(x, y, count, threads, [](Vector value) { return atan_of(value); });
}

PYRAMIDFLOW_FUNCTION(copy, const float* x, float* y, int64_t count, int64_t threads) {
    return map(x, y, count, threads, [](Vector value) { return value; });
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
