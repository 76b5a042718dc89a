// pyramid_down, pyramid_residual, pyramid_merge and their gradients.
//
// Each is a separable filter along rows and columns: a block reads a tile of its input with the
// filter's halo into shared memory, filters every row, then every column. The filters are
// polyphase: they are written on the pixels that exist, never on inserted zeros or repeated pixels.
#include "common.cuh"

namespace pyramidflow {
namespace {

// D: coarse pixel o from fine pixels 2o−2 … 2o+2.
struct Down {
  static constexpr bool REFINES = false;
  static constexpr int TAPS = 5;
  static constexpr int span(int outputs) { return 2 * outputs + 3; }
  static __device__ int first(int o) { return 2 * o - 2; }
  static __device__ int taps(int) { return TAPS; }
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

// U: fine pixel o from coarse pixels o/2−1 … o/2+1. The last coarse pixel of an odd size stands for
// one fine pixel, not two, and weighs less.
struct Up {
  static constexpr bool REFINES = true;
  static constexpr int TAPS = 3;
  static constexpr int span(int outputs) { return outputs / 2 + 2; }
  static __device__ int first(int o) { return o / 2 - 1; }
  static __device__ int taps(int) { return TAPS; }
  static __device__ float weight(int o, int tap, int fine_size) {
    const bool odd = o % 2 == 1;
    const bool cut = o + 1 + o % 2 >= fine_size;
    if (tap == 0) return (odd ? 1.0f : 5.0f) / 16.0f;
    if (tap == 1) return (cut && !odd ? 6.0f : 10.0f) / 16.0f;
    return (odd ? (cut ? 4.0f : 5.0f) : 1.0f) / 16.0f;
  }
};

// Uᵀ: coarse pixel o from fine pixels 2o−2 … 2o+3.
struct UpTransposed {
  static constexpr bool REFINES = false;
  static constexpr int TAPS = 6;
  static constexpr int span(int outputs) { return 2 * outputs + 4; }
  static __device__ int first(int o) { return 2 * o - 2; }
  static __device__ int taps(int) { return TAPS; }
  static __device__ float weight(int o, int tap, int fine_size) {
    const bool cut = 2 * o + 1 >= fine_size;
    const float reach_even = tap == 2 ? 6.0f : tap == 1 || tap == 3 ? 4.0f : tap < 5 ? 1.0f : 0.0f;
    const float reach_odd = tap == 3 ? 6.0f : tap == 2 || tap == 4 ? 4.0f : tap > 0 ? 1.0f : 0.0f;
    return (reach_even + (cut ? 0.0f : reach_odd)) / 16.0f;
  }
};

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

  __device__ void load(const T* input, const Sizes& sizes, const Place& place, float* tile) const {
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
    if (place.row + row >= sizes.out_height || place.column + column >= sizes.out_width) valid = 0;
    offset = offset_of<CHANNELS_LAST>(place.sample, place.channel + channel, place.row + row,
                                      place.column + column, sizes.channels, sizes.out_height,
                                      sizes.out_width);
  }
  __device__ int column_of(int i) const { return CHANNELS_LAST ? column : column + i; }
  __device__ int channel_of(int i) const { return CHANNELS_LAST ? channel + i : channel; }
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
          sum +=
              Filter::weight(column, tap, sizes.fine_width) * tile[start + tap * Output::CHANNELS];
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
          values[i] += weight * filtered[start + tap * Output::WIDTH * Output::CHANNELS + i];
      }
      store(out.offset, out.valid, values);
    }
  }
};

template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pyramid_down_forward_kernel(const T* __restrict__ x, T* __restrict__ y, Sizes sizes) {
  Separable<T, CHANNELS_LAST, Down>::run(
      x, sizes, [&](int64_t offset, int valid, const float (&values)[VECTOR<T>]) {
        store_vector(y + offset, valid, sizes.out_aligned, values);
      });
}

template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pyramid_down_backward_kernel(const T* __restrict__ grad_y, T* __restrict__ grad_x,
                                 Sizes sizes) {
  Separable<T, CHANNELS_LAST, DownTransposed>::run(
      grad_y, sizes, [&](int64_t offset, int valid, const float (&values)[VECTOR<T>]) {
        store_vector(grad_x + offset, valid, sizes.out_aligned, values);
      });
}

// out = other + sign · U(coarse)
template <typename T, bool CHANNELS_LAST>
__device__ void add_upsampled(const T* coarse, const T* other, float sign, T* out,
                              const Sizes& sizes) {
  Separable<T, CHANNELS_LAST, Up>::run(
      coarse, sizes, [&](int64_t offset, int valid, const float (&values)[VECTOR<T>]) {
        float sums[VECTOR<T>];
        load_vector(other + offset, 0, valid, sizes.out_aligned, sums);
#pragma unroll
        for (int i = 0; i < VECTOR<T>; ++i) sums[i] += sign * values[i];
        store_vector(out + offset, valid, sizes.out_aligned, sums);
      });
}

template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pyramid_residual_forward_kernel(const T* __restrict__ fine, const T* __restrict__ coarse,
                                    T* __restrict__ out, Sizes sizes) {
  add_upsampled<T, CHANNELS_LAST>(coarse, fine, -1.0f, out, sizes);
}

template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pyramid_merge_forward_kernel(const T* __restrict__ coarse, const T* __restrict__ residual,
                                 T* __restrict__ out, Sizes sizes) {
  add_upsampled<T, CHANNELS_LAST>(coarse, residual, 1.0f, out, sizes);
}

template <typename T, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pyramid_up_backward_kernel(const T* __restrict__ grad, T* __restrict__ grad_coarse,
                               Sizes sizes) {
  Separable<T, CHANNELS_LAST, UpTransposed>::run(
      grad, sizes, [&](int64_t offset, int valid, const float (&values)[VECTOR<T>]) {
        store_vector(grad_coarse + offset, valid, sizes.out_aligned, values);
      });
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
    filtered[i] = binomial(taps[0], taps[GROUP], taps[2 * GROUP], taps[3 * GROUP], taps[4 * GROUP]);
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
        if (fine_row + dy >= sizes.fine_height || fine_column + dx >= sizes.fine_width) continue;
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
  using Input =
      InputTile<T, CHANNELS_LAST, Output::HEIGHT / 2 + 2, Output::WIDTH / 2 + 2, Output::CHANNELS>;
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
        inside ? index[offset_of<CHANNELS_LAST>(place.sample, channel, row, column, sizes.channels,
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
        const int cell_row = row / 2 - 1 + near / 3, cell_column = column / 2 - 1 + near % 3;
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

int half(int64_t size) { return static_cast<int>((size + 1) / 2); }

template <typename T, bool CHANNELS_LAST, typename... Others>
Sizes make_sizes(bool refines, int64_t batch, int64_t channels, int64_t height, int64_t width,
                 const void* in, const void* out, const Others*... others) {
  Sizes sizes;
  sizes.batch = batch;
  sizes.channels = static_cast<int>(channels);
  sizes.fine_height = static_cast<int>(height);
  sizes.fine_width = static_cast<int>(width);
  sizes.in_height = refines ? half(height) : sizes.fine_height;
  sizes.in_width = refines ? half(width) : sizes.fine_width;
  sizes.out_height = refines ? sizes.fine_height : half(height);
  sizes.out_width = refines ? sizes.fine_width : half(width);
  sizes.in_aligned = vectors_fit<T>(CHANNELS_LAST ? channels : sizes.in_width, in);
  sizes.out_aligned = vectors_fit<T>(CHANNELS_LAST ? channels : sizes.out_width, out, others...);
  return sizes;
}

}  // namespace
}  // namespace pyramidflow

using namespace pyramidflow;

int64_t pyramidflow_cuda_pyramid_down(const void* x, void* y, uint8_t* index, int64_t batch,
                                      int64_t channels, int64_t height, int64_t width,
                                      int64_t reduction, int64_t type, int64_t channels_last,
                                      cudaStream_t stream) {
  return dispatch(type, channels_last, [&](auto kind) -> int64_t {
    using T = typename decltype(kind)::Type;
    constexpr bool LAST = decltype(kind)::channels_last;
    const Sizes sizes = make_sizes<T, LAST>(false, batch, channels, height, width, x, y);
    const int64_t blocks = block_count<OutputTile<LAST, false>>(sizes);
    const T* in = static_cast<const T*>(x);
    T* out = static_cast<T*>(y);
    if (reduction == PYRAMIDFLOW_MAX)
      return launch(pyramid_down_max_forward_kernel<T, LAST>, blocks, THREADS,
                    MaxForward<T, LAST>::SHARED_BYTES, stream, in, out, index, sizes);
    return launch(pyramid_down_forward_kernel<T, LAST>, blocks, THREADS,
                  Separable<T, LAST, Down>::SHARED_BYTES, stream, in, out, sizes);
  });
}

int64_t pyramidflow_cuda_pyramid_down_backward(const void* grad_y, const uint8_t* index,
                                               void* grad_x, int64_t batch, int64_t channels,
                                               int64_t height, int64_t width, int64_t reduction,
                                               int64_t type, int64_t channels_last,
                                               cudaStream_t stream) {
  return dispatch(type, channels_last, [&](auto kind) -> int64_t {
    using T = typename decltype(kind)::Type;
    constexpr bool LAST = decltype(kind)::channels_last;
    const Sizes sizes = make_sizes<T, LAST>(true, batch, channels, height, width, grad_y, grad_x);
    const int64_t blocks = block_count<OutputTile<LAST, true>>(sizes);
    const T* in = static_cast<const T*>(grad_y);
    T* out = static_cast<T*>(grad_x);
    if (reduction == PYRAMIDFLOW_MAX)
      return launch(pyramid_down_max_backward_kernel<T, LAST>, blocks, THREADS,
                    MaxBackward<T, LAST>::SHARED_BYTES, stream, in, index, out, sizes);
    return launch(pyramid_down_backward_kernel<T, LAST>, blocks, THREADS,
                  Separable<T, LAST, DownTransposed>::SHARED_BYTES, stream, in, out, sizes);
  });
}

int64_t pyramidflow_cuda_pyramid_residual(const void* fine, const void* coarse, void* out,
                                          int64_t batch, int64_t channels, int64_t height,
                                          int64_t width, int64_t type, int64_t channels_last,
                                          cudaStream_t stream) {
  return dispatch(type, channels_last, [&](auto kind) -> int64_t {
    using T = typename decltype(kind)::Type;
    constexpr bool LAST = decltype(kind)::channels_last;
    const Sizes sizes =
        make_sizes<T, LAST>(true, batch, channels, height, width, coarse, out, fine);
    return launch(pyramid_residual_forward_kernel<T, LAST>,
                  block_count<OutputTile<LAST, true>>(sizes), THREADS,
                  Separable<T, LAST, Up>::SHARED_BYTES, stream, static_cast<const T*>(fine),
                  static_cast<const T*>(coarse), static_cast<T*>(out), sizes);
  });
}

int64_t pyramidflow_cuda_pyramid_merge(const void* coarse, const void* residual, void* out,
                                       int64_t batch, int64_t channels, int64_t height,
                                       int64_t width, int64_t type, int64_t channels_last,
                                       cudaStream_t stream) {
  return dispatch(type, channels_last, [&](auto kind) -> int64_t {
    using T = typename decltype(kind)::Type;
    constexpr bool LAST = decltype(kind)::channels_last;
    const Sizes sizes =
        make_sizes<T, LAST>(true, batch, channels, height, width, coarse, out, residual);
    return launch(pyramid_merge_forward_kernel<T, LAST>, block_count<OutputTile<LAST, true>>(sizes),
                  THREADS, Separable<T, LAST, Up>::SHARED_BYTES, stream,
                  static_cast<const T*>(coarse), static_cast<const T*>(residual),
                  static_cast<T*>(out), sizes);
  });
}

int64_t pyramidflow_cuda_pyramid_up_backward(const void* grad, void* grad_coarse, int64_t batch,
                                             int64_t channels, int64_t height, int64_t width,
                                             int64_t type, int64_t channels_last,
                                             cudaStream_t stream) {
  return dispatch(type, channels_last, [&](auto kind) -> int64_t {
    using T = typename decltype(kind)::Type;
    constexpr bool LAST = decltype(kind)::channels_last;
    const Sizes sizes =
        make_sizes<T, LAST>(false, batch, channels, height, width, grad, grad_coarse);
    return launch(pyramid_up_backward_kernel<T, LAST>, block_count<OutputTile<LAST, false>>(sizes),
                  THREADS, Separable<T, LAST, UpTransposed>::SHARED_BYTES, stream,
                  static_cast<const T*>(grad), static_cast<T*>(grad_coarse), sizes);
  });
}
