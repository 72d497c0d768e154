/* Losses: each sample's value, and the gradient of their mean over `batch` samples.
 *
 * The rows given may be a part of the batch. `grad` is NULL where it is not wanted; it must not
 * overlap what is read. A row is summed in an order that depends on its length only.
 */
#ifndef MLCORE_LOSSES_H
#define MLCORE_LOSSES_H

#include "activations.h"

/* The losses that are a mean over a sample's outputs. */
enum { SIGMOID_TERMS, SQUARED_TERMS };

#define BODY "losses.h"
#include "precisions.h"

#elif defined(real)

/* One sample; `label` counts where `targets` is NULL. */
INLINE real NAME(softmax_cross_entropy_row)(
    const real *logits, int32_t label, const real *targets, real *grad, ptrdiff_t columns,
    real share)
{
    const vec top = NAME(row_top)(logits, columns);
    const vec powers = NAME(row_powers)(logits, top, grad, columns);
    const vec total = top + NAME(log)(powers);
    vec loss = {0}, mass = NAME(fill)(1);
    if (targets) {
        mass = (vec){0};
        for (ptrdiff_t j = 0; j < columns; j += LANES) {
            const vec target = NAME(load)(targets + j, columns - j);
            const vec terms = target * (total - NAME(load)(logits + j, columns - j));
            loss += NAME(zero_where)(target == 0, terms);
            mass += target;
        }
        loss = NAME(sum_of_lanes)(loss);
        mass = NAME(sum_of_lanes)(mass);
    } else {
        loss = total - logits[label];
    }
    if (grad) {
        const vec scale = mass * share / powers;
        for (ptrdiff_t j = 0; j < columns; j += LANES) {
            vec slope = NAME(load)(grad + j, columns - j) * scale;
            if (targets)
                slope -= NAME(load)(targets + j, columns - j) * share;
            NAME(store)(grad + j, columns - j, slope);
        }
        if (!targets)
            grad[label] -= share;
    }
    return loss[0];
}

/* Takes class numbers in `labels`, or where that is NULL a distribution a row in `targets`. */
static inline void NAME(softmax_cross_entropy)(
    const real *logits, ptrdiff_t logits_row, const int32_t *labels, const real *targets,
    ptrdiff_t targets_row, real *losses, real *grad, ptrdiff_t grad_row, ptrdiff_t rows,
    ptrdiff_t columns, double batch)
{
    for (ptrdiff_t i = 0; i < rows; i++)
        losses[i] = NAME(softmax_cross_entropy_row)(
            logits + i * logits_row, labels ? labels[i] : 0,
            labels ? NULL : targets + i * targets_row, grad ? grad + i * grad_row : NULL, columns,
            (real)(1 / batch));
}

/* The terms of one vector; the gradient of their sum, times `share`, goes to `slope`. */
INLINE vec NAME(loss_terms)(const int loss, vec output, vec target, real share, vec *slope)
{
    if (loss == SIGMOID_TERMS) {
        const vec small = NAME(exp)(-NAME(magnitude)(output));
        const vec chance = NAME(select)(output >= 0, NAME(fill)(1), small) / (1 + small);
        *slope = (chance - target) * share;
        return NAME(zero_where)(output < 0, output) - output * target + NAME(log1p)(small);
    }
    const vec error = output - target;
    *slope = 2 * share * error;
    return error * error;
}

INLINE void NAME(mean_loss)(
    const int loss, const real *outputs, ptrdiff_t outputs_row, const real *targets,
    ptrdiff_t targets_row, real *losses, real *grad, ptrdiff_t grad_row, ptrdiff_t rows,
    ptrdiff_t columns, double batch)
{
    const real share = (real)(1 / (batch * (double)columns));
    /* One output a sample and no gaps: then the samples stand in the lanes. */
    const int packed =
        columns == 1 && outputs_row == 1 && targets_row == 1 && (!grad || grad_row == 1);
    const ptrdiff_t length = packed ? rows : columns;
    for (ptrdiff_t i = 0; i < (packed ? 1 : rows); i++) {
        vec total = {0}, slope;
        for (ptrdiff_t j = 0; j < length; j += LANES) {
            const ptrdiff_t left = length - j;
            const vec output = NAME(load)(outputs + i * outputs_row + j, left);
            const vec target = NAME(load)(targets + i * targets_row + j, left);
            const vec terms = NAME(loss_terms)(loss, output, target, share, &slope);
            if (grad)
                NAME(store)(grad + i * grad_row + j, left, slope);
            if (packed)
                NAME(store)(losses + j, left, terms);
            else
                total += NAME(padded)(terms, left, 0);
        }
        if (!packed)
            losses[i] = NAME(sum_of_lanes)(total)[0] / (real)columns;
    }
}

static inline void NAME(sigmoid_cross_entropy)(
    const real *logits, ptrdiff_t logits_row, const real *targets, ptrdiff_t targets_row,
    real *losses, real *grad, ptrdiff_t grad_row, ptrdiff_t rows, ptrdiff_t columns, double batch)
{
    NAME(mean_loss)(
        SIGMOID_TERMS, logits, logits_row, targets, targets_row, losses, grad, grad_row,
        rows, columns, batch);
}

static inline void NAME(mse)(
    const real *outputs, ptrdiff_t outputs_row, const real *targets, ptrdiff_t targets_row,
    real *losses, real *grad, ptrdiff_t grad_row, ptrdiff_t rows, ptrdiff_t columns, double batch)
{
    NAME(mean_loss)(
        SQUARED_TERMS, outputs, outputs_row, targets, targets_row, losses, grad, grad_row, rows,
        columns, batch);
}

#endif
