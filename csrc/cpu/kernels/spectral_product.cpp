// The complex product of every frequency, as three real ones (Gauss):
//
//   P = re re', Q = im im', R = (re + im) (re' + im');  (P - Q) + i (R - P - Q)
#include "spectral.h"

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

}  // namespace

void spectral_product(const float* weights, const SpectralLayout& layout, int64_t count,
                      float* spectrum, int64_t threads) {
    const int64_t weight_stride = layout.out_vectors * layout.in_channels * 2 * LANES;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t f = 0; f < layout.frequencies; ++f) {
        Operand operand;
        float* row = spectrum + f * layout.frequency_stride;
        const float* const weight = weights + f * weight_stride;
        int64_t rest = 2 * count;
        for (int64_t blocks = ceil_div(rest, ROWS); blocks > 0; --blocks) {
            // As even as pairs allow: a last block of two rows would leave registers empty.
            const int64_t rows = ceil_div(rest / 2, blocks) * 2;
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
