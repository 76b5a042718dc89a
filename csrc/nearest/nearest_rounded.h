// Rows of coordinates in whole numbers, and what is lost by their rounding.
//
// x = scale q + rest: the products of two rows' q are exact in 32 bits, in half the instructions
// that floats take. Two neighbouring coordinates are one 32-bit lane.
#pragma once

#include "cpu/vector.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

static const float SMALLEST_SCALE = 1e-18f;  // the product of two is no denormal number

// How rows of `coordinates` floats lie in whole numbers.
struct RoundedRows {
    int64_t coordinates;
    int64_t pairs;  // that are multiplied
    int64_t pitch;  // pairs in memory, whole vectors
    float largest;  // whole number: as many squares of it as there are coordinates fit in 32 bits

    explicit RoundedRows(int64_t count)
        : coordinates(count), pairs(ceil_div(count, 2)), pitch(whole_vectors(pairs)) {
        int64_t bound = 32767;
        while (bound * bound > INT32_MAX / (2 * pairs)) bound = bound * 63 / 64;
        largest = static_cast<float>(bound);
    }
};

static inline float largest_of(const float* x, int64_t count) {
    Vector largest = {};
    for_vectors(count, [&](int64_t j, auto n) {
        const Vector size = magnitude(load(x + j, n));
        largest = size > largest ? size : largest;
    });
    float most = 0.0f;
    for (int64_t k = 0; k < LANES; ++k) most = largest[k] > most ? largest[k] : most;
    return most;
}

static PYRAMIDFLOW_INLINE Vector load_until(const float* p, int64_t from, int64_t end) {
    if (from + LANES <= end) return load(p + from);
    return from < end ? load(p + from, end - from) : Vector{};
}

// Rounds a row to whole numbers, two to a lane; returns the square of the rest's length.
static inline float round_row(const float* x, const RoundedRows& rows, float scale,
                              int32_t* rounded) {
    const Vector inverse = splat(scale > SMALLEST_SCALE ? 1.0f / scale : 0.0f);
    const auto whole = [&](Vector value) PYRAMIDFLOW_INLINE_LAMBDA {
        const Vector scaled = value * inverse;
        const Vector half = (Vector)(((Integers)scaled & INT32_MIN) | (Integers)splat(0.5f));
        return __builtin_convertvector(scaled + half, Integers);
    };
    Vector sum = {};
    for (int64_t j = 0; j < rows.pitch; j += LANES) {
        const Vector low = load_until(x, 2 * j, rows.coordinates);
        const Vector high = load_until(x, 2 * j + LANES, rows.coordinates);
        const Vector even = every_second<0>(low, high), odd = every_second<1>(low, high);
        const Integers first = whole(even), second = whole(odd);
        const Vector even_rest = even - splat(scale) * __builtin_convertvector(first, Vector);
        const Vector odd_rest = odd - splat(scale) * __builtin_convertvector(second, Vector);
        sum += even_rest * even_rest + odd_rest * odd_rest;
        const Integers pair = (first & 0xffff) | (second << 16);
        memcpy(rounded + j, &pair, sizeof pair);
    }
    return sum_lanes(sum);
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
