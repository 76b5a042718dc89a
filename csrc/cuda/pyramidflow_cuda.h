// C interface of the CUDA kernels.
//
// Pointers are device memory; every tensor is dense, [B, C, H, W] contiguous (channels_last = 0) or
// in channels-last order (1), all tensors of a call alike. Every integer is an int64_t, every
// stream the caller's. A function launches on that stream, allocates nothing, waits for nothing,
// and returns cudaSuccess or the error of the launch that failed. Arguments arrive checked.
//
// type: PYRAMIDFLOW_FLOAT32, _FLOAT16 or _BFLOAT16; arithmetic is float32 in all three.
// Coarse sizes follow from fine ones: ⌈height / 2⌉ × ⌈width / 2⌉.
#pragma once

#include <cstdint>
#include <cuda_runtime.h>

#define PYRAMIDFLOW_EXPORT extern "C" __attribute__((visibility("default")))

enum { PYRAMIDFLOW_FLOAT32 = 0, PYRAMIDFLOW_FLOAT16 = 1, PYRAMIDFLOW_BFLOAT16 = 2 };
enum { PYRAMIDFLOW_NEAREST = 0, PYRAMIDFLOW_MAX = 1 };
enum { PYRAMIDFLOW_CVN = 0, PYRAMIDFLOW_SVN = 1, PYRAMIDFLOW_NO_NORM = 2 };
enum { PYRAMIDFLOW_SAMPLE = 0, PYRAMIDFLOW_BATCH = 1 };
enum { PYRAMIDFLOW_UINT8 = 0, PYRAMIDFLOW_UINT16 = 1 };

// Stands for everything declared here: setup.py computes it, and Python compares it on loading.
#ifndef PYRAMIDFLOW_INTERFACE
#define PYRAMIDFLOW_INTERFACE 0
#endif
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_interface();
// Hash of the sources and flags of this build, behind an "h"; setup.py computes it.
#ifndef PYRAMIDFLOW_SOURCES
#define PYRAMIDFLOW_SOURCES
#endif
PYRAMIDFLOW_EXPORT const char* pyramidflow_cuda_sources();
// Compiler, and architectures ("75_80_120PTX"), that the library was built with.
PYRAMIDFLOW_EXPORT const char* pyramidflow_cuda_compiler();
PYRAMIDFLOW_EXPORT const char* pyramidflow_cuda_architectures();
PYRAMIDFLOW_EXPORT const char* pyramidflow_cuda_error_name(int64_t error);
// Makes a device current for the calling thread: this library's runtime is its own.
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_set_device(int64_t device);
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_runtime_version();
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_driver_version();

// y [B, C, h, w] = D(x [B, C, H, W]); index [B, C, h, w] of bytes, 2·dy + dx of each maximum, is
// written for PYRAMIDFLOW_MAX only.
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_pyramid_down(
    const void* x, void* y, uint8_t* index, int64_t batch, int64_t channels, int64_t height,
    int64_t width, int64_t reduction, int64_t type, int64_t channels_last, cudaStream_t stream);
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_pyramid_down_backward(
    const void* grad_y, const uint8_t* index, void* grad_x, int64_t batch, int64_t channels,
    int64_t height, int64_t width, int64_t reduction, int64_t type, int64_t channels_last,
    cudaStream_t stream);
// out = fine − U(coarse)
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_pyramid_residual(
    const void* fine, const void* coarse, void* out, int64_t batch, int64_t channels,
    int64_t height, int64_t width, int64_t type, int64_t channels_last, cudaStream_t stream);
// out = U(coarse) + residual
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_pyramid_merge(
    const void* coarse, const void* residual, void* out, int64_t batch, int64_t channels,
    int64_t height, int64_t width, int64_t type, int64_t channels_last, cudaStream_t stream);
// grad_coarse = Uᵀ grad
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_pyramid_up_backward(const void* grad, void* grad_coarse,
                                                                int64_t batch, int64_t channels,
                                                                int64_t height, int64_t width,
                                                                int64_t type, int64_t channels_last,
                                                                cudaStream_t stream);

// Sizes and settings of a coupling. The mean is read as
// mean[b · mean_stride_sample + c · mean_stride_channel + p · mean_stride_pixel] with p the flat
// pixel of the parameters; stride 0 repeats.
typedef struct {
    int64_t batch, channels, height, width, params_height, params_width;
    int64_t mean_given, mean_stride_sample, mean_stride_channel, mean_stride_pixel;
    int64_t volume_norm, statistics, type, channels_last;
    float clamp;
} pyramidflow_coupling;

// Floats of workspace that a coupling function needs.
PYRAMIDFLOW_EXPORT int64_t
pyramidflow_cuda_affine_coupling_workspace(const pyramidflow_coupling* coupling);
// y = exp(s) ⊙ x + t, log_det [B] = Σ s, mean [B or 1, 1 or C, H', W' or 1] read if given, else
// written.
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_affine_coupling(const void* x, const void* params,
                                                            float* mean, void* y, float* log_det,
                                                            float* workspace,
                                                            const pyramidflow_coupling* coupling,
                                                            cudaStream_t stream);
// x = (y − t) ⊙ exp(−s), log_det [B] = −Σ s.
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_affine_coupling_inverse(
    const void* y, const void* params, float* mean, void* x, float* log_det, float* workspace,
    const pyramidflow_coupling* coupling, cudaStream_t stream);
// The mean is read; mean_given says whether its gradient stops there.
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_affine_coupling_backward(
    const void* grad_y, const float* grad_log_det, const void* x, const void* params,
    const float* mean, void* grad_x, void* grad_params, float* workspace,
    const pyramidflow_coupling* coupling, cudaStream_t stream);
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_affine_coupling_inverse_backward(
    const void* grad_x, const float* grad_log_det, const void* y, const void* params,
    const float* mean, void* grad_y, void* grad_params, float* workspace,
    const pyramidflow_coupling* coupling, cudaStream_t stream);
// z = A (exp(s) ⊙ x + t) with weight_transposed [C, C] = Aᵀ; y is written unless null. Refuses with
// cudaErrorInvalidValue more channels than pyramidflow_cuda_coupling_conv1x1_channels().
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_coupling_conv1x1_channels();
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_coupling_conv1x1(
    const void* x, const void* params, float* mean, const float* weight_transposed, void* y,
    void* z, float* log_det, float* workspace, const pyramidflow_coupling* coupling,
    cudaStream_t stream);

// z = A y with weight_transposed [C, C] = Aᵀ.
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_invertible_conv1x1(
    const void* y, const float* weight_transposed, void* z, int64_t batch, int64_t channels,
    int64_t pixels, int64_t type, int64_t channels_last, cudaStream_t stream);
// grad_weight [C, C] = Σ grad_z yᵀ; the gradient of y is invertible_conv1x1 with A for Aᵀ.
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_invertible_conv1x1_backward_workspace(int64_t batch,
                                                                                  int64_t channels,
                                                                                  int64_t pixels);
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_invertible_conv1x1_backward(
    const void* grad_z, const void* y, float* grad_weight, float* workspace, int64_t batch,
    int64_t channels, int64_t pixels, int64_t type, int64_t channels_last, cudaStream_t stream);

// One level of the map: out [B, H, W] = mean over channels of
// |latent − template − shift| · inverse_spread + U(coarse), with inverse_spread [1, C, H, W] and
// shift [B, C] or null, coarse [B, h, w] the map of the level above or null. template_batch is 1 or
// B. out is of type out_type. With a tolerance the template's pixels at most so many rows and
// columns away are tried, and the least mean counts.
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_anomaly_map(
    const void* latent, const void* mean, const void* inverse_spread, const float* shift,
    const float* coarse, void* out, int64_t batch, int64_t template_batch, int64_t channels,
    int64_t height, int64_t width, int64_t tolerance, int64_t type, int64_t out_type,
    int64_t channels_last, cudaStream_t stream);
// grad_latent = sign(latent − template) · grad / C with grad [B, H, W] of this level.
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_anomaly_map_backward(
    const float* grad, const void* latent, const void* mean, void* grad_latent, int64_t batch,
    int64_t template_batch, int64_t channels, int64_t height, int64_t width, int64_t type,
    int64_t channels_last, cudaStream_t stream);

// out [B, 3, H, W] = (image [B, H, W, 3] / full scale − mean [3]) / std [3].
PYRAMIDFLOW_EXPORT int64_t pyramidflow_cuda_normalize_image(const void* image, const float* mean,
                                                            const float* std, void* out,
                                                            int64_t batch, int64_t pixels,
                                                            int64_t image_type, int64_t type,
                                                            cudaStream_t stream);
