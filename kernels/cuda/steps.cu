/* What a training step does beside its operations, so that it can be repeated without the host. */
#include "common.h"

enum { FIRST, STEP, UPDATE };
enum { LOSS, CORRECT };
enum { THREADS = 256 };

/* Takes the row numbers of the next batch, and counts on. One block. */
KERNEL(begin_step, const int64 *order, int64 *counters, int64 *rows, int64 batch)
{
    if (IS_STOPPED)
        return;
    const int64 first = counters[FIRST];
    for (int64 i = threadIdx.x; i < batch; i += blockDim.x)
        rows[i] = order[first + i];
    __syncthreads();
    if (threadIdx.x == 0) {
        counters[FIRST] = first + batch;
        counters[STEP]++;
        counters[UPDATE]++;
    }
}

/* Whether the largest output stands at the label; never beside NaN. */
DEVICE bool is_class(const real *outputs, int label, int64 columns)
{
    int64 best = 0;
    for (int64 j = 0; j < columns; j++) {
        if (outputs[j] != outputs[j])
            return false;
        if (outputs[j] > outputs[best])
            best = j;
    }
    return best == label;
}

/* The share of outputs that are above zero where the target is above one half. */
DEVICE double right_sides(const real *outputs, const real *targets, int64 columns)
{
    int64 right = 0;
    for (int64 j = 0; j < columns; j++)
        right += (outputs[j] > 0) == (targets[j] > (real)0.5);
    return (double)right / columns;
}

/* Adds a batch's losses and right answers to the totals; where `guard` is true and the sum of the
 * losses is not finite, sets `flag` instead, which is where `stopped` points to. One block of
 * THREADS threads; the order of the additions depends on the size of the batch only.
 *
 * `classes` and `sides` hold the labels or the targets of the whole data set; one or both are
 * NULL.
 */
KERNEL(add_totals,
    const real *losses, const real *outputs, const int *classes, const real *sides,
    const int64 *rows, int64 batch, int64 columns, int guard, double *totals, int *flag)
{
    __shared__ double sums[2][THREADS];
    if (IS_STOPPED)
        return;
    double loss = 0, correct = 0;
    for (int64 i = threadIdx.x; i < batch; i += THREADS) {
        loss += losses[i];
        if (classes)
            correct += is_class(outputs + i * columns, classes[rows[i]], columns);
        else if (sides)
            correct += right_sides(outputs + i * columns, sides + rows[i] * columns, columns);
    }
    sums[LOSS][threadIdx.x] = loss;
    sums[CORRECT][threadIdx.x] = correct;
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            for (int kind = 0; kind < 2; kind++)
                sums[kind][threadIdx.x] += sums[kind][threadIdx.x + half];
    }
    if (threadIdx.x != 0)
        return;
    /* Neither NaN nor infinity gives zero. */
    if (guard && sums[LOSS][0] - sums[LOSS][0] != 0) {
        *flag = 1;
        return;
    }
    totals[LOSS] += sums[LOSS][0];
    totals[CORRECT] += sums[CORRECT][0];
}

/* Keeps a batch's outputs in the rows that belong to it. */
KERNEL(keep_outputs,
    const real *outputs, const int64 *counters, real *kept, int64 batch, int64 columns)
{
    EACH(i, batch * columns)
        kept[(counters[FIRST] - batch) * columns + i] = outputs[i];
}
