// Tiles and separable filters of the pyramid; pyramid_down.cu and pyramid_up.cu build on them.
//
// A block reads a tile of its input with the filter's halo into shared memory, filters every row,
// then every column. The filters are polyphase: they are written on the pixels that exist, never on
// inserted zeros or repeated pixels.
#pragma once

#include "cuda/common.cuh"

namespace pyramidflow {

// Output pixels of a block.
template <bool CHANNELS_LAST, bool REFINES>
struct OutputTile {
    static constexpr int CHANNELS = CHANNELS_LAST ? 16 : 1;
    static constexpr int WIDTH = CHANNELS_LAST ? 8 : REFINES ? 64 : 32;
    static constexpr int HEIGHT = CHANNELS_LAST ? (REFINES ? 8 : 4) : 16;
};

struct Sizes {
    int64_t batch;
    int channels, in_height, in_width, out_height, out_width, fine_height, fine_width;
    bool in_aligned, out_aligned;
};

// Which tile a block computes.
struct Place {
    int sample, channel, row, column;
};

template <typename Output>
__host__ __device__ int tiles_across(const Sizes& sizes) {
    return divide_up(sizes.out_width, Output::WIDTH);
}

template <typename Output>
__host__ __device__ int tiles_down(const Sizes& sizes) {
    return divide_up(sizes.out_height, Output::HEIGHT);
}

template <typename Output>
__host__ __device__ int channel_groups(const Sizes& sizes) {
    return divide_up(sizes.channels, Output::CHANNELS);
}

template <typename Output>
int64_t block_count(const Sizes& sizes) {
    return sizes.batch * channel_groups<Output>(sizes) * tiles_down<Output>(sizes) *
           tiles_across<Output>(sizes);
}

template <typename Output>
__device__ Place place_of_block(const Sizes& sizes) {
    int rest = blockIdx.x;
    Place place;
    place.column = rest % tiles_across<Output>(sizes) * Output::WIDTH;
    rest /= tiles_across<Output>(sizes);
    place.row = rest % tiles_down<Output>(sizes) * Output::HEIGHT;
    rest /= tiles_down<Output>(sizes);
    place.channel = rest % channel_groups<Output>(sizes) * Output::CHANNELS;
    place.sample = rest / channel_groups<Output>(sizes);
    return place;
}

template <bool CHANNELS_LAST>
__device__ int64_t offset_of(int64_t sample, int channel, int row, int column, int channels,
                             int height, int width) {
    if (CHANNELS_LAST) return ((sample * height + row) * width + column) * channels + channel;
    return ((sample * channels + channel) * height + row) * width + column;
}

// Input pixels of a block in shared memory, [ROWS, COLUMNS, CHANNELS] floats, zero outside the
// image.
template <typename T, bool CHANNELS_LAST, int SPAN_ROWS, int SPAN_COLUMNS, int GROUP>
struct InputTile {
    static constexpr int ROWS = SPAN_ROWS;
    // Contiguous rows start on a vector, so a tile may hold pixels left and right of its span.
    static constexpr int COLUMNS =
        CHANNELS_LAST ? SPAN_COLUMNS
                      : (SPAN_COLUMNS + VECTOR<T> - 1 + VECTOR<T> - 1) / VECTOR<T> * VECTOR<T>;
    static constexpr int FLOATS = ROWS * COLUMNS * GROUP;

    int row, column;  // of the first pixel, in the image

    __device__ InputTile(int first_row, int first_column)
        : row(first_row), column(CHANNELS_LAST ? first_column : first_column & ~(VECTOR<T> - 1)) {}

    __device__ int index(int image_row, int image_column, int channel) const {
        return ((image_row - row) * COLUMNS + image_column - column) * GROUP + channel;
    }

    __device__ void load(const T* input, const Sizes& sizes, const Place& place,
                         float* tile) const {
        constexpr int VECTORS = FLOATS / VECTOR<T>;
        for (int v = threadIdx.x; v < VECTORS; v += THREADS) {
            const int element = v * VECTOR<T>;
            const int r = row + element / (COLUMNS * GROUP);
            const int c = column + element / GROUP % COLUMNS;
            const int channel = place.channel + element % GROUP;
            const int low = CHANNELS_LAST || c > 0 ? 0 : -c;
            int high = CHANNELS_LAST ? sizes.channels - channel : sizes.in_width - c;
            if (r < 0 || r >= sizes.in_height || low >= VECTOR<T>) high = low;
            if (CHANNELS_LAST && (c < 0 || c >= sizes.in_width)) high = low;
            const int64_t offset =
                high > low ? offset_of<CHANNELS_LAST>(place.sample, channel, r, c, sizes.channels,
                                                      sizes.in_height, sizes.in_width)
                           : 0;
            float values[VECTOR<T>];
            load_vector(input + offset, low, high, sizes.in_aligned, values);
#pragma unroll
            for (int i = 0; i < VECTOR<T>; ++i) tile[element + i] = values[i];
        }
    }
};

// One vector of outputs: along columns, or along channels in channels-last order.
template <typename T, bool CHANNELS_LAST, typename Output>
struct OutputVector {
    static constexpr int COUNT = Output::HEIGHT * Output::WIDTH * Output::CHANNELS / VECTOR<T>;
    int row, column, channel;  // in the tile
    int valid;
    int64_t offset;

    __device__ OutputVector(int v, const Sizes& sizes, const Place& place) {
        const int element = v * VECTOR<T>;
        row = element / (Output::WIDTH * Output::CHANNELS);
        column = element / Output::CHANNELS % Output::WIDTH;
        channel = element % Output::CHANNELS;
        valid = CHANNELS_LAST ? sizes.channels - place.channel - channel
                              : sizes.out_width - place.column - column;
        if (place.row + row >= sizes.out_height || place.column + column >= sizes.out_width)
            valid = 0;
        offset = offset_of<CHANNELS_LAST>(place.sample, place.channel + channel, place.row + row,
                                          place.column + column, sizes.channels, sizes.out_height,
                                          sizes.out_width);
    }
    __device__ int column_of(int i) const { return CHANNELS_LAST ? column : column + i; }
    __device__ int channel_of(int i) const { return CHANNELS_LAST ? channel + i : channel; }
};

// A filter that makes coarse pixel o of fine pixels from 2o−2 on.
template <int COUNT>
struct Coarsening {
    static constexpr bool REFINES = false;
    static constexpr int TAPS = COUNT;
    static constexpr int span(int outputs) { return 2 * outputs + TAPS - 2; }
    static __device__ int first(int o) { return 2 * o - 2; }
    static __device__ int taps(int) { return TAPS; }
};

template <typename T, bool CHANNELS_LAST, typename Filter>
struct Separable {
    using Output = OutputTile<CHANNELS_LAST, Filter::REFINES>;
    using Input = InputTile<T, CHANNELS_LAST, Filter::span(Output::HEIGHT),
                            Filter::span(Output::WIDTH), Output::CHANNELS>;
    static constexpr int FILTERED = Input::ROWS * Output::WIDTH * Output::CHANNELS;
    static constexpr int64_t SHARED_BYTES = (Input::FLOATS + FILTERED) * sizeof(float);

    // Filters the block's tile and gives each vector of results to `store`.
    template <typename Store>
    static __device__ void run(const T* input, const Sizes& sizes, Store store) {
        float* tile = shared_memory;
        float* filtered = shared_memory + Input::FLOATS;  // [ROWS, WIDTH, CHANNELS]
        const Place place = place_of_block<Output>(sizes);
        const Input in(Filter::first(place.row), Filter::first(place.column));
        in.load(input, sizes, place, tile);
        __syncthreads();
        for (int i = threadIdx.x; i < FILTERED; i += THREADS) {
            const int column = place.column + i / Output::CHANNELS % Output::WIDTH;
            const int row = in.row + i / (Output::WIDTH * Output::CHANNELS);
            const int start = in.index(row, Filter::first(column), i % Output::CHANNELS);
            float sum = 0.0f;
#pragma unroll
            for (int tap = 0; tap < Filter::TAPS; ++tap)
                if (tap < Filter::taps(column))
                    sum += Filter::weight(column, tap, sizes.fine_width) *
                           tile[start + tap * Output::CHANNELS];
            filtered[i] = sum;
        }
        __syncthreads();
        for (int v = threadIdx.x; v < OutputVector<T, CHANNELS_LAST, Output>::COUNT; v += THREADS) {
            const OutputVector<T, CHANNELS_LAST, Output> out(v, sizes, place);
            if (out.valid <= 0) continue;
            const int row = place.row + out.row;
            const int start =
                ((Filter::first(row) - in.row) * Output::WIDTH + out.column) * Output::CHANNELS +
                out.channel;
            float values[VECTOR<T>] = {};
#pragma unroll
            for (int tap = 0; tap < Filter::TAPS; ++tap) {
                if (tap >= Filter::taps(row)) continue;
                const float weight = Filter::weight(row, tap, sizes.fine_height);
#pragma unroll
                for (int i = 0; i < VECTOR<T>; ++i)
                    values[i] +=
                        weight * filtered[start + tap * Output::WIDTH * Output::CHANNELS + i];
            }
            store(out.offset, out.valid, values);
        }
    }

    // Filters the block's tile into `output`.
    static __device__ void write(const T* input, T* output, const Sizes& sizes) {
        run(input, sizes, [&](int64_t offset, int valid, const float (&values)[VECTOR<T>]) {
            store_vector(output + offset, valid, sizes.out_aligned, values);
        });
    }
};

inline int half(int64_t size) { return static_cast<int>((size + 1) / 2); }

// Sizes of a kernel that goes from `in` to `out`, up or down; `others` are of the size of `out`.
template <typename T, bool CHANNELS_LAST, typename... Others>
Sizes make_sizes(bool refines, const PyramidflowLevel& fine, const void* in, const void* out,
                 const Others*... others) {
    Sizes sizes;
    sizes.batch = fine.batch;
    sizes.channels = static_cast<int>(fine.channels);
    sizes.fine_height = static_cast<int>(fine.height);
    sizes.fine_width = static_cast<int>(fine.width);
    sizes.in_height = refines ? half(fine.height) : sizes.fine_height;
    sizes.in_width = refines ? half(fine.width) : sizes.fine_width;
    sizes.out_height = refines ? sizes.fine_height : half(fine.height);
    sizes.out_width = refines ? sizes.fine_width : half(fine.width);
    sizes.in_aligned = vectors_fit<T>(CHANNELS_LAST ? fine.channels : sizes.in_width, in);
    sizes.out_aligned =
        vectors_fit<T>(CHANNELS_LAST ? fine.channels : sizes.out_width, out, others...);
    return sizes;
}

// Launches a kernel with a block for each tile of its output; the sizes are its last argument.
template <typename Output, typename Kernel, typename... Arguments>
int64_t launch_tiles(Kernel kernel, int64_t shared_bytes, cudaStream_t stream, const Sizes& sizes,
                     Arguments... arguments) {
    return launch(kernel, block_count<Output>(sizes), THREADS, shared_bytes, stream, arguments...,
                  sizes);
}

}  // namespace pyramidflow
