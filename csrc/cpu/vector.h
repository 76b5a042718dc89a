// A vector of floats as wide as the instruction set has them, and what the compiler's own vector
// types lack: the rest of a run, stores that pass by the caches, every second float, transposition.
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
typedef int32_t Integers __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef uint8_t Bytes __attribute__((vector_size(LANES)));

static PYRAMIDFLOW_INLINE Vector load(const float* p) {
    Vector v;
    memcpy(&v, p, sizeof v);
    return v;
}
static PYRAMIDFLOW_INLINE void store(float* p, Vector v) { memcpy(p, &v, sizeof v); }
// Subtracting zero changes no float, so nothing but the broadcast is left; adding zero would turn
// -0 into 0 and stays an addition.
static PYRAMIDFLOW_INLINE Vector splat(float value) { return value - Vector{}; }
static PYRAMIDFLOW_INLINE Vector magnitude(Vector v) { return (Vector)((Integers)v & 0x7fffffff); }
static PYRAMIDFLOW_INLINE float sum_lanes(Vector v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#elif defined(__AVX__)
    const __m128 low = _mm256_castps256_ps128((__m256)v);
    const __m128 quarter = _mm_add_ps(low, _mm256_extractf128_ps((__m256)v, 1));
    const __m128 half = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
#else
    float sum = 0.0f;
    for (int64_t k = 0; k < LANES; ++k) sum += v[k];
    return sum;
#endif
}

// Calls `body(j, count)` for every vector of a run; `count` is `Whole` but for what remains.
typedef Constant<LANES> Whole;

template <typename Length, typename Body>
static PYRAMIDFLOW_INLINE void for_vectors(Length length, const Body& body) {
    int64_t j = 0;
    for (; j + LANES <= length; j += LANES) body(j, Whole());
    if (j < length) body(j, length - j);
}

// The next length from `count` on that is one of whole vectors.
static inline int64_t whole_vectors(int64_t count) { return ceil_div(count, LANES) * LANES; }

// Asks for what is read soon: into the second cache, or, `near`, into the first. The processor does
// so by itself, but not for a run's first lines, and not while it is busy with arithmetic.
static PYRAMIDFLOW_INLINE void prefetch(const float* p) { __builtin_prefetch(p, 0, 2); }
static PYRAMIDFLOW_INLINE void prefetch_near(const float* p) { __builtin_prefetch(p, 0, 3); }

// The first `count` lanes, zero in the others.
static PYRAMIDFLOW_INLINE Vector load(const float* p, Whole) { return load(p); }
static PYRAMIDFLOW_INLINE Vector load(const float* p, int64_t count) {
#if defined(__AVX512F__)
    return (Vector)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1 << count) - 1), p);
#else
    Vector v = {};
    memcpy(&v, p, static_cast<size_t>(count) * sizeof(float));
    return v;
#endif
}
static PYRAMIDFLOW_INLINE Vector first_lanes(Vector v, Whole) { return v; }
static PYRAMIDFLOW_INLINE Vector first_lanes(Vector v, int64_t count) {
    float lanes[LANES];
    store(lanes, v);
    return load(lanes, count);
}
static PYRAMIDFLOW_INLINE void store(float* p, Vector v, Whole) { store(p, v); }
static PYRAMIDFLOW_INLINE void store(float* p, Vector v, int64_t count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1 << count) - 1), (__m512)v);
#else
    memcpy(p, &v, static_cast<size_t>(count) * sizeof(float));
#endif
}

// Channels of a pixel: a whole vector but for the last ones.
static PYRAMIDFLOW_INLINE Vector load_channels(const float* p, int64_t count) {
    return count == LANES ? load(p) : load(p, count);
}
static PYRAMIDFLOW_INLINE void store_channels(float* p, Vector value, int64_t count) {
    if (count == LANES) return store(p, value);
    store(p, value, count);
}

// Bytes as integers, and integers as bytes. The compiler's own conversion takes them one by one.
static PYRAMIDFLOW_INLINE Integers load_bytes(const uint8_t* p, int64_t count) {
#if defined(__AVX512F__)
    const __mmask16 lanes = static_cast<__mmask16>((1 << count) - 1);
    return (Integers)_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, p));
#else
    uint64_t bytes = 0;
    memcpy(&bytes, p, static_cast<size_t>(count));
#if defined(__AVX2__)
    return (Integers)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(bytes)));
#else
    Integers values;
    for (int64_t k = 0; k < LANES; ++k) values[k] = static_cast<int32_t>(bytes >> (8 * k) & 0xff);
    return values;
#endif
#endif
}
static PYRAMIDFLOW_INLINE void store_bytes(uint8_t* p, Integers values, int64_t count) {
#if defined(__AVX512F__)
    const __mmask16 lanes = static_cast<__mmask16>((1 << count) - 1);
    _mm512_mask_cvtepi32_storeu_epi8(p, lanes, (__m512i)values);
#elif defined(__AVX2__)
    const __m128i low = _mm256_castsi256_si128((__m256i)values);
    const __m128i high = _mm256_extracti128_si256((__m256i)values, 1);
    const __m128i words = _mm_packs_epi32(low, high);
    const __m128i bytes = _mm_packus_epi16(words, words);
    memcpy(p, &bytes, static_cast<size_t>(count));
#else
    const Bytes bytes = __builtin_convertvector(values, Bytes);
    memcpy(p, &bytes, static_cast<size_t>(count));
#endif
}

// Results of this size have left the caches before anyone reads them. Written past the caches,
// their lines need not be read first: a third of a copy's traffic.
static const int64_t STREAMED_BYTES = int64_t{32} << 20;

// Whether `count` floats, in runs that start `stride` apart, are written past the caches.
static inline bool streams(const float* out, int64_t count, int64_t stride) {
    return count * static_cast<int64_t>(sizeof(float)) >= STREAMED_BYTES && stride % LANES == 0 &&
           reinterpret_cast<uintptr_t>(out) % sizeof(Vector) == 0;
}
// The instruction wants a vector's alignment, which not every row or tile starts with.
template <typename Count>
static PYRAMIDFLOW_INLINE void store_result(bool streamed, float* p, Vector v, Count count) {
#if defined(__SSE2__)
    if (streamed && count == LANES && reinterpret_cast<uintptr_t>(p) % sizeof(Vector) == 0) {
#if defined(__AVX512F__)
        _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX__)
        _mm256_stream_ps(p, (__m256)v);
#else
        _mm_stream_ps(p, (__m128)v);
#endif
        return;
    }
#endif
    store(p, v, count);
}

// The floats 0, 2, 4 ... (or, if ODD, 1, 3, 5 ...) of two neighbouring vectors.
template <int ODD>
static PYRAMIDFLOW_INLINE Vector every_second(Vector a, Vector b) {
#if defined(__AVX512F__)
    const __m512i even =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i places = _mm512_add_epi32(even, _mm512_set1_epi32(ODD));
    return (Vector)_mm512_permutex2var_ps((__m512)a, places, (__m512)b);
#elif defined(__AVX2__)
    const __m256 halves = _mm256_shuffle_ps((__m256)a, (__m256)b, ODD ? 0xdd : 0x88);
    return (Vector)_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(halves), 0xd8));
#elif defined(__SSE2__) && !defined(__AVX__)
    return (Vector)_mm_shuffle_ps((__m128)a, (__m128)b, ODD ? 0xdd : 0x88);
#else
    Vector taken;
    for (int64_t k = 0; k < LANES / 2; ++k) {
        taken[k] = a[2 * k + ODD];
        taken[k + LANES / 2] = b[2 * k + ODD];
    }
    return taken;
#endif
}

// Two neighbouring vectors, read from the last float of the first on, and from its second on.
static PYRAMIDFLOW_INLINE Vector from_last(Vector a, Vector b) {
#if defined(__AVX512F__)
    return (Vector)_mm512_alignr_epi32((__m512i)b, (__m512i)a, LANES - 1);
#elif defined(__AVX2__)
    const __m256i middle = _mm256_permute2x128_si256((__m256i)a, (__m256i)b, 0x21);
    return (Vector)_mm256_alignr_epi8((__m256i)b, middle, 12);
#elif defined(__SSE2__) && !defined(__AVX__)
    const __m128 middle = _mm_shuffle_ps((__m128)a, (__m128)b, _MM_SHUFFLE(0, 0, 3, 3));
    return (Vector)_mm_shuffle_ps(middle, (__m128)b, _MM_SHUFFLE(2, 1, 2, 0));
#else
    Vector shifted = {a[LANES - 1]};
    for (int64_t k = 1; k < LANES; ++k) shifted[k] = b[k - 1];
    return shifted;
#endif
}
static PYRAMIDFLOW_INLINE Vector from_second(Vector a, Vector b) {
#if defined(__AVX512F__)
    return (Vector)_mm512_alignr_epi32((__m512i)b, (__m512i)a, 1);
#elif defined(__AVX2__)
    const __m256i middle = _mm256_permute2x128_si256((__m256i)a, (__m256i)b, 0x21);
    return (Vector)_mm256_alignr_epi8(middle, (__m256i)a, 4);
#elif defined(__SSE2__) && !defined(__AVX__)
    const __m128 middle = _mm_shuffle_ps((__m128)a, (__m128)b, _MM_SHUFFLE(0, 0, 3, 3));
    return (Vector)_mm_shuffle_ps((__m128)a, middle, _MM_SHUFFLE(2, 0, 2, 1));
#else
    Vector shifted;
    for (int64_t k = 1; k < LANES; ++k) shifted[k - 1] = a[k];
    shifted[LANES - 1] = b[0];
    return shifted;
#endif
}

// The vector OFFSET floats beside an aligned one. Where a vector fills a line of the cache a load
// between two takes twice as long; those of both sides serve all that lie between.
template <int64_t OFFSET>
static PYRAMIDFLOW_INLINE Vector load_beside(const float* p) {
#if defined(__AVX512F__)
    if constexpr (OFFSET != 0) {
        const __m512i before = (__m512i)load(OFFSET < 0 ? p - LANES : p);
        const __m512i after = (__m512i)load(OFFSET < 0 ? p : p + LANES);
        return (Vector)_mm512_alignr_epi32(after, before, (OFFSET + LANES) % LANES);
    }
#endif
    return load(p + OFFSET);
}

// Whether any lane is not a number.
static PYRAMIDFLOW_INLINE bool has_nan(Vector v) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q) != 0;
#elif defined(__AVX__)
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)v, (__m256)v, _CMP_UNORD_Q)) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_ps(_mm_cmpunord_ps((__m128)v, (__m128)v)) != 0;
#else
    for (int64_t k = 0; k < LANES; ++k)
        if (v[k] != v[k]) return true;
    return false;
#endif
}

// Vector j of a run whose floats are GAP apart: neighbours, or every second one.
template <int64_t GAP>
static PYRAMIDFLOW_INLINE Vector load_apart(const float* run, int64_t j, Whole) {
    if (GAP == 1) return load(run + j);
    return every_second<0>(load(run + 2 * j), load(run + 2 * j + LANES));
}
template <int64_t GAP>
static PYRAMIDFLOW_INLINE Vector load_apart(const float* run, int64_t j, int64_t count) {
    if (GAP == 1) return load(run + j, count);
    float lanes[LANES] = {};
    for (int64_t k = 0; k < count; ++k) lanes[k] = run[2 * (j + k)];
    return load(lanes);
}
template <int64_t GAP>
static PYRAMIDFLOW_INLINE void prefetch_apart(const float* run, int64_t j) {
    prefetch_near(run + GAP * j);
    if (GAP == 2) prefetch_near(run + 2 * j + LANES);
}

// Two vectors that alternate, from their first lanes (or, if UPPER, from the middle) on.
template <bool UPPER>
static PYRAMIDFLOW_INLINE Vector alternate(Vector a, Vector b) {
#if defined(__AVX512F__)
    const __m512i lower = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i places = _mm512_add_epi32(lower, _mm512_set1_epi32(UPPER ? 8 : 0));
    return (Vector)_mm512_permutex2var_ps((__m512)a, places, (__m512)b);
#elif defined(__AVX2__)
    const __m256 low = _mm256_unpacklo_ps((__m256)a, (__m256)b);
    const __m256 high = _mm256_unpackhi_ps((__m256)a, (__m256)b);
    return (Vector)_mm256_permute2f128_ps(low, high, UPPER ? 0x31 : 0x20);
#elif defined(__SSE2__) && !defined(__AVX__)
    return (Vector)(UPPER ? _mm_unpackhi_ps((__m128)a, (__m128)b)
                          : _mm_unpacklo_ps((__m128)a, (__m128)b));
#else
    Vector both;
    for (int64_t k = 0; k < LANES / 2; ++k) {
        both[2 * k] = a[k + (UPPER ? LANES / 2 : 0)];
        both[2 * k + 1] = b[k + (UPPER ? LANES / 2 : 0)];
    }
    return both;
#endif
}

// Lane i of vector k becomes lane k of vector i, for LANES vectors. Each step that mixes the first
// half with the second moves one bit of k to i and one of i to k.
template <int64_t STEP = 1>
static PYRAMIDFLOW_INLINE void transpose(Vector* vectors) {
    if constexpr (STEP < LANES) {
        Vector mixed[LANES];
#pragma GCC unroll 8
        for (int64_t k = 0; k < LANES / 2; ++k) {
            mixed[2 * k] = alternate<false>(vectors[k], vectors[k + LANES / 2]);
            mixed[2 * k + 1] = alternate<true>(vectors[k], vectors[k + LANES / 2]);
        }
#pragma GCC unroll 16
        for (int64_t k = 0; k < LANES; ++k) vectors[k] = mixed[k];
        transpose<2 * STEP>(vectors);
    }
}

// The threads share `count` tasks; what they wrote past the caches is seen when all have ended.
template <typename Body>
static inline void in_parallel(int64_t threads, int64_t count, const Body& body) {
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static) nowait
        for (int64_t task = 0; task < count; ++task) body(task);
#if defined(__SSE2__)
        _mm_sfence();
#endif
    }
}

// The same in `chunks` of neighbouring tasks, each chunk one after the other in one thread.
template <typename Body>
static inline void in_chunks(int64_t threads, int64_t chunks, int64_t count, const Body& body) {
    in_parallel(threads, chunks, [&](int64_t chunk) {
        for (int64_t task = count * chunk / chunks; task < count * (chunk + 1) / chunks; ++task)
            body(task, chunk);
    });
}

// Calls `body` with a flag that the compiler knows.
template <typename Body>
static inline void with_flag(bool flag, const Body& body) {
    if (flag)
        body(Constant<1>());
    else
        body(Constant<0>());
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
