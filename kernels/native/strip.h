/* One row times a matrix in its plain layout: what predicting a few samples needs.
 *
 * Packing the weights would take longer than the product. Columns are taken STRIP vectors at a
 * time, so that there are enough sums to hide the latency of a multiply-add.
 */
#ifndef MLCORE_STRIP_H
#define MLCORE_STRIP_H

#include "vector.h"

enum { STRIP = 8 };

#define BODY "strip.h"
#include "precisions.h"

#elif defined(real)

/* out[j] = start[j] + sum over k of x[k] * w[k * w_row + j] for `left` columns, in `vectors`. */
INLINE void NAME(strip)(
    const int vectors, const real *x, const real *w, ptrdiff_t w_row, ptrdiff_t depth,
    const real *start, real *out, ptrdiff_t left)
{
    vec sum[STRIP];
    const ptrdiff_t rest = left - (vectors - 1) * LANES;
#pragma GCC unroll 8
    for (int j = 0; j < vectors; j++) {
        sum[j] = (vec){0};
        if (start)
            sum[j] = NAME(load)(start + j * LANES, left - j * LANES);
    }
    for (ptrdiff_t k = 0; k < depth; k++) {
        const vec factor = NAME(fill)(x[k]);
#pragma GCC unroll 8
        for (int j = 0; j < vectors - 1; j++)
            sum[j] += factor * *(const vec_u *)(w + j * LANES);
        sum[vectors - 1] += factor * NAME(load)(w + (vectors - 1) * LANES, rest);
        w += w_row;
    }
#pragma GCC unroll 8
    for (int j = 0; j < vectors; j++)
        NAME(store)(out + j * LANES, left - j * LANES, sum[j]);
}

/* out = x @ w + b for one row; w is (depth, columns), and b may be NULL. */
static void NAME(row_product)(
    const real *x, const real *w, const real *b, ptrdiff_t depth, ptrdiff_t columns, real *out)
{
    for (ptrdiff_t first = 0; first < columns; first += STRIP * LANES) {
        const ptrdiff_t left = columns - first;
        const real *start = b ? b + first : NULL;
#define STRIP_CASE(n)                                                                              \
    case n: NAME(strip)(n, x, w + first, columns, depth, start, out + first, left); break;
        switch (left > STRIP * LANES ? STRIP : (left + LANES - 1) / LANES) {
            STRIP_CASE(1) STRIP_CASE(2) STRIP_CASE(3) STRIP_CASE(4)
            STRIP_CASE(5) STRIP_CASE(6) STRIP_CASE(7) STRIP_CASE(8)
        }
#undef STRIP_CASE
    }
}

#endif
