/* Normalizations of x (rows, columns): a batch's of each column, and a layer's of each row.
 *
 * Sums are in double. Batch norm has one block a column, which goes over it once for the mean,
 * once for the variance and once for the result; layer norm has one block a row. `gamma`, `beta`
 * and what is written for backward or for them may be NULL.
 */
#include "team.h"

DEVICE real affine(real z, const real *gamma, const real *beta, int64 column)
{
    if (gamma)
        z = z * gamma[column];
    return beta ? z + beta[column] : z;
}

/* The mean of a column or a row, whose numbers lie `stride` apart, for every thread of a block. */
DEVICE double team_mean(const real *x, int64 count, int64 stride)
{
    double sum = 0;
    TEAM_EACH(i, count)
        sum += x[i * stride];
    return team_sum(sum) / (count > 0 ? count : 1);
}

/* Divided by the count; what is squared is what is left when the mean has been taken off. */
DEVICE double team_variance(const real *x, double mean, int64 count, int64 stride)
{
    double sum = 0;
    TEAM_EACH(i, count) {
        const double left = x[i * stride] - mean;
        sum += left * left;
    }
    return team_sum(sum) / (count > 0 ? count : 1);
}

KERNEL(batch_norm,
    const real *x, const real *gamma, const real *beta, real *running_mean,
    real *running_variance, double momentum, double epsilon, real *mean, real *inverse, real *out,
    int64 rows, int64 columns)
{
    if (IS_STOPPED)
        return;
    const int64 column = blockIdx.x;
    const double center = team_mean(x + column, rows, columns);
    const double variance = team_variance(x + column, center, rows, columns);
    const real middle = (real)center, factor = (real)(1 / sqrt(variance + epsilon));
    if (threadIdx.x == 0) {
        mean[column] = middle;
        inverse[column] = factor;
        running_mean[column] =
            (real)(momentum * running_mean[column] + (1 - momentum) * center);
        running_variance[column] =
            (real)(momentum * running_variance[column] + (1 - momentum) * variance);
    }
    TEAM_EACH(row, rows) {
        const int64 at = row * columns + column;
        out[at] = affine((x[at] - middle) * factor, gamma, beta, column);
    }
}

KERNEL(batch_norm_backward,
    const real *grad, const real *x, const real *gamma, const real *mean, const real *inverse,
    real *dgamma, real *dbeta, real *dx, int64 rows, int64 columns)
{
    if (IS_STOPPED)
        return;
    const int64 column = blockIdx.x;
    const real middle = mean[column], factor = inverse[column];
    double total = 0, along = 0;
    TEAM_EACH(row, rows) {
        const int64 at = row * columns + column;
        total += grad[at];
        along += grad[at] * ((x[at] - middle) * factor);
    }
    total = team_sum(total);
    along = team_sum(along);
    if (threadIdx.x == 0) {
        if (dgamma)
            dgamma[column] = (real)along;
        if (dbeta)
            dbeta[column] = (real)total;
    }
    if (!dx)
        return;
    const real slope = gamma ? gamma[column] * factor : factor;
    const real mean_total = (real)(total / rows), mean_along = (real)(along / rows);
    TEAM_EACH(row, rows) {
        const int64 at = row * columns + column;
        const real z = (x[at] - middle) * factor;
        dx[at] = slope * (grad[at] - mean_total - z * mean_along);
    }
}

KERNEL(normalize,
    const real *x, const real *mean, const real *variance, const real *gamma, const real *beta,
    real epsilon, real *out, int64 rows, int64 columns)
{
    EACH(i, rows * columns) {
        const int64 column = i % columns;
        const real z = (x[i] - mean[column]) / sqrt(variance[column] + epsilon);
        out[i] = affine(z, gamma, beta, column);
    }
}

KERNEL(normalize_backward,
    const real *grad, const real *x, const real *mean, const real *variance, const real *gamma,
    real epsilon, real *dgamma, real *dbeta, real *dx, int64 rows, int64 columns)
{
    if (IS_STOPPED)
        return;
    const int64 column = blockIdx.x;
    const real root = sqrt(variance[column] + epsilon);
    double total = 0, along = 0;
    TEAM_EACH(row, rows) {
        const int64 at = row * columns + column;
        total += grad[at];
        along += grad[at] * ((x[at] - mean[column]) / root);
        if (dx)
            dx[at] = (gamma ? grad[at] * gamma[column] : grad[at]) / root;
    }
    total = team_sum(total);
    along = team_sum(along);
    if (threadIdx.x == 0) {
        if (dgamma)
            dgamma[column] = (real)along;
        if (dbeta)
            dbeta[column] = (real)total;
    }
}

KERNEL(layer_norm,
    const real *x, const real *gamma, const real *beta, double epsilon, real *mean, real *inverse,
    real *out, int64 columns)
{
    if (IS_STOPPED)
        return;
    const int64 start = blockIdx.x * columns;
    const double center = team_mean(x + start, columns, 1);
    const double variance = team_variance(x + start, center, columns, 1);
    const real middle = (real)center, factor = (real)(1 / sqrt(variance + epsilon));
    if (threadIdx.x == 0) {
        mean[blockIdx.x] = middle;
        inverse[blockIdx.x] = factor;
    }
    TEAM_EACH(column, columns)
        out[start + column] = affine((x[start + column] - middle) * factor, gamma, beta, column);
}

KERNEL(layer_norm_inputs,
    const real *grad, const real *x, const real *gamma, const real *mean, const real *inverse,
    real *dx, int64 columns)
{
    if (IS_STOPPED)
        return;
    const int64 start = blockIdx.x * columns;
    const real middle = mean[blockIdx.x], factor = inverse[blockIdx.x];
    double total = 0, along = 0;
    TEAM_EACH(column, columns) {
        const real slope = affine(grad[start + column], gamma, 0, column);
        total += slope;
        along += slope * ((x[start + column] - middle) * factor);
    }
    const real mean_total = (real)(team_sum(total) / columns);
    const real mean_along = (real)(team_sum(along) / columns);
    TEAM_EACH(column, columns) {
        const real slope = affine(grad[start + column], gamma, 0, column);
        const real z = (x[start + column] - middle) * factor;
        dx[start + column] = factor * (slope - mean_total - z * mean_along);
    }
}

/* The gradients of scale and shift of a layer's normalization: one block a column. */
KERNEL(layer_norm_parameters,
    const real *grad, const real *x, const real *mean, const real *inverse, real *dgamma,
    real *dbeta, int64 rows, int64 columns)
{
    if (IS_STOPPED)
        return;
    const int64 column = blockIdx.x;
    double total = 0, along = 0;
    TEAM_EACH(row, rows) {
        const int64 at = row * columns + column;
        total += grad[at];
        along += grad[at] * ((x[at] - mean[row]) * inverse[row]);
    }
    total = team_sum(total);
    along = team_sum(along);
    if (threadIdx.x == 0) {
        if (dgamma)
            dgamma[column] = (real)along;
        if (dbeta)
            dbeta[column] = (real)total;
    }
}
