/* The executor's operations on samples across the lanes: each for a range of groups.
 *
 * Those that join groups (JOIN_MOMENTS, INVERT_ROOTS, JOIN_SUMS) share out channels instead.
 */
#ifndef MLCORE_SPATIAL_H
#define MLCORE_SPATIAL_H

#include "convolution.h"
#include "normalization.h"
#include "pooling.h"

#define BODY "spatial.h"
#include "precisions.h"

#elif defined(real)

INLINE real *NAME(group_at)(Rows rows, const Step *step, ptrdiff_t group)
{
    return rows.at ? (real *)(rows.at + rows.flip * step->turn) + group * rows.stride : NULL;
}

/* One group; `samples` of its lanes have a sample. */
static void NAME(run_group)(
    const Operation *op, const Step *step, real *scratch, ptrdiff_t group, ptrdiff_t samples)
{
    const Geometry *g = &op->geometry;
    const real number = (real)op->parameter;
    const ptrdiff_t channels = op->columns, positions = op->positions;
    real *x = NAME(group_at)(op->x, step, group), *out = NAME(group_at)(op->out, step, group);
    real *grad = NAME(group_at)(op->grad, step, group);
    real *stored = NAME(group_at)(op->stored, step, group);
    real *pre = NAME(group_at)(op->pre, step, group);
    real *partial = (real *)op->partial + group * op->partial_row;
    double *wide = (double *)op->partial + group * op->partial_row;
    const real *gamma = op->gamma, *beta = op->beta, *mean = op->mean, *inverse = op->inverse;
    switch (op->kind) {
    case TO_LANES: {
        const real *rows = NAME(group_at)(op->x, step, 0) + group * LANES * op->x.stride;
        NAME(turn)(rows, op->x.stride, samples, op->columns, 0, out, LANES);
        break;
    }
    case FROM_LANES: {
        real *rows = NAME(group_at)(op->out, step, 0) + group * LANES * op->out.stride;
        NAME(turn)(x, LANES, op->columns, samples, 1, rows, op->out.stride);
        for (ptrdiff_t i = 0; op->ones && i < samples; i++)
            rows[i * op->out.stride + op->columns] = 1;
        break;
    }
    case LANE_ACTIVATION: {
        const ptrdiff_t all = op->columns * LANES;
        NAME(activate)(op->activation, number, x, all, out, all, 1, all);
        break;
    }
    case LANE_ACTIVATION_BACKWARD: {
        const ptrdiff_t all = op->columns * LANES;
        NAME(activate_backward)(op->activation, number, grad, all, stored, all, out, all, 1, all);
        break;
    }
    case SURROUND: NAME(surround)(g, x, out); break;
    case CONVOLUTION:
        NAME(convolve)(g, x, op->weights, beta, op->activation, number, pre, out);
        break;
    case CONVOLUTION_INPUT_GRADIENT:
        NAME(convolution_input_gradient)(g, grad, op->weights, out);
        break;
    case CONVOLUTION_WEIGHT_GRADIENT: {
        const ptrdiff_t weights =
            g->window_height * g->window_width * g->channels * g->out_channels;
        NAME(convolution_weight_gradient)(
            g, x, grad, partial, op->biased ? partial + weights : NULL);
        break;
    }
    case MAX_POOL: NAME(max_pool)(g, x, out); break;
    case MAX_POOL_BACKWARD: NAME(max_pool_backward)(g, grad, x, out); break;
    case AVG_POOL: NAME(avg_pool)(g, x, out); break;
    case AVG_POOL_BACKWARD: NAME(avg_pool_backward)(g, grad, out); break;
    case MOMENTS: NAME(moments)(x, samples, positions, channels, wide); break;
    case NORMALIZE:
        NAME(normalize)(
            x, positions, channels, mean, inverse, gamma, beta, op->activation, number, pre, out);
        break;
    case NORMALIZE_SUMS:
        NAME(normalize_sums)(grad, x, positions, channels, mean, inverse, wide);
        break;
    case NORMALIZE_BACKWARD:
        NAME(normalize_backward)(
            grad, x, samples, positions, channels, gamma, mean, inverse, op->means, out);
        break;
    case LAYER_NORM:
        NAME(layer_norm)(x, positions, channels, gamma, beta, number, stored, pre, out);
        break;
    case LAYER_NORM_BACKWARD:
        NAME(layer_norm_backward)(
            grad, x, positions, channels, gamma, stored, pre, scratch, partial,
            partial + channels, out);
        break;
    default: break;
    }
}

static void NAME(run_lanes)(
    const Operation *op, const Step *step, real *scratch, ptrdiff_t part, ptrdiff_t parts)
{
    const ptrdiff_t first = cut(op->columns, part, parts), last = cut(op->columns, part + 1, parts);
    switch (op->kind) {
    case JOIN_MOMENTS:
        NAME(join_moments)(
            op->partial, op->partial_row, step->count, op->positions, op->columns,
            op->settings[0], op->parameter, op->running_mean, op->running_variance, op->mean,
            op->inverse, first, last);
        return;
    case INVERT_ROOTS:
        NAME(invert_roots)(op->running_variance, op->parameter, op->inverse, first, last);
        return;
    case JOIN_SUMS:
        NAME(join_sums)(
            op->partial, op->partial_row, step->count, op->positions, op->columns, op->gamma,
            op->beta, op->means, first, last);
        return;
    default: break;
    }
    const ptrdiff_t from = row_bound(step, part, parts), to = row_bound(step, part + 1, parts);
    for (ptrdiff_t row = from; row < to; row += LANES)
        NAME(run_group)(op, step, scratch, row / LANES, smaller_of(LANES, to - row));
}

#endif
