/* Networks of a few units, whose rows would leave most of a vector empty.
 *
 * Their batches lie the other way round, [units][samples], with samples along the vectors. The
 * register tile of tile.h then serves as it is, its left factor being the weights in their own
 * layout, (fan_in + 1, fan_out) with the bias as the last row: there is nothing to pack, and a last
 * row of ones in the input brings the bias in. Only the weight gradient sums along the vectors.
 */
#ifndef MLCORE_NARROW_H
#define MLCORE_NARROW_H

#include "vector.h"

#define BODY "narrow.h"
#include "precisions.h"

#elif defined(real)

INLINE void NAME(sums_stage)(vec *sum, const int count, const int stage)
{
    const int used = count > stage ? count : 1;
#pragma GCC unroll 16
    for (int i = 0; i < used; i += 2 * stage) {
        const vec other = i + stage < count ? sum[i + stage] : sum[i];
        sum[i] = NAME(merged)(sum[i], other, stage, 0) + NAME(merged)(sum[i], other, stage, 1);
    }
}

/* The sum of each of `count` vectors, in the element of its number. Stage s adds, in every pair of
 * vectors i and i + s, the lanes whose numbers differ in bit s. The stages are written out because
 * gcc does not unroll a loop over powers of two, and would make the places of `merged` each time. */
INLINE vec NAME(sums_of)(vec *sum, const int count)
{
    NAME(sums_stage)(sum, count, 1);
    if (LANES > 2)
        NAME(sums_stage)(sum, count, 2);
    if (LANES > 4)
        NAME(sums_stage)(sum, count, 4);
    if (LANES > 8)
        NAME(sums_stage)(sum, count, 8);
    return sum[0];
}

/* The next `count` dot products, or as many as there are; k and n move on. */
INLINE vec NAME(dots_of)(
    const real *x, const real *dz, ptrdiff_t stride, ptrdiff_t vectors, ptrdiff_t columns,
    ptrdiff_t left, ptrdiff_t *k, ptrdiff_t *n, const int count)
{
    vec sum[LANES];
    for (int i = 0; i < count; i++) {
        vec products = {0};
        if (i < left) {
            const real *a = x + *k * stride, *b = dz + *n * stride;
            for (ptrdiff_t v = 0; v < vectors; v++)
                products += *(const vec_u *)(a + v * LANES) * *(const vec_u *)(b + v * LANES);
            if (++*n == columns) {
                *n = 0;
                ++*k;
            }
        }
        sum[i] = products;
    }
    return NAME(sums_of)(sum, count);
}

/* gradient[k * columns + n] = sum over s of x[k * stride + s] * dz[n * stride + s], over whole
 * vectors of samples: behind the last sample dz must be zero, and x finite. */
static inline void NAME(dots)(
    const real *x, const real *dz, ptrdiff_t stride, ptrdiff_t vectors, ptrdiff_t rows,
    ptrdiff_t columns, real *gradient)
{
    ptrdiff_t k = 0, n = 0;
    for (ptrdiff_t left = rows * columns; left > 0; left -= LANES) {
        vec found;
        if (left <= LANES / 2)
            found = NAME(dots_of)(x, dz, stride, vectors, columns, left, &k, &n, LANES / 2);
        else
            found = NAME(dots_of)(x, dz, stride, vectors, columns, left, &k, &n, LANES);
        NAME(store)(gradient, left, found);
        gradient += LANES;
    }
}

#endif
