/* What a training step does beside its operations, so that it can be repeated without the host. */
#include "team.h"

enum { FIRST, STEP, UPDATE };
enum { LOSS, CORRECT };

/* Takes the row numbers of the next batch, and counts on. One block. */
KERNEL(begin_step, const int64 *order, int64 *counters, int64 *rows, int64 batch)
{
    if (IS_STOPPED)
        return;
    const int64 first = counters[FIRST];
    TEAM_EACH(i, batch)
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
 * losses is not finite, sets `flag` instead, which is where `stopped` points to. One block.
 *
 * `classes` and `sides` hold the labels or the targets of the whole data set; one or both are
 * NULL.
 */
KERNEL(add_totals,
    const real *losses, const real *outputs, const int *classes, const real *sides,
    const int64 *rows, int64 batch, int64 columns, int guard, double *totals, int *flag)
{
    if (IS_STOPPED)
        return;
    double loss = 0, correct = 0;
    TEAM_EACH(i, batch) {
        loss += losses[i];
        if (classes)
            correct += is_class(outputs + i * columns, classes[rows[i]], columns);
        else if (sides)
            correct += right_sides(outputs + i * columns, sides + rows[i] * columns, columns);
    }
    loss = team_sum(loss);
    correct = team_sum(correct);
    if (threadIdx.x != 0)
        return;
    /* Neither NaN nor infinity gives zero. */
    if (guard && loss - loss != 0) {
        *flag = 1;
        return;
    }
    totals[LOSS] += loss;
    totals[CORRECT] += correct;
}

/* Keeps a batch's outputs in the rows that belong to it. */
KERNEL(keep_outputs,
    const real *outputs, const int64 *counters, real *kept, int64 batch, int64 columns)
{
    EACH(i, batch * columns)
        kept[(counters[FIRST] - batch) * columns + i] = outputs[i];
}

/* Keeps what a step is about to move before its loss is known: the running statistics. */
KERNEL(keep, const real *from, real *kept, int64 count)
{
    EACH(i, count)
        kept[i] = from[i];
}

/* Puts it back where the loss turned out not to be finite. */
KERNEL(put_back, const real *kept, real *to, int64 count)
{
    if (IS_STOPPED)
        for (int64 i = blockIdx.x * (int64)blockDim.x + threadIdx.x; i < count;
             i += gridDim.x * (int64)blockDim.x)
            to[i] = kept[i];
}
