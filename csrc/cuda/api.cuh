// C interface of the CUDA kernels.
//
// Pointers are device memory; every tensor is dense, [B, C, H, W] contiguous (channels_last = 0) or
// in channels-last order (1), all tensors of a call alike. Every integer is an int64_t, every
// stream the caller's. A function launches on that stream, allocates nothing, waits for nothing,
// and returns cudaSuccess or the error of the launch that failed. Arguments arrive checked.
//
// type: PYRAMIDFLOW_FLOAT32, _FLOAT16 or _BFLOAT16; arithmetic is float32 in all three.
// Coarse sizes follow from fine ones: ⌈height / 2⌉ × ⌈width / 2⌉.
//
// Functions are declared where they are defined, with PYRAMIDFLOW_FUNCTION. Beside each one the
// library keeps the text of its parameters, and beside each structure that of its fields: the
// Python code compares them with its own declarations.
#pragma once

#include <cstdint>
#include <cuda_runtime.h>

#define PYRAMIDFLOW_VISIBLE __attribute__((visibility("default")))
#define PYRAMIDFLOW_EXPORT extern "C" PYRAMIDFLOW_VISIBLE

// A text that the library keeps under a name.
#define PYRAMIDFLOW_KEPT(name, ...)               \
    extern "C" {                                  \
    PYRAMIDFLOW_VISIBLE extern const char name[]; \
    const char name[] = #__VA_ARGS__;             \
    }

// Head of a function's definition.
#define PYRAMIDFLOW_FUNCTION(name, ...)                                 \
    PYRAMIDFLOW_KEPT(pyramidflow_cuda_##name##_parameters, __VA_ARGS__) \
    PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_##name(__VA_ARGS__)

#ifndef PYRAMIDFLOW_STRUCTURE
#define PYRAMIDFLOW_STRUCTURE(name, ...) \
    struct name {                        \
        __VA_ARGS__                      \
    };
#endif

enum { PYRAMIDFLOW_FLOAT32 = 0, PYRAMIDFLOW_FLOAT16 = 1, PYRAMIDFLOW_BFLOAT16 = 2 };
enum { PYRAMIDFLOW_NEAREST = 0, PYRAMIDFLOW_MAX = 1 };
enum { PYRAMIDFLOW_CVN = 0, PYRAMIDFLOW_SVN = 1, PYRAMIDFLOW_NO_NORM = 2 };
enum { PYRAMIDFLOW_SAMPLE = 0, PYRAMIDFLOW_BATCH = 1 };
enum { PYRAMIDFLOW_UINT8 = 0, PYRAMIDFLOW_UINT16 = 1 };

// Sizes, element type and memory format of a level.
PYRAMIDFLOW_STRUCTURE(PyramidflowLevel, int64_t batch, channels, height, width;
                      int64_t type, channels_last;)

// Sizes and settings of a coupling. The mean is read as
// mean[b · mean_stride_sample + c · mean_stride_channel + p · mean_stride_pixel] with p the flat
// pixel of the parameters; stride 0 repeats.
PYRAMIDFLOW_STRUCTURE(PyramidflowCoupling, int64_t batch, channels, height, width, type,
                      channels_last;
                      int64_t params_height, params_width; int64_t mean_given, mean_stride_sample,
                                                           mean_stride_channel, mean_stride_pixel;
                      int64_t volume_norm, statistics; float clamp;)

// Hash of the sources and flags of this build, behind an "h"; setup.py computes it.
#ifndef PYRAMIDFLOW_SOURCES
#define PYRAMIDFLOW_SOURCES
#endif
PYRAMIDFLOW_EXPORT const char* pyramidflow_cuda_sources();
// Compiler, and architectures ("75_80_120PTX"), that the library was built with.
PYRAMIDFLOW_EXPORT const char* pyramidflow_cuda_compiler();
PYRAMIDFLOW_EXPORT const char* pyramidflow_cuda_architectures();
PYRAMIDFLOW_EXPORT const char* pyramidflow_cuda_error_name(int64_t error);
