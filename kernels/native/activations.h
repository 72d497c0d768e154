/* Activations and their derivatives, over planes whose rows may be apart.
 *
 * What each computes is written in `mlcore.kernels.reference`. Comparisons are turned so that NaN
 * stays NaN. A plane without gaps is taken as one long row where rows do not matter.
 */
#ifndef MLCORE_ACTIVATIONS_H
#define MLCORE_ACTIVATIONS_H

#include "functions.h"

enum {
    IDENTITY, RELU, RELU6, LEAKY_RELU, ELU, TANH, SIGMOID, SOFTPLUS, SILU, GELU,
    /* Those below depend on the whole row. */
    SOFTMAX, LOG_SOFTMAX
};

#define BODY "activations.h"
#include "precisions.h"

#elif defined(real)

/* (1 + erf(x / sqrt(2))) / 2, the normal distribution function. */
INLINE vec NAME(normal_below)(vec x)
{
    return (real)0.5 * (1 + NAME(erf)(x * (real)0.70710678118654752));
}

/* activation(x) of one vector, for the activations without a row. */
INLINE vec NAME(activated)(const int code, real a, vec x)
{
    switch (code) {
    case RELU: return NAME(zero_where)(x < 0, x);
    case RELU6: return NAME(smaller)(NAME(fill)(6), NAME(zero_where)(x < 0, x));
    case LEAKY_RELU: return NAME(select)(x > 0, x, a * x);
    case ELU: return NAME(select)(x > 0, x, a * NAME(expm1)(x));
    case TANH: return NAME(tanh)(x);
    case SIGMOID: return NAME(logistic)(a * x);
    case SOFTPLUS:
        return NAME(zero_where)(x < 0, x) + NAME(log1p)(NAME(exp)(-NAME(magnitude)(x)));
    case SILU: return x * NAME(logistic)(x);
    case GELU: return x * NAME(normal_below)(x);
    default: return x;
    }
}

/* The derivative, from the output, or for silu and gelu from the input. */
INLINE vec NAME(slope)(const int code, real a, vec y)
{
    const vec one = NAME(fill)(1);
    switch (code) {
    case RELU: return NAME(zero_where)(y <= 0, one);
    case RELU6: return NAME(zero_where)((y <= 0) | (y >= 6), one);
    case LEAKY_RELU: return NAME(select)(y <= 0, NAME(fill)(a), one);
    case ELU: return NAME(select)(y <= 0, y + a, one);
    case TANH: return 1 - y * y;
    case SIGMOID: return a * y * (1 - y);
    case SOFTPLUS: return -NAME(expm1)(-y);
    case SILU: {
        const vec share = NAME(logistic)(y);
        return share * (1 + y * (1 - share));
    }
    case GELU: {
        const vec density = NAME(exp)((real)-0.5 * y * y) * (real)0.39894228040143268;
        return NAME(normal_below)(y) + y * density;
    }
    default: return one;
    }
}

/* Beyond the end of a row, what neither its largest element nor a sum of powers notices. */
INLINE vec NAME(load_or_least)(const real *x, ptrdiff_t left)
{
    return NAME(padded)(NAME(load)(x, left), left, -INFINITY);
}

/* The largest element, in every lane; beside NaN it may be any element. */
INLINE vec NAME(row_top)(const real *x, ptrdiff_t columns)
{
    vec top = NAME(fill)(-INFINITY);
    for (ptrdiff_t j = 0; j < columns; j += LANES)
        top = NAME(larger)(top, NAME(load_or_least)(x + j, columns - j));
    return NAME(largest_of_lanes)(top);
}

/* The sum of exp(x - top), in every lane; the powers are kept where `powers` is not NULL. */
INLINE vec NAME(row_powers)(const real *x, vec top, real *powers, ptrdiff_t columns)
{
    vec total = {0};
    for (ptrdiff_t j = 0; j < columns; j += LANES) {
        const vec power = NAME(exp)(NAME(load_or_least)(x + j, columns - j) - top);
        total += power;
        if (powers)
            NAME(store)(powers + j, columns - j, power);
    }
    return NAME(sum_of_lanes)(total);
}

INLINE void NAME(softmax_row)(const real *x, real *y, ptrdiff_t columns)
{
    const vec total = NAME(row_powers)(x, NAME(row_top)(x, columns), y, columns);
    for (ptrdiff_t j = 0; j < columns; j += LANES)
        NAME(store)(y + j, columns - j, NAME(load)(y + j, columns - j) / total);
}

INLINE void NAME(log_softmax_row)(const real *x, real *y, ptrdiff_t columns)
{
    const vec top = NAME(row_top)(x, columns);
    const vec total = top + NAME(log)(NAME(row_powers)(x, top, NULL, columns));
    for (ptrdiff_t j = 0; j < columns; j += LANES)
        NAME(store)(y + j, columns - j, NAME(load)(x + j, columns - j) - total);
}

INLINE void NAME(softmax_row_backward)(
    const real *grad, const real *y, real *out, ptrdiff_t columns)
{
    vec total = {0};
    for (ptrdiff_t j = 0; j < columns; j += LANES)
        total += NAME(load)(grad + j, columns - j) * NAME(load)(y + j, columns - j);
    total = NAME(sum_of_lanes)(total);
    for (ptrdiff_t j = 0; j < columns; j += LANES) {
        const vec error = NAME(load)(grad + j, columns - j) - total;
        NAME(store)(out + j, columns - j, NAME(load)(y + j, columns - j) * error);
    }
}

INLINE void NAME(log_softmax_row_backward)(
    const real *grad, const real *y, real *out, ptrdiff_t columns)
{
    vec total = {0};
    for (ptrdiff_t j = 0; j < columns; j += LANES)
        total += NAME(load)(grad + j, columns - j);
    total = NAME(sum_of_lanes)(total);
    for (ptrdiff_t j = 0; j < columns; j += LANES) {
        const vec share = NAME(exp)(NAME(load)(y + j, columns - j));
        NAME(store)(out + j, columns - j, NAME(load)(grad + j, columns - j) - share * total);
    }
}

INLINE void NAME(activate_each)(
    const int code, real a, const real *x, ptrdiff_t x_row, real *y, ptrdiff_t y_row,
    ptrdiff_t rows, ptrdiff_t columns)
{
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j += LANES) {
            const vec given = NAME(load)(x + i * x_row + j, columns - j);
            NAME(store)(y + i * y_row + j, columns - j, NAME(activated)(code, a, given));
        }
}

INLINE void NAME(activate_each_backward)(
    const int code, real a, const real *grad, ptrdiff_t grad_row, const real *stored,
    ptrdiff_t stored_row, real *out, ptrdiff_t out_row, ptrdiff_t rows, ptrdiff_t columns)
{
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j += LANES) {
            const vec upstream = NAME(load)(grad + i * grad_row + j, columns - j);
            const vec kept = NAME(load)(stored + i * stored_row + j, columns - j);
            NAME(store)(
                out + i * out_row + j, columns - j, upstream * NAME(slope)(code, a, kept));
        }
}

/* The loops are made once for each code, with the choice outside of them. */
#define FOR_EACH_CODE(DO)                                                                          \
    DO(IDENTITY) DO(RELU) DO(RELU6) DO(LEAKY_RELU) DO(ELU) DO(TANH) DO(SIGMOID) DO(SOFTPLUS)       \
    DO(SILU) DO(GELU)

/* y = activation(x); y may be x. */
static inline void NAME(activate)(
    int code, real a, const real *x, ptrdiff_t x_row, real *y, ptrdiff_t y_row, ptrdiff_t rows,
    ptrdiff_t columns)
{
    if (code < SOFTMAX && x_row == columns && y_row == columns) {
        columns *= rows;
        rows = 1;
    }
#define DO(name)                                                                                   \
    case name: NAME(activate_each)(name, a, x, x_row, y, y_row, rows, columns); break;
    switch (code) {
        FOR_EACH_CODE(DO)
    case SOFTMAX:
        for (ptrdiff_t i = 0; i < rows; i++)
            NAME(softmax_row)(x + i * x_row, y + i * y_row, columns);
        break;
    case LOG_SOFTMAX:
        for (ptrdiff_t i = 0; i < rows; i++)
            NAME(log_softmax_row)(x + i * x_row, y + i * y_row, columns);
        break;
    }
#undef DO
}

/* out = grad * activation'(stored); out may be grad. */
static inline void NAME(activate_backward)(
    int code, real a, const real *grad, ptrdiff_t grad_row, const real *stored,
    ptrdiff_t stored_row, real *out, ptrdiff_t out_row, ptrdiff_t rows, ptrdiff_t columns)
{
    if (code < SOFTMAX && grad_row == columns && stored_row == columns && out_row == columns) {
        columns *= rows;
        rows = 1;
    }
#define DO(name)                                                                                   \
    case name:                                                                                     \
        NAME(activate_each_backward)(                                                              \
            name, a, grad, grad_row, stored, stored_row, out, out_row, rows, columns);             \
        break;
    switch (code) {
        FOR_EACH_CODE(DO)
    case SOFTMAX:
        for (ptrdiff_t i = 0; i < rows; i++)
            NAME(softmax_row_backward)(
                grad + i * grad_row, stored + i * stored_row, out + i * out_row, columns);
        break;
    case LOG_SOFTMAX:
        for (ptrdiff_t i = 0; i < rows; i++)
            NAME(log_softmax_row_backward)(
                grad + i * grad_row, stored + i * stored_row, out + i * out_row, columns);
        break;
    }
#undef DO
}

#undef FOR_EACH_CODE

#endif
