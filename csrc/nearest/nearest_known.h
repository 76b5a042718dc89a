// What searches need of their entries, made once: the axes, and the entries in whole numbers.
#pragma once

#include "nearest_axes.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

#if defined(__AVX512F__)
static const int64_t VECTORS = 4;  // of entries in a register tile
static const int64_t ROWS = 6;     // of positions
#else
static const int64_t VECTORS = 2;
static const int64_t ROWS = 4;
#endif

static const int64_t BLOCK = VECTORS * LANES;  // entries

// Of one block.
struct BlockBounds {
    float scale;
    float length;  // of an entry at most
    float rest;    // of an entry's rest at most
    bool finite;   // whether all of them are
};

// What is known of entries before any position is: parts of one buffer, of whole cache lines each.
struct Known {
    int64_t* axis_count;
    float* centre;
    float* columns;
    float* halves;
    BlockBounds* bounds;
    int32_t* rounded;
    int64_t floats;  // of the buffer

    Known(float* buffer, int64_t entry_count, int64_t features) : floats(0) {
        const int64_t blocks = ceil_div(entry_count, BLOCK);
        const auto part = [&](int64_t count) {
            float* const first = buffer == nullptr ? nullptr : buffer + floats;
            floats += ceil_div(count, 16) * 16;
            return first;
        };
        axis_count = reinterpret_cast<int64_t*>(part(2));
        centre = part(features);
        columns = part(features > MOST_AXES ? MOST_AXES * features : 0);
        halves = part(blocks * BLOCK);
        bounds = reinterpret_cast<BlockBounds*>(part(blocks * 4));
        rounded = reinterpret_cast<int32_t*>(part(blocks * BLOCK * ceil_div(features, 2)));
    }

    Axes axes(int64_t features) const { return {features, *axis_count, centre, columns}; }
};

static_assert(sizeof(BlockBounds) <= 4 * sizeof(float), "as much is kept of a block");

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
