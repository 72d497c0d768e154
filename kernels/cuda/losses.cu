/* Losses: each sample's value times its weight, and the gradient of their weighted mean.
 *
 * One thread a sample, whose outputs it takes from left to right. `weights` and `grad` may be NULL.
 */
#include "activations.h"
#include "team.h"

/* What the samples' weights come to; every thread of a block must ask. */
DEVICE double batch_weight(const real *weights, int64 rows)
{
    if (!weights)
        return (double)rows;
    double sum = 0;
    TEAM_EACH(row, rows)
        sum += weights[row];
    return team_sum(sum);
}

/* What a sample's derivative is multiplied by: nothing counts where all weights are zero. */
DEVICE real share_of(const real *weights, int64 row, double total)
{
    if (!weights)
        return (real)(1 / total);
    return total == 0 ? (real)0 : (real)(weights[row] / total);
}

DEVICE real weighted(const real *weights, int64 row, real loss)
{
    return weights ? weights[row] * loss : loss;
}

/* Takes class numbers in `labels`, or where that is NULL a distribution a row in `targets`. Of
 * each target `kept` remains, and `spread` is added to it. */
KERNEL(softmax_cross_entropy,
    const real *logits, const int *labels, const real *targets, const real *weights, real kept,
    real spread, real *losses, real *grad, int64 rows, int64 columns)
{
    const double weight = batch_weight(weights, rows);
    EACH(row, rows) {
        const real *x = logits + row * columns, *given = targets ? targets + row * columns : 0;
        const real top = row_top(x, columns), powers = row_powers(x, top, columns);
        const real total = top + log(powers);
        real loss = 0, mass = 0;
        for (int64 j = 0; j < columns; j++) {
            const real target = given ? given[j] : j == labels[row] ? (real)1 : (real)0;
            const real wanted = kept * target + spread;
            if (wanted != 0)
                loss += wanted * (total - x[j]);
            mass += wanted;
        }
        losses[row] = weighted(weights, row, loss);
        if (!grad)
            continue;
        const real share = share_of(weights, row, weight);
        for (int64 j = 0; j < columns; j++) {
            const real target = given ? given[j] : j == labels[row] ? (real)1 : (real)0;
            const real chance = exp(x[j] - top) / powers;
            grad[row * columns + j] = share * (chance * mass - (kept * target + spread));
        }
    }
}

KERNEL(sigmoid_cross_entropy,
    const real *logits, const real *targets, const real *weights, real kept, real spread,
    real *losses, real *grad, int64 rows, int64 columns)
{
    const double weight = batch_weight(weights, rows);
    EACH(row, rows) {
        const real share = share_of(weights, row, weight);
        real total = 0;
        for (int64 at = row * columns; at < (row + 1) * columns; at++) {
            const real x = logits[at], wanted = kept * targets[at] + spread;
            total += (x < 0 ? (real)0 : x) - x * wanted + log1p(exp(-fabs(x)));
            if (grad)
                grad[at] = share * ((logistic(x) - wanted) / columns);
        }
        losses[row] = weighted(weights, row, total / columns);
    }
}

/* A loss that is a mean over the errors of a sample's outputs. */
#define MEAN_OF_ERRORS(term, its_slope)                                                            \
    EACH(row, rows) {                                                                              \
        const real share = share_of(weights, row, weight);                                         \
        real total = 0;                                                                            \
        for (int64 at = row * columns; at < (row + 1) * columns; at++) {                           \
            const real error = outputs[at] - targets[at];                                          \
            total += term;                                                                         \
            if (grad)                                                                              \
                grad[at] = share * ((its_slope) / columns);                                        \
        }                                                                                          \
        losses[row] = weighted(weights, row, total / columns);                                     \
    }

KERNEL(mse,
    const real *outputs, const real *targets, const real *weights, real *losses, real *grad,
    int64 rows, int64 columns)
{
    const double weight = batch_weight(weights, rows);
    MEAN_OF_ERRORS(error * error, 2 * error)
}

/* Zero has no sign, and NaN stays NaN. */
DEVICE real sign(real x)
{
    return x > 0 ? (real)1 : x < 0 ? (real)-1 : x;
}

KERNEL(mae,
    const real *outputs, const real *targets, const real *weights, real *losses, real *grad,
    int64 rows, int64 columns)
{
    const double weight = batch_weight(weights, rows);
    MEAN_OF_ERRORS(fabs(error), sign(error))
}

DEVICE real clipped(real x, real limit)
{
    return x > limit ? limit : x < -limit ? -limit : x;
}

KERNEL(huber,
    const real *outputs, const real *targets, const real *weights, real delta, real *losses,
    real *grad, int64 rows, int64 columns)
{
    const double weight = batch_weight(weights, rows);
    MEAN_OF_ERRORS(
        clipped(error, delta) * (error - clipped(error, delta) / 2), clipped(error, delta))
}

/* max(0, slack) or its square, and the derivative, which is one at the kink of the first. */
DEVICE real hinged(real slack, int squared, real *steepness)
{
    const real inside = slack < 0 ? (real)0 : slack;
    *steepness = squared ? 2 * inside : slack >= 0 ? (real)1 : inside;
    return squared ? inside * inside : inside;
}

/* The first largest output that is not the label's, or the first NaN; the label where it is alone.
 */
DEVICE int64 rival_of(const real *x, int64 label, int64 columns, real *height)
{
    /* Minus infinity, without a header. */
    const real least = log((real)0);
    int64 best = 0;
    *height = label == 0 ? least : x[0];
    for (int64 j = 1; j < columns && *height == *height; j++) {
        const real value = j == label ? least : x[j];
        if (value > *height || value != value) {
            best = j;
            *height = value;
        }
    }
    return best;
}

/* With `targets` of -1 and 1 a hinge an output, with `labels` one between label and rival. */
KERNEL(hinge,
    const real *outputs, const int *labels, const real *targets, const real *weights, real margin,
    int squared, real *losses, real *grad, int64 rows, int64 columns)
{
    const double weight = batch_weight(weights, rows);
    EACH(row, rows) {
        const real share = share_of(weights, row, weight);
        const int64 start = row * columns, end = start + columns;
        real steepness, total = 0;
        if (labels) {
            const int64 label = labels[row];
            real height;
            const int64 rival = rival_of(outputs + start, label, columns, &height);
            total = hinged(margin + (height - outputs[start + label]), squared, &steepness);
            losses[row] = weighted(weights, row, total);
            for (int64 j = 0; grad && j < columns; j++) {
                const real up = j == rival ? steepness : (real)0;
                grad[start + j] = share * (j == label ? up - steepness : up);
            }
            continue;
        }
        for (int64 at = start; at < end; at++) {
            total += hinged(margin - targets[at] * outputs[at], squared, &steepness);
            if (grad)
                grad[at] = share * (-targets[at] * steepness / columns);
        }
        losses[row] = weighted(weights, row, total / columns);
    }
}
