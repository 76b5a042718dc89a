// The gradients that a tile of a coupling gives, before those of s go through the mean.
//
// Of a coupling with the 1x1 convolution behind it, z = A y, the gradient of z is given. A tile's
// gradient of y and y itself, for the gradient of A, are made in the caches: y takes less than its
// way to memory and back.
#pragma once

#include "coupling_tile.h"
#include "conv1x1/conv1x1_mix.h"
#include "conv1x1/conv1x1_outer.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

struct ClampDerivative {
    float inverse;

    explicit ClampDerivative(float clamp) : inverse(1.0f / clamp) {}
    PYRAMIDFLOW_INLINE Vector operator()(Vector s0) const {
        const Vector z = inverse * s0;
        return SOFT_CLAMP_GAIN / (1.0f + z * z);
    }
};

struct Gradients {
    const float *grad, *grad_log_det, *x, *transposed_weight;
    float *grad_x, *grad_params, *grad_weight;
};

// The 1x1 convolution behind the coupling, if there is one.
class Convolution {
public:
    Convolution(const Gradients& all, int64_t channels, int64_t capacity, int64_t threads)
        : exists(all.transposed_weight != nullptr),
          channels_(exists ? channels : 0),
          size_(channels_ * capacity),
          weight_(mix_weight_size(channels_)),
          buffers_(threads * 2 * size_),
          gradient_(channels_) {
        if (exists && !failed()) prepare_mix(all.transposed_weight, channels, weight_.get());
    }
    bool failed() const { return weight_.failed() || buffers_.failed() || gradient_.failed(); }

    // Of which each thread takes whole ones.
    int64_t chunks(int64_t tasks) const { return exists ? WeightGradient::CHUNKS : tasks; }

    // This thread's tile of y, to be filled: each value where the gradient of y was, once that is
    // read.
    float* y() const { return buffer(1); }

    const float* grad_y(Constant<1>, const float* grad_z, int64_t, int64_t pixels) const {
        mix_pixels(grad_z, weight_.get(), buffer(1), channels_, pixels, false);
        return buffer(1);
    }
    const float* grad_y(Constant<0>, const float* grad_z, int64_t stride, int64_t pixels) const {
        pack(grad_z, stride, channels_, pixels, buffer(0));
        mix_planes(buffer(0), pixels, weight_.get(), buffer(1), pixels, channels_, pixels, false);
        return buffer(1);
    }

    // Once the tile of y is there.
    void add(Constant<1>, int64_t chunk, const float* grad_z, int64_t pixels) const {
        gradient_.add_pixels(chunk, grad_z, y(), pixels);
    }
    void add(Constant<0>, int64_t chunk, const float*, int64_t pixels) const {
        gradient_.add_planes(chunk, buffer(0), pixels, y(), pixels, pixels);
    }
    void write(float* grad_weight) const { gradient_.write(grad_weight); }

    const bool exists;

private:
    float* buffer(int64_t index) const {
        return buffers_.get() + (2 * thread_index() + index) * size_;
    }

    int64_t channels_, size_;
    Scratch<float> weight_, buffers_;
    WeightGradient gradient_;
};

// Gradients of x and t of a tile; `take(r, j, count, grad_s, s0)` gets that of s.
template <bool CONVOLVED, int64_t GAP, typename ChannelsLast, typename Channels, typename Take>
void gradients(ChannelsLast channels_last, Channels channels, const Coupling& coupling,
               const Tile& tile, int64_t chunk, const Source& source, const Gradients& all,
               const Convolution& convolution, float* grad_t, int64_t grad_t_stride, bool streamed,
               const Take& take) {
    const auto length = run_length(channels_last, channels, tile.pixels);
    const int64_t rows = run_count(channels_last, channels, tile.pixels);
    const SoftClamp clamp(coupling.shape.clamp);
    const bool inverse = !CONVOLVED && coupling.shape.inverse;
    const int64_t offset = coupling.level_offset(tile), stride = coupling.level_stride();
    const Runs x_runs = {all.x + offset, stride, nullptr};
    const Runs grad_runs = {all.grad + offset, stride, nullptr};
    Runs g_runs = grad_runs;
    float* y = nullptr;
    if (CONVOLVED) {
        const float* const grad_y =
            convolution.grad_y(channels_last, grad_runs.first, stride, tile.pixels);
        g_runs = {grad_y, length, nullptr};
        y = convolution.y();
    }
    const float grad_log_det = all.grad_log_det[tile.b];
    for (int64_t r = 0; r < rows; ++r) {
        const float *s0r = source.s0[r], *tr = source.t[r], *mean = source.mean[r];
        const float *gr = g_runs[r], *xr = x_runs[r];
        // The processor fetches little while it is busy with arithmetic: the next run of a
        // contiguous tile is asked for during this one, else the next tile.
        const float *g_next, *x_next, *s0_next, *t_next;
        if (channels_last || CONVOLVED)
            g_next = grad_runs.in_next_tile(channels_last, r, rows, length);
        else
            g_next = g_runs.after(r, rows, length);
        if (channels_last) {
            x_next = x_runs.in_next_tile(channels_last, r, rows, length);
            s0_next = source.s0.in_next_tile(channels_last, r, rows, length);
            t_next = source.t.in_next_tile(channels_last, r, rows, length);
        } else {
            x_next = x_runs.after(r, rows, length);
            s0_next = source.s0.after(r, rows, source.next);
            t_next = source.t.after(r, rows, source.next);
        }
        float* const gx = all.grad_x + offset + r * stride;
        float* const gt = grad_t + r * grad_t_stride;
        for_vectors(length, [&](int64_t j, auto count) {
            prefetch(g_next + j);
            prefetch(x_next + j);
            prefetch_apart<GAP>(s0_next, j);
            if (CONVOLVED || inverse) prefetch_apart<GAP>(t_next, j);
            const Vector s0 = load_apart<GAP>(s0r, j, count);
            const Vector s =
                clamp(s0) - (source.mean_varies ? load_apart<GAP>(mean, j, count) : splat(mean[0]));
            const Vector g = load(gr + j, count), x = load(xr + j, count);
            if (inverse) {
                const Vector scaled = g * exp_of(-s);
                store_result(streamed, gx + j, scaled, count);
                store_result(streamed, gt + j, -scaled, count);
                take(r, j, count, -scaled * (x - load_apart<GAP>(tr, j, count)) - grad_log_det, s0);
            } else {
                const Vector scale = exp_of(s), scaled = g * scale;
                if (CONVOLVED)
                    store(y + r * length + j, scale * x + load_apart<GAP>(tr, j, count), count);
                store_result(streamed, gx + j, scaled, count);
                store_result(streamed, gt + j, g, count);
                take(r, j, count, scaled * x + grad_log_det, s0);
            }
        });
    }
    if (CONVOLVED) convolution.add(channels_last, chunk, grad_runs.first, tile.pixels);
}

// Sums over a tile's pixels: [C] in channels-last tensors, [C, LANES] in contiguous ones.
struct ChannelSums {
    float* sums;
    int64_t size;

    ChannelSums(float* sums_, int64_t channels, bool channels_last)
        : sums(sums_), size(channels_last ? channels : channels * LANES) {
        for (int64_t k = 0; k < size; ++k) sums[k] = 0.0f;
    }
    static int64_t capacity(int64_t channels) { return channels * LANES; }

    template <typename ChannelsLast, typename Count>
    PYRAMIDFLOW_INLINE void add(ChannelsLast channels_last, Vector value, Count count, int64_t r,
                                int64_t j) const {
        if (channels_last)
            store(sums + j, load(sums + j, count) + value, count);
        else
            store(sums + r * LANES, load(sums + r * LANES) + first_lanes(value, count));
    }
    void write(double* total, int64_t channels) const {
        const int64_t lanes = size / channels;
        for (int64_t c = 0; c < channels; ++c) {
            total[c] = 0.0;
            for (int64_t k = 0; k < lanes; ++k)
                total[c] += static_cast<double>(sums[c * lanes + k]);
        }
    }
};

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
