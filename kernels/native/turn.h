/* Matrices turned round: out[j][i] = x[i][j].
 *
 * A vector is made of blocks of 16 bytes, BLOCK elements. One that takes its blocks from the rows k,
 * BLOCK + k, 2 * BLOCK + k, ... of x needs no other instruction than loads for that; for k below
 * BLOCK they hold LANES rows of BLOCK columns, and what is left to do is to turn round the little
 * squares within the blocks, which processors do at twice the speed of moves across a vector.
 */
#ifndef MLCORE_TURN_H
#define MLCORE_TURN_H

#include "vector.h"

/* Elements in 16 bytes. */
#define BLOCK (16 / (int)sizeof(real))

#define BODY "turn.h"
#include "precisions.h"

#elif defined(real)

/* The blocks at x, BLOCK rows further on, and so on. */
INLINE vec NAME(column_of_blocks)(const real *x, ptrdiff_t row)
{
#if VECTOR_BYTES == 64 && SINGLE
    __m512 column = _mm512_castps128_ps512(_mm_loadu_ps(x));
    column = _mm512_insertf32x4(column, _mm_loadu_ps(x + 4 * row), 1);
    column = _mm512_insertf32x4(column, _mm_loadu_ps(x + 8 * row), 2);
    return (vec)_mm512_insertf32x4(column, _mm_loadu_ps(x + 12 * row), 3);
#elif VECTOR_BYTES == 64
    __m512d column = _mm512_castpd128_pd512(_mm_loadu_pd(x));
    column = _mm512_insertf64x2(column, _mm_loadu_pd(x + 2 * row), 1);
    column = _mm512_insertf64x2(column, _mm_loadu_pd(x + 4 * row), 2);
    return (vec)_mm512_insertf64x2(column, _mm_loadu_pd(x + 6 * row), 3);
#elif VECTOR_BYTES == 32 && SINGLE
    const __m256 column = _mm256_castps128_ps256(_mm_loadu_ps(x));
    return (vec)_mm256_insertf128_ps(column, _mm_loadu_ps(x + 4 * row), 1);
#elif VECTOR_BYTES == 32
    const __m256d column = _mm256_castpd128_pd256(_mm_loadu_pd(x));
    return (vec)_mm256_insertf128_pd(column, _mm_loadu_pd(x + 2 * row), 1);
#else
    return *(const vec_u *)x;
#endif
}

/* In every block the lower halves of a's and b's, or the upper ones, `size` elements in turns. */
INLINE vec NAME(interleaved)(vec a, vec b, const int size, const int upper)
{
    ivec from;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) {
        const int place = i % BLOCK, start = i - place + upper * BLOCK / 2;
        const int element = place / (2 * size) * size + place % size;
        from[i] = (place / size % 2 ? LANES : 0) + start + element;
    }
    return NAME(chosen)(a, b, from);
}

/* LANES rows of BLOCK columns: column[j][i] = x[i * row + j]. */
INLINE void NAME(turn_blocks)(const real *x, ptrdiff_t row, vec *column)
{
    vec part[BLOCK];
#pragma GCC unroll 4
    for (int k = 0; k < BLOCK; k++)
        part[k] = NAME(column_of_blocks)(x + k * row, row);
#if SINGLE
#pragma GCC unroll 2
    for (int upper = 0; upper < 2; upper++) {
        const vec even = NAME(interleaved)(part[0], part[1], 1, upper);
        const vec odd = NAME(interleaved)(part[2], part[3], 1, upper);
        column[2 * upper] = NAME(interleaved)(even, odd, 2, 0);
        column[2 * upper + 1] = NAME(interleaved)(even, odd, 2, 1);
    }
#else
    column[0] = NAME(interleaved)(part[0], part[1], 1, 0);
    column[1] = NAME(interleaved)(part[0], part[1], 1, 1);
#endif
}

/* A square of LANES x LANES: out[j * out_row + i] = x[i * x_row + j]. */
INLINE void NAME(turn_square)(const real *x, ptrdiff_t x_row, real *out, ptrdiff_t out_row)
{
#pragma GCC unroll 4
    for (int j = 0; j < LANES; j += BLOCK) {
        vec column[BLOCK];
        NAME(turn_blocks)(x + j, x_row, column);
#pragma GCC unroll 4
        for (int e = 0; e < BLOCK; e++)
            *(vec_u *)(out + (j + e) * out_row) = column[e];
    }
}

/* Less than a square: `rows` and `columns` are at most LANES. */
static void NAME(turn_part)(
    const real *x, ptrdiff_t x_row, ptrdiff_t rows, ptrdiff_t columns, int exact, real *out,
    ptrdiff_t out_row)
{
    real copy[LANES * BLOCK];
    for (ptrdiff_t j = 0; j < columns; j += BLOCK) {
        const ptrdiff_t wanted = columns - j < BLOCK ? columns - j : BLOCK;
        const real *from = x + j;
        ptrdiff_t row = x_row;
        if (rows < LANES || wanted < BLOCK) {
            memset(copy, 0, sizeof copy);
            for (ptrdiff_t i = 0; i < rows; i++)
                for (ptrdiff_t e = 0; e < wanted; e++)
                    copy[i * BLOCK + e] = from[i * x_row + e];
            from = copy;
            row = BLOCK;
        }
        vec column[BLOCK];
        NAME(turn_blocks)(from, row, column);
#pragma GCC unroll 4
        for (int e = 0; e < BLOCK; e++)
            if (e < wanted)
                NAME(store)(out + (j + e) * out_row, exact ? rows : LANES, column[e]);
    }
}

/* out[j * out_row + i] = x[i * x_row + j] for any rows and columns; behind the last row i there come
 * zeros, to the end of a vector, or, `exact`, nothing is written. */
static void NAME(turn)(
    const real *x, ptrdiff_t x_row, ptrdiff_t rows, ptrdiff_t columns, int exact, real *out,
    ptrdiff_t out_row)
{
    for (ptrdiff_t i = 0; i < rows; i += LANES)
        for (ptrdiff_t j = 0; j < columns; j += LANES) {
            const real *from = x + i * x_row + j;
            real *to = out + j * out_row + i;
            if (rows - i >= LANES && columns - j >= LANES)
                NAME(turn_square)(from, x_row, to, out_row);
            else
                NAME(turn_part)(
                    from, x_row, rows - i < LANES ? rows - i : LANES,
                    columns - j < LANES ? columns - j : LANES, exact, to, out_row);
        }
}

#endif
