/* What a training step does beside its operations, so that it can be repeated without the host. */
#include "team.h"

/* What counts up: the rows taken, the steps of the model and those of its optimizer, the updates,
 * and the place of a step among those whose gradients are added up. */
enum { FIRST, STEP, MADE, UPDATE, NUMBER };
/* Whether all has stopped, and whether updates wait for more gradients, or have stopped too. */
enum { STOPPED, WAITING };
enum { LOSS, CORRECT, WEIGHT };

/* Takes the row numbers of the next batch, and counts on; an update follows every `group` steps.
 * One block. */
KERNEL(begin_step,
    const int64 *order, int64 *counters, int64 *rows, int64 batch, int64 group, int *flags)
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
        const int64 made = counters[MADE]++;
        counters[UPDATE] = made / group + 1;
        counters[NUMBER] = made % group;
        flags[WAITING] = made % group + 1 < group;
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

/* Adds a batch's losses, right answers and weights to the totals; where `guard` is true and the sum
 * of the losses is not finite, sets `flags` instead, of which `stopped` is the first. One block.
 *
 * `penalties` on the parameters belong to the mean loss. `classes` and `sides` hold the labels or
 * the targets of the whole data set, `weights` those of the batch; each may be NULL.
 */
KERNEL(add_totals,
    const real *losses, const real *outputs, const int *classes, const real *sides,
    const real *weights, const double *penalties, int64 penalty_count, const int64 *rows,
    int64 batch, int64 columns, int guard, double *totals, int *flags)
{
    if (IS_STOPPED)
        return;
    double loss = 0, correct = 0, weight = 0;
    TEAM_EACH(i, batch) {
        loss += losses[i];
        weight += weights ? weights[i] : (real)1;
        if (classes)
            correct += is_class(outputs + i * columns, classes[rows[i]], columns);
        else if (sides)
            correct += right_sides(outputs + i * columns, sides + rows[i] * columns, columns);
    }
    loss = team_sum(loss);
    correct = team_sum(correct);
    weight = team_sum(weight);
    if (threadIdx.x != 0)
        return;
    double penalty = 0;
    for (int64 i = 0; i < penalty_count; i++)
        penalty += penalties[i];
    if (penalty_count)
        loss += weight * penalty;
    /* Neither NaN nor infinity gives zero. */
    if (guard && loss - loss != 0) {
        flags[STOPPED] = flags[WAITING] = 1;
        return;
    }
    totals[LOSS] += loss;
    totals[CORRECT] += correct;
    totals[WEIGHT] += weight;
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
