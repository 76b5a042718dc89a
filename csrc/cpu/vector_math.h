// exp and atan of a vector, free of branches. The polynomials are summed in pairs: these wait for
// fewer results of their own.
// Relative error at most 3e-7 over all floats; infinities, NaN and denormals as in <math.h>.
#pragma once

#include "vector.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2; exp(r) by its minimax polynomial.
static PYRAMIDFLOW_INLINE Vector exp_of(Vector x) {
    const float shifter = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
#if defined(__AVX512F__)
    // The bound comes first: of two operands one of which is NaN, the second is taken.
    Vector bounded = (Vector)_mm512_min_ps(_mm512_set1_ps(89.0f), (__m512)x);
    bounded = (Vector)_mm512_max_ps(_mm512_set1_ps(-104.0f), (__m512)bounded);
#elif defined(__AVX__)
    Vector bounded = (Vector)_mm256_min_ps(_mm256_set1_ps(89.0f), (__m256)x);
    bounded = (Vector)_mm256_max_ps(_mm256_set1_ps(-104.0f), (__m256)bounded);
#else
    Vector bounded = x > 89.0f ? splat(89.0f) : x;
    bounded = bounded < -104.0f ? splat(-104.0f) : bounded;
#endif
    const Vector shifted = bounded * 1.44269504f + shifter;
    const Vector n = shifted - shifter;
    // ln 2 in two parts: the first has few bits, so that its product with n is exact.
    const Vector r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
    const Vector r2 = r * r;
    const Vector high = (r * 8.36885e-3f + 4.16684e-2f) + r2 * 1.38143e-3f;
    const Vector q = (r * 1.666652e-1f + 4.9999993e-1f) + r2 * high;
    const Vector p = q * r2 + r + 1.0f;
#if defined(__AVX512F__)
    return (Vector)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    // 2^n in two factors, so that denormal and infinite results come out by themselves.
    const Integers exponent = (Integers)shifted - (Integers)splat(shifter);
    const Integers half = exponent >> 1;
    return p * (Vector)((half + 127) << 23) * (Vector)((exponent - half + 127) << 23);
#endif
}

// atan(x) = x P(x^2) for |x| <= 1, else sign(x) pi / 2 - (1 / x) P(1 / x^2).
static PYRAMIDFLOW_INLINE Vector atan_of(Vector x) {
    const Integers sign = (Integers)x & static_cast<int32_t>(0x80000000);
    const Vector magnitude = (Vector)((Integers)x ^ sign);
    const Integers large = magnitude > 1.0f;
    const Vector u = large ? -1.0f / magnitude : magnitude;
    const Vector z = u * u, z2 = z * z;
    const Vector low =
        (z * 1.99742168e-1f - 3.33323926e-1f) + z2 * (z * 9.96852964e-2f - 1.40413478e-1f);
    const Vector high = (z * 2.47346591e-2f - 6.02039546e-2f) + z2 * -4.82270354e-3f;
    const Vector p = low + high * (z2 * z2);
    const Vector angle = (large ? splat(1.57079633f) : Vector{}) + (p * (z * u) + u);
    return (Vector)((Integers)angle | sign);
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
