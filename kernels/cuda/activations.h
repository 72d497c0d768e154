/* The activations and their derivatives, one number or one row at a time.
 *
 * The formulas are those of reference.py. Comparisons are written so that NaN stays NaN.
 */
#ifndef MLCORE_CUDA_ACTIVATIONS_H
#define MLCORE_CUDA_ACTIVATIONS_H

#include "common.h"

DEVICE real logistic(real x)
{
    const real small = exp(-fabs(x));
    return (x >= 0 ? (real)1 : small) / (1 + small);
}

DEVICE real softplus(real x)
{
    return (x < 0 ? (real)0 : x) + log1p(exp(-fabs(x)));
}

/* The normal distribution function. */
DEVICE real normal_below(real x)
{
    return (real)0.5 * (1 + erf(x * (real)0.70710678118654752440));
}

DEVICE real activated(int64 code, real a, real x)
{
    switch (code) {
    case RELU: return x < 0 ? (real)0 : x;
    case RELU6: return x < 0 ? (real)0 : x > 6 ? (real)6 : x;
    case LEAKY_RELU: return x > 0 ? x : a * x;
    case ELU: return x > 0 ? x : a * expm1(x);
    case TANH: return tanh(x);
    case SIGMOID: return logistic(a * x);
    case SOFTPLUS: return softplus(x);
    case SILU: return x * logistic(x);
    case GELU: return x * normal_below(x);
    default: return x;
    }
}

/* The derivative, from the output, or for silu and gelu from the input. */
DEVICE real slope(int64 code, real a, real y)
{
    switch (code) {
    case RELU: return y <= 0 ? (real)0 : (real)1;
    case RELU6: return y <= 0 || y >= 6 ? (real)0 : (real)1;
    case LEAKY_RELU: return y <= 0 ? a : (real)1;
    case ELU: return y <= 0 ? y + a : (real)1;
    case TANH: return 1 - y * y;
    case SIGMOID: return a * y * (1 - y);
    case SOFTPLUS: return -expm1(-y);
    case SILU: {
        const real share = logistic(y);
        return share * (1 + y * (1 - share));
    }
    case GELU: {
        const real density = exp((real)-0.5 * y * y) * (real)0.39894228040143267794;
        return normal_below(y) + y * density;
    }
    default: return 1;
    }
}

/* The largest number of a row; beside NaN it may be any, since what is computed with it is NaN. */
DEVICE real row_top(const real *x, int64 columns)
{
    real top = x[0];
    for (int64 j = 1; j < columns; j++)
        if (!(x[j] <= top))
            top = x[j];
    return top;
}

/* The sum of exp(x - top). */
DEVICE real row_powers(const real *x, real top, int64 columns)
{
    real total = 0;
    for (int64 j = 0; j < columns; j++)
        total += exp(x[j] - top);
    return total;
}

#endif
