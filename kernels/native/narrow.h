/* Networks of a few units, whose rows would leave most of a vector empty.
 *
 * Their batches lie the other way round, [units][samples], with samples along the vectors. The
 * register tile of tile.h then serves as it is, its left factor being the weights in their own
 * layout, (fan_in + 1, fan_out) with the bias as the last row: there is nothing to pack, and a last
 * row of ones in the input brings the bias in. Only the weight gradient sums along the vectors. For
 * a few columns it does so in registers; else the gradient of the outputs is turned round first, and
 * the tile serves for this product too.
 *
 * A large batch is taken in groups of samples, from the first layer to the last and back, so that
 * what a group needs stays in the cache; the groups' weight gradients, `partial`, are added in their
 * order, whichever thread took them.
 */
#ifndef MLCORE_NARROW_H
#define MLCORE_NARROW_H

#include "tile.h"
#include "turn.h"

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

/* out[k * stride + s] = x[taken[s] * columns + k] * factor, and zero behind the last sample, to the
 * end of its vector. */
static inline void NAME(turned_rows)(
    const real *x, const int64_t *taken, ptrdiff_t columns, real factor, real *out,
    ptrdiff_t stride, ptrdiff_t samples)
{
    real rows[LANES * LANES];
    for (ptrdiff_t s = 0; s < samples; s += LANES) {
        const ptrdiff_t count = samples - s < LANES ? samples - s : LANES;
        for (ptrdiff_t k = 0; k < columns; k += LANES) {
            for (ptrdiff_t i = 0; i < LANES; i++) {
                vec row = {0};
                if (i < count)
                    row = factor * NAME(load)(x + taken[s + i] * columns + k, columns - k);
                *(vec_u *)(rows + i * LANES) = row;
            }
            real *to = out + k * stride + s;
            for (ptrdiff_t j = 0; j < LANES && k + j < columns; j += BLOCK) {
                vec column[BLOCK];
                NAME(turn_blocks)(rows + j, LANES, column);
                for (ptrdiff_t e = 0; e < BLOCK && k + j + e < columns; e++)
                    *(vec_u *)(to + (j + e) * stride) = column[e];
            }
        }
    }
}

/* c[i][s] = sum over k of a[i * a_row + k * a_depth] * b[k * b_row + s], for so many
 * `vectors` of c, in tiles of equal height, because a low one cannot keep the multipliers busy. */
static inline void NAME(tiles)(
    const real *a, ptrdiff_t a_row, ptrdiff_t a_depth, const real *b, ptrdiff_t b_row,
    ptrdiff_t depth, ptrdiff_t rows, ptrdiff_t vectors, real *c, ptrdiff_t c_row)
{
    const ptrdiff_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    for (ptrdiff_t t = 0; t < tiles; t++) {
        const ptrdiff_t row = rows * t / tiles, taken = rows * (t + 1) / tiles - row;
        for (ptrdiff_t v = 0; v < vectors; v += 2)
            NAME(tile)(
                taken, v + 1 < vectors ? 2 : 1, a + row * a_row, a_row, a_depth, b + v * LANES,
                b_row, depth, NULL, 0, 0, 0, c + row * c_row + v * LANES, c_row);
    }
}

/* So many columns and more are turned round. */
enum { NAME(MANY_COLUMNS) = LANES / 4 + 1 };

/* gradient[k * columns + n] = sum over s of x[k * stride + s] * dz[n * stride + s]. Behind the last
 * sample, as far as a vector goes, dz is zero and x is finite. `scratch` has room for
 * (samples + LANES + rows) * 2 * LANES numbers. */
static inline void NAME(narrow_gradient)(
    const real *x, const real *dz, ptrdiff_t stride, ptrdiff_t samples, ptrdiff_t rows,
    ptrdiff_t columns, real *scratch, real *gradient)
{
    if (columns < NAME(MANY_COLUMNS)) {
        NAME(dots)(x, dz, stride, (samples + LANES - 1) / LANES, rows, columns, gradient);
        return;
    }
    for (ptrdiff_t n = 0; n < columns; n += 2 * LANES) {
        const ptrdiff_t left = columns - n < 2 * LANES ? columns - n : 2 * LANES;
        const ptrdiff_t vectors = (left + LANES - 1) / LANES, width = vectors * LANES;
        real *sums = scratch + (samples + LANES) * 2 * LANES;
        NAME(turn)(dz + n * stride, stride, left, samples, 0, scratch, width);
        NAME(tiles)(x, stride, 1, scratch, width, samples, rows, vectors, sums, width);
        for (ptrdiff_t k = 0; k < rows; k++)
            for (ptrdiff_t v = 0; v < left; v += LANES)
                NAME(store)(
                    gradient + k * columns + n + v, left - v,
                    *(const vec_u *)(sums + k * width + v));
    }
}

#endif
