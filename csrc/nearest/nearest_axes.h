// Few coordinates in place of many features: those along the axes in which entries differ most, and
// the length of what is beside them.
//
// Distances between such rows are at most those between the features: ‖f - e‖ is that along the
// axes and that beside them, and the latter is at least the difference of two lengths.
#pragma once

#include <math.h>

#include "cpu/vector.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

static const int64_t MOST_AXES = 32;       // that are looked for, and a row of coordinates
static const int64_t SAMPLES = 256;        // entries that centre and axes are taken from
static const int64_t TURNS = 2;            // of the axes towards where the entries differ
static const int64_t AT_ONCE = LANES / 4;  // rows: eight sums in registers
static const float MOST_BESIDE = 0.1f;     // of the squares

// What sums of so many products are off by at most, over the squares of the rows' lengths.
static inline float slack_of(int64_t features) {
    return static_cast<float>(2 * features + 256) * 0x1p-24f;
}

struct Axes {
    int64_t features;
    int64_t count;         // of axes; none: the features themselves are the coordinates
    const float* centre;   // [features]
    const float* columns;  // [features][MOST_AXES]: axes side by side, orthonormal

    int64_t coordinates() const { return count == 0 ? features : count + 1; }
    int64_t pitch() const { return whole_vectors(count == 0 ? features : MOST_AXES); }
};

static inline float product(const float* a, const float* b, int64_t count) {
    Vector sum = {};
    for_vectors(count, [&](int64_t j, auto n) { sum += load(a + j, n) * load(b + j, n); });
    return sum_lanes(sum);
}

// Products of AT_ONCE centred rows with all axes.
static inline void along_axes(const float* const* rows, const Axes& axes, float* out,
                              int64_t pitch) {
    Vector sums[AT_ONCE][MOST_AXES / LANES] = {};
    for (int64_t j = 0; j < axes.features; ++j) {
        const float* const column = axes.columns + j * MOST_AXES;
        const float centre = axes.centre[j];
#pragma GCC unroll 4
        for (int64_t r = 0; r < AT_ONCE; ++r) {
            const Vector value = splat(rows[r][j] - centre);
#pragma GCC unroll 8
            for (int64_t v = 0; v < MOST_AXES / LANES; ++v)
                sums[r][v] += value * load(column + v * LANES);
        }
    }
#pragma GCC unroll 4
    for (int64_t r = 0; r < AT_ONCE; ++r)
#pragma GCC unroll 8
        for (int64_t v = 0; v < MOST_AXES / LANES; ++v)
            store(out + r * pitch + v * LANES, sums[r][v]);
}

// Centred coordinates of `count` neighbouring rows, and the squares of the rows' lengths. `out` has
// room for a multiple of AT_ONCE rows.
static inline void take_coordinates(const float* rows, int64_t count, const Axes& axes, float* out,
                                    float* squares) {
    const int64_t features = axes.features, pitch = axes.pitch();
    for (int64_t r = 0; r < count; ++r) {
        const float* const row = rows + r * features;
        Vector sum = {};
        for_vectors(features, [&](int64_t j, auto n) {
            const Vector value = load(row + j, n) - load(axes.centre + j, n);
            if (axes.count == 0) store(out + r * pitch + j, value, n);
            sum += value * value;
        });
        squares[r] = sum_lanes(sum);
    }
    if (axes.count == 0) return;
    const float slack = slack_of(features);
    for (int64_t r = 0; r < count; r += AT_ONCE) {
        const float* taken[AT_ONCE];
        for (int64_t k = 0; k < AT_ONCE; ++k)
            taken[k] = rows + smaller(r + k, count - 1) * features;
        along_axes(taken, axes, out + r * pitch, pitch);
        for (int64_t k = r; k < smaller(r + AT_ONCE, count); ++k) {
            float* const row = out + k * pitch;
            // Rather too long: two lengths beside the axes bound the product of what is there.
            const float beside = squares[k] * (1.0f + slack) - product(row, row, MOST_AXES);
            row[axes.count] = sqrtf(beside > 0.0f ? beside : 0.0f) * 1.000001f;
        }
    }
}

// Makes rows orthonormal, each to those before it; what is left of none becomes zero.
static inline void orthonormalise(float* rows, int64_t count, int64_t features) {
    for (int64_t a = 0; a < count; ++a) {
        float* const row = rows + a * features;
        const float before = product(row, row, features);
        for (int64_t b = 0; b < 2 * a; ++b) {  // twice: the first time leaves roundings
            const float* const other = rows + b % a * features;
            const Vector along = splat(product(row, other, features));
            for_vectors(features, [&](int64_t j, auto n) {
                store(row + j, load(row + j, n) - along * load(other + j, n), n);
            });
        }
        const float square = product(row, row, features);
        const bool is_left = square > 1e-6f * before && square > 1e-30f;
        const Vector scale = splat(is_left ? 1.0f / sqrtf(square) : 0.0f);
        for_vectors(features,
                    [&](int64_t j, auto n) { store(row + j, scale * load(row + j, n), n); });
    }
}

static inline void transpose_axes(const float* rows, int64_t features, float* columns) {
    for (int64_t a = 0; a < MOST_AXES; ++a)
        for (int64_t j = 0; j < features; ++j) columns[j * MOST_AXES + a] = rows[a * features + j];
}

// Axes of the most spread, by a few steps of the power method on samples. `samples` [SAMPLES] are
// rows, `rows` [MOST_AXES][features] is scratch. Returns how many tell entries apart, or 0.
static inline int64_t find_axes(const float* const* samples, const Axes& axes, float* columns,
                                float* rows) {
    const int64_t features = axes.features;
    float found[AT_ONCE * MOST_AXES], squares[MOST_AXES], total = 0.0f;
    for (int64_t a = 0; a < MOST_AXES; ++a)
        for (int64_t j = 0; j < features; ++j)
            rows[a * features + j] = samples[SAMPLES / MOST_AXES * a][j] - axes.centre[j];
    for (int64_t turn = 0; turn <= TURNS; ++turn) {
        orthonormalise(rows, MOST_AXES, features);
        transpose_axes(rows, features, columns);
        memset(squares, 0, sizeof squares);
        memset(rows, 0, static_cast<size_t>(MOST_AXES * features) * sizeof(float));
        total = 0.0f;
        for (int64_t s = 0; s < SAMPLES; s += AT_ONCE) {
            along_axes(samples + s, axes, found, MOST_AXES);
            for (int64_t k = 0; k < AT_ONCE; ++k) {
                const float* const sample = samples[s + k];
                for (int64_t a = 0; a < MOST_AXES; ++a) {
                    const float along = found[k * MOST_AXES + a];
                    squares[a] += along * along;
                    if (turn == TURNS) continue;
                    float* const row = rows + a * features;
                    for_vectors(features, [&](int64_t j, auto n) {
                        const Vector value = load(sample + j, n) - load(axes.centre + j, n);
                        store(row + j, load(row + j, n) + splat(along) * value, n);
                    });
                }
                if (turn < TURNS) continue;
                for_vectors(features, [&](int64_t j, auto n) {
                    const Vector value = load(sample + j, n) - load(axes.centre + j, n);
                    total += sum_lanes(value * value);
                });
            }
        }
    }
    float beside = total;
    for (int64_t a = 0; a < MOST_AXES; ++a) {
        if (a % 4 == 3 && a > 3 && beside <= MOST_BESIDE * total) {
            for (int64_t j = 0; j < features; ++j)
                for (int64_t other = a; other < MOST_AXES; ++other)
                    columns[j * MOST_AXES + other] = 0.0f;
            return a;
        }
        beside -= squares[a];
    }
    return 0;
}

// The centre of some entries, and the axes in which they differ, where these are looked for.
static inline Axes axes_of(const float* entries, int64_t count, int64_t features, bool has_axes,
                           float* centre, float* columns, float* rows) {
    const float* samples[SAMPLES];
    memset(centre, 0, static_cast<size_t>(features) * sizeof(float));
    for (int64_t s = 0; s < SAMPLES; ++s) {
        samples[s] = entries + count * s / SAMPLES * features;
        for_vectors(features, [&](int64_t j, auto n) {
            const Vector share = load(samples[s] + j, n) * splat(1.0f / SAMPLES);
            store(centre + j, load(centre + j, n) + share, n);
        });
    }
    Axes axes = {features, 0, centre, columns};
    if (has_axes) axes.count = find_axes(samples, axes, columns, rows);
    return axes;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
