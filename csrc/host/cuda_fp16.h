// IEEE half precision on the host: storage and the conversions that the kernels use.
#pragma once

#include "bits.h"

struct __half {
    uint16_t bits;
};

inline float __half2float(__half value) {
    const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
    const uint32_t exponent = value.bits >> 10 & 0x1fu;
    const uint32_t fraction = value.bits & 0x3ffu;
    uint32_t bits = sign;
    if (exponent == 0x1f) {
        bits |= 0x7f800000u | fraction << 13;
    } else if (exponent != 0) {
        bits |= (exponent + 112) << 23 | fraction << 13;
    } else {
        bits |= bits_of(static_cast<float>(fraction) * 0x1p-24f);
    }
    return float_of(bits);
}

// Round to nearest, ties to even.
inline __half __float2half_rn(float value) {
    const uint32_t bits = bits_of(value);
    const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return {0x7fff};
    if (magnitude >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};
    // Below 2^-14 the spacing is fixed; adding a number of that spacing's scale rounds to it.
    if (magnitude < 0x38800000u) {
        const uint32_t rounded = bits_of(float_of(magnitude) + 0.5f);
        return {static_cast<uint16_t>(sign | (rounded - 0x3f000000u))};
    }
    const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return {static_cast<uint16_t>(sign | ((rounded - (112u << 23)) >> 13))};
}
