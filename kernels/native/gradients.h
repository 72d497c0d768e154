/* What stands between a gradient and the parameters: penalties, sums over several steps, limits.
 *
 * All of it goes over flat vectors, because the padding of panels holds anything. Sums are taken a
 * block at a time and in double, and the blocks' sums are added in their order: the result is the
 * same whichever thread took which block.
 */
#ifndef MLCORE_GRADIENTS_H
#define MLCORE_GRADIENTS_H

#include "vector.h"

/* As many floats as there are doubles in a vector. */
DEFINE_VECTOR_OF(v_float_half, float, VECTOR_BYTES / 2);

enum { FLAT_BLOCK = 4096, STRIP_VECTORS = 8 };

/* The sum of the squares of a vector whose blocks have these sums. */
static inline double sum_of_squares(const double *sums, ptrdiff_t blocks)
{
    double total = 0;
    for (ptrdiff_t i = 0; i < blocks; i++)
        total += sums[2 * i + 1];
    return total;
}

static inline double penalty_of(
    const double *sums, ptrdiff_t blocks, double l1, double l2, double norm)
{
    double magnitudes = 0;
    for (ptrdiff_t i = 0; i < blocks; i++)
        magnitudes += sums[2 * i];
    const double squares = sum_of_squares(sums, blocks);
    return l1 * magnitudes + l2 * squares + norm * sqrt(squares);
}

/* The slope of l2 * sum(p*p) + norm * sqrt(sum(p*p)) is this times p; zero where all p are zero. */
static inline double penalty_scale(const double *sums, ptrdiff_t blocks, double l2, double norm)
{
    const double squares = sum_of_squares(sums, blocks);
    return 2 * l2 + (squares != 0 ? norm / sqrt(squares) : 0);
}

/* What brings a gradient down to a norm of `limit`. */
static inline double clip_scale(const double *sums, ptrdiff_t blocks, double limit)
{
    const double scale = limit / (sqrt(sum_of_squares(sums, blocks)) + 1e-6);
    return scale > 1 ? 1 : scale;
}

#define BODY "gradients.h"
#include "precisions.h"

#elif defined(real)

INLINE v_double NAME(widened)(const real *x)
{
#if SINGLE
    return __builtin_convertvector((v_float_half) * (const v_float_half_u *)x, v_double);
#else
    return *(const v_double_u *)x;
#endif
}

/* sums[0] = sum(|x|), sums[1] = sum(x*x). */
static inline void NAME(block_sum)(const real *x, ptrdiff_t size, double *sums)
{
    /* Several sums at a time, because each addition waits for the one before it. */
    v_double magnitudes[4] = {{0}}, squares[4] = {{0}};
    ptrdiff_t i = 0;
    for (; i + 4 * DOUBLES <= size; i += 4 * DOUBLES)
        for (int j = 0; j < 4; j++) {
            const v_double wide = NAME(widened)(x + i + j * DOUBLES);
            magnitudes[j] += magnitude_double(wide);
            squares[j] += wide * wide;
        }
    for (int j = 0; i < size; j++, i += DOUBLES) {
        v_double rest = {0};
        for (ptrdiff_t lane = 0; lane < DOUBLES && i + lane < size; lane++)
            rest[lane] = x[i + lane];
        magnitudes[j] += magnitude_double(rest);
        squares[j] += rest * rest;
    }
    sums[0] = sum_of_lanes_double(
        (magnitudes[0] + magnitudes[1]) + (magnitudes[2] + magnitudes[3]))[0];
    sums[1] = sum_of_lanes_double((squares[0] + squares[1]) + (squares[2] + squares[3]))[0];
}

/* gradients += l1 * sign(parameters) + scale * parameters. */
static inline void NAME(add_penalty)(
    const real *parameters, ptrdiff_t size, real l1, real scale, real *gradients)
{
    for (ptrdiff_t i = 0; i < size; i += LANES) {
        const ptrdiff_t left = size - i;
        const vec parameter = NAME(load)(parameters + i, left);
        vec gradient = NAME(load)(gradients + i, left);
        /* Zero has no sign, and NaN stays NaN. */
        const vec below = NAME(select)(parameter < 0, NAME(fill)(-1), parameter);
        if (l1 != 0)
            gradient += l1 * NAME(select)(parameter > 0, NAME(fill)(1), below);
        if (scale != 0)
            gradient += scale * parameter;
        NAME(store)(gradients + i, left, gradient);
    }
}

static inline void NAME(add_up)(
    real *gradients, real *total, ptrdiff_t size, ptrdiff_t number, ptrdiff_t steps)
{
    for (ptrdiff_t i = 0; i < size; i += LANES) {
        const ptrdiff_t left = size - i;
        vec sum = NAME(load)(gradients + i, left);
        if (number > 0)
            sum += NAME(load)(total + i, left);
        NAME(store)(total + i, left, sum);
        if (number == steps - 1)
            NAME(store)(gradients + i, left, sum / (real)steps);
    }
}

static inline void NAME(scale_down)(real *gradients, ptrdiff_t size, real scale)
{
    for (ptrdiff_t i = 0; i < size; i += LANES)
        NAME(store)(gradients + i, size - i, scale * NAME(load)(gradients + i, size - i));
}

static inline void NAME(cut_off)(real *gradients, ptrdiff_t size, real limit)
{
    const vec most = NAME(fill)(limit);
    for (ptrdiff_t i = 0; i < size; i += LANES) {
        const vec gradient = NAME(load)(gradients + i, size - i);
        const vec above = NAME(select)(gradient < -most, -most, gradient);
        NAME(store)(gradients + i, size - i, NAME(select)(gradient > most, most, above));
    }
}

/* Some columns of w, at most STRIP_VECTORS vectors: columns alone would lie far apart. */
static inline void NAME(limit_columns)(
    real *w, ptrdiff_t depth, ptrdiff_t stride, ptrdiff_t columns, real limit)
{
    vec scales[STRIP_VECTORS] = {{0}};
    for (ptrdiff_t k = 0; k < depth; k++)
        for (ptrdiff_t n = 0; n < columns; n += LANES) {
            const vec row = NAME(load)(w + k * stride + n, columns - n);
            scales[n / LANES] += row * row;
        }
    for (ptrdiff_t n = 0; n < columns; n += LANES) {
        const vec norm = NAME(sqrt)(scales[n / LANES]);
        scales[n / LANES] = NAME(select)(norm > limit, limit / norm, NAME(fill)(1));
    }
    for (ptrdiff_t k = 0; k < depth; k++)
        for (ptrdiff_t n = 0; n < columns; n += LANES) {
            real *at = w + k * stride + n;
            NAME(store)(at, columns - n, scales[n / LANES] * NAME(load)(at, columns - n));
        }
}

#endif
