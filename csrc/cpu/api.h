// The compiled CPU library as its callers see it: plain C, raw pointers, no state.
//
// Tensors are float32, dense, in one of two memory formats: contiguous [B, C, H, W], or
// channels-last (the same sizes, stored as [B, H, W, C]). All tensors of a call share it. Sizes are
// int64. Every function takes the number of threads and returns 0, or 1 if scratch memory could not
// be had. Results do not depend on the number of threads.
//
// Functions are declared where they are defined, with PYRAMIDFLOW_FUNCTION. Beside each one the
// library keeps the text of its parameters, and beside each structure that of its fields: the
// Python code compares them with its own declarations.
#pragma once

#include <cstdint>

// Compilers that know the instructions of AVX-512 BF16.
#if (defined(__clang__) && __clang_major__ >= 9) || (!defined(__clang__) && __GNUC__ >= 10)
#define PYRAMIDFLOW_HAS_BFLOAT16 1
#else
#define PYRAMIDFLOW_HAS_BFLOAT16 0
#endif

#define PYRAMIDFLOW_VISIBLE __attribute__((visibility("default")))
#define PYRAMIDFLOW_API extern "C" PYRAMIDFLOW_VISIBLE

#define PYRAMIDFLOW_TEXT_OF(...) #__VA_ARGS__
#define PYRAMIDFLOW_TEXT(...) PYRAMIDFLOW_TEXT_OF(__VA_ARGS__)
#define PYRAMIDFLOW_JOINED_OF(a, b, c) a##b##c
#define PYRAMIDFLOW_JOINED(a, b, c) PYRAMIDFLOW_JOINED_OF(a, b, c)

// A text that the library keeps under a name.
#define PYRAMIDFLOW_KEPT(name, ...)               \
    extern "C" {                                  \
    PYRAMIDFLOW_VISIBLE extern const char name[]; \
    const char name[] = #__VA_ARGS__;             \
    }

#ifndef PYRAMIDFLOW_LEVEL
#define PYRAMIDFLOW_LEVEL baseline
#endif

// Head of a function's definition, for the instruction set that the file is compiled for.
#define PYRAMIDFLOW_FUNCTION(name, ...)                                                \
    PYRAMIDFLOW_KEPT(                                                                  \
        PYRAMIDFLOW_JOINED(pyramidflow_cpu_, PYRAMIDFLOW_LEVEL, _##name##_parameters), \
        __VA_ARGS__)                                                                   \
    PYRAMIDFLOW_API int PYRAMIDFLOW_JOINED(pyramidflow_cpu_, PYRAMIDFLOW_LEVEL,        \
                                           _##name)(__VA_ARGS__)

#ifndef PYRAMIDFLOW_STRUCTURE
#define PYRAMIDFLOW_STRUCTURE(name, ...) \
    struct name {                        \
        __VA_ARGS__                      \
    };
#endif

PYRAMIDFLOW_STRUCTURE(PyramidflowImage, int64_t batch, channels, height, width;
                      int64_t channels_last;)

// What a coupling subtracts from its log-scale.
enum PyramidflowMean : int64_t {
    PYRAMIDFLOW_MEAN_NONE = 0,     // nothing
    PYRAMIDFLOW_MEAN_PIXEL = 1,    // [1 or B, H', W'], one value for all channels
    PYRAMIDFLOW_MEAN_CHANNEL = 2,  // [1 or B, C], one value for all pixels
    PYRAMIDFLOW_MEAN_FULL = 3,     // [1 or B, C, H', W'] in the call's memory format
    PYRAMIDFLOW_MEAN_TAKEN = 4,    // as PYRAMIDFLOW_MEAN_PIXEL, but taken by the coupling itself
};

// The sizes are those of the transformed level and of its parameters, which are nearest-resized to
// it. inverse is 0 for y = exp(s) x + t, 1 for x = (y - t) exp(-s); mean_kind is a PyramidflowMean;
// mean_batch is 1 or batch.
PYRAMIDFLOW_STRUCTURE(PyramidflowCoupling, int64_t batch, channels, height, width;
                      int64_t params_height, params_width; int64_t channels_last;
                      int64_t inverse, mean_kind, mean_batch; float clamp;)

// An image that a convolution reads, channels-last, nearest-resized on the way: resize is 0 for as
// it is, 1 for every pixel twice, -1 for every other pixel.
PYRAMIDFLOW_STRUCTURE(PyramidflowSource, const float* data; int64_t channels, height, width;
                      int64_t resize;)

enum PyramidflowSpectralLayout : int64_t {
    PYRAMIDFLOW_SPECTRAL_SAME = 0,
    PYRAMIDFLOW_SPECTRAL_PHASES = 1,  // outputs [phase, channel] become the pixels of 2 x 2 cells
    PYRAMIDFLOW_SPECTRAL_HALF = 2,    // every other pixel of every other row
};

// A convolution in the frequency domain, stride 1, zero padding k / 2, channels-last. Its input are
// two sources, concatenated, the second of which may have no channels.
// - kernel: odd.
// - tile: side of the transforms: 8, 12, 16, 20, 24 or 32.
// - block: pairs of tiles that are transformed before their product.
// - independent: whether each block belongs to one thread, else all share each block.
// - layout: PyramidflowSpectralLayout of the result.
// - bfloat16: whether weights and operands of the product are rounded to it.
PYRAMIDFLOW_STRUCTURE(PyramidflowSpectral, int64_t batch, height, width;
                      int64_t channels0, channels1, out_channels;
                      int64_t kernel, tile, block, independent, layout, bfloat16;)

// What happens to a convolution's result before it is stored, nothing where null: a bias [C] and an
// image like the result are added; where it is negative it gets a slope (leaky ReLU; 1: none,
// 0: ReLU).
PYRAMIDFLOW_STRUCTURE(PyramidflowEpilogue, const float* bias; const float* added; float slope;)
