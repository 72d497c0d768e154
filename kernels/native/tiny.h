/* Layers of one or two units on either side, whose weights and whose gradient's sums stay in
 * registers while the samples go by.
 *
 * A batch lies as [units][samples]; see narrow.h. Written plainly, for every sample,
 *
 *     out[n] = activation(bias[n] + sum over k of w[k][n] * x[k])
 *
 * and backward, with dz[n] = grad[n] * activation'(stored[n]),
 *
 *     dw[k][n] += x[k] * dz[n],  db[n] += dz[n],  dx[k] = sum over n of w[k][n] * dz[n]
 *
 * with LANES samples at a time, whose sums are added up at the end. What lies behind the last
 * sample is neither read nor written. So little is computed that choosing what to do would take
 * longer: there is a function for every size and the most common activations, and `tiny` gives
 * the executor the one that an operation is to call.
 */
#ifndef MLCORE_TINY_H
#define MLCORE_TINY_H

#include "activations.h"
#include "engine.h"
#include "narrow.h"

/* An activation that is applied in a pass of its own. */
enum { TINY_UNITS = 2, APART = -1 };

#define BODY "tiny.h"
#include "precisions.h"

#elif defined(real)

/* At most LANES samples forward: `left` of them. */
INLINE void NAME(tiny_outputs)(
    const int depth, const int columns, const int code, real a, const vec *weight,
    const vec *bias, const real *x, ptrdiff_t stride, ptrdiff_t left, real *out)
{
    vec given[TINY_UNITS];
    for (int k = 0; k < depth; k++)
        given[k] = NAME(load)(x + k * stride, left);
    for (int n = 0; n < columns; n++) {
        vec z = bias[n];
        for (int k = 0; k < depth; k++)
            z += weight[k * columns + n] * given[k];
        NAME(store)(out + n * stride, left, NAME(activated)(code, a, z));
    }
}

INLINE void NAME(tiny_forward)(
    const int depth, const int columns, const int code, const Operation *op, const Step *step)
{
    const real *w = op->weights, *x = (const real *)op->x.at;
    real *out = (real *)op->out.at, *z = code == APART && op->pre.at ? (real *)op->pre.at : out;
    const real a = (real)op->parameter;
    const ptrdiff_t stride = op->out.stride, samples = step->count;
    vec weight[TINY_UNITS * TINY_UNITS], bias[TINY_UNITS];
    for (int i = 0; i < depth * columns; i++)
        weight[i] = NAME(fill)(w[i]);
    for (int n = 0; n < columns; n++)
        bias[n] = op->biased ? NAME(fill)(w[depth * columns + n]) : (vec){0};
    ptrdiff_t s = 0;
    for (; s + LANES <= samples; s += LANES)
        NAME(tiny_outputs)(depth, columns, code, a, weight, bias, x + s, stride, LANES, z + s);
    if (s < samples)
        NAME(tiny_outputs)(
            depth, columns, code, a, weight, bias, x + s, stride, samples - s, z + s);
    if (code == APART)
        NAME(activate)(op->activation, a, z, stride, out, stride, columns, samples);
}

/* At most LANES samples backward; dx may be NULL. */
INLINE void NAME(tiny_gradients)(
    const int depth, const int columns, const int code, real a, const vec *weight, const real *x,
    const real *grad, const real *stored, ptrdiff_t stride, ptrdiff_t left, vec *sum, real *dx)
{
    vec dz[TINY_UNITS];
    for (int n = 0; n < columns; n++) {
        dz[n] = NAME(load)(grad + n * stride, left);
        if (code > IDENTITY)
            dz[n] *= NAME(slope)(code, a, NAME(load)(stored + n * stride, left));
        sum[depth * columns + n] += dz[n];
    }
    for (int k = 0; k < depth; k++) {
        const vec given = NAME(load)(x + k * stride, left);
        vec passed = {0};
        for (int n = 0; n < columns; n++) {
            sum[k * columns + n] += given * dz[n];
            passed += weight[k * columns + n] * dz[n];
        }
        if (dx)
            NAME(store)(dx + k * stride, left, passed);
    }
}

INLINE void NAME(tiny_backward)(
    const int depth, const int columns, const int code, const Operation *op, const Step *step)
{
    enum { MOST = (TINY_UNITS + 1) * TINY_UNITS };
    const real *w = op->weights, *x = (const real *)op->x.at;
    const real *stored = (const real *)op->stored.at;
    real *grad = (real *)op->grad.at, *dx = (real *)op->out.at, *dw = op->gradient;
    const real a = (real)op->parameter;
    const ptrdiff_t stride = op->grad.stride, samples = step->count;
    vec weight[TINY_UNITS * TINY_UNITS], sum[MOST];
    if (code == APART)
        NAME(activate_backward)(
            op->activation, a, grad, stride, stored, stride, grad, stride, columns, samples);
    for (int i = 0; i < depth * columns; i++)
        weight[i] = NAME(fill)(w[i]);
    for (int i = 0; i < MOST; i++)
        sum[i] = (vec){0};
    ptrdiff_t s = 0;
    for (; s + LANES <= samples; s += LANES)
        NAME(tiny_gradients)(
            depth, columns, code, a, weight, x + s, grad + s, stored + s, stride, LANES, sum,
            dx ? dx + s : NULL);
    if (s < samples)
        NAME(tiny_gradients)(
            depth, columns, code, a, weight, x + s, grad + s, stored + s, stride, samples - s, sum,
            dx ? dx + s : NULL);
    if (!dw)
        return;
    const int all = (depth + 1) * columns, wanted = op->biased ? all : depth * columns;
#pragma GCC unroll 6
    for (int first = 0; first < all; first += LANES) {
        const int taken = all - first < LANES ? all - first : LANES;
        if (first < wanted)
            NAME(store)(dw + first, wanted - first, NAME(sums_of)(sum + first, taken));
    }
}

#define FOR_EACH_SIZE(DO) DO(1, 1) DO(1, 2) DO(2, 1) DO(2, 2)
#define FOR_EACH_CODE(DO, depth, columns)                                                          \
    DO(depth, columns, IDENTITY) DO(depth, columns, RELU) DO(depth, columns, LEAKY_RELU)           \
    DO(depth, columns, APART)

#define FUNCTIONS(depth, columns, code)                                                            \
    static void NAME(tiny_forward_##depth##columns##code)(const Operation *op, const Step *step)   \
    {                                                                                              \
        NAME(tiny_forward)(depth, columns, code, op, step);                                        \
    }                                                                                              \
    static void NAME(tiny_backward_##depth##columns##code)(const Operation *op, const Step *step)  \
    {                                                                                              \
        NAME(tiny_backward)(depth, columns, code, op, step);                                       \
    }
#define DO(depth, columns) FOR_EACH_CODE(FUNCTIONS, depth, columns)
FOR_EACH_SIZE(DO)
#undef DO
#undef FUNCTIONS

/* The function of a layer, or NULL where there is none. */
static Direct NAME(tiny)(const Operation *op)
{
    const int forward = op->kind == NARROW_FORWARD;
    const int fast = op->activation == IDENTITY || op->activation == RELU ||
                     op->activation == LEAKY_RELU;
    const int code = fast && !op->pre.at ? op->activation : APART;
    if (!forward && op->kind != NARROW_BACKWARD)
        return NULL;
#define FUNCTION(rows, width, which)                                                               \
    if (op->depth == rows && op->columns == width && code == which)                                \
        return forward ? NAME(tiny_forward_##rows##width##which)                                   \
                       : NAME(tiny_backward_##rows##width##which);
#define DO(depth, columns) FOR_EACH_CODE(FUNCTION, depth, columns)
    FOR_EACH_SIZE(DO)
#undef DO
#undef FUNCTION
    return NULL;
}

#undef FOR_EACH_CODE
#undef FOR_EACH_SIZE

#endif
