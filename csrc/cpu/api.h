// The compiled CPU library as its callers see it: plain C, raw pointers, no state.
//
// Tensors are float32, dense, in one of two memory formats: contiguous [B, C, H, W], or
// channels-last (the same sizes, stored as [B, H, W, C]). All tensors of a call share it. Sizes are
// int64. Every function takes the number of threads and returns 0, or 1 if scratch memory could not
// be had. Results do not depend on the number of threads.
#pragma once

#include <cstdint>

// Compilers that know the instructions of AVX-512 BF16.
#if (defined(__clang__) && __clang_major__ >= 9) || (!defined(__clang__) && __GNUC__ >= 10)
#define PYRAMIDFLOW_HAS_BFLOAT16 1
#else
#define PYRAMIDFLOW_HAS_BFLOAT16 0
#endif

#define PYRAMIDFLOW_API extern "C" __attribute__((visibility("default")))

// Stands for everything declared here: setup.py computes it, and Python compares it on loading.
#ifndef PYRAMIDFLOW_INTERFACE
#define PYRAMIDFLOW_INTERFACE 0
#endif

struct PyramidflowImage {
    int64_t batch, channels, height, width;
    int64_t channels_last;
};

// What a coupling subtracts from its log-scale.
enum PyramidflowMean : int64_t {
    PYRAMIDFLOW_MEAN_NONE = 0,     // nothing
    PYRAMIDFLOW_MEAN_PIXEL = 1,    // [1 or B, H', W'], one value for all channels
    PYRAMIDFLOW_MEAN_CHANNEL = 2,  // [1 or B, C], one value for all pixels
    PYRAMIDFLOW_MEAN_FULL = 3,     // [1 or B, C, H', W'] in the call's memory format
};

struct PyramidflowCoupling {
    int64_t batch, channels;
    int64_t height, width;                // of the transformed level
    int64_t params_height, params_width;  // of the parameters, nearest-resized to the level
    int64_t channels_last;
    int64_t inverse;     // 0: y = exp(s) x + t; 1: x = (y - t) exp(-s)
    int64_t mean_kind;   // PyramidflowMean
    int64_t mean_batch;  // 1 or batch
    float clamp;
};

// An image that a convolution reads, channels-last, nearest-resized on the way.
struct PyramidflowSource {
    const float* data;
    int64_t channels, height, width;
    int64_t resize;  // 0: as it is; 1: every pixel twice; -1: every other pixel
};

enum PyramidflowSpectralLayout : int64_t {
    PYRAMIDFLOW_SPECTRAL_SAME = 0,
    PYRAMIDFLOW_SPECTRAL_PHASES = 1,  // outputs [phase, channel] become the pixels of 2 x 2 cells
    PYRAMIDFLOW_SPECTRAL_HALF = 2,    // every other pixel of every other row
};

// A convolution in the frequency domain, stride 1, zero padding k / 2, channels-last.
struct PyramidflowSpectral {
    int64_t batch, height, width;  // of the convolution
    int64_t channels0, channels1;  // of the two sources, concatenated; the second may have none
    int64_t out_channels;
    int64_t kernel;       // odd
    int64_t tile;         // side of the transforms: 8, 12, 16, 20, 24 or 32
    int64_t block;        // pairs of tiles that are transformed before their product
    int64_t independent;  // whether each block belongs to one thread, else all share each block
    int64_t layout;       // PyramidflowSpectralLayout of the result
    int64_t bfloat16;     // whether weights and operands of the product are rounded to bfloat16
};

// What happens to a convolution's result before it is stored; nothing where null.
struct PyramidflowEpilogue {
    const float* bias;   // [C]
    const float* added;  // an image like the result
    float slope;         // of the result where it is negative (leaky ReLU); 1: none, 0: ReLU
};

// Every function of the library, once: name and arguments.
#define PYRAMIDFLOW_FUNCTIONS(FUNCTION)                                                            \
    FUNCTION(pyramid_down, (const float* x, float* y, PyramidflowImage fine, int64_t threads),     \
             (x, y, fine, threads))                                                                \
    FUNCTION(pyramid_down_backward,                                                                \
             (const float* grad_y, float* grad_x, PyramidflowImage fine, int64_t threads),         \
             (grad_y, grad_x, fine, threads))                                                      \
    FUNCTION(pyramid_down_max,                                                                     \
             (const float* x, float* y, uint8_t* index, PyramidflowImage fine, int64_t threads),   \
             (x, y, index, fine, threads))                                                         \
    FUNCTION(pyramid_down_max_backward,                                                            \
             (const float* grad_y, const uint8_t* index, float* grad_x, PyramidflowImage fine,     \
              int64_t threads),                                                                    \
             (grad_y, index, grad_x, fine, threads))                                               \
    FUNCTION(pyramid_residual,                                                                     \
             (const float* fine_level, const float* coarse, float* out, PyramidflowImage fine,     \
              int64_t threads),                                                                    \
             (fine_level, coarse, out, fine, threads))                                             \
    FUNCTION(pyramid_merge,                                                                        \
             (const float* coarse, const float* residual, float* out, PyramidflowImage fine,       \
              int64_t threads),                                                                    \
             (coarse, residual, out, fine, threads))                                               \
    FUNCTION(pyramid_up_backward,                                                                  \
             (const float* grad, float* grad_coarse, PyramidflowImage fine, int64_t threads),      \
             (grad, grad_coarse, fine, threads))                                                   \
    FUNCTION(coupling_mean_pixel,                                                                  \
             (const float* params, float* mean, PyramidflowCoupling shape, int64_t threads),       \
             (params, mean, shape, threads))                                                       \
    FUNCTION(coupling_mean_channel,                                                                \
             (const float* params, float* mean, PyramidflowCoupling shape, int64_t threads),       \
             (params, mean, shape, threads))                                                       \
    FUNCTION(coupling,                                                                             \
             (const float* x, const float* params, const float* mean, const float* weight,         \
              float* y, float* log_det, PyramidflowCoupling shape, int64_t threads),               \
             (x, params, mean, weight, y, log_det, shape, threads))                                \
    FUNCTION(coupling_pixel_mean,                                                                  \
             (const float* x, const float* params, float* mean, const float* weight, float* y,     \
              float* log_det, PyramidflowCoupling shape, int64_t threads),                         \
             (x, params, mean, weight, y, log_det, shape, threads))                                \
    FUNCTION(                                                                                      \
        coupling_backward,                                                                         \
        (const float* grad, const float* grad_log_det, const float* x, const float* params,        \
         const float* mean, const float* transposed_weight, float* grad_x, float* grad_params,     \
         float* grad_weight, PyramidflowCoupling shape, int64_t through_mean, int64_t threads),    \
        (grad, grad_log_det, x, params, mean, transposed_weight, grad_x, grad_params, grad_weight, \
         shape, through_mean, threads))                                                            \
    FUNCTION(                                                                                      \
        conv1x1,                                                                                   \
        (const float* y, const float* weight, float* z, PyramidflowImage image, int64_t threads),  \
        (y, weight, z, image, threads))                                                            \
    FUNCTION(conv1x1_backward,                                                                     \
             (const float* grad_z, const float* y, const float* transposed_weight, float* grad_y,  \
              float* grad_weight, PyramidflowImage image, int64_t threads),                        \
             (grad_z, y, transposed_weight, grad_y, grad_weight, image, threads))                  \
    FUNCTION(                                                                                      \
        anomaly_level,                                                                             \
        (const float* latent, const float* mean, const float* inverse_spread, const float* shift,  \
         float* level, PyramidflowImage image, int64_t mean_batch, int64_t threads),               \
        (latent, mean, inverse_spread, shift, level, image, mean_batch, threads))                  \
    FUNCTION(anomaly_level_tolerant,                                                               \
             (const float* latent, const float* mean, const float* inverse_spread,                 \
              const float* shift, float* level, PyramidflowImage image, int64_t mean_batch,        \
              int64_t tolerance, int64_t threads),                                                 \
             (latent, mean, inverse_spread, shift, level, image, mean_batch, tolerance, threads))  \
    FUNCTION(pixel_means, (const float* x, float* mean, PyramidflowImage image, int64_t threads),  \
             (x, mean, image, threads))                                                            \
    FUNCTION(anomaly_level_backward,                                                               \
             (const float* grad_level, const float* latent, const float* mean, float* grad_latent, \
              PyramidflowImage image, int64_t mean_batch, int64_t threads),                        \
             (grad_level, latent, mean, grad_latent, image, mean_batch, threads))                  \
    FUNCTION(normalize_uint8,                                                                      \
             (const uint8_t* image, const float* mean, const float* std, float* out,               \
              int64_t batch, int64_t pixels, int64_t threads),                                     \
             (image, mean, std, out, batch, pixels, threads))                                      \
    FUNCTION(normalize_uint16,                                                                     \
             (const uint16_t* image, const float* mean, const float* std, float* out,              \
              int64_t batch, int64_t pixels, int64_t threads),                                     \
             (image, mean, std, out, batch, pixels, threads))                                      \
    FUNCTION(spectral_sizes,                                                                       \
             (PyramidflowSpectral shape, int64_t* weights, int64_t* workspace,                     \
              int64_t* coupling_workspace, int64_t threads),                                       \
             (shape, weights, workspace, coupling_workspace, threads))                             \
    FUNCTION(spectral_weights,                                                                     \
             (const float* weight, float* spectra, PyramidflowSpectral shape, int64_t threads),    \
             (weight, spectra, shape, threads))                                                    \
    FUNCTION(spectral_conv,                                                                        \
             (const PyramidflowSource* sources, const float* spectra, float* y, float* workspace,  \
              PyramidflowSpectral shape, PyramidflowEpilogue epilogue, int64_t threads),           \
             (sources, spectra, y, workspace, shape, epilogue, threads))                           \
    FUNCTION(spectral_coupling,                                                                    \
             (const PyramidflowSource* sources, const float* spectra, const float* x,              \
              const float* pixel_mean, const float* channel_mean, const float* weight, float* z,   \
              float* workspace, PyramidflowSpectral shape, float clamp, int64_t threads),          \
             (sources, spectra, x, pixel_mean, channel_mean, weight, z, workspace, shape, clamp,   \
              threads))                                                                            \
    FUNCTION(spectral_grad_weight,                                                                 \
             (const float* x, const float* grad_y, float* grad_weight, PyramidflowSpectral shape,  \
              int64_t threads),                                                                    \
             (x, grad_y, grad_weight, shape, threads))                                             \
    FUNCTION(lift_uint8,                                                                           \
             (const uint8_t* image, const float* mean, const float* std, const float* weight,      \
              float* y, int64_t pixels, int64_t channels, int64_t threads),                        \
             (image, mean, std, weight, y, pixels, channels, threads))                             \
    FUNCTION(lift_uint16,                                                                          \
             (const uint16_t* image, const float* mean, const float* std, const float* weight,     \
              float* y, int64_t pixels, int64_t channels, int64_t threads),                        \
             (image, mean, std, weight, y, pixels, channels, threads))                             \
    FUNCTION(resnet_stem_uint8,                                                                    \
             (const uint8_t* image, const float* mean, const float* std, const float* weight,      \
              const float* bias, float* y, int64_t batch, int64_t height, int64_t width,           \
              int64_t channels, int64_t threads),                                                  \
             (image, mean, std, weight, bias, y, batch, height, width, channels, threads))         \
    FUNCTION(resnet_stem_uint16,                                                                   \
             (const uint16_t* image, const float* mean, const float* std, const float* weight,     \
              const float* bias, float* y, int64_t batch, int64_t height, int64_t width,           \
              int64_t channels, int64_t threads),                                                  \
             (image, mean, std, weight, bias, y, batch, height, width, channels, threads))         \
    FUNCTION(exp, (const float* x, float* y, int64_t count, int64_t threads),                      \
             (x, y, count, threads))                                                               \
    FUNCTION(atan, (const float* x, float* y, int64_t count, int64_t threads),                     \
             (x, y, count, threads))                                                               \
    FUNCTION(copy, (const float* x, float* y, int64_t count, int64_t threads),                     \
             (x, y, count, threads))
