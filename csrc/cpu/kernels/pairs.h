// Fine pixels written in pairs, the two that belong to a coarse pixel. In a contiguous row they
// alternate, in a channels-last one they are a pixel apart.
#pragma once

#include "columns.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

// From where a row in scratch memory may begin to where it does: the run's own pixels, behind the one
// before them, then begin where vectors do.
static inline int64_t pairs_margin(const Planes& planes) {
    return whole_vectors(planes.channels) - planes.channels;
}
// Scratch memory for a row of the coarse pixels first - 1 ... last of a run.
static inline int64_t pairs_size(const Planes& planes) {
    return whole_vectors(pairs_margin(planes) + (pixels_per_run(planes) + 2) * planes.channels);
}

// Calls `body(offset in the coarse row, offset in the fine row, count)` for every vector of `pairs`.
template <typename Channels, typename Body>
static PYRAMIDFLOW_INLINE void for_pairs(int64_t pairs, Channels channels, const Body& body) {
    if (channels == 1) {
        for_vectors(pairs, [&](int64_t j, auto count) { body(j, 2 * j, count); });
        return;
    }
    for (int64_t m = 0; m < pairs; ++m) {
        for_vectors(channels, [&](int64_t c, auto count) {
            body(m * channels + c, 2 * m * channels + c, count);
        });
    }
}

// Calls `write(offset in the fine row, values, count)` for what is in a vector of even pixels and the
// odd ones behind them.
template <typename Channels, typename Count, typename Write>
static PYRAMIDFLOW_INLINE void write_pair(int64_t to, Vector even, Vector odd, Channels channels,
                                          Count count, const Write& write) {
    if (channels != 1) {
        write(to, even, count);
        write(to + channels, odd, count);
        return;
    }
    const Vector low = alternate<false>(even, odd), high = alternate<true>(even, odd);
    if (2 * count < LANES) return write(to, low, 2 * count);
    write(to, low, Whole());
    if (count == LANES) return write(to + LANES, high, Whole());
    if (2 * count > LANES) write(to + LANES, high, 2 * count - LANES);
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
