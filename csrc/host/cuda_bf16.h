// bfloat16 on the host: storage and the conversions that the kernels use.
#pragma once

#include "bits.h"

struct __nv_bfloat16 {
    uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 value) {
    return float_of(static_cast<uint32_t>(value.bits) << 16);
}

// Round to nearest, ties to even.
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
    return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}
