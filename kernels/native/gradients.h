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

enum { FLAT_BLOCK = 4096 };

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
    v_double magnitudes = {0}, squares = {0}, rest = {0};
    ptrdiff_t i = 0;
    for (; i + DOUBLES <= size; i += DOUBLES) {
        const v_double wide = NAME(widened)(x + i);
        magnitudes += magnitude_double(wide);
        squares += wide * wide;
    }
    for (ptrdiff_t j = i; j < size; j++)
        rest[j - i] = x[j];
    sums[0] = sum_of_lanes_double(magnitudes + magnitude_double(rest))[0];
    sums[1] = sum_of_lanes_double(squares + rest * rest)[0];
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

/* A vector of columns of w, or what is `left` of them. */
static inline void NAME(limit_columns)(
    real *w, ptrdiff_t depth, ptrdiff_t columns, ptrdiff_t left, real limit)
{
    vec squares = {0};
    for (ptrdiff_t k = 0; k < depth; k++) {
        const vec row = NAME(load)(w + k * columns, left);
        squares += row * row;
    }
    const vec norm = NAME(sqrt)(squares), one = NAME(fill)(1);
    const vec scale = NAME(select)(norm > limit, limit / norm, one);
    for (ptrdiff_t k = 0; k < depth; k++)
        NAME(store)(w + k * columns, left, scale * NAME(load)(w + k * columns, left));
}

#endif
