/* The register tile: the one loop in which nearly all the time of training is spent.
 *
 * The three products of a dense layer,
 *
 *     out[b][n]  = sum over k of x[b][k]  * w[k][n]       forward
 *     dw[k][n]   = sum over b of x[b][k]  * dz[b][n]      weight gradient
 *     dx[b][k]   = sum over n of dz[b][n] * w[k][n]       input gradient
 *
 * are one product c = a @ b whose left factor is read an element at a time, through two strides,
 * and whose right factor is read a row of PANEL = 2 vectors at a time:
 *
 *                    k ->                    PANEL columns
 *              +-------------+              +-----+-----+
 *     TILE_    | a[i][k]     |      b[k] -> |  v  |  v  |
 *     ROWS     |             |              +-----+-----+
 *              +-------------+
 *
 * A tile of at most TILE_ROWS x 2 vectors of c stays in registers while k runs. For each k it
 * takes two loads of b and TILE_ROWS broadcasts of a for 2 * TILE_ROWS fused multiply-adds, so
 * the multipliers are the limit and not the loads. TILE_ROWS is what the register file holds:
 * 14 x 2 sums, two rows of b and one element of a are 31 of the 32 registers of AVX-512 and NEON,
 * and 6 x 2 sums 15 of the 16 of SSE and AVX2.
 *
 * Panels. Weights lie in panels of PANEL columns, [N / PANEL][K + 1][PANEL]: what one tile reads is
 * one run of memory. Row K holds the bias, the weight of an input that is always one, so that bias
 * gradients and updates need no code of their own. The last panel is one vector wide where that
 * is enough; columns behind the last are padding, written but never read into anything else.
 * Activations and deltas lie in rows, their stride an odd number of cache lines, so that the
 * rows of a tile never compete for the same place in the cache.
 *
 * Who owns what. The caller owns a, b and c; nothing here allocates, and c may be any memory that
 * is not a or b. Sums run over k from first to last, whatever tile an element stands in: results
 * do not depend on how rows and panels are shared out among threads.
 */
#ifndef MLCORE_TILE_H
#define MLCORE_TILE_H

#include "vector.h"

#if VECTOR_BYTES == 64 || defined(__aarch64__)
enum { TILE_ROWS = 14 };
#else
enum { TILE_ROWS = 6 };
#endif

enum { CACHE_LINE = 64 };

/* Ask for memory that is going to be written soon. */
INLINE void prefetch(const void *start, ptrdiff_t bytes)
{
    for (ptrdiff_t at = 0; at < bytes; at += CACHE_LINE)
        __builtin_prefetch((const char *)start + at, 1, 3);
}

#define BODY "tile.h"
#include "precisions.h"

#elif defined(real)

/* Computes, for 0 <= i < rows and 0 <= j < vectors * LANES:
 *
 *     sum = start ? start[j] : 0
 *     for k in range(depth): sum += a[i * a_row + k * a_depth] * b[k * b_depth + j]
 *     c[i * c_row + j] = blend ? keep * c[i * c_row + j] + scale * sum : sum
 *
 * With scale = -rate that is the plain step of gradient descent, and no gradient is ever written.
 */
INLINE void NAME(tile_of)(
    const int rows, const int vectors, const real *a, ptrdiff_t a_row, ptrdiff_t a_depth,
    const real *b, ptrdiff_t b_depth, ptrdiff_t depth, const real *start, int blend, real keep,
    real scale, real *c, ptrdiff_t c_row)
{
    vec sum[TILE_ROWS][2];
    for (int j = 0; j < vectors; j++) {
        vec first = {0};
        if (start)
            first = *(const vec_u *)(start + j * LANES);
#pragma GCC unroll 14
        for (int i = 0; i < rows; i++)
            sum[i][j] = first;
    }
    for (ptrdiff_t k = 0; k < depth; k++) {
        vec right[2];
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            right[j] = *(const vec_u *)(b + j * LANES);
#pragma GCC unroll 14
        for (int i = 0; i < rows; i++) {
            vec left = a[i * a_row] - (vec){0};
#pragma GCC unroll 2
            for (int j = 0; j < vectors; j++)
                sum[i][j] += left * right[j];
        }
        a += a_depth;
        b += b_depth;
    }
    if (blend) {
#pragma GCC unroll 14
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (int j = 0; j < vectors; j++) {
                vec_u *at = (vec_u *)(c + i * c_row + j * LANES);
                *at = keep * *at + scale * sum[i][j];
            }
    } else {
#pragma GCC unroll 14
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (int j = 0; j < vectors; j++)
                *(vec_u *)(c + i * c_row + j * LANES) = sum[i][j];
    }
}

#define TILE_OF(rows, vectors)                                                                     \
    NAME(tile_of)(                                                                                 \
        rows, vectors, a, a_row, a_depth, b, b_depth, depth, start, blend, keep, scale, c, c_row)
#define TILE_CASE(n)                                                                               \
    case n:                                                                                        \
        if (vectors == 2)                                                                          \
            TILE_OF(n, 2);                                                                         \
        else                                                                                       \
            TILE_OF(n, 1);                                                                         \
        break;

static void NAME(tile)(
    ptrdiff_t rows, ptrdiff_t vectors, const real *a, ptrdiff_t a_row, ptrdiff_t a_depth,
    const real *b, ptrdiff_t b_depth, ptrdiff_t depth, const real *start, int blend, real keep,
    real scale, real *c, ptrdiff_t c_row)
{
    switch (rows) {
        TILE_CASE(1) TILE_CASE(2) TILE_CASE(3) TILE_CASE(4) TILE_CASE(5) TILE_CASE(6)
#if VECTOR_BYTES == 64 || defined(__aarch64__)
        TILE_CASE(7) TILE_CASE(8) TILE_CASE(9) TILE_CASE(10)
        TILE_CASE(11) TILE_CASE(12) TILE_CASE(13) TILE_CASE(14)
#endif
    }
}
#undef TILE_CASE
#undef TILE_OF

#endif
