/* What lies between gradients and updates: penalties, limits, gradients of several steps.
 *
 * `sums` holds the sum of the magnitudes and that of the squares of each run of `block` numbers of
 * a vector, in double.
 */
#include "team.h"

/* One block a run. */
KERNEL(block_sums, const real *x, int64 block, double *sums, int64 size)
{
    if (IS_STOPPED)
        return;
    const int64 start = blockIdx.x * block;
    double magnitudes = 0, squares = 0;
    TEAM_EACH(i, size - start < block ? size - start : block) {
        const double value = x[start + i];
        magnitudes += fabs(value);
        squares += value * value;
    }
    magnitudes = team_sum(magnitudes);
    squares = team_sum(squares);
    if (threadIdx.x == 0) {
        sums[2 * blockIdx.x] = magnitudes;
        sums[2 * blockIdx.x + 1] = squares;
    }
}

/* The sum of a column of `sums`, for every thread of a block. */
DEVICE double team_total(const double *sums, int column, int64 blocks)
{
    double total = 0;
    TEAM_EACH(i, blocks)
        total += sums[2 * i + column];
    return team_sum(total);
}

enum { MAGNITUDES, SQUARES };

KERNEL(penalty,
    const double *sums, double l1, double l2, double norm, double *value, int64 blocks)
{
    if (IS_STOPPED)
        return;
    const double magnitudes = team_total(sums, MAGNITUDES, blocks);
    const double squares = team_total(sums, SQUARES, blocks);
    if (threadIdx.x == 0)
        value[0] = l1 * magnitudes + l2 * squares + norm * sqrt(squares);
}

KERNEL(penalty_gradient,
    const real *parameters, const double *sums, real l1, double l2, double norm, real *gradients,
    int64 size, int64 blocks)
{
    const double squares = team_total(sums, SQUARES, blocks);
    const real scale = (real)(2 * l2 + (squares != 0 ? norm / sqrt(squares) : 0));
    EACH(i, size) {
        const real parameter = parameters[i];
        /* Zero has no sign, and NaN stays NaN. */
        const real sign = parameter > 0 ? (real)1 : parameter < 0 ? (real)-1 : parameter;
        real gradient = gradients[i];
        if (l1 != 0)
            gradient += l1 * sign;
        if (scale != 0)
            gradient += scale * parameter;
        gradients[i] = gradient;
    }
}

KERNEL(accumulate,
    real *gradients, real *total, GIVEN(int64, number), int64 steps, int64 size)
{
    const bool first = VALUE(number) == 0, last = VALUE(number) == steps - 1;
    EACH(i, size) {
        const real sum = first ? gradients[i] : total[i] + gradients[i];
        total[i] = sum;
        if (last)
            gradients[i] = sum / steps;
    }
}

KERNEL(clip_norm, real *gradients, const double *sums, double limit, int64 size, int64 blocks)
{
    const double wanted = limit / (sqrt(team_total(sums, SQUARES, blocks)) + 1e-6);
    const real scale = (real)(wanted > 1 ? 1 : wanted);
    EACH(i, size)
        gradients[i] *= scale;
}

KERNEL(clip_value, real *gradients, real limit, int64 size)
{
    EACH(i, size) {
        const real gradient = gradients[i];
        gradients[i] = gradient > limit ? limit : gradient < -limit ? -limit : gradient;
    }
}

/* One block a column of `weights`. */
KERNEL(max_norm, real *weights, real limit, int64 rows, int64 columns)
{
    if (IS_STOPPED)
        return;
    double squares = 0;
    TEAM_EACH(row, rows) {
        const double weight = weights[row * columns + blockIdx.x];
        squares += weight * weight;
    }
    const real norm = sqrt((real)team_sum(squares));
    if (norm > limit)
        TEAM_EACH(row, rows)
            weights[row * columns + blockIdx.x] *= limit / norm;
}
