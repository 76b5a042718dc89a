// The discrete Fourier transform of 8 to 32 complex numbers, unrolled by the compiler; each lane of
// a vector holds a transform of its own.
//
// X[k] = sum over n of x[n] exp(-2 pi i n k / N). Swapping real and imaginary parts on both sides
// gives the inverse (without its factor 1 / N), so one body serves both directions.
#include "convolution_spectral.h"
#include "convolution_turns.h"

namespace pyramidflow::PYRAMIDFLOW_LEVEL {

namespace {

// (re, im) *= exp(-2 pi i K / N).
template <int64_t K, int64_t N>
PYRAMIDFLOW_INLINE void rotate(Vector& re, Vector& im) {
    constexpr int64_t k = K % N;
    if constexpr (k == 0) return;
    const Vector a = re, b = im;
    if constexpr (4 * k == N) {
        re = b;
        im = -a;
    } else if constexpr (2 * k == N) {
        re = -a;
        im = -b;
    } else if constexpr (4 * k == 3 * N) {
        re = -b;
        im = a;
    } else if constexpr (8 * k == N) {
        const Vector root = splat(static_cast<float>(cosine_turn(1, 8)));
        re = (a + b) * root;
        im = (b - a) * root;
    } else if constexpr (8 * k == 3 * N) {
        const Vector root = splat(static_cast<float>(cosine_turn(1, 8)));
        re = (b - a) * root;
        im = -(a + b) * root;
    } else {
        const Vector c = splat(static_cast<float>(cosine_turn(k, N)));
        const Vector s = splat(static_cast<float>(sine_turn(k, N)));
        re = a * c + b * s;
        im = b * c - a * s;
    }
}

constexpr int64_t first_factor(int64_t n) {
    if (n == 8) return 2;
    return n % 4 == 0 ? 4 : n % 3 == 0 ? 3 : n % 5 == 0 ? 5 : 2;
}

template <int64_t N>
PYRAMIDFLOW_INLINE void transform(Vector (&re)[N], Vector (&im)[N]) {
    if constexpr (N == 1) {
        return;
    } else if constexpr (N == 2) {
        const Vector r = re[0] - re[1], i = im[0] - im[1];
        re[0] += re[1];
        im[0] += im[1];
        re[1] = r;
        im[1] = i;
    } else if constexpr (N == 3) {
        const Vector half = splat(0.5f), root = splat(static_cast<float>(sine_turn(1, 3)));
        const Vector sr = re[1] + re[2], si = im[1] + im[2];
        const Vector dr = (re[1] - re[2]) * root, di = (im[1] - im[2]) * root;
        const Vector mr = re[0] - sr * half, mi = im[0] - si * half;
        re[0] += sr;
        im[0] += si;
        re[1] = mr + di;
        im[1] = mi - dr;
        re[2] = mr - di;
        im[2] = mi + dr;
    } else if constexpr (N == 4) {
        const Vector ar = re[0] + re[2], ai = im[0] + im[2], br = re[0] - re[2], bi = im[0] - im[2];
        const Vector cr = re[1] + re[3], ci = im[1] + im[3], dr = re[1] - re[3], di = im[1] - im[3];
        re[0] = ar + cr;
        im[0] = ai + ci;
        re[1] = br + di;
        im[1] = bi - dr;
        re[2] = ar - cr;
        im[2] = ai - ci;
        re[3] = br - di;
        im[3] = bi + dr;
    } else if constexpr (N == 5) {
        const Vector c1 = splat(static_cast<float>(cosine_turn(1, 5)));
        const Vector c2 = splat(static_cast<float>(cosine_turn(2, 5)));
        const Vector s1 = splat(static_cast<float>(sine_turn(1, 5)));
        const Vector s2 = splat(static_cast<float>(sine_turn(2, 5)));
        const Vector ar = re[1] + re[4], ai = im[1] + im[4], br = re[2] + re[3], bi = im[2] + im[3];
        const Vector cr = re[1] - re[4], ci = im[1] - im[4], dr = re[2] - re[3], di = im[2] - im[3];
        const Vector er = re[0] + ar * c1 + br * c2, ei = im[0] + ai * c1 + bi * c2;
        const Vector fr = re[0] + ar * c2 + br * c1, fi = im[0] + ai * c2 + bi * c1;
        const Vector gr = cr * s1 + dr * s2, gi = ci * s1 + di * s2;
        const Vector hr = cr * s2 - dr * s1, hi = ci * s2 - di * s1;
        re[0] += ar + br;
        im[0] += ai + bi;
        re[1] = er + gi;
        im[1] = ei - gr;
        re[4] = er - gi;
        im[4] = ei + gr;
        re[2] = fr + hi;
        im[2] = fi - hr;
        re[3] = fr - hi;
        im[3] = fi + hr;
    } else {
        // n = M n1 + n2, k = k1 + F k2: transforms of length F, rotations, transforms of length M.
        constexpr int64_t F = first_factor(N), M = N / F;
        Vector tr[F][M], ti[F][M];
        repeat<0, M>([&](auto n2) PYRAMIDFLOW_INLINE_LAMBDA {
            Vector ar[F], ai[F];
            repeat<0, F>([&](auto n1) PYRAMIDFLOW_INLINE_LAMBDA {
                ar[n1] = re[M * n1 + n2];
                ai[n1] = im[M * n1 + n2];
            });
            transform<F>(ar, ai);
            repeat<0, F>([&](auto k1) PYRAMIDFLOW_INLINE_LAMBDA {
                rotate<decltype(k1)::value* decltype(n2)::value, N>(ar[k1], ai[k1]);
                tr[k1][n2] = ar[k1];
                ti[k1][n2] = ai[k1];
            });
        });
        repeat<0, F>([&](auto k1) PYRAMIDFLOW_INLINE_LAMBDA {
            transform<M>(tr[k1], ti[k1]);
            repeat<0, M>([&](auto k2) PYRAMIDFLOW_INLINE_LAMBDA {
                re[k1 + F * k2] = tr[k1][k2];
                im[k1 + F * k2] = ti[k1][k2];
            });
        });
    }
}

template <int64_t N, Conjugate PART>
void transform_line(const float* re_in, const float* im_in, int64_t stride_in, float* re_out,
                    float* im_out, int64_t stride_out) {
    Vector re[N], im[N];
    repeat<0, N>([&](auto n) PYRAMIDFLOW_INLINE_LAMBDA {
        re[n] = load(re_in + n * stride_in);
        im[n] = load(im_in + n * stride_in);
        if constexpr (PART == Conjugate::UPPER_FIRST_IN && 2 * decltype(n)::value > N)
            re[n] = -re[n];
    });
    transform<N>(re, im);
    repeat<0, N>([&](auto n) PYRAMIDFLOW_INLINE_LAMBDA {
        if constexpr (PART == Conjugate::UPPER_SECOND_OUT && 2 * decltype(n)::value > N)
            im[n] = -im[n];
        store(re_out + n * stride_out, re[n]);
        store(im_out + n * stride_out, im[n]);
    });
}

typedef void (*Line)(const float*, const float*, int64_t, float*, float*, int64_t);

template <int64_t N>
Line line_of(Conjugate part) {
    switch (part) {
        case Conjugate::UPPER_FIRST_IN: return transform_line<N, Conjugate::UPPER_FIRST_IN>;
        case Conjugate::UPPER_SECOND_OUT: return transform_line<N, Conjugate::UPPER_SECOND_OUT>;
        default: return transform_line<N, Conjugate::NOTHING>;
    }
}

Line line_of(int64_t n, Conjugate part) {
    switch (n) {
        case 8: return line_of<8>(part);
        case 12: return line_of<12>(part);
        case 16: return line_of<16>(part);
        case 20: return line_of<20>(part);
        case 24: return line_of<24>(part);
        default: return line_of<32>(part);
    }
}

}  // namespace

void fft(int64_t n, Conjugate part, const float* re_in, const float* im_in, int64_t stride_in,
         float* re_out, float* im_out, int64_t stride_out) {
    line_of(n, part)(re_in, im_in, stride_in, re_out, im_out, stride_out);
}

}  // namespace pyramidflow::PYRAMIDFLOW_LEVEL
