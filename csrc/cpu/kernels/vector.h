// A vector of floats as wide as the instruction set has them.
#pragma once

#include "common.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

#if defined(__AVX512F__)
static const int64_t LANES = 16;
#elif defined(__AVX__)
static const int64_t LANES = 8;
#else
static const int64_t LANES = 4;
#endif

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));

static PYRAMIDFLOW_INLINE Vector load(const float* p) {
    Vector v;
    memcpy(&v, p, sizeof v);
    return v;
}
static PYRAMIDFLOW_INLINE void store(float* p, Vector v) { memcpy(p, &v, sizeof v); }
// Subtracting zero changes no float, so nothing but the broadcast is left; adding zero would turn -0
// into 0 and stays an addition.
static PYRAMIDFLOW_INLINE Vector splat(float value) { return value - Vector{}; }
static inline float sum_lanes(Vector v) {
    float sum = 0.0f;
    for (int64_t k = 0; k < LANES; ++k) sum += v[k];
    return sum;
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
