/* Losses: each sample's value, and the gradient of their mean. One thread a sample.
 *
 * `grad` may be NULL. A row is added up from left to right.
 */
#include "activations.h"

/* Takes class numbers in `labels`, or where that is NULL a distribution a row in `targets`. */
KERNEL(softmax_cross_entropy,
    const real *logits, const int *labels, const real *targets, real *losses, real *grad,
    int64 rows, int64 columns)
{
    const real share = (real)(1.0 / rows);
    EACH(row, rows) {
        const real *x = logits + row * columns, *wanted = targets ? targets + row * columns : 0;
        const real top = row_top(x, columns), powers = row_powers(x, top, columns);
        const real total = top + log(powers);
        real loss = 0, mass = 1;
        if (wanted) {
            mass = 0;
            for (int64 j = 0; j < columns; j++) {
                if (wanted[j] != 0)
                    loss += wanted[j] * (total - x[j]);
                mass += wanted[j];
            }
        } else {
            loss = total - x[labels[row]];
        }
        losses[row] = loss;
        if (!grad)
            continue;
        real *to = grad + row * columns;
        for (int64 j = 0; j < columns; j++) {
            const real hit = wanted ? wanted[j] : j == labels[row] ? (real)1 : (real)0;
            to[j] = (exp(x[j] - top) / powers * mass - hit) * share;
        }
    }
}

KERNEL(sigmoid_cross_entropy,
    const real *logits, const real *targets, real *losses, real *grad, int64 rows, int64 columns)
{
    const real share = (real)(1.0 / ((double)rows * columns));
    EACH(row, rows) {
        real total = 0;
        for (int64 at = row * columns; at < (row + 1) * columns; at++) {
            const real x = logits[at], target = targets[at];
            total += (x < 0 ? (real)0 : x) - x * target + log1p(exp(-fabs(x)));
            if (grad)
                grad[at] = (logistic(x) - target) * share;
        }
        losses[row] = total / columns;
    }
}

KERNEL(mse,
    const real *outputs, const real *targets, real *losses, real *grad, int64 rows, int64 columns)
{
    const real share = (real)(2.0 / ((double)rows * columns));
    EACH(row, rows) {
        real total = 0;
        for (int64 at = row * columns; at < (row + 1) * columns; at++) {
            const real error = outputs[at] - targets[at];
            total += error * error;
            if (grad)
                grad[at] = error * share;
        }
        losses[row] = total / columns;
    }
}
