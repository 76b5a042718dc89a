// The mean of a channel of the parameters, or of their gradients, over all pixels.
#pragma once

#include "coupling_tile.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

static const int64_t CHUNKS = 32;  // of a sample's pixels in a sum, whatever the number of threads

// Mean over pixels (and over the batch, if the result has one sample) of f(first half of params).
template <typename Function>
int channel_mean(const float* params, float* mean, const PyramidflowCoupling& shape, int64_t threads,
                 const Function& function) {
    const int64_t C = shape.channels, area = shape.params_height * shape.params_width;
    Scratch<double> partial(shape.batch * CHUNKS * C);
    const int64_t run = 256, per_thread = larger(C, run);
    Scratch<float> scratch(threads * per_thread);
    if (partial.failed() || scratch.failed()) return 1;
    memset(partial.get(), 0, static_cast<size_t>(shape.batch * CHUNKS * C) * sizeof(double));
    with_channels(C, [&](auto channels) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t task = 0; task < shape.batch * CHUNKS; ++task) {
            const int64_t b = task / CHUNKS, chunk = task % CHUNKS;
            const int64_t first = area * chunk / CHUNKS, last = area * (chunk + 1) / CHUNKS;
            double* const total = partial.get() + task * channels;
            float* __restrict sum = scratch.get() + thread_index() * per_thread;
            const Function f = function;  // a copy: the compiler then knows that no store changes it
            if (!shape.channels_last) {
                for (int64_t c = 0; c < channels; ++c) {
                    const float* in = params + (b * 2 * channels + c) * area;
                    for (int64_t p = first; p < last; p += run) {
                        const int64_t count = smaller(run, last - p);
                        const float* source = in + p;
#pragma omp simd
                        for (int64_t i = 0; i < count; ++i) sum[i] = f(source[i]);
                        total[c] += sum_of(sum, count);
                    }
                }
                continue;
            }
            for (int64_t p = first; p < last; p += run) {
                const int64_t end = smaller(p + run, last);
                for (int64_t c = 0; c < channels; ++c) sum[c] = 0.0f;
                for (int64_t i = p; i < end; ++i) {
                    const float* in = params + (b * area + i) * 2 * channels;
#pragma omp simd
                    for (int64_t c = 0; c < channels; ++c) sum[c] += f(in[c]);
                }
                for (int64_t c = 0; c < channels; ++c) total[c] += static_cast<double>(sum[c]);
            }
        }
    });
    const int64_t members = shape.mean_batch == 1 ? shape.batch : 1;
    for (int64_t group = 0; group < shape.mean_batch; ++group) {
        for (int64_t c = 0; c < C; ++c) {
            double sum = 0.0;
            for (int64_t k = 0; k < members * CHUNKS; ++k)
                sum += partial.get()[(group * members * CHUNKS + k) * C + c];
            mean[group * C + c] = static_cast<float>(sum / static_cast<double>(members * area));
        }
    }
    return 0;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
