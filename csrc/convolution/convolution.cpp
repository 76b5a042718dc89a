// The spectral convolution, y = conv2d(x, weight) with zero padding k / 2, and the gradient of its
// weight. The gradient of x is the convolution of y's with the weight turned by 180 degrees.
#include "conv1x1/conv1x1_mix.h"
#include "convolution_spectral.h"
#include "convolution_turns.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

// cos and sin of 2 pi j / n for j < n.
struct Turns {
    float cosine[64], sine[64];

    explicit Turns(int64_t n) {
        for (int64_t j = 0; j < n; ++j) {
            cosine[j] = static_cast<float>(cosine_turn(j, n));
            sine[j] = static_cast<float>(sine_turn(j, n));
        }
    }
};

// Output channels of a vector, and inputs of a register tile, of the weight's gradient.
const int64_t INPUTS = LANES < 8 ? LANES : 8;

// grad [inputs][re, im][LANES] += sum over rows of x[row][input] conj(g[row][lanes]).
//
// Three real products: P = xr gr, Q = xi gi, R = (xr + xi) (gr - gi); (P + Q) + i (R - P + Q).
//
// x [rows][xr, xi, xr + xi][INPUTS], g [rows][gr, gi, gr - gi][LANES].
void accumulate_outer(const float* x, const float* g, int64_t rows, float* grad) {
    Vector p[INPUTS] = {}, q[INPUTS] = {}, r[INPUTS] = {};
    for (int64_t row = 0; row < rows; ++row, x += 3 * INPUTS, g += 3 * LANES) {
        const Vector re = load(g), im = load(g + LANES), difference = load(g + 2 * LANES);
#pragma GCC unroll 8
        for (int64_t i = 0; i < INPUTS; ++i) {
            p[i] += splat(x[i]) * re;
            q[i] += splat(x[INPUTS + i]) * im;
            r[i] += splat(x[2 * INPUTS + i]) * difference;
        }
    }
#pragma GCC unroll 8
    for (int64_t i = 0; i < INPUTS; ++i) {
        float* const re = grad + i * 2 * LANES;
        store(re, load(re) + (p[i] + q[i]));
        store(re + LANES, load(re + LANES) + (r[i] - p[i] + q[i]));
    }
}

// The rows of one frequency, WIDTH channels at a time: [channels / WIDTH][rows][re, im, third].
// In the spectrum they are powers of two apart, and would push each other out of the cache.
template <int64_t SIGN, int64_t WIDTH>
void gather_rows(const float* rows, int64_t slot, int64_t channels, int64_t count, float* out) {
    for (int64_t row = 0; row < count; ++row) {
        const float *const re = rows + 2 * row * slot, *const im = re + slot;
        for (int64_t c = 0; c < channels; c += WIDTH) {
            float* const at = out + (c / WIDTH * count + row) * 3 * WIDTH;
            for (int64_t k = 0; k < WIDTH; ++k) {
                at[k] = re[c + k];
                at[WIDTH + k] = im[c + k];
                at[2 * WIDTH + k] = SIGN > 0 ? re[c + k] + im[c + k] : re[c + k] - im[c + k];
            }
        }
    }
}

// Channel of the weights that stands at place i of the padded inputs, or -1.
int64_t weight_channel(const PyramidflowSpectral& shape, int64_t i) {
    const int64_t padded = vectors_of(shape.channels0) * LANES;
    if (i < padded) return i < shape.channels0 ? i : -1;
    return i - padded < shape.channels1 ? shape.channels0 + i - padded : -1;
}

}  // namespace

PYRAMIDFLOW_FUNCTION(spectral_sizes, PyramidflowSpectral shape, int64_t* weights,
                     int64_t* workspace, int64_t* coupling_workspace, int64_t threads) {
    const SpectralLayout layout(shape);
    *weights = layout.weights_size();
    *workspace = blocks_workspace(layout, shape, threads);
    *coupling_workspace = *workspace + threads * coupling_scratch(shape) +
                          mix_weight_size(ceil_div(shape.out_channels, 2));
    return 0;
}

PYRAMIDFLOW_FUNCTION(spectral_weights, const float* weight, float* spectra,
                     PyramidflowSpectral shape, int64_t threads) {
    const SpectralLayout layout(shape);
    const int64_t n = shape.tile, k = shape.kernel, half = n / 2 + 1, taps = k * k;
    const int64_t channels = shape.channels0 + shape.channels1;
    const Turns turns(n);
    const float scale = 1.0f / static_cast<float>(n * n);
    const int64_t per_task = (taps + k * half * 2) * LANES;
    Scratch<float> scratch(threads * per_task);
    if (scratch.failed()) return 1;
    const int64_t tasks = layout.out_vectors * layout.in_channels;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < tasks; ++task) {
        const int64_t vector = task / layout.in_channels, place = task % layout.in_channels;
        const int64_t i = weight_channel(shape, place);
        float* const tap = scratch.get() + thread_index() * per_task;
        float* const lines = tap + taps * LANES;
        for (int64_t lane = 0; lane < LANES; ++lane) {
            const int64_t o = vector * LANES + lane;
            const bool present = i >= 0 && o < shape.out_channels;
            for (int64_t t = 0; t < taps; ++t)
                tap[t * LANES + lane] = present ? weight[(o * channels + i) * taps + t] : 0.0f;
        }
        // Conjugate transform, exp(+...): rows, then columns.
        for (int64_t u = 0; u < k; ++u) {
            for (int64_t fx = 0; fx < half; ++fx) {
                Vector re = {}, im = {};
                for (int64_t v = 0; v < k; ++v) {
                    const Vector w = load(tap + (u * k + v) * LANES);
                    re += w * splat(turns.cosine[fx * v % n]);
                    im += w * splat(turns.sine[fx * v % n]);
                }
                store(lines + (u * half + fx) * 2 * LANES, re * splat(scale));
                store(lines + ((u * half + fx) * 2 + 1) * LANES, im * splat(scale));
            }
        }
        for (int64_t fx = 0; fx < half; ++fx) {
            for (int64_t fy = 0; fy < layout.column_length(fx); ++fy) {
                Vector re = {}, im = {};
                for (int64_t u = 0; u < k; ++u) {
                    const Vector c = splat(turns.cosine[fy * u % n]);
                    const Vector s = splat(turns.sine[fy * u % n]);
                    const Vector a = load(lines + (u * half + fx) * 2 * LANES);
                    const Vector b = load(lines + ((u * half + fx) * 2 + 1) * LANES);
                    re += a * c - b * s;
                    im += a * s + b * c;
                }
                const int64_t f = layout.first_frequency(fx) + fy;
                float* const target = spectra + (f * tasks + task) * 2 * LANES;
                store(target, re);
                store(target + LANES, im);
            }
        }
    }
    if (layout.bfloat16) spectral_round_weights(spectra, layout);
    return 0;
}

PYRAMIDFLOW_FUNCTION(spectral_conv, const PyramidflowSource* sources, const float* spectra,
                     float* y, float* workspace, PyramidflowSpectral shape,
                     PyramidflowEpilogue epilogue, int64_t threads) {
    const SpectralLayout layout(shape);
    for_blocks(layout, shape, workspace, threads,
               [&](int64_t first, int64_t count, float* spectrum, float* scratch, int64_t team) {
        spectral_forward(sources, layout, shape, layout.tile, layout.kernel / 2, first, count,
                         spectrum, scratch, team);
        spectral_product(spectra, layout, count, spectrum, team);
        spectral_inverse(spectrum, layout, shape, epilogue, first, count, y, scratch, team);
    });
    return 0;
}

// The two spectra of a pair of tiles, x's patches and grad_y's tiles, correlate to
// conj(G) X = (a's + b's sum) + i (something): the real part of the inverse transform is the
// gradient. Taking it here means adding conj of the product at -f, which is what the second row of
// a pair holds.
PYRAMIDFLOW_FUNCTION(spectral_grad_weight, const float* x, const float* grad_y, float* grad_weight,
                     PyramidflowSpectral shape, int64_t threads) {
    PyramidflowSpectral shape_x = shape, shape_g = shape;
    shape_x.out_channels = shape.channels0;
    shape_g.channels0 = shape.out_channels;
    const SpectralLayout at_x(shape_x), at_g(shape_g);
    const int64_t n = shape.tile, k = shape.kernel, taps = k * k;
    const int64_t inputs = at_x.in_channels, vectors = at_g.in_channels / LANES;
    const int64_t gradient = vectors * inputs * 2 * LANES;  // floats of a frequency
    const int64_t per_thread =
        larger(larger(spectral_scratch(n), (k * (n / 2 + 1) + n) * 2 * LANES),
               6 * at_x.block * (inputs + vectors * LANES));
    Scratch<float> spectrum_x(at_x.spectrum_size()), spectrum_g(at_g.spectrum_size());
    Scratch<float> total(at_x.frequencies * gradient), scratch(threads * per_thread);
    if (spectrum_x.failed() || spectrum_g.failed() || total.failed() || scratch.failed()) return 1;
    memset(total.get(), 0, static_cast<size_t>(at_x.frequencies * gradient) * sizeof(float));
    const PyramidflowSource source_x = {x, shape.channels0, shape.height, shape.width, 0};
    const PyramidflowSource source_g = {grad_y, shape.out_channels, shape.height, shape.width, 0};
    for (int64_t first = 0; first < at_x.pairs; first += at_x.block) {
        const int64_t count = smaller(at_x.block, at_x.pairs - first);
        spectral_forward(&source_x, at_x, shape_x, n, k / 2, first, count, spectrum_x.get(),
                         scratch.get(), threads);
        spectral_forward(&source_g, at_g, shape_g, at_g.outputs, 0, first, count, spectrum_g.get(),
                         scratch.get(), threads);
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t f = 0; f < at_x.frequencies; ++f) {
            const float* const rows_x = spectrum_x.get() + f * at_x.frequency_stride;
            const float* const rows_g = spectrum_g.get() + f * at_g.frequency_stride;
            const int64_t rows = 2 * count;
            float* const x_rows = scratch.get() + thread_index() * per_thread;
            float* const g_rows = x_rows + 3 * rows * inputs;
            gather_rows<1, INPUTS>(rows_x, at_x.slot, inputs, rows, x_rows);
            gather_rows<-1, LANES>(rows_g, at_g.slot, vectors * LANES, rows, g_rows);
            for (int64_t v = 0; v < vectors; ++v)
                for (int64_t i = 0; i < inputs; i += INPUTS)
                    accumulate_outer(x_rows + 3 * rows * i, g_rows + 3 * rows * v * LANES, rows,
                                     total.get() + f * gradient + (v * inputs + i) * 2 * LANES);
        }
    }
    const Turns turns(n);
    const float scale = 1.0f / static_cast<float>(n * n);
    const int64_t half = n / 2 + 1, tasks = vectors * inputs;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < tasks; ++task) {
        const int64_t vector = task / inputs, i = task % inputs;
        if (i >= shape.channels0) continue;
        float* const lines = scratch.get() + thread_index() * per_thread;
        float* const column = lines + k * half * 2 * LANES;
        for (int64_t fx = 0; fx < half; ++fx) {
            const int64_t length = at_x.column_length(fx);
            const float* at = total.get() + at_x.first_frequency(fx) * gradient + task * 2 * LANES;
            for (int64_t fy = 0; fy < length; ++fy, at += gradient) {
                // A frequency that is its own mirror image was counted twice.
                const bool own_mirror = (fx == 0 || 2 * fx == n) && (fy == 0 || 2 * fy == n);
                const Vector once = splat(own_mirror ? 0.5f : 1.0f);
                store(column + fy * 2 * LANES, load(at) * once);
                store(column + (fy * 2 + 1) * LANES, load(at + LANES) * once);
            }
            for (int64_t u = 0; u < k; ++u) {
                Vector re = {}, im = {};
                for (int64_t fy = 0; fy < length; ++fy) {
                    const Vector c = splat(turns.cosine[fy * u % n]);
                    const Vector s = splat(turns.sine[fy * u % n]);
                    const Vector a = load(column + fy * 2 * LANES);
                    const Vector b = load(column + (fy * 2 + 1) * LANES);
                    re += a * c - b * s;
                    im += a * s + b * c;
                }
                store(lines + (u * half + fx) * 2 * LANES, re);
                store(lines + ((u * half + fx) * 2 + 1) * LANES, im);
            }
        }
        for (int64_t u = 0; u < k; ++u) {
            for (int64_t v = 0; v < k; ++v) {
                Vector sum = {};
                for (int64_t fx = 0; fx < half; ++fx)
                    sum += load(lines + (u * half + fx) * 2 * LANES) *
                               splat(scale * turns.cosine[fx * v % n]) -
                           load(lines + ((u * half + fx) * 2 + 1) * LANES) *
                               splat(scale * turns.sine[fx * v % n]);
                for (int64_t lane = 0; lane < LANES; ++lane) {
                    const int64_t o = vector * LANES + lane;
                    if (o < shape.out_channels)
                        grad_weight[(o * shape.channels0 + i) * taps + u * k + v] = sum[lane];
                }
            }
        }
    }
    return 0;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
