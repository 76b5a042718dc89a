// The complex product of every frequency, as three real ones (Gauss):
//
//   P = re re', Q = im im', R = (re + im) (re' + im');  (P - Q) + i (R - P - Q)
//
// In bfloat16 it is four products with sums in float32: the sums of Gauss' method would be rounded
// once more, and one instruction does two products.
#include "convolution_spectral.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

#if defined(__AVX512F__)
const int64_t ROWS = 8;  // of a register tile: three accumulators each, in 32 registers
#else
const int64_t ROWS = 4;  // in 16
#endif

const int64_t PITCH = MAX_SPECTRAL_CHANNELS + LANES;

// Rows of a frequency, copied out so that the results can take their place.
struct Operand {
    alignas(64) float part[3][ROWS][PITCH];  // re, im, re + im
};

template <int64_t COUNT>
void multiply_rows(float* rows, const float* weights, const SpectralLayout& layout,
                   Operand& operand) {
    const int64_t slot = layout.slot, inputs = layout.in_channels;
    for (int64_t r = 0; r < COUNT; ++r) {
        for (int64_t i = 0; i < inputs; i += LANES) {
            const Vector re = load(rows + 2 * r * slot + i);
            const Vector im = load(rows + (2 * r + 1) * slot + i);
            store(operand.part[0][r] + i, re);
            store(operand.part[1][r] + i, im);
            store(operand.part[2][r] + i, re + im);
        }
    }
    for (int64_t vector = 0; vector < layout.out_vectors; ++vector) {
        const float* weight = weights + vector * inputs * 2 * LANES;
        Vector p[COUNT] = {}, q[COUNT] = {}, s[COUNT] = {};
        for (int64_t i = 0; i < inputs; ++i, weight += 2 * LANES) {
            const Vector re = load(weight), im = load(weight + LANES), sum = re + im;
#pragma GCC unroll 8
            for (int64_t r = 0; r < COUNT; ++r) {
                p[r] += splat(operand.part[0][r][i]) * re;
                q[r] += splat(operand.part[1][r][i]) * im;
                s[r] += splat(operand.part[2][r][i]) * sum;
            }
        }
#pragma GCC unroll 8
        for (int64_t r = 0; r < COUNT; ++r) {
            store(rows + 2 * r * slot + vector * LANES, p[r] - q[r]);
            store(rows + (2 * r + 1) * slot + vector * LANES, s[r] - p[r] - q[r]);
        }
    }
}

#if defined(__AVX512F__) && PYRAMIDFLOW_HAS_BFLOAT16
#define PYRAMIDFLOW_BFLOAT16 1
#define PYRAMIDFLOW_TARGET __attribute__((target("avx512bf16")))

const int64_t ROUNDED_ROWS = 12;  // two accumulators each
const int64_t ROUNDED_PITCH = MAX_SPECTRAL_CHANNELS / 2 + LANES;

// Pairs of neighbouring inputs: re, im, -im.
struct RoundedOperand {
    alignas(64) int32_t part[3][ROUNDED_ROWS][ROUNDED_PITCH];
};

PYRAMIDFLOW_TARGET inline __m512bh pair_of(const int32_t* p) {
    return (__m512bh)_mm512_set1_epi32(*p);
}

template <int64_t COUNT>
PYRAMIDFLOW_TARGET void multiply_rounded_rows(float* rows, const int32_t* weights,
                                              const SpectralLayout& layout,
                                              RoundedOperand& operand) {
    const int64_t slot = layout.slot, pairs = layout.in_channels / 2;
    const __m256i sign = _mm256_set1_epi32(static_cast<int32_t>(0x80008000));
    for (int64_t r = 0; r < COUNT; ++r) {
        for (int64_t i = 0; i < layout.in_channels; i += LANES) {
            const __m256i re = (__m256i)_mm512_cvtneps_pbh((__m512)load(rows + 2 * r * slot + i));
            const __m256i im =
                (__m256i)_mm512_cvtneps_pbh((__m512)load(rows + (2 * r + 1) * slot + i));
            _mm256_storeu_si256((__m256i*)(operand.part[0][r] + i / 2), re);
            _mm256_storeu_si256((__m256i*)(operand.part[1][r] + i / 2), im);
            _mm256_storeu_si256((__m256i*)(operand.part[2][r] + i / 2), _mm256_xor_si256(im, sign));
        }
    }
    for (int64_t vector = 0; vector < layout.out_vectors; ++vector) {
        const int32_t* weight = weights + vector * pairs * 2 * LANES;
        __m512 re_sum[COUNT], im_sum[COUNT];
        for (int64_t r = 0; r < COUNT; ++r) re_sum[r] = im_sum[r] = _mm512_setzero_ps();
        for (int64_t j = 0; j < pairs; ++j, weight += 2 * LANES) {
            const __m512bh re = (__m512bh)_mm512_loadu_si512(weight);
            const __m512bh im = (__m512bh)_mm512_loadu_si512(weight + LANES);
#pragma GCC unroll 12
            for (int64_t r = 0; r < COUNT; ++r) {
                const __m512bh a = pair_of(&operand.part[0][r][j]);
                const __m512bh b = pair_of(&operand.part[1][r][j]);
                re_sum[r] = _mm512_dpbf16_ps(re_sum[r], a, re);
                im_sum[r] = _mm512_dpbf16_ps(im_sum[r], a, im);
                re_sum[r] = _mm512_dpbf16_ps(re_sum[r], pair_of(&operand.part[2][r][j]), im);
                im_sum[r] = _mm512_dpbf16_ps(im_sum[r], b, re);
            }
        }
#pragma GCC unroll 12
        for (int64_t r = 0; r < COUNT; ++r) {
            store(rows + 2 * r * slot + vector * LANES, (Vector)re_sum[r]);
            store(rows + (2 * r + 1) * slot + vector * LANES, (Vector)im_sum[r]);
        }
    }
}

PYRAMIDFLOW_TARGET void round_pair(const float* first, const float* second, int32_t* pair) {
    const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)load(first)));
    const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)load(second)));
    _mm512_storeu_si512(pair, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}
#endif

// As even as pairs allow: a last block of two rows would leave registers empty.
int64_t rows_of_block(int64_t rest, int64_t blocks) { return ceil_div(rest / 2, blocks) * 2; }

#if PYRAMIDFLOW_BFLOAT16
void rounded_product(const float* weights, const SpectralLayout& layout, int64_t count,
                     float* spectrum, int64_t threads) {
    const int64_t weight_stride = layout.out_vectors * layout.in_channels * LANES;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t f = 0; f < layout.frequencies; ++f) {
        RoundedOperand operand;
        float* row = spectrum + f * layout.frequency_stride;
        const int32_t* const weight = reinterpret_cast<const int32_t*>(weights) + f * weight_stride;
        int64_t rest = 2 * count;
        for (int64_t blocks = ceil_div(rest, ROUNDED_ROWS); blocks > 0; --blocks) {
            const int64_t rows = rows_of_block(rest, blocks);
            switch (rows) {
                case 2: multiply_rounded_rows<2>(row, weight, layout, operand); break;
                case 4: multiply_rounded_rows<4>(row, weight, layout, operand); break;
                case 6: multiply_rounded_rows<6>(row, weight, layout, operand); break;
                case 8: multiply_rounded_rows<8>(row, weight, layout, operand); break;
                case 10: multiply_rounded_rows<10>(row, weight, layout, operand); break;
                default: multiply_rounded_rows<12>(row, weight, layout, operand); break;
            }
            row += rows * 2 * layout.slot;
            rest -= rows;
        }
    }
}
#endif

}  // namespace

void spectral_round_weights(float* weights, const SpectralLayout& layout) {
#if PYRAMIDFLOW_BFLOAT16
    // One input pair after the other: what is written lies before what is still to be read.
    const int64_t pairs = layout.frequencies * layout.out_vectors * layout.in_channels / 2;
    int32_t* const rounded = reinterpret_cast<int32_t*>(weights);
    for (int64_t k = 0; k < pairs; ++k) {
        const float* const from = weights + k * 4 * LANES;
        int32_t re[LANES], im[LANES];
        round_pair(from, from + 2 * LANES, re);
        round_pair(from + LANES, from + 3 * LANES, im);
        memcpy(rounded + k * 2 * LANES, re, sizeof re);
        memcpy(rounded + k * 2 * LANES + LANES, im, sizeof im);
    }
#endif
}

void spectral_product(const float* weights, const SpectralLayout& layout, int64_t count,
                      float* spectrum, int64_t threads) {
#if PYRAMIDFLOW_BFLOAT16
    if (layout.bfloat16) return rounded_product(weights, layout, count, spectrum, threads);
#endif
    const int64_t weight_stride = layout.out_vectors * layout.in_channels * 2 * LANES;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t f = 0; f < layout.frequencies; ++f) {
        Operand operand;
        float* row = spectrum + f * layout.frequency_stride;
        const float* const weight = weights + f * weight_stride;
        int64_t rest = 2 * count;
        for (int64_t blocks = ceil_div(rest, ROWS); blocks > 0; --blocks) {
            const int64_t rows = rows_of_block(rest, blocks);
            switch (rows) {
                case 2: multiply_rows<2>(row, weight, layout, operand); break;
                case 4: multiply_rows<4>(row, weight, layout, operand); break;
#if defined(__AVX512F__)
                case 6: multiply_rows<6>(row, weight, layout, operand); break;
                default: multiply_rows<8>(row, weight, layout, operand); break;
#endif
            }
            row += rows * 2 * layout.slot;
            rest -= rows;
        }
    }
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
