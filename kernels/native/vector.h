/* The vectors of the instruction set that this translation unit is compiled for.
 *
 * Everything above this file is written once, in the vector extensions of gcc and clang, and is
 * compiled once per instruction set; the compiler's own macros say which one it is. On AVX-512 a
 * vector holds 16 floats or 8 doubles, on AVX2 half of that, on SSE and NEON a quarter.
 *
 * Rows seldom end where a vector does. `load` and `store` take the number of elements that are
 * left, and the elements beyond it are zero and never written, so the last elements of a row go
 * through the same arithmetic as all others and have the same bits wherever they stand.
 */
#ifndef MLCORE_VECTOR_H
#define MLCORE_VECTOR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512DQ__) && defined(__AVX512BW__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
/* A large function that many call with a constant, for each of which compilers would make a copy. */
#ifdef __clang__
#define ONCE static __attribute__((noinline))
#else
#define ONCE static __attribute__((noinline, noclone))
#endif

/* Vectors by element: float, double, and the integers of the same widths. The _u types may lie
 * at any address; memory is read and written through them. */
#define DEFINE_VECTOR_OF(name, element, bytes)                                                     \
    typedef element name __attribute__((vector_size(bytes), may_alias));                           \
    typedef element name##_u                                                                       \
        __attribute__((vector_size(bytes), aligned(sizeof(element)), may_alias))
#define DEFINE_VECTOR(name, element) DEFINE_VECTOR_OF(name, element, VECTOR_BYTES)
DEFINE_VECTOR(v_float, float);
DEFINE_VECTOR(v_double, double);
DEFINE_VECTOR(v_int32, int32_t);
DEFINE_VECTOR(v_int64, int64_t);
DEFINE_VECTOR(v_uint32, uint32_t);
DEFINE_VECTOR(v_uint64, uint64_t);
/* As many 32-bit integers as there are doubles in a vector. */
DEFINE_VECTOR_OF(v_uint32_half, uint32_t, VECTOR_BYTES / 2);
DEFINE_VECTOR_OF(v_int32_half, int32_t, VECTOR_BYTES / 2);

enum { FLOATS = VECTOR_BYTES / sizeof(float), DOUBLES = VECTOR_BYTES / sizeof(double) };

/* Gives the whole product of the lower 32 bits of each element with a 32-bit factor. */
INLINE v_uint64 wide_product(v_uint64 x, uint32_t factor)
{
    /* Clang sees the one instruction in the general form, gcc does not. */
#if VECTOR_BYTES == 64
    return (v_uint64)_mm512_mul_epu32((__m512i)x, _mm512_set1_epi64(factor));
#elif VECTOR_BYTES == 32
    return (v_uint64)_mm256_mul_epu32((__m256i)x, _mm256_set1_epi64x(factor));
#elif defined(__SSE2__)
    return (v_uint64)_mm_mul_epu32((__m128i)x, _mm_set1_epi64x(factor));
#else
    return (x & 0xFFFFFFFF) * factor;
#endif
}

#define BODY "vector.h"
#include "precisions.h"

#elif defined(real)

INLINE vec NAME(fill)(real x)
{
    return x - (vec){0};
}

/* Masks are what comparisons give: all bits of an element set, or none. */
INLINE vec NAME(select)(ivec mask, vec yes, vec no)
{
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}

INLINE vec NAME(zero_where)(ivec mask, vec x)
{
    return (vec)(~mask & (ivec)x);
}

/* Where they cannot be compared, because one of them is NaN, these give `b`. */
INLINE vec NAME(larger)(vec a, vec b)
{
    return NAME(select)(a > b, a, b);
}

INLINE vec NAME(smaller)(vec a, vec b)
{
    return NAME(select)(a < b, a, b);
}

INLINE vec NAME(magnitude)(vec x)
{
    return (vec)((ivec)x & ~(ivec)NAME(fill)((real)-0.0));
}

INLINE vec NAME(with_sign_of)(vec size, vec sign)
{
    const ivec bit = (ivec)NAME(fill)((real)-0.0);
    return (vec)(((ivec)size & ~bit) | ((ivec)sign & bit));
}

INLINE vec NAME(sqrt)(vec x)
{
    vec root;
    for (int i = 0; i < LANES; i++)
        root[i] = SINGLE ? __builtin_sqrtf(x[i]) : __builtin_sqrt(x[i]);
    return root;
}

INLINE ivec NAME(lane_numbers)(void)
{
    ivec numbers;
    for (int i = 0; i < LANES; i++)
        numbers[i] = i;
    return numbers;
}

INLINE vec NAME(load_part)(const real *p, ptrdiff_t count)
{
#if VECTOR_BYTES == 64 && SINGLE
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
#elif VECTOR_BYTES == 64
    return (vec)_mm512_maskz_loadu_pd((__mmask8)((1u << count) - 1), p);
#elif VECTOR_BYTES == 32 && SINGLE
    return (vec)_mm256_maskload_ps(p, (__m256i)(NAME(lane_numbers)() < (int)count));
#elif VECTOR_BYTES == 32
    return (vec)_mm256_maskload_pd(p, (__m256i)(NAME(lane_numbers)() < count));
#else
    vec part = {0};
    for (int i = 0; i < LANES - 1; i++)
        if (i < count)
            part[i] = p[i];
    return part;
#endif
}

INLINE void NAME(store_part)(real *p, ptrdiff_t count, vec x)
{
#if VECTOR_BYTES == 64 && SINGLE
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), (__m512)x);
#elif VECTOR_BYTES == 64
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << count) - 1), (__m512d)x);
#elif VECTOR_BYTES == 32 && SINGLE
    _mm256_maskstore_ps(p, (__m256i)(NAME(lane_numbers)() < (int)count), (__m256)x);
#elif VECTOR_BYTES == 32
    _mm256_maskstore_pd(p, (__m256i)(NAME(lane_numbers)() < count), (__m256d)x);
#else
    for (int i = 0; i < LANES - 1; i++)
        if (i < count)
            p[i] = x[i];
#endif
}

INLINE vec NAME(load)(const real *p, ptrdiff_t left)
{
    return left >= LANES ? (vec) * (const vec_u *)p : NAME(load_part)(p, left);
}

/* The first `left` lanes, and `padding` in the others. */
INLINE vec NAME(padded)(vec x, ptrdiff_t left, real padding)
{
    if (left >= LANES)
        return x;
    return NAME(select)(NAME(lane_numbers)() < (int)left, x, NAME(fill)(padding));
}

INLINE void NAME(store)(real *p, ptrdiff_t left, vec x)
{
    if (left >= LANES)
        *(vec_u *)p = x;
    else
        NAME(store_part)(p, left, x);
}

/* Each element moved to the place whose number differs by `distance`, a power of two. */
INLINE vec NAME(exchanged)(vec x, const int distance)
{
#if defined(__clang__)
    vec moved;
    for (int i = 0; i < LANES; i++)
        moved[i] = x[i ^ distance];
    return moved;
#else
    return __builtin_shuffle(x, NAME(lane_numbers)() ^ distance);
#endif
}

/* The elements of `a` and `b`, one behind the other, that have these numbers. */
INLINE vec NAME(chosen)(vec a, vec b, ivec from)
{
#if defined(__clang__)
    vec found;
    for (int i = 0; i < LANES; i++)
        found[i] = from[i] < LANES ? a[from[i]] : b[from[i] - LANES];
    return found;
#else
    return __builtin_shuffle(a, b, from);
#endif
}

/* Half of the elements of `a` and half of those of `b`, with respect to one bit of their numbers,
 * `distance`: the elements of `a` without it (or, `upper`, with it) stay together in the places
 * without it, and those of `b` in the places with it. */
INLINE vec NAME(merged)(vec a, vec b, const int distance, const int upper)
{
    ivec from;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) {
        const int own = upper ? i | distance : i & ~distance;
        from[i] = i & distance ? LANES + own : own;
    }
    return NAME(chosen)(a, b, from);
}

/* The sum and the largest of the elements, in every element. */
INLINE vec NAME(sum_of_lanes)(vec x)
{
    for (int distance = LANES / 2; distance; distance /= 2)
        x += NAME(exchanged)(x, distance);
    return x;
}

INLINE vec NAME(largest_of_lanes)(vec x)
{
    for (int distance = LANES / 2; distance; distance /= 2)
        x = NAME(larger)(x, NAME(exchanged)(x, distance));
    return x;
}

#endif
