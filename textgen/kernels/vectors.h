/* Vectors of float32 for any processor, by the vector extensions of GCC and Clang.
 *
 * LANES is how many numbers a vector of the target has: 16 with AVX-512, 8 with AVX, else 4.
 */

#ifndef TEXTGEN_VECTORS_H
#define TEXTGEN_VECTORS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined __AVX512F__
#include <immintrin.h>
#define LANES 16
#elif defined __AVX__
#include <immintrin.h>
#define LANES 8
#else
#define LANES 4
#if defined __SSE2__
#include <immintrin.h>
#elif defined __aarch64__
#include <arm_neon.h>
#elif defined __wasm_simd128__
#include <wasm_simd128.h>
#endif
#endif

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef float unaligned_vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline size_t round_up(size_t count, size_t unit) {
    return (count + unit - 1) / unit * unit;
}
static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

INLINE vec load(const float *from) { return *(const unaligned_vec *)from; }
INLINE void store(float *to, vec x) { *(unaligned_vec *)to = x; }
INLINE vec all(float x) { return x - (vec){0}; }

/* Return x, but not less than -limit and not more than limit. NaN stays NaN. */
INLINE vec clamp(vec x, float limit) {
    vec low = all(-limit), high = all(limit);
#if defined __AVX512F__
    return _mm512_max_ps(low, _mm512_min_ps(high, x));
#elif defined __AVX__
    return _mm256_max_ps(low, _mm256_min_ps(high, x));
#elif defined __SSE2__
    return _mm_max_ps(low, _mm_min_ps(high, x));
#elif defined __aarch64__
    return vmaxq_f32(low, vminq_f32(high, x));
#elif defined __wasm_simd128__
    return wasm_f32x4_pmax(wasm_f32x4_pmin(x, high), low);
#else
    ints above = x > high, below = x < low;
    return (vec)(((ints)high & above) | ((ints)low & below) | ((ints)x & ~(above | below)));
#endif
}

/* Return 2^x for x from -126 to 126, with a relative error below 3e-7.
 *
 * Adding 1.5 * 2^23 rounds x to a whole number, which then stands in the lowest bits. The rest,
 * from -0.5 to 0.5, goes through a polynomial.
 */
INLINE vec power_of_two(vec x) {
    const float round = 12582912.0f;
    vec shifted = x + round, rest = x - (shifted - round);
    vec p = rest * 1.326472668e-3f + 9.671512677e-3f;
    p = p * rest + 5.550733745e-2f;
    p = p * rest + 2.402224208e-1f;
    p = p * rest + 6.931469776e-1f;
    p = p * rest + 1.0f;
    return (vec)((ints)p + ((ints)shifted << 23));
}

/* Return e^x, at least e^-87 and at most e^87. */
INLINE vec exponential(vec x) { return power_of_two(clamp(x * 1.442695041f, 126.0f)); }

/* Return 1 / x for x from 1 to 2^127; with AVX-512 by one step of Newton's method. */
INLINE vec inverse(vec x) {
#if defined __AVX512F__
    vec first = _mm512_rcp14_ps(x);
    return first * (2.0f - x * first);
#else
    return 1.0f / x;
#endif
}

/* Return 1 / (1 + e^-x). */
INLINE vec sigmoid(vec x) { return inverse(exponential(-x) + 1.0f); }

INLINE vec hyperbolic_tangent(vec x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

INLINE vec larger(vec a, vec b) {
    ints mask = a > b;
    return (vec)(((ints)a & mask) | ((ints)b & ~mask));
}

INLINE float sum_of(vec x) {
    float sum = 0;
    UNROLL
    for (int lane = 0; lane < LANES; lane++) sum += x[lane];
    return sum;
}

INLINE float largest_of(vec x) {
    float most = x[0];
    UNROLL
    for (int lane = 1; lane < LANES; lane++) most = x[lane] > most ? x[lane] : most;
    return most;
}

#endif
