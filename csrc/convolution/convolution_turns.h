// Sines and cosines of fractions of a turn, for the compiler and for tables.
#pragma once

#include "cpu/common.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

// sin(2 pi k / n) and cos(2 pi k / n), by their series around the nearest multiple of pi / 4.
constexpr double sine_series(double x) {
    double term = x, sum = x;
    for (int i = 1; i < 12; ++i) {
        term *= -x * x / ((2 * i) * (2 * i + 1));
        sum += term;
    }
    return sum;
}
constexpr double cosine_series(double x) {
    double term = 1.0, sum = 1.0;
    for (int i = 1; i < 12; ++i) {
        term *= -x * x / ((2 * i - 1) * (2 * i));
        sum += term;
    }
    return sum;
}
constexpr double cosine_turn(int64_t k, int64_t n) {
    k = (k % n + n) % n;
    if (2 * k > n) k = n - k;                              // cos is even
    if (4 * k > n) return -cosine_turn(n - 2 * k, 2 * n);  // cos(pi - x) = -cos x
    const double tau = 6.283185307179586476925286766559;
    if (8 * k > n)  // cos x = sin(pi / 2 - x)
        return sine_series(tau * static_cast<double>(n - 4 * k) / static_cast<double>(4 * n));
    return cosine_series(tau * static_cast<double>(k) / static_cast<double>(n));
}
constexpr double sine_turn(int64_t k, int64_t n) { return cosine_turn(4 * k - n, 4 * n); }

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
