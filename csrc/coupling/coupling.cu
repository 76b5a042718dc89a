// affine_coupling, affine_coupling_inverse and their gradients.
#include "coupling.cuh"
#include "coupling_mean.cuh"

namespace pyramidflow {
namespace {

template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    affine_coupling_forward_kernel(CouplingInput<T> in, float direction, T* __restrict__ output,
                                   float* __restrict__ partials) {
    float* scratch = shared_memory;
    const float sum = couple_tile<T, CHANNELS_LAST, false>(
        in, direction, output, shared_memory + COUPLING_SCRATCH, scratch);
    if (partials == nullptr) return;
    const float total = block_sum(sum, scratch);
    if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

// Pixels that a nearest-neighbour resize took from source `position`: [low, high).
struct Range {
    int low, high;
};

inline __device__ Range taken_from(int position, float scale, int size, int source_size) {
    Range range;
    int low = static_cast<int>(static_cast<float>(position) / scale) - 1;
    if (low < 0) low = 0;
    while (low < size && nearest(low, scale, source_size) < position) ++low;
    range.low = low;
    while (low < size && nearest(low, scale, source_size) == position) ++low;
    range.high = low;
    return range;
}

// Element i of a vector whose elements are registers.
template <int COUNT>
__device__ float get(const float (&values)[COUNT], int i) {
    float value = 0.0f;
#pragma unroll
    for (int k = 0; k < COUNT; ++k) value = k == i ? values[k] : value;
    return value;
}

template <int COUNT>
__device__ void set(float (&values)[COUNT], int i, float value) {
#pragma unroll
    for (int k = 0; k < COUNT; ++k) values[k] = k == i ? value : values[k];
}

template <typename T>
struct CouplingGradient {
    const T* grad;              // of the result
    const float* grad_log_det;  // [B]
    const T* input;
    const T* params;
    MeanView mean;
    float direction;
    CouplingSizes sizes;
};

// Adds one element's share to the gradients of s and t; returns that of the input. With direction
// d, the result is exp(d·s) · input + t forwards and exp(d·s) · (input − t) backwards, and the
// log-determinant d·Σ s; `t` is zero forwards, where no gradient needs it.
inline __device__ float element_gradient(float direction, float grad, float grad_log_det,
                                         float input, float s, float t, float& grad_s,
                                         float& grad_t) {
    const float grad_input = grad * expf(direction * s);
    grad_s += direction * (grad_input * (input - t) + grad_log_det);
    grad_t += direction == FORWARD ? grad : -grad_input;
    return grad_input;
}

// Gradients of the parameters at one vector of their own grid, from every pixel of the level that
// took them; writes the level's gradient there if it has a place.
template <typename T, bool CHANNELS_LAST>
__device__ void gradient_vector(const CouplingGradient<T>& in,
                                const PixelVector<T, CHANNELS_LAST>& at, const PixelTile& place,
                                int first_channel, T* grad_input, float (&slope)[VECTOR<T>],
                                float (&grad_s)[VECTOR<T>], float (&grad_t)[VECTOR<T>]) {
    const CouplingSizes& sizes = in.sizes;
    const int channel = first_channel + at.channel;
    const int pixel = place.pixel + at.pixel;
    const float grad_log_det = in.grad_log_det[place.sample];
    float s[VECTOR<T>], t[VECTOR<T>] = {};
    load_vector(in.params + pixel_offset<CHANNELS_LAST>(place.sample, channel, pixel,
                                                        2 * sizes.channels, sizes.params_pixels()),
                0, at.valid, sizes.params_aligned, s);
    if (in.direction == INVERSE)
        load_vector(
            in.params + pixel_offset<CHANNELS_LAST>(place.sample, sizes.channels + channel, pixel,
                                                    2 * sizes.channels, sizes.params_pixels()),
            0, at.valid, sizes.params_aligned, t);
#pragma unroll
    for (int i = 0; i < VECTOR<T>; ++i) {
        grad_s[i] = grad_t[i] = 0.0f;
        if (i >= at.valid) continue;
        slope[i] = sizes.clamp.slope(s[i]);
        s[i] = sizes.clamp.apply(s[i]) - in.mean.at(place.sample, first_channel + at.channel_of(i),
                                                    place.pixel + at.pixel_of(i));
    }
    if (!sizes.resized) {
        const int64_t offset = pixel_offset<CHANNELS_LAST>(place.sample, channel, pixel,
                                                           sizes.channels, sizes.pixels());
        float grad[VECTOR<T>], input[VECTOR<T>], result[VECTOR<T>] = {};
        load_vector(in.grad + offset, 0, at.valid, sizes.aligned, grad);
        load_vector(in.input + offset, 0, at.valid, sizes.aligned, input);
#pragma unroll
        for (int i = 0; i < VECTOR<T>; ++i)
            if (i < at.valid)
                result[i] = element_gradient(in.direction, grad[i], grad_log_det, input[i], s[i],
                                             t[i], grad_s[i], grad_t[i]);
        if (grad_input != nullptr)
            store_vector(grad_input + offset, at.valid, sizes.aligned, result);
        return;
    }
    // One body for all elements: this level is a small one, and its code would be a long one.
#pragma unroll 1
    for (int i = 0; i < at.valid && i < VECTOR<T>; ++i) {
        const int source = place.pixel + at.pixel_of(i);
        const Range rows = taken_from(source / sizes.params_width, sizes.scale_y, sizes.height,
                                      sizes.params_height);
        const Range columns =
            taken_from(source % sizes.params_width, sizes.scale_x, sizes.width, sizes.params_width);
        const float s_here = get(s, i), t_here = get(t, i);
        float sum_s = 0.0f, sum_t = 0.0f;
        for (int row = rows.low; row < rows.high; ++row)
            for (int column = columns.low; column < columns.high; ++column) {
                const int64_t offset = pixel_offset<CHANNELS_LAST>(
                    place.sample, first_channel + at.channel_of(i), row * sizes.width + column,
                    sizes.channels, sizes.pixels());
                const float result =
                    element_gradient(in.direction, to_float(in.grad[offset]), grad_log_det,
                                     to_float(in.input[offset]), s_here, t_here, sum_s, sum_t);
                if (grad_input != nullptr) from_float(result, grad_input[offset]);
            }
        set(grad_s, i, sum_s);
        set(grad_t, i, sum_t);
    }
}

// Gradients on the parameters' grid. The mean's own gradient spreads evenly over what it was taken
// from: grad_s loses its mean, which the block takes itself (`take_mean`) or finds in `grad_mean`.
template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    affine_coupling_backward_kernel(CouplingGradient<T> in, MeanView grad_mean, bool take_mean,
                                    T* __restrict__ grad_input, T* __restrict__ grad_params) {
    const CouplingSizes& sizes = in.sizes;
    const PixelTile place(blockIdx.x, sizes.params_pixels());
    const int vectors = PixelVector<T, CHANNELS_LAST>::count(sizes.channels);
    float* scratch = shared_memory;
    float* means = scratch + THREADS;
    float* tile = scratch + COUPLING_SCRATCH;
    float* slopes = tile + sizes.channels * PITCH;
    for (int v = threadIdx.x; v < vectors; v += THREADS) {
        const PixelVector<T, CHANNELS_LAST> at(v, sizes.channels, place.pixels_left);
        if (at.valid <= 0) continue;
        float slope[VECTOR<T>], grad_s[VECTOR<T>], grad_t[VECTOR<T>];
        gradient_vector<T, CHANNELS_LAST>(in, at, place, 0, grad_input, slope, grad_s, grad_t);
        const int64_t offset =
            pixel_offset<CHANNELS_LAST>(place.sample, at.channel, place.pixel + at.pixel,
                                        2 * sizes.channels, sizes.params_pixels());
        const int64_t shift = pixel_offset<CHANNELS_LAST>(0, sizes.channels, 0, 2 * sizes.channels,
                                                          sizes.params_pixels());
        store_vector(grad_params + offset + shift, at.valid, sizes.params_aligned, grad_t);
        if (take_mean) {
#pragma unroll
            for (int i = 0; i < VECTOR<T>; ++i)
                if (i < at.valid) {
                    tile[at.tile_index(i)] = grad_s[i];
                    slopes[at.tile_index(i)] = slope[i];
                }
            continue;
        }
#pragma unroll
        for (int i = 0; i < VECTOR<T>; ++i)
            if (i < at.valid)
                grad_s[i] = (grad_s[i] - grad_mean.at(place.sample, at.channel_of(i),
                                                      place.pixel + at.pixel_of(i))) *
                            slope[i];
        store_vector(grad_params + offset, at.valid, sizes.params_aligned, grad_s);
    }
    if (!take_mean) return;
    __syncthreads();
    sum_channels(tile, sizes.channels, scratch, means);
    for (int v = threadIdx.x; v < vectors; v += THREADS) {
        const PixelVector<T, CHANNELS_LAST> at(v, sizes.channels, place.pixels_left);
        if (at.valid <= 0) continue;
        float grad_s0[VECTOR<T>] = {};
#pragma unroll
        for (int i = 0; i < VECTOR<T>; ++i)
            if (i < at.valid)
                grad_s0[i] = (tile[at.tile_index(i)] - means[at.pixel_of(i)] * sizes.share) *
                             slopes[at.tile_index(i)];
        store_vector(grad_params + pixel_offset<CHANNELS_LAST>(
                                       place.sample, at.channel, place.pixel + at.pixel,
                                       2 * sizes.channels, sizes.params_pixels()),
                     at.valid, sizes.params_aligned, grad_s0);
    }
}

// What a mean is taken of, in vectors on the parameters' grid.
template <typename T, bool CHANNELS_LAST>
struct LogScale {
    const T* params;
    CouplingSizes sizes;

    __device__ void operator()(const PixelVector<T, CHANNELS_LAST>& at, const PixelTile& place,
                               int first_channel, float (&values)[VECTOR<T>]) const {
        load_vector(params + pixel_offset<CHANNELS_LAST>(place.sample, first_channel + at.channel,
                                                         place.pixel + at.pixel, 2 * sizes.channels,
                                                         sizes.params_pixels()),
                    0, at.valid, sizes.params_aligned, values);
#pragma unroll
        for (int i = 0; i < VECTOR<T>; ++i) values[i] = sizes.clamp.apply(values[i]);
    }
};

template <typename T, bool CHANNELS_LAST>
struct LogScaleGradient {
    CouplingGradient<T> in;
    CouplingSizes sizes;

    __device__ void operator()(const PixelVector<T, CHANNELS_LAST>& at, const PixelTile& place,
                               int first_channel, float (&values)[VECTOR<T>]) const {
        float slope[VECTOR<T>], grad_t[VECTOR<T>];
        gradient_vector<T, CHANNELS_LAST>(in, at, place, first_channel, nullptr, slope, values,
                                          grad_t);
    }
};

int64_t log_det_partials(const PyramidflowCoupling& coupling) {
    return coupling.batch * divide_up(coupling.height * coupling.width, PIXELS);
}

int64_t sum_log_det(float* partials, const PyramidflowCoupling& coupling, float* log_det,
                    cudaStream_t stream) {
    const int64_t tiles = divide_up(coupling.height * coupling.width, PIXELS);
    return sum_partials({partials, coupling.batch, tiles, 1, 0, tiles, 1}, 1.0f, log_det, stream);
}

int64_t couple(float direction, const void* input, const void* params, float* mean, void* output,
               float* log_det, float* workspace, const PyramidflowCoupling& coupling,
               cudaStream_t stream) {
    if (!countable(coupling)) return cudaErrorInvalidValue;
    const bool takes = !coupling.mean_given && coupling.volume_norm != PYRAMIDFLOW_NO_NORM;
    const bool in_block = mean_fits_block(coupling, 1, 0);
    if (takes && !in_block) {
        const int64_t error =
            take_mean(params, mean, workspace + log_det_partials(coupling), coupling, stream);
        if (error != cudaSuccess) return error;
    }
    return dispatch(coupling.type, coupling.channels_last, [&](auto kind) -> int64_t {
        using T = typename decltype(kind)::Type;
        constexpr bool LAST = decltype(kind)::channels_last;
        CouplingInput<T> in;
        in.input = static_cast<const T*>(input);
        in.params = static_cast<const T*>(params);
        in.sizes = coupling_sizes<T, LAST>(coupling, params, input, output);
        in.new_mean = in_block ? mean : nullptr;
        in.mean = coupling.mean_given ? given_mean(coupling, mean)
                  : takes             ? taken_mean(coupling, mean)
                                      : MeanView{nullptr, 0, 0, 0};
        const int64_t floats =
            COUPLING_SCRATCH + (in_block ? coupling_tile_floats(coupling.channels) : 0);
        const int64_t error =
            launch(affine_coupling_forward_kernel<T, LAST>, log_det_partials(coupling), THREADS,
                   floats * sizeof(float), stream, in, direction, static_cast<T*>(output),
                   log_det == nullptr ? nullptr : workspace);
        if (error != cudaSuccess || log_det == nullptr) return error;
        return sum_log_det(workspace, coupling, log_det, stream);
    });
}

int64_t couple_backward(float direction, const void* grad, const float* grad_log_det,
                        const void* input, const void* params, const float* mean, void* grad_input,
                        void* grad_params, float* workspace, const PyramidflowCoupling& coupling,
                        cudaStream_t stream) {
    if (!countable(coupling)) return cudaErrorInvalidValue;
    return dispatch(coupling.type, coupling.channels_last, [&](auto kind) -> int64_t {
        using T = typename decltype(kind)::Type;
        constexpr bool LAST = decltype(kind)::channels_last;
        CouplingGradient<T> in;
        in.grad = static_cast<const T*>(grad);
        in.grad_log_det = grad_log_det;
        in.input = static_cast<const T*>(input);
        in.params = static_cast<const T*>(params);
        in.mean = given_mean(coupling, mean);
        in.direction = direction;
        in.sizes = coupling_sizes<T, LAST>(coupling, params, grad, input, grad_input);
        in.sizes.params_aligned = in.sizes.params_aligned && on_16_bytes(grad_params);
        const bool centres = !coupling.mean_given && coupling.volume_norm != PYRAMIDFLOW_NO_NORM;
        const bool in_block = mean_fits_block(coupling, 2, 0);
        MeanView grad_mean = {nullptr, 0, 0, 0};
        if (centres && !in_block) {
            float* means = workspace + mean_partials(coupling);
            const LogScaleGradient<T, LAST> source = {in, in.sizes};
            const int64_t error = take_mean_of<T, LAST>(source, means, workspace, coupling, stream);
            if (error != cudaSuccess) return error;
            grad_mean = taken_mean(coupling, means);
        }
        const int64_t floats =
            COUPLING_SCRATCH + (in_block ? 2 * coupling_tile_floats(coupling.channels) : 0);
        return launch(affine_coupling_backward_kernel<T, LAST>,
                      coupling.batch * divide_up(in.sizes.params_pixels(), PIXELS), THREADS,
                      floats * sizeof(float), stream, in, grad_mean, in_block,
                      static_cast<T*>(grad_input), static_cast<T*>(grad_params));
    });
}

}  // namespace

int64_t take_mean(const void* params, float* mean, float* workspace,
                  const PyramidflowCoupling& coupling, cudaStream_t stream) {
    return dispatch(coupling.type, coupling.channels_last, [&](auto kind) -> int64_t {
        using T = typename decltype(kind)::Type;
        constexpr bool LAST = decltype(kind)::channels_last;
        const LogScale<T, LAST> source = {static_cast<const T*>(params),
                                          coupling_sizes<T, LAST>(coupling, params)};
        return take_mean_of<T, LAST>(source, mean, workspace, coupling, stream);
    });
}

}  // namespace pyramidflow

using namespace pyramidflow;

// Floats of workspace that a coupling function needs.
PYRAMIDFLOW_FUNCTION(affine_coupling_workspace, PyramidflowCoupling coupling) {
    const int64_t pixels = coupling.params_height * coupling.params_width;
    const int64_t means = coupling.batch * (pixels + coupling.channels);
    return log_det_partials(coupling) + mean_partials(coupling) + means;
}

// y = exp(s) ⊙ x + t, log_det [B] = Σ s unless null, mean [B or 1, 1 or C, H', W' or 1] read if
// given, else written.
PYRAMIDFLOW_FUNCTION(affine_coupling, const void* x, const void* params, float* mean, void* y,
                     float* log_det, float* workspace, PyramidflowCoupling coupling,
                     cudaStream_t stream) {
    return couple(FORWARD, x, params, mean, y, log_det, workspace, coupling, stream);
}

// x = (y − t) ⊙ exp(−s), log_det [B] = −Σ s unless null.
PYRAMIDFLOW_FUNCTION(affine_coupling_inverse, const void* y, const void* params, float* mean,
                     void* x, float* log_det, float* workspace, PyramidflowCoupling coupling,
                     cudaStream_t stream) {
    return couple(INVERSE, y, params, mean, x, log_det, workspace, coupling, stream);
}

// The mean is read; mean_given says whether its gradient stops there.
PYRAMIDFLOW_FUNCTION(affine_coupling_backward, const void* grad_y, const float* grad_log_det,
                     const void* x, const void* params, const float* mean, void* grad_x,
                     void* grad_params, float* workspace, PyramidflowCoupling coupling,
                     cudaStream_t stream) {
    return couple_backward(FORWARD, grad_y, grad_log_det, x, params, mean, grad_x, grad_params,
                           workspace, coupling, stream);
}

PYRAMIDFLOW_FUNCTION(affine_coupling_inverse_backward, const void* grad_x,
                     const float* grad_log_det, const void* y, const void* params,
                     const float* mean, void* grad_y, void* grad_params, float* workspace,
                     PyramidflowCoupling coupling, cudaStream_t stream) {
    return couple_backward(INVERSE, grad_x, grad_log_det, y, params, mean, grad_y, grad_params,
                           workspace, coupling, stream);
}
