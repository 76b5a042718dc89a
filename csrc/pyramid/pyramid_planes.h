// A pyramid's two neighbouring levels as planes of rows.
//
// Contiguous tensors are B*C planes with one value per pixel, channels-last ones B planes with C.
#pragma once

#include "cpu/vector.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

struct Planes {
    int64_t count, channels, height, width, half_height, half_width;

    explicit Planes(const PyramidflowImage& fine)
        : count(fine.channels_last ? fine.batch : fine.batch * fine.channels),
          channels(fine.channels_last ? fine.channels : 1),
          height(fine.height),
          width(fine.width),
          half_height((fine.height + 1) / 2),
          half_width((fine.width + 1) / 2) {}

    int64_t fine_size() const { return height * width * channels; }
    int64_t coarse_size() const { return half_height * half_width * channels; }

    // Whether results are written past the caches, those of the coarse level too if the fine one,
    // read at the same time, drives them out.
    bool streams_fine(const float* out) const {
        return streams(out, count * fine_size(), channels == 1 ? width : channels);
    }
    bool streams_coarse(const float* out) const {
        return streams(out, count * fine_size(), channels == 1 ? half_width : channels);
    }
};

template <typename Body>
static inline void with_pixel(int64_t channels, const Body& body) {
    if (channels == 1) return body(Constant<1>());
    body(channels);
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
