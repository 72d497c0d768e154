/* Losses: each sample's value times its weight, and the gradient of their weighted mean.
 *
 * What each computes is written in `mlcore.kernels.reference`. The rows computed may be a part of
 * the batch; the weights of the whole batch are summed by each caller for itself, in one order.
 * `grad` is NULL where it is not wanted; it must not overlap what is read. A row is summed in an
 * order that depends on its length only.
 */
#ifndef MLCORE_LOSSES_H
#define MLCORE_LOSSES_H

#include "activations.h"

enum {
    SOFTMAX_LOSS,
    /* Those below are a mean over a sample's outputs, or where labels are given, for hinges, look
     * for the largest of the other outputs. */
    SIGMOID_LOSS, SQUARED_LOSS, ABSOLUTE_LOSS, HUBER_LOSS, HINGE_LOSS, SQUARED_HINGE_LOSS
};

#define BODY "losses.h"
#include "precisions.h"

#elif defined(real)

/* What a weight is divided by: no sample counts where all weights are zero. */
INLINE real NAME(whole_of)(const real *weights, ptrdiff_t batch)
{
    double sums[4] = {0};
    if (!weights)
        return (real)batch;
    for (ptrdiff_t i = 0; i < batch; i++)
        sums[i & 3] += (double)weights[i];
    const double whole = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    return whole == 0 ? INFINITY : (real)whole;
}

/* One sample, unweighted, whose gradient is multiplied by `share`; `label` counts where `targets`
 * is NULL. */
INLINE real NAME(softmax_cross_entropy_row)(
    const real *logits, int32_t label, const real *targets, real smoothing, real *grad,
    ptrdiff_t columns, real share)
{
    const vec top = NAME(row_top)(logits, columns);
    const vec powers = NAME(row_powers)(logits, top, grad, columns);
    const vec total = top + NAME(log)(powers);
    const real kept = 1 - smoothing, spread = smoothing / (real)columns;
    vec loss = {0}, mass = NAME(fill)(1);
    if (targets || spread > 0) {
        vec given = {0};
        for (ptrdiff_t j = 0; j < columns; j += LANES) {
            const vec target = targets ? NAME(load)(targets + j, columns - j) : (vec){0};
            const vec wanted = target * kept + spread;
            const vec terms = wanted * (total - NAME(load)(logits + j, columns - j));
            loss += NAME(padded)(NAME(zero_where)(wanted == 0, terms), columns - j, 0);
            given += target;
        }
        loss = NAME(sum_of_lanes)(loss);
        if (targets)
            mass = NAME(sum_of_lanes)(given) * kept + smoothing;
    }
    if (!targets)
        loss += kept * (total - logits[label]);
    if (grad) {
        const vec scale = mass * share / powers;
        for (ptrdiff_t j = 0; j < columns; j += LANES) {
            vec slope = NAME(load)(grad + j, columns - j) * scale;
            if (targets || spread > 0) {
                const vec target = targets ? NAME(load)(targets + j, columns - j) : (vec){0};
                slope -= (target * kept + spread) * share;
            }
            NAME(store)(grad + j, columns - j, slope);
        }
        if (!targets)
            grad[label] -= kept * share;
    }
    return loss[0];
}

/* max(0, slack) or its square. The derivative goes to `steepness`; at the kink it is one. */
INLINE vec NAME(hinged)(const int loss, vec slack, vec *steepness)
{
    const vec inside = NAME(zero_where)(slack < 0, slack);
    if (loss == SQUARED_HINGE_LOSS) {
        *steepness = 2 * inside;
        return inside * inside;
    }
    *steepness = NAME(select)(slack >= 0, NAME(fill)(1), inside);
    return inside;
}

/* One sample by its label, as above. The rival is the first of the largest, or the first NaN. */
INLINE real NAME(hinge_row)(
    const int loss, const real *outputs, int32_t label, real margin, real *grad,
    ptrdiff_t columns, real share)
{
    real largest = -INFINITY;
    ptrdiff_t rival = label;
    for (ptrdiff_t j = 0; j < columns && largest == largest; j++) {
        if (j != label && !(outputs[j] <= largest)) {
            largest = outputs[j];
            rival = j;
        }
    }
    vec steepness;
    const vec slack = NAME(fill)(margin + (largest - outputs[label]));
    const vec terms = NAME(hinged)(loss, slack, &steepness);
    if (grad) {
        for (ptrdiff_t j = 0; j < columns; j += LANES)
            NAME(store)(grad + j, columns - j, NAME(fill)(0 * share));
        grad[rival] += share * steepness[0];
        grad[label] -= share * steepness[0];
    }
    return terms[0];
}

/* Samples that are taken by their rows; `targets` is NULL where there are labels. */
INLINE void NAME(row_losses)(
    const int loss, real setting, const real *outputs, ptrdiff_t outputs_row,
    const int32_t *labels, const real *targets, ptrdiff_t targets_row, const real *weights,
    real whole, real *losses, real *grad, ptrdiff_t grad_row, ptrdiff_t rows, ptrdiff_t columns)
{
    const real each = 1 / whole;
    for (ptrdiff_t i = 0; i < rows; i++) {
        const real *output = outputs + i * outputs_row;
        const real *target = targets ? targets + i * targets_row : NULL;
        const int32_t label = labels ? labels[i] : 0;
        real *slope = grad ? grad + i * grad_row : NULL;
        const real weight = weights ? weights[i] : 1, share = weights ? weight / whole : each;
        losses[i] = weight * (loss == SOFTMAX_LOSS
            ? NAME(softmax_cross_entropy_row)(
                output, label, target, setting, slope, columns, share)
            : NAME(hinge_row)(loss, output, label, setting, slope, columns, share));
    }
}

/* The terms of one vector; their derivatives go to `slope`. */
INLINE vec NAME(loss_terms)(const int loss, real setting, vec output, vec target, vec *slope)
{
    const vec error = output - target;
    switch (loss) {
    case SIGMOID_LOSS: {
        const vec wanted = target * (1 - setting) + setting / 2;
        const vec small = NAME(exp)(-NAME(magnitude)(output));
        const vec chance = NAME(select)(output >= 0, NAME(fill)(1), small) / (1 + small);
        *slope = chance - wanted;
        return NAME(zero_where)(output < 0, output) - output * wanted + NAME(log1p)(small);
    }
    case ABSOLUTE_LOSS: {
        const vec sign = NAME(with_sign_of)(NAME(fill)(1), error);
        *slope = NAME(select)((error < 0) | (error > 0), sign, error);
        return NAME(magnitude)(error);
    }
    case HUBER_LOSS: {
        const vec above = NAME(larger)(NAME(fill)(-setting), error);
        const vec near = NAME(smaller)(NAME(fill)(setting), above);
        *slope = near;
        return near * (error - near / 2);
    }
    case HINGE_LOSS:
    case SQUARED_HINGE_LOSS: {
        vec steepness;
        const vec terms = NAME(hinged)(loss, setting - target * output, &steepness);
        *slope = -target * steepness;
        return terms;
    }
    default:
        *slope = 2 * error;
        return error * error;
    }
}

/* Samples in the lanes, so many numbers from unit to unit. */
INLINE void NAME(turned_losses)(
    const int loss, real setting, const real *outputs, ptrdiff_t outputs_unit,
    const real *targets, ptrdiff_t targets_unit, const real *weights, real whole, real *losses,
    real *grad, ptrdiff_t grad_unit, ptrdiff_t samples, ptrdiff_t columns)
{
    const real many = (real)columns;
    const vec each = NAME(fill)(1 / (whole * many));
    for (ptrdiff_t i = 0; i < samples; i += LANES) {
        const ptrdiff_t left = samples - i;
        vec total = {0}, share = each, weight = NAME(fill)(1), slope;
        if (weights) {
            weight = NAME(load)(weights + i, left);
            share = weight / (whole * many);
        }
        for (ptrdiff_t j = 0; j < columns; j++) {
            const vec output = NAME(load)(outputs + j * outputs_unit + i, left);
            const vec target = NAME(load)(targets + j * targets_unit + i, left);
            total += NAME(loss_terms)(loss, setting, output, target, &slope);
            if (grad)
                NAME(store)(grad + j * grad_unit + i, left, slope * share);
        }
        NAME(store)(losses + i, left, total / many * weight);
    }
}

INLINE void NAME(mean_losses)(
    const int loss, real setting, const real *outputs, ptrdiff_t outputs_row, const real *targets,
    ptrdiff_t targets_row, const real *weights, real whole, real *losses, real *grad,
    ptrdiff_t grad_row, ptrdiff_t rows, ptrdiff_t columns)
{
    /* One output a sample and no gaps. */
    if (columns == 1 && outputs_row == 1 && targets_row == 1 && (!grad || grad_row == 1)) {
        NAME(turned_losses)(
            loss, setting, outputs, 0, targets, 0, weights, whole, losses, grad, 0, rows, 1);
        return;
    }
    whole *= (real)columns;
    const vec each = NAME(fill)(1 / whole);
    for (ptrdiff_t i = 0; i < rows; i++) {
        vec total = {0}, share = each, slope;
        if (weights)
            share = NAME(fill)(weights[i] / whole);
        for (ptrdiff_t j = 0; j < columns; j += LANES) {
            const ptrdiff_t left = columns - j;
            const vec output = NAME(load)(outputs + i * outputs_row + j, left);
            const vec target = NAME(load)(targets + i * targets_row + j, left);
            const vec terms = NAME(loss_terms)(loss, setting, output, target, &slope);
            if (grad)
                NAME(store)(grad + i * grad_row + j, left, slope * share);
            total += NAME(padded)(terms, left, 0);
        }
        const real mean = NAME(sum_of_lanes)(total)[0] / (real)columns;
        losses[i] = weights ? weights[i] * mean : mean;
    }
}

/* Means over outputs, for a group of samples that stand in the lanes; every pointer is to its first
 * sample, but `weights` to the batch's. */
static inline void NAME(group_losses)(
    int loss, double setting, const real *outputs, ptrdiff_t outputs_unit, const real *targets,
    ptrdiff_t targets_unit, const real *weights, real *losses, real *grad, ptrdiff_t grad_unit,
    ptrdiff_t first, ptrdiff_t samples, ptrdiff_t columns, ptrdiff_t batch)
{
    const real whole = NAME(whole_of)(weights, batch), number = (real)setting;
    weights = weights ? weights + first : NULL;
#define CASE(code)                                                                                 \
    case code:                                                                                     \
        NAME(turned_losses)(                                                                       \
            code, number, outputs, outputs_unit, targets, targets_unit, weights, whole, losses,    \
            grad, grad_unit, samples, columns);                                                    \
        break;
    switch (loss) {
        CASE(SIGMOID_LOSS) CASE(SQUARED_LOSS) CASE(ABSOLUTE_LOSS) CASE(HUBER_LOSS)
        CASE(HINGE_LOSS) CASE(SQUARED_HINGE_LOSS)
    }
#undef CASE
}

/* The rows `first` to `last` - 1 of a batch of so many; every pointer is to its first row. There
 * are labels, or where that is NULL targets. `setting` is the smoothing, delta or margin. */
ONCE void NAME(losses)(
    int loss, double setting, const real *outputs, ptrdiff_t outputs_row, const int32_t *labels,
    const real *targets, ptrdiff_t targets_row, const real *weights, real *losses, real *grad,
    ptrdiff_t grad_row, ptrdiff_t first, ptrdiff_t last, ptrdiff_t columns, ptrdiff_t batch)
{
    const real whole = NAME(whole_of)(weights, batch), number = (real)setting;
    const ptrdiff_t rows = last - first;
    outputs += first * outputs_row;
    labels = labels ? labels + first : NULL;
    targets = targets ? targets + first * targets_row : NULL;
    weights = weights ? weights + first : NULL;
    losses += first;
    grad = grad ? grad + first * grad_row : NULL;
#define BY_ROWS_OF(code, number, targets)                                                          \
    NAME(row_losses)(                                                                              \
        code, number, outputs, outputs_row, labels, targets, targets_row, weights, whole, losses,  \
        grad, grad_row, rows, columns)
#define MEANS_OF(code)                                                                             \
    NAME(mean_losses)(                                                                             \
        code, number, outputs, outputs_row, targets, targets_row, weights, whole, losses, grad,    \
        grad_row, rows, columns)
    switch (loss) {
    case SOFTMAX_LOSS:
        /* The usual case, from which the compiler leaves out all that smoothing needs. */
        if (labels && number == 0)
            BY_ROWS_OF(SOFTMAX_LOSS, 0, NULL);
        else
            BY_ROWS_OF(SOFTMAX_LOSS, number, targets);
        break;
    case SIGMOID_LOSS: MEANS_OF(SIGMOID_LOSS); break;
    case SQUARED_LOSS: MEANS_OF(SQUARED_LOSS); break;
    case ABSOLUTE_LOSS: MEANS_OF(ABSOLUTE_LOSS); break;
    case HUBER_LOSS: MEANS_OF(HUBER_LOSS); break;
    case HINGE_LOSS:
        if (labels)
            BY_ROWS_OF(HINGE_LOSS, number, NULL);
        else
            MEANS_OF(HINGE_LOSS);
        break;
    case SQUARED_HINGE_LOSS:
        if (labels)
            BY_ROWS_OF(SQUARED_HINGE_LOSS, number, NULL);
        else
            MEANS_OF(SQUARED_HINGE_LOSS);
        break;
    }
#undef BY_ROWS_OF
#undef MEANS_OF
}

#endif
