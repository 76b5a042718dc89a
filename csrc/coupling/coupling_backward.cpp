// Gradients of the coupling, forward and inverse.
//
// The gradient of s goes through the mean first, then through the clamp. Where the mean is over the
// channels of a pixel, both gradients wait for it in a buffer of cache size; where it is over all
// pixels, or where several pixels took the same parameters, in the result itself.
#include "coupling_gradient.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

// Pixels. The processor's own prefetch would bring the parameters between those of s, too.
const int64_t AHEAD = 16;

// Whether both gradients are written past the caches.
bool streams_all(const Coupling& coupling, const Gradients& all) {
    const int64_t size = coupling.shape.batch * coupling.shape.channels * coupling.area;
    return !coupling.resized && streams(all.grad_x, size, coupling.level_stride()) &&
           streams(all.grad_params, size, coupling.params_stride());
}

// The products of a convolution want tiles that are not too short.
int64_t pixels_per_tile(const Coupling& coupling, const Gradients& all, int64_t waiting) {
    const int64_t least = all.transposed_weight ? 2 : 0;
    const bool halved = all.transposed_weight && coupling.shape.channels_last;
    return coupling.pixels_per_tile(larger(waiting, least) / (halved ? 2 : 1));
}

// Where the mean needs no gradient: one pass.
int backward_given_mean(const Coupling& coupling, const Gradients& all, int64_t threads) {
    const PyramidflowCoupling& shape = coupling.shape;
    const int64_t capacity = pixels_per_tile(coupling, all, 0);
    const int64_t tiles = ceil_div(coupling.area, capacity), tasks = shape.batch * tiles;
    const Convolution convolution(all, shape.channels, capacity, threads);
    if (convolution.failed()) return 1;
    const int64_t stride = coupling.params_stride();
    const ClampDerivative derivative(shape.clamp);
    const bool streamed = streams_all(coupling, all);
    with_runs(shape, [&](auto channels_last, auto channels) {
        in_chunks(threads, convolution.chunks(tasks), tasks, [&](int64_t task, int64_t chunk) {
            const Tile tile = coupling.tile(task / tiles, task % tiles, capacity);
            float* const grad_s0 = all.grad_params + coupling.params_offset(tile.b, tile.column);
            float* const grad_t = grad_s0 + coupling.half();
            const Source source = coupling.source(tile, nullptr);
            const auto finish = [&](int64_t r, int64_t j, auto count, Vector grad_s, Vector s0) {
                store_result(streamed, grad_s0 + r * stride + j, grad_s * derivative(s0), count);
            };
            with_flag(convolution.exists, [&](auto convolved) {
                gradients<convolved.value, 1>(channels_last, channels, coupling, tile, chunk,
                                              source, all, convolution, grad_t, stride, streamed,
                                              finish);
            });
        });
    });
    convolution.write(all.grad_weight);
    return 0;
}

// Where the mean is over the channels of a pixel, and perhaps over the batch.
int backward_pixel_mean(const Coupling& coupling, const Gradients& all, int64_t threads) {
    const PyramidflowCoupling& shape = coupling.shape;
    const int64_t members = shape.mean_batch == 1 ? shape.batch : 1;
    const int64_t groups = members == 0 ? 0 : shape.batch / members;
    const int64_t capacity = pixels_per_tile(coupling, all, 2 * larger(members, 1));
    const int64_t tiles = ceil_div(coupling.area, capacity), tasks = groups * tiles;
    const int64_t member_size = shape.channels * capacity;
    const int64_t per_thread = 2 * members * member_size + capacity;
    Scratch<float> scratch(threads * per_thread);
    const Convolution convolution(all, shape.channels, capacity, threads);
    if (scratch.failed() || convolution.failed()) return 1;
    const ClampDerivative derivative(shape.clamp);
    const float scale = 1.0f / static_cast<float>(members * shape.channels);
    const int64_t stride = coupling.params_stride();
    const bool streamed = streams_all(coupling, all);
    with_runs(shape, [&](auto channels_last, auto channels) {
        in_chunks(threads, convolution.chunks(tasks), tasks, [&](int64_t task, int64_t chunk) {
            float* const waiting = scratch.get() + thread_index() * per_thread;
            float* const pixel = waiting + 2 * members * member_size;
            Tile tile = coupling.tile(task / tiles * members, task % tiles, capacity);
            const auto length = run_length(channels_last, channels, tile.pixels);
            const int64_t rows = run_count(channels_last, channels, tile.pixels);
            for (int64_t i = 0; i < tile.pixels; ++i) pixel[i] = 0.0f;
            for (int64_t m = 0; m < members; ++m, ++tile.b) {
                float* const s_gradient = waiting + 2 * m * member_size;
                float* const slope = s_gradient + member_size;
                float* const grad_t =
                    all.grad_params + coupling.half() + coupling.params_offset(tile.b, tile.column);
                const auto wait = [&](int64_t r, int64_t j, auto count, Vector grad_s, Vector s0) {
                    store(s_gradient + r * length + j, grad_s, count);
                    store(slope + r * length + j, derivative(s0), count);
                    add_to_pixels(channels_last, grad_s, count, r, j, pixel);
                };
                const Source source = coupling.source(tile, nullptr);
                with_flag(convolution.exists, [&](auto convolved) {
                    gradients<convolved.value, 1>(channels_last, channels, coupling, tile, chunk,
                                                  source, all, convolution, grad_t, stride,
                                                  streamed, wait);
                });
            }
            for (int64_t i = 0; i < tile.pixels; ++i) pixel[i] *= scale;
            for (int64_t m = 0; m < members; ++m) {
                const float* const s_gradient = waiting + 2 * m * member_size;
                const float* const slope = s_gradient + member_size;
                float* const grad_s0 =
                    all.grad_params + coupling.params_offset(tile.b - members + m, tile.column);
                for (int64_t r = 0; r < rows; ++r) {
                    for_vectors(length, [&](int64_t j, auto count) {
                        const int64_t k = r * length + j;
                        const Vector mean =
                            channels_last ? splat(pixel[r]) : load(pixel + j, count);
                        store_result(streamed, grad_s0 + r * stride + j,
                                     (load(s_gradient + k, count) - mean) * load(slope + k, count),
                                     count);
                    });
                }
            }
        });
    });
    convolution.write(all.grad_weight);
    return 0;
}

// Turns the gradient of s in grad_params into that of s0: minus its mean, through the clamp.
int finish_params(float* grad_params, const float* params, const float* channel_mean,
                  const PyramidflowCoupling& level, int64_t through_mean, int64_t threads) {
    const PyramidflowCoupling shape = on_own_grid(level, through_mean);
    Scratch<int64_t> maps(shape.height + shape.width);
    if (maps.failed()) return 1;
    const Coupling coupling(shape, params, channel_mean, maps.get());
    const bool pixel_means = through_mean == PYRAMIDFLOW_MEAN_PIXEL;
    const int64_t members = pixel_means && shape.mean_batch == 1 ? shape.batch : 1;
    const int64_t groups = members == 0 ? 0 : shape.batch / members;
    const int64_t capacity = coupling.pixels_per_tile(0), tiles = ceil_div(coupling.area, capacity);
    Scratch<float> scratch(threads * capacity);
    if (scratch.failed()) return 1;
    const ClampDerivative derivative(shape.clamp);
    const float scale = 1.0f / static_cast<float>(members * shape.channels);
    const int64_t stride = coupling.params_stride();
    with_runs(shape, [&](auto channels_last, auto channels) {
        in_parallel(threads, groups * tiles, [&](int64_t task) {
            const int64_t first = task / tiles * members;
            Tile tile = coupling.tile(first, task % tiles, capacity);
            const auto length = run_length(channels_last, channels, tile.pixels);
            const int64_t rows = run_count(channels_last, channels, tile.pixels);
            float* const pixel = scratch.get() + thread_index() * capacity;
            const auto target = [&] {
                return grad_params + coupling.params_offset(tile.b, tile.column);
            };
            if (pixel_means) {
                for (int64_t i = 0; i < tile.pixels; ++i) pixel[i] = 0.0f;
                for (tile.b = first; tile.b < first + members; ++tile.b) {
                    const float* const grad_s = target();
                    for (int64_t r = 0; r < rows; ++r) {
                        for_vectors(length, [&](int64_t j, auto count) {
                            const Vector value = load(grad_s + r * stride + j, count);
                            add_to_pixels(channels_last, value, count, r, j, pixel);
                        });
                    }
                }
                for (int64_t i = 0; i < tile.pixels; ++i) pixel[i] *= scale;
            }
            for (tile.b = first; tile.b < first + members; ++tile.b) {
                float* const grad = target();
                Source source = coupling.source(tile, nullptr);
                if (pixel_means) source.mean = {pixel, channels_last, nullptr};
                for (int64_t r = 0; r < rows; ++r) {
                    const float *s0 = source.s0[r], *mean = source.mean[r];
                    for_vectors(length, [&](int64_t j, auto count) {
                        float* const place = grad + r * stride + j;
                        if (channels_last) {
                            prefetch(place + AHEAD * stride);
                            prefetch(s0 + j + AHEAD * stride);
                        }
                        const Vector m =
                            source.mean_varies ? load(mean + j, count) : splat(mean[0]);
                        const Vector grad_s = load(place, count) - m;
                        store(place, grad_s * derivative(load(s0 + j, count)), count);
                    });
                }
            }
        });
    });
    return 0;
}

// Where the mean is over all pixels: the gradient of s waits in grad_params.
int backward_channel_mean(const Coupling& coupling, const Gradients& all, int64_t threads) {
    const PyramidflowCoupling& shape = coupling.shape;
    const int64_t C = shape.channels;
    const int64_t capacity = pixels_per_tile(coupling, all, 0);
    const int64_t tiles = ceil_div(coupling.area, capacity), tasks = shape.batch * tiles;
    Scratch<double> partial(tasks * C);
    Scratch<float> scratch(threads * ChannelSums::capacity(C)), means(shape.mean_batch * C);
    const Convolution convolution(all, C, capacity, threads);
    if (partial.failed() || scratch.failed() || means.failed() || convolution.failed()) return 1;
    const int64_t stride = coupling.params_stride();
    const bool streamed = streams_all(coupling, all);
    with_runs(shape, [&](auto channels_last, auto channels) {
        in_chunks(threads, convolution.chunks(tasks), tasks, [&](int64_t task, int64_t chunk) {
            const Tile tile = coupling.tile(task / tiles, task % tiles, capacity);
            const ChannelSums sums(scratch.get() + thread_index() * ChannelSums::capacity(C), C,
                                   channels_last);
            float* const target = all.grad_params + coupling.params_offset(tile.b, tile.column);
            const Source source = coupling.source(tile, nullptr);
            const auto wait = [&](int64_t r, int64_t j, auto count, Vector grad_s, Vector) {
                store_result(streamed, target + r * stride + j, grad_s, count);
                sums.add(channels_last, grad_s, count, r, j);
            };
            with_flag(convolution.exists, [&](auto convolved) {
                gradients<convolved.value, 1>(channels_last, channels, coupling, tile, chunk,
                                              source, all, convolution, target + coupling.half(),
                                              stride, streamed, wait);
            });
            sums.write(partial.get() + task * C, C);
        });
    });
    convolution.write(all.grad_weight);
    const int64_t members = shape.mean_batch == 1 ? shape.batch : 1;
    channel_means(partial.get(), shape.mean_batch, members * tiles, C,
                  members * coupling.params_area, means.get());
    return finish_params(all.grad_params, coupling.params, means.get(), shape,
                         PYRAMIDFLOW_MEAN_CHANNEL, threads);
}

// Where the parameters have another size: gradients are summed over the level's pixels that took
// each parameter. One task per row of the parameters, so that no two add to the same place.
int backward_resized(const Coupling& coupling, const Gradients& all, int64_t through_mean,
                     int64_t threads) {
    const PyramidflowCoupling& shape = coupling.shape;
    const int64_t capacity = coupling.pixels_per_tile(1), C = shape.channels;
    const int64_t size = C * capacity, sums_size = ChannelSums::capacity(C);
    const int64_t per_thread = 5 * size + sums_size,
                  params_rows = shape.batch * shape.params_height;
    Scratch<double> partial(params_rows * C);
    Scratch<float> scratch(threads * per_thread), means(shape.mean_batch * C);
    const Convolution convolution(all, C, capacity, threads);
    if (partial.failed() || scratch.failed() || means.failed() || convolution.failed()) return 1;
    const int64_t stride = coupling.params_stride();
    with_runs(shape, [&](auto channels_last, auto channels) {
        in_chunks(threads, convolution.chunks(params_rows), params_rows,
                  [&](int64_t task, int64_t chunk) {
            const int64_t params_row = task % shape.params_height;
            float* const s_gradient = scratch.get() + thread_index() * per_thread;
            float* const grad_t = s_gradient + size;
            float* const gathered = grad_t + size;
            const ChannelSums sums(gathered + 3 * size, C, channels_last);
            Tile tile;
            tile.b = task / shape.params_height;
            float* const target =
                all.grad_params + coupling.params_offset(tile.b, params_row * shape.params_width);
            const int64_t runs = channels_last ? 1 : 2 * C;
            const int64_t run = shape.params_width * (channels_last ? 2 * C : 1);
            for (int64_t k = 0; k < runs; ++k)
                memset(target + k * stride, 0, static_cast<size_t>(run) * sizeof(float));
            for (tile.row = 0; tile.row < shape.height; ++tile.row) {
                if (coupling.row_map[tile.row] != params_row) continue;
                for (tile.column = 0; tile.column < shape.width; tile.column += capacity) {
                    tile.pixels = smaller(capacity, shape.width - tile.column);
                    const auto length = run_length(channels_last, channels, tile.pixels);
                    const int64_t rows = run_count(channels_last, channels, tile.pixels);
                    const Source source = coupling.source(tile, gathered);
                    const auto wait = [&](int64_t r, int64_t j, auto count, Vector grad_s, Vector) {
                        store(s_gradient + r * length + j, grad_s, count);
                        sums.add(channels_last, grad_s, count, r, j);
                    };
                    with_flag(convolution.exists, [&](auto convolved) {
                        with_gap(channels_last, source, [&](auto gap) {
                            gradients<convolved.value, gap.value>(
                                channels_last, channels, coupling, tile, chunk, source, all,
                                convolution, grad_t, length, false, wait);
                        });
                    });
                    const int64_t* const map = coupling.column_map + tile.column;
                    for (int64_t r = 0; r < rows; ++r) {
                        for (int64_t j = 0; j < length; ++j) {
                            const int64_t k =
                                channels_last ? map[r] * stride + j : r * stride + map[j];
                            target[k] += s_gradient[r * length + j];
                            target[k + coupling.half()] += grad_t[r * length + j];
                        }
                    }
                }
            }
            sums.write(partial.get() + task * C, C);
        });
    });
    convolution.write(all.grad_weight);
    const int64_t members = shape.mean_batch == 1 ? shape.batch : 1;
    if (through_mean == PYRAMIDFLOW_MEAN_CHANNEL)
        channel_means(partial.get(), shape.mean_batch, members * shape.params_height, C,
                      members * coupling.params_area, means.get());
    return finish_params(all.grad_params, coupling.params, means.get(), shape, through_mean,
                         threads);
}

}  // namespace

PYRAMIDFLOW_FUNCTION(coupling_backward, const float* grad, const float* grad_log_det,
                     const float* x, const float* params, const float* mean,
                     const float* transposed_weight, float* grad_x, float* grad_params,
                     float* grad_weight, PyramidflowCoupling shape, int64_t through_mean,
                     int64_t threads) {
    Scratch<int64_t> maps(shape.height + shape.width);
    if (maps.failed()) return 1;
    const Coupling coupling(shape, params, mean, maps.get());
    const Gradients all = {grad,   grad_log_det, x,          transposed_weight,
                           grad_x, grad_params,  grad_weight};
    if (coupling.resized) return backward_resized(coupling, all, through_mean, threads);
    if (through_mean == PYRAMIDFLOW_MEAN_PIXEL) return backward_pixel_mean(coupling, all, threads);
    if (through_mean == PYRAMIDFLOW_MEAN_CHANNEL)
        return backward_channel_mean(coupling, all, threads);
    return backward_given_mean(coupling, all, threads);
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
