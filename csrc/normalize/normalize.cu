// normalize_image: interleaved camera pixels to normalised planes.
#include "cuda/common.cuh"

namespace pyramidflow {
namespace {

constexpr int COLOURS = 3;

// A thread reads as many pixels as three 128-bit loads hold, and writes them to three planes.
template <typename Pixel, typename T>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    normalize_image_forward_kernel(const Pixel* __restrict__ image, const float* __restrict__ mean,
                                   const float* __restrict__ std, T* __restrict__ out, int pixels,
                                   float scale_of_one, bool in_aligned, bool out_aligned) {
    constexpr int COUNT = VECTOR<Pixel>;
    const int blocks = divide_up(divide_up(pixels, COUNT), THREADS);  // of a sample
    const int64_t sample = blockIdx.x / blocks;
    const int first = (blockIdx.x % blocks * THREADS + threadIdx.x) * COUNT;
    const int left = pixels - first;
    if (left <= 0) return;
    const Pixel* source = image + (sample * pixels + first) * COLOURS;
    Vector<Pixel> loaded[COLOURS];
    if (in_aligned) {
#pragma unroll
        for (int k = 0; k < COLOURS; ++k) {
            const uint4 bits = reinterpret_cast<const uint4*>(source)[k];
            loaded[k] = reinterpret_cast<const Vector<Pixel>&>(bits);
        }
    } else {
#pragma unroll
        for (int e = 0; e < COLOURS * COUNT; ++e)
            loaded[e / COUNT].elements[e % COUNT] = e < left * COLOURS ? source[e] : Pixel(0);
    }
#pragma unroll
    for (int colour = 0; colour < COLOURS; ++colour) {
        const float centre = mean[colour], scale = 1.0f / std[colour];
        T* plane = out + (sample * COLOURS + colour) * pixels + first;
#pragma unroll
        for (int begin = 0; begin < COUNT; begin += VECTOR<T>) {
            float values[VECTOR<T>];
#pragma unroll
            for (int i = 0; i < VECTOR<T>; ++i) {
                const int e = (begin + i) * COLOURS + colour;
                values[i] =
                    (static_cast<float>(loaded[e / COUNT].elements[e % COUNT]) * scale_of_one -
                     centre) *
                    scale;
            }
            store_vector(plane + begin, min(left, COUNT) - begin, out_aligned, values);
        }
    }
}

template <typename Pixel, typename T>
int64_t normalize(const void* image, const float* mean, const float* std, void* out, int64_t batch,
                  int64_t pixels, float full_scale, cudaStream_t stream) {
    if (!countable(pixels)) return cudaErrorInvalidValue;
    const int64_t blocks = batch * divide_up(divide_up(pixels, VECTOR<Pixel>), THREADS);
    return launch(normalize_image_forward_kernel<Pixel, T>, blocks, THREADS, 0, stream,
                  static_cast<const Pixel*>(image), mean, std, static_cast<T*>(out),
                  static_cast<int>(pixels), 1.0f / full_scale, vectors_fit<Pixel>(pixels, image),
                  vectors_fit<Pixel>(pixels, out));
}

}  // namespace
}  // namespace pyramidflow

using namespace pyramidflow;

// out [B, 3, H, W] = (image [B, H, W, 3] / full scale − mean [3]) / std [3].
PYRAMIDFLOW_FUNCTION(normalize_image, const void* image, const float* mean, const float* std,
                     void* out, int64_t batch, int64_t pixels, int64_t image_type, int64_t type,
                     cudaStream_t stream) {
    return dispatch(type, 0, [&](auto kind) -> int64_t {
        using T = typename decltype(kind)::Type;
        if constexpr (decltype(kind)::channels_last) {
            return cudaErrorInvalidValue;
        } else {
            if (image_type == PYRAMIDFLOW_UINT16)
                return normalize<uint16_t, T>(image, mean, std, out, batch, pixels, 65535.0f,
                                              stream);
            return normalize<uint8_t, T>(image, mean, std, out, batch, pixels, 255.0f, stream);
        }
    });
}
