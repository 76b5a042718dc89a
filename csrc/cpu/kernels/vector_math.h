// exp and atan of one float, free of branches, so that a loop over them becomes vector code.
// Relative error at most 2e-7 over all floats; infinities, NaN and denormals as in <math.h>.
#pragma once

#include "common.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

static PYRAMIDFLOW_INLINE float as_float(int32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static PYRAMIDFLOW_INLINE int32_t as_bits(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2; exp(r) by its minimax polynomial.
static PYRAMIDFLOW_INLINE float exp_lane(float x) {
    const float shifter = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    float bounded = x > 89.0f ? 89.0f : x;
    bounded = bounded < -104.0f ? -104.0f : bounded;
    const float shifted = bounded * 1.44269504f + shifter;
    const float n = shifted - shifter;
    // ln 2 in two parts: the first has few bits, so that its product with n is exact.
    const float r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
    float q = 1.9857801e-4f;
    q = q * r + 1.39336043e-3f;
    q = q * r + 8.33336078e-3f;
    q = q * r + 4.16664667e-2f;
    q = q * r + 1.66666672e-1f;
    q = q * r + 0.5f;
    const float p = (q * r) * r + r + 1.0f;
    // 2^n in two factors, so that denormal and infinite results come out by themselves.
    const int32_t exponent = as_bits(shifted) - as_bits(shifter);
    const int32_t half = exponent >> 1;
    const float first = as_float((half + 127) << 23);
    const float second = as_float((exponent - half + 127) << 23);
    return p * first * second;
}

// atan(x) = x P(x^2) for |x| <= 1, else sign(x) pi / 2 - (1 / x) P(1 / x^2).
static PYRAMIDFLOW_INLINE float atan_lane(float x) {
    const float magnitude = as_float(as_bits(x) & 0x7fffffff);
    const bool large = magnitude > 1.0f;
    const float u = (large ? -1.0f : magnitude) / (large ? magnitude : 1.0f);
    const float z = u * u;
    float p = 2.84988665e-3f;
    p = p * z - 1.60686169e-2f;
    p = p * z + 4.26915027e-2f;
    p = p * z - 7.50429332e-2f;
    p = p * z + 1.06409334e-1f;
    p = p * z - 1.42036438e-1f;
    p = p * z + 1.99926198e-1f;
    p = p * z - 3.33330721e-1f;
    const float angle = (large ? 1.57079633f : 0.0f) + (p * z * u + u);
    return as_float(as_bits(angle) | (as_bits(x) & static_cast<int32_t>(0x80000000)));
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
