// pyramid_down and its gradient: one level down, keeping the first or the largest of 2×2 pixels.
#include "pyramid.cuh"

namespace pyramidflow {
namespace {

// D: coarse pixel o from fine pixels 2o−2 … 2o+2.
struct Down : Coarsening<5> {
    static __device__ float weight(int, int tap, int) {
        return (tap == 2 ? 6.0f : tap % 2 == 1 ? 4.0f : 1.0f) / 16.0f;
    }
};

// Dᵀ: fine pixel o from the coarse pixels whose filter reaches it, three for even o, two for odd.
struct DownTransposed {
    static constexpr bool REFINES = true;
    static constexpr int TAPS = 3;
    static constexpr int span(int outputs) { return outputs / 2 + 2; }
    static __device__ int first(int o) { return o / 2 - 1 + o % 2; }
    static __device__ int taps(int o) { return TAPS - o % 2; }
    static __device__ float weight(int o, int tap, int) {
        return (o % 2 == 1 ? 4.0f : tap == 1 ? 6.0f : 1.0f) / 16.0f;
    }
};

template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pyramid_down_forward_kernel(const T* __restrict__ x, T* __restrict__ y, Sizes sizes) {
    Separable<T, CHANNELS_LAST, Down>::write(x, y, sizes);
}

template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pyramid_down_backward_kernel(const T* __restrict__ grad_y, T* __restrict__ grad_x,
                                 Sizes sizes) {
    Separable<T, CHANNELS_LAST, DownTransposed>::write(grad_y, grad_x, sizes);
}

template <typename T, bool CHANNELS_LAST>
struct MaxForward {
    using Output = OutputTile<CHANNELS_LAST, false>;
    static constexpr int FINE_WIDTH = 2 * Output::WIDTH;
    using Input =
        InputTile<T, CHANNELS_LAST, 2 * Output::HEIGHT + 4, FINE_WIDTH + 4, Output::CHANNELS>;
    static constexpr int FILTERED = Input::ROWS * FINE_WIDTH * Output::CHANNELS;
    static constexpr int64_t SHARED_BYTES = (Input::FLOATS + FILTERED) * sizeof(float);
};

inline __device__ float binomial(float a, float b, float c, float d, float e) {
    return (a + e + 4.0f * (b + d) + 6.0f * c) / 16.0f;
}

// D with the maximum of each 2×2 cell; the first in row-major order wins, as does a NaN.
template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pyramid_down_max_forward_kernel(const T* __restrict__ x, T* __restrict__ y,
                                    uint8_t* __restrict__ index, Sizes sizes) {
    using Max = MaxForward<T, CHANNELS_LAST>;
    using Output = typename Max::Output;
    constexpr int GROUP = Output::CHANNELS;
    constexpr int ROW = Max::FINE_WIDTH * GROUP;
    float* tile = shared_memory;
    float* filtered = shared_memory + Max::Input::FLOATS;  // [ROWS, FINE_WIDTH, CHANNELS]
    const Place place = place_of_block<Output>(sizes);
    const typename Max::Input in(2 * place.row - 2, 2 * place.column - 2);
    in.load(x, sizes, place, tile);
    __syncthreads();
    for (int i = threadIdx.x; i < Max::FILTERED; i += THREADS) {
        const int column = 2 * place.column + i / GROUP % Max::FINE_WIDTH;
        const float* taps = tile + in.index(in.row + i / ROW, column - 2, i % GROUP);
        filtered[i] =
            binomial(taps[0], taps[GROUP], taps[2 * GROUP], taps[3 * GROUP], taps[4 * GROUP]);
    }
    __syncthreads();
    for (int v = threadIdx.x; v < OutputVector<T, CHANNELS_LAST, Output>::COUNT; v += THREADS) {
        const OutputVector<T, CHANNELS_LAST, Output> out(v, sizes, place);
        if (out.valid <= 0) continue;
        float values[VECTOR<T>];
#pragma unroll
        for (int i = 0; i < VECTOR<T>; ++i) {
            const int fine_row = 2 * (place.row + out.row);
            const int fine_column = 2 * (place.column + out.column_of(i));
            float best = 0.0f;
            int best_cell = 0;
#pragma unroll
            for (int cell = 0; cell < 4; ++cell) {
                const int dy = cell / 2, dx = cell % 2;
                if (fine_row + dy >= sizes.fine_height || fine_column + dx >= sizes.fine_width)
                    continue;
                const float* taps = filtered + (2 * out.row + dy) * ROW +
                                    (2 * out.column_of(i) + dx) * GROUP + out.channel_of(i);
                const float value =
                    binomial(taps[0], taps[ROW], taps[2 * ROW], taps[3 * ROW], taps[4 * ROW]);
                if (cell == 0 || value > best || isnan(value)) {
                    best = value;
                    best_cell = cell;
                }
            }
            values[i] = best;
            if (i < out.valid) index[out.offset + i] = static_cast<uint8_t>(best_cell);
        }
        store_vector(y + out.offset, out.valid, sizes.out_aligned, values);
    }
}

template <typename T, bool CHANNELS_LAST>
struct MaxBackward {
    using Output = OutputTile<CHANNELS_LAST, true>;
    using Input = InputTile<T, CHANNELS_LAST, Output::HEIGHT / 2 + 2, Output::WIDTH / 2 + 2,
                            Output::CHANNELS>;
    static constexpr int64_t SHARED_BYTES = 2 * Input::FLOATS * sizeof(float);
};

inline __device__ float binomial_weight(int distance) {
    const int reach = distance < 0 ? -distance : distance;
    return (reach == 0 ? 6.0f : reach == 1 ? 4.0f : reach == 2 ? 1.0f : 0.0f) / 16.0f;
}

// Gᵀ of the gradients at the places of the maxima: only the 3×3 cells in reach of a pixel are
// visited.
template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pyramid_down_max_backward_kernel(const T* __restrict__ grad_y,
                                     const uint8_t* __restrict__ index, T* __restrict__ grad_x,
                                     Sizes sizes) {
    using Max = MaxBackward<T, CHANNELS_LAST>;
    using Input = typename Max::Input;
    using Output = typename Max::Output;
    constexpr int GROUP = Output::CHANNELS;
    float* tile = shared_memory;
    float* cells = shared_memory + Input::FLOATS;
    const Place place = place_of_block<Output>(sizes);
    const Input in(place.row / 2 - 1, place.column / 2 - 1);
    in.load(grad_y, sizes, place, tile);
    for (int i = threadIdx.x; i < Input::FLOATS; i += THREADS) {
        const int row = in.row + i / (Input::COLUMNS * GROUP);
        const int column = in.column + i / GROUP % Input::COLUMNS;
        const int channel = place.channel + i % GROUP;
        const bool inside = row >= 0 && row < sizes.in_height && column >= 0 &&
                            column < sizes.in_width && channel < sizes.channels;
        cells[i] =
            inside
                ? index[offset_of<CHANNELS_LAST>(place.sample, channel, row, column, sizes.channels,
                                                 sizes.in_height, sizes.in_width)]
                : 0;
    }
    __syncthreads();
    for (int v = threadIdx.x; v < OutputVector<T, CHANNELS_LAST, Output>::COUNT; v += THREADS) {
        const OutputVector<T, CHANNELS_LAST, Output> out(v, sizes, place);
        if (out.valid <= 0) continue;
        const int row = place.row + out.row;
        float values[VECTOR<T>];
#pragma unroll
        for (int i = 0; i < VECTOR<T>; ++i) {
            const int column = place.column + out.column_of(i);
            float sum = 0.0f;
#pragma unroll
            for (int near = 0; near < 9; ++near) {
                const int cell_row = row / 2 - 1 + near / 3,
                          cell_column = column / 2 - 1 + near % 3;
                const int at = in.index(cell_row, cell_column, out.channel_of(i));
                const int cell = static_cast<int>(cells[at]);
                sum += binomial_weight(2 * cell_row + cell / 2 - row) *
                       binomial_weight(2 * cell_column + cell % 2 - column) * tile[at];
            }
            values[i] = sum;
        }
        store_vector(grad_x + out.offset, out.valid, sizes.out_aligned, values);
    }
}

}  // namespace
}  // namespace pyramidflow

using namespace pyramidflow;

// y [B, C, h, w] = D(x [B, C, H, W]); index [B, C, h, w] of bytes, 2·dy + dx of each maximum, is
// written for PYRAMIDFLOW_MAX only.
PYRAMIDFLOW_FUNCTION(pyramid_down, const void* x, void* y, uint8_t* index, PyramidflowLevel fine,
                     int64_t reduction, cudaStream_t stream) {
    return dispatch(fine, [&](auto kind) -> int64_t {
        using T = typename decltype(kind)::Type;
        constexpr bool LAST = decltype(kind)::channels_last;
        using Output = OutputTile<LAST, false>;
        const Sizes sizes = make_sizes<T, LAST>(false, fine, x, y);
        const T* in = static_cast<const T*>(x);
        T* out = static_cast<T*>(y);
        if (reduction == PYRAMIDFLOW_MAX)
            return launch_tiles<Output>(pyramid_down_max_forward_kernel<T, LAST>,
                                        MaxForward<T, LAST>::SHARED_BYTES, stream, sizes, in, out,
                                        index);
        return launch_tiles<Output>(pyramid_down_forward_kernel<T, LAST>,
                                    Separable<T, LAST, Down>::SHARED_BYTES, stream, sizes, in, out);
    });
}

// grad_x = Dᵀ grad_y, or Gᵀ of the gradients at the places of their maxima.
PYRAMIDFLOW_FUNCTION(pyramid_down_backward, const void* grad_y, const uint8_t* index, void* grad_x,
                     PyramidflowLevel fine, int64_t reduction, cudaStream_t stream) {
    return dispatch(fine, [&](auto kind) -> int64_t {
        using T = typename decltype(kind)::Type;
        constexpr bool LAST = decltype(kind)::channels_last;
        using Output = OutputTile<LAST, true>;
        const Sizes sizes = make_sizes<T, LAST>(true, fine, grad_y, grad_x);
        const T* in = static_cast<const T*>(grad_y);
        T* out = static_cast<T*>(grad_x);
        if (reduction == PYRAMIDFLOW_MAX)
            return launch_tiles<Output>(pyramid_down_max_backward_kernel<T, LAST>,
                                        MaxBackward<T, LAST>::SHARED_BYTES, stream, sizes, in,
                                        index, out);
        return launch_tiles<Output>(pyramid_down_backward_kernel<T, LAST>,
                                    Separable<T, LAST, DownTransposed>::SHARED_BYTES, stream, sizes,
                                    in, out);
    });
}
