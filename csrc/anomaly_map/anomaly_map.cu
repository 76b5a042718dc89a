// anomaly_map and its gradient, one level at a time.
#include <type_traits>

#include "cuda/pixels.cuh"

namespace pyramidflow {
namespace {

constexpr int MAP_CHANNELS = 64;  // of a tile

struct MapSizes {
    int64_t batch, template_batch;
    int channels, height, width;
    float share;  // of one channel in a mean over channels
    bool aligned;

    __device__ int pixels() const { return height * width; }
};

// Weights of U along one axis at fine pixel `o`: of coarse pixels o/2−1, o/2 and o/2+1. The last
// coarse pixel of an odd size stands for one fine pixel, not two, and weighs less.
inline __device__ void up_weights(int o, int size, float (&weights)[3]) {
    const bool odd = o % 2 == 1;
    const bool cut = o + 1 + o % 2 >= size;
    weights[0] = (odd ? 1.0f : 5.0f) / 16.0f;
    weights[1] = (cut && !odd ? 6.0f : 10.0f) / 16.0f;
    weights[2] = (odd ? (cut ? 4.0f : 5.0f) : 1.0f) / 16.0f;
}

// U(coarse) at one pixel. The coarse map has one channel: its nine reads are cached, and small
// beside the level's channels.
inline __device__ float upsampled(const float* coarse, int row, int column, const MapSizes& sizes) {
    const int coarse_height = (sizes.height + 1) / 2, coarse_width = (sizes.width + 1) / 2;
    float row_weights[3], column_weights[3];
    up_weights(row, sizes.height, row_weights);
    up_weights(column, sizes.width, column_weights);
    float sum = 0.0f;
#pragma unroll
    for (int dy = 0; dy < 3; ++dy)
#pragma unroll
        for (int dx = 0; dx < 3; ++dx) {
            const int r = row / 2 - 1 + dy, c = column / 2 - 1 + dx;
            if (r >= 0 && r < coarse_height && c >= 0 && c < coarse_width)
                sum += row_weights[dy] * column_weights[dx] * coarse[r * coarse_width + c];
        }
    return sum;
}

// What a level may be compared with beside its template; null where it is not.
template <typename T>
struct MapOperands {
    const T* inverse_spread;  // [1, C, H, W]
    const float* shift;       // [B, C]
};

// WITH_OPERANDS: whether `operands` holds any; the plain kernel pays nothing for them.
template <typename T, bool CHANNELS_LAST, typename Out, bool WITH_OPERANDS>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    anomaly_map_forward_kernel(const T* __restrict__ latent, const T* __restrict__ mean,
                               MapOperands<T> operands, const float* __restrict__ coarse,
                               Out* __restrict__ out, MapSizes sizes) {
    float* scratch = shared_memory;
    float* sums = scratch + THREADS;
    float* tile = sums + PIXELS;
    const int pixels = sizes.pixels();
    const PixelTile place(blockIdx.x, pixels);
    const int template_sample = sizes.template_batch == 1 ? 0 : place.sample;
    float total = 0.0f;
    for (int first = 0; first < sizes.channels; first += MAP_CHANNELS) {
        const int here =
            sizes.channels - first < MAP_CHANNELS ? sizes.channels - first : MAP_CHANNELS;
        for (int v = threadIdx.x; v < PixelVector<T, CHANNELS_LAST>::count(here); v += THREADS) {
            const PixelVector<T, CHANNELS_LAST> at(v, here, place.pixels_left);
            if (at.valid <= 0) continue;
            const int pixel = place.pixel + at.pixel;
            float z[VECTOR<T>], normal[VECTOR<T>];
            load_vector(latent + pixel_offset<CHANNELS_LAST>(place.sample, first + at.channel,
                                                             pixel, sizes.channels, pixels),
                        0, at.valid, sizes.aligned, z);
            load_vector(mean + pixel_offset<CHANNELS_LAST>(template_sample, first + at.channel,
                                                           pixel, sizes.channels, pixels),
                        0, at.valid, sizes.aligned, normal);
            float weight[VECTOR<T>];
            if (WITH_OPERANDS && operands.inverse_spread != nullptr)
                load_vector(operands.inverse_spread +
                                pixel_offset<CHANNELS_LAST>(0, first + at.channel, pixel,
                                                            sizes.channels, pixels),
                            0, at.valid, sizes.aligned, weight);
#pragma unroll
            for (int i = 0; i < VECTOR<T>; ++i) {
                if (i >= at.valid) continue;
                float difference = z[i] - normal[i];
                if (WITH_OPERANDS && operands.shift != nullptr)
                    difference -=
                        operands.shift[static_cast<int64_t>(place.sample) * sizes.channels + first +
                                       at.channel_of(i)];
                float contrast = fabsf(difference);
                if (WITH_OPERANDS && operands.inverse_spread != nullptr) contrast *= weight[i];
                tile[at.tile_index(i)] = contrast;
            }
        }
        __syncthreads();
        sum_channels(tile, here, scratch, sums);
        if (threadIdx.x < PIXELS) total += sums[threadIdx.x];
    }
    if (static_cast<int>(threadIdx.x) >= min(PIXELS, place.pixels_left)) return;
    const int pixel = place.pixel + threadIdx.x;
    float value = total * sizes.share;
    if (coarse != nullptr) {
        const int64_t coarse_pixels =
            static_cast<int64_t>((sizes.height + 1) / 2) * ((sizes.width + 1) / 2);
        value +=
            upsampled(coarse + place.sample * coarse_pixels, static_cast<int>(pixel / sizes.width),
                      static_cast<int>(pixel % sizes.width), sizes);
    }
    from_float(value, out[pixel_offset<false>(place.sample, 0, pixel, 1, pixels)]);
}

// A thread for each pixel: it reads its latents once for each neighbour of the template, all but
// the first time from a cache.
template <typename T, bool CHANNELS_LAST, typename Out>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    anomaly_map_tolerant_forward_kernel(const T* __restrict__ latent, const T* __restrict__ mean,
                                        MapOperands<T> operands, const float* __restrict__ coarse,
                                        Out* __restrict__ out, MapSizes sizes, int tolerance) {
    const int pixels = sizes.pixels(), tiles = divide_up(pixels, THREADS);
    const int sample = blockIdx.x / tiles;
    const int pixel = static_cast<int>(blockIdx.x) % tiles * THREADS + threadIdx.x;
    if (pixel >= pixels) return;
    const int template_sample = sizes.template_batch == 1 ? 0 : sample;
    const int row = pixel / sizes.width, column = pixel % sizes.width;
    const int top = max(row - tolerance, 0), bottom = min(row + tolerance, sizes.height - 1);
    const int left = max(column - tolerance, 0), right = min(column + tolerance, sizes.width - 1);
    float least = INFINITY;
    for (int r = top; r <= bottom; ++r)
        for (int c = left; c <= right; ++c) {
            const int other = r * sizes.width + c;
            float sum = 0.0f;
            for (int channel = 0; channel < sizes.channels; ++channel) {
                float difference = to_float(latent[pixel_offset<CHANNELS_LAST>(
                                       sample, channel, pixel, sizes.channels, pixels)]) -
                                   to_float(mean[pixel_offset<CHANNELS_LAST>(
                                       template_sample, channel, other, sizes.channels, pixels)]);
                if (operands.shift != nullptr)
                    difference =
                        difference -
                        operands.shift[static_cast<int64_t>(sample) * sizes.channels + channel];
                float contrast = fabsf(difference);
                if (operands.inverse_spread != nullptr)
                    contrast *= to_float(operands.inverse_spread[pixel_offset<CHANNELS_LAST>(
                        0, channel, other, sizes.channels, pixels)]);
                sum += contrast;
            }
            least = sum < least || sum != sum ? sum : least;
        }
    float value = least * sizes.share;
    if (coarse != nullptr) {
        const int64_t coarse_pixels =
            static_cast<int64_t>((sizes.height + 1) / 2) * ((sizes.width + 1) / 2);
        value += upsampled(coarse + sample * coarse_pixels, row, column, sizes);
    }
    from_float(value, out[pixel_offset<false>(sample, 0, pixel, 1, pixels)]);
}

template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    anomaly_map_backward_kernel(const float* __restrict__ grad, const T* __restrict__ latent,
                                const T* __restrict__ mean, T* __restrict__ grad_latent,
                                MapSizes sizes) {
    const int pixels = sizes.pixels();
    const PixelTile place(blockIdx.x, pixels);
    const int template_sample = sizes.template_batch == 1 ? 0 : place.sample;
    for (int v = threadIdx.x; v < PixelVector<T, CHANNELS_LAST>::count(sizes.channels);
         v += THREADS) {
        const PixelVector<T, CHANNELS_LAST> at(v, sizes.channels, place.pixels_left);
        if (at.valid <= 0) continue;
        const int pixel = place.pixel + at.pixel;
        const int64_t offset =
            pixel_offset<CHANNELS_LAST>(place.sample, at.channel, pixel, sizes.channels, pixels);
        const int64_t first = pixel_offset<false>(place.sample, 0, place.pixel, 1, pixels);
        float z[VECTOR<T>], normal[VECTOR<T>], result[VECTOR<T>] = {};
        load_vector(latent + offset, 0, at.valid, sizes.aligned, z);
        load_vector(mean + pixel_offset<CHANNELS_LAST>(template_sample, at.channel, pixel,
                                                       sizes.channels, pixels),
                    0, at.valid, sizes.aligned, normal);
#pragma unroll
        for (int i = 0; i < VECTOR<T>; ++i) {
            if (i >= at.valid) continue;
            const float difference = z[i] - normal[i];
            const float sign = difference > 0.0f ? 1.0f : difference < 0.0f ? -1.0f : 0.0f;
            result[i] = sign * sizes.share * grad[first + at.pixel_of(i)];
        }
        store_vector(grad_latent + offset, at.valid, sizes.aligned, result);
    }
}

template <typename T, bool CHANNELS_LAST, typename... Pointers>
MapSizes map_sizes(const PyramidflowLevel& level, int64_t template_batch,
                   const Pointers*... levels) {
    MapSizes sizes;
    sizes.batch = level.batch;
    sizes.template_batch = template_batch;
    sizes.channels = static_cast<int>(level.channels);
    sizes.height = static_cast<int>(level.height);
    sizes.width = static_cast<int>(level.width);
    sizes.share = 1.0f / static_cast<float>(level.channels);
    sizes.aligned =
        vectors_fit<T>(CHANNELS_LAST ? level.channels : level.height * level.width, levels...);
    return sizes;
}

}  // namespace
}  // namespace pyramidflow

using namespace pyramidflow;

// One level of the map: out [B, H, W] = mean over channels of
// |latent − mean − shift| · inverse_spread + U(coarse), with inverse_spread [1, C, H, W] and
// shift [B, C] or null, coarse [B, h, w] the map of the level above or null. template_batch is 1 or
// B. out is of type out_type. With a tolerance the template's pixels at most so many rows and
// columns away are tried, and the least mean counts.
PYRAMIDFLOW_FUNCTION(anomaly_map, const void* latent, const void* mean, const void* inverse_spread,
                     const float* shift, const float* coarse, void* out, PyramidflowLevel level,
                     int64_t template_batch, int64_t tolerance, int64_t out_type,
                     cudaStream_t stream) {
    const int64_t pixels = level.height * level.width;
    if (!countable(pixels)) return cudaErrorInvalidValue;
    if (out_type != level.type && out_type != PYRAMIDFLOW_FLOAT32) return cudaErrorInvalidValue;
    return dispatch(level, [&](auto kind) -> int64_t {
        using T = typename decltype(kind)::Type;
        constexpr bool LAST = decltype(kind)::channels_last;
        const MapSizes sizes =
            map_sizes<T, LAST>(level, template_batch, latent, mean, inverse_spread);
        const int64_t blocks = level.batch * divide_up(pixels, PIXELS);
        const int64_t shared = (THREADS + PIXELS + MAP_CHANNELS * PITCH) * sizeof(float);
        const T* z = static_cast<const T*>(latent);
        const T* normal = static_cast<const T*>(mean);
        const MapOperands<T> operands = {static_cast<const T*>(inverse_spread), shift};
        const auto run = [&](auto with_operands, auto* to) -> int64_t {
            using Out = std::remove_pointer_t<decltype(to)>;
            constexpr bool WITH_OPERANDS = decltype(with_operands)::value;
            return launch(anomaly_map_forward_kernel<T, LAST, Out, WITH_OPERANDS>, blocks, THREADS,
                          shared, stream, z, normal, operands, coarse, to, sizes);
        };
        const auto choose = [&](auto* to) -> int64_t {
            using Out = std::remove_pointer_t<decltype(to)>;
            if (tolerance > 0)
                return launch(anomaly_map_tolerant_forward_kernel<T, LAST, Out>,
                              level.batch * divide_up(pixels, THREADS), THREADS, 0, stream, z,
                              normal, operands, coarse, to, sizes, static_cast<int>(tolerance));
            if (inverse_spread == nullptr && shift == nullptr) return run(std::false_type(), to);
            return run(std::true_type(), to);
        };
        if (out_type == level.type) return choose(static_cast<T*>(out));
        return choose(static_cast<float*>(out));
    });
}

// grad_latent = sign(latent − mean) · grad / C with grad [B, H, W] of this level.
PYRAMIDFLOW_FUNCTION(anomaly_map_backward, const float* grad, const void* latent, const void* mean,
                     void* grad_latent, PyramidflowLevel level, int64_t template_batch,
                     cudaStream_t stream) {
    const int64_t pixels = level.height * level.width;
    if (!countable(pixels)) return cudaErrorInvalidValue;
    return dispatch(level, [&](auto kind) -> int64_t {
        using T = typename decltype(kind)::Type;
        constexpr bool LAST = decltype(kind)::channels_last;
        return launch(anomaly_map_backward_kernel<T, LAST>, level.batch * divide_up(pixels, PIXELS),
                      THREADS, 0, stream, grad, static_cast<const T*>(latent),
                      static_cast<const T*>(mean), static_cast<T*>(grad_latent),
                      map_sizes<T, LAST>(level, template_batch, latent, mean, grad_latent));
    });
}
