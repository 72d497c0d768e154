/* Optimizers: one pass over a patch of parameters and the state beside it.
 *
 * What a whole call has in common is worked out once, by the function that makes the options. The
 * `_step` functions take one vector, so that other loops can apply an update to a gradient that
 * is still in registers.
 */
#ifndef MLCORE_UPDATES_H
#define MLCORE_UPDATES_H

#include "functions.h"

/* So many rows of so many numbers. Parameters and gradients have rows `row` numbers apart, and room
 * for `room` of them in each, as in a panel; the state has rows `state_row` apart, as in the flat
 * vectors, where it always stands. */
typedef struct {
    ptrdiff_t rows, columns, room, row, state_row;
} Patch;

/* Vector after vector of a patch: `at` in its rows, which have `room` for so many more numbers,
 * and `beside` in those of the state, which have so many `left`. Whole vectors are quicker. */
#define EACH_VECTOR(patch)                                                                         \
    for (ptrdiff_t r = 0; r < (patch).rows; r++)                                                   \
        for (ptrdiff_t at = r * (patch).row, beside = r * (patch).state_row,                       \
                       left = (patch).columns, room = (patch).room;                                \
             left > 0; at += LANES, beside += LANES, left -= LANES, room -= LANES)

#define BODY "updates.h"
#include "precisions.h"

#elif defined(real)

/* Without decay an infinite parameter must not turn the gradient into NaN. */
INLINE vec NAME(decayed)(vec gradient, real decay, vec parameter)
{
    if (decay == 0)
        return gradient;
    return gradient + decay * parameter;
}

typedef struct {
    real rate, keep, take, decay;
    int nesterov, first;
} NAME(SgdOptions);

static inline NAME(SgdOptions) NAME(sgd_options)(
    double learning_rate, double momentum, double dampening, int nesterov, double weight_decay,
    int64_t step)
{
    return (NAME(SgdOptions)){
        .rate = (real)learning_rate, .keep = (real)momentum, .take = (real)(1 - dampening),
        .decay = (real)weight_decay, .nesterov = nesterov, .first = step == 1};
}

INLINE vec NAME(sgd_step)(NAME(SgdOptions) o, vec parameter, vec gradient)
{
    return parameter - o.rate * NAME(decayed)(gradient, o.decay, parameter);
}

INLINE vec NAME(momentum_step)(NAME(SgdOptions) o, vec parameter, vec gradient, vec *velocity)
{
    vec change = NAME(decayed)(gradient, o.decay, parameter);
    /* The first step ignores what stands in the velocity, which may be anything. */
    if (o.first)
        *velocity = change;
    else
        *velocity = o.keep * *velocity + o.take * change;
    if (o.nesterov)
        change += o.keep * *velocity;
    else
        change = *velocity;
    return parameter - o.rate * change;
}

/* `velocity` is NULL where there is no momentum. */
static inline void NAME(sgd)(
    const NAME(SgdOptions) *options, real *parameters, const real *gradients, real *velocity,
    Patch patch)
{
    const NAME(SgdOptions) o = *options;
    EACH_VECTOR(patch) {
        const vec parameter = NAME(load)(parameters + at, room);
        const vec gradient = NAME(load)(gradients + at, room);
        if (velocity) {
            vec moving = NAME(load)(velocity + beside, left);
            NAME(store)(
                parameters + at, room, NAME(momentum_step)(o, parameter, gradient, &moving));
            NAME(store)(velocity + beside, left, moving);
        } else {
            NAME(store)(parameters + at, room, NAME(sgd_step)(o, parameter, gradient));
        }
    }
}

typedef struct {
    real keep_1, take_1, keep_2, take_2, scale, root_scale, epsilon, decay, shrink;
} NAME(AdamOptions);

/* `decay` is added to the gradient, `shrink` multiplies the parameter; the powers are those of the
 * betas to the number of the step. */
static inline NAME(AdamOptions) NAME(moments_options)(
    double learning_rate, double beta_1, double beta_2, double epsilon, double decay,
    double shrink, const double *powers)
{
    /* In float32, 1 - 0.999 would be off by a hundred thousandth. */
    return (NAME(AdamOptions)){
        .keep_1 = (real)beta_1, .take_1 = (real)(1 - beta_1),
        .keep_2 = (real)beta_2, .take_2 = (real)(1 - beta_2),
        .scale = (real)(learning_rate / (1 - powers[0])),
        .root_scale = (real)(1 / sqrt(1 - powers[1])),
        .epsilon = (real)epsilon, .decay = (real)decay, .shrink = (real)shrink};
}

static inline NAME(AdamOptions) NAME(adam_options)(
    double learning_rate, double beta_1, double beta_2, double epsilon, double weight_decay,
    const double *powers)
{
    return NAME(moments_options)(learning_rate, beta_1, beta_2, epsilon, weight_decay, 1, powers);
}

static inline NAME(AdamOptions) NAME(adamw_options)(
    double learning_rate, double beta_1, double beta_2, double epsilon, double weight_decay,
    const double *powers)
{
    return NAME(moments_options)(
        learning_rate, beta_1, beta_2, epsilon, 0, 1 - learning_rate * weight_decay, powers);
}

INLINE vec NAME(adam_step)(
    NAME(AdamOptions) o, vec parameter, vec gradient, vec *first, vec *second)
{
    const vec change = NAME(decayed)(gradient, o.decay, parameter);
    *first = o.keep_1 * *first + o.take_1 * change;
    *second = o.keep_2 * *second + o.take_2 * change * change;
    const vec root = NAME(sqrt)(*second) * o.root_scale + o.epsilon;
    return o.shrink * parameter - o.scale * *first / root;
}

/* Adam or AdamW, as the options were made. */
static inline void NAME(adam)(
    const NAME(AdamOptions) *options, real *parameters, const real *gradients,
    real *first_moment, real *second_moment, Patch patch)
{
    const NAME(AdamOptions) o = *options;
    EACH_VECTOR(patch) {
        vec first = NAME(load)(first_moment + beside, left);
        vec second = NAME(load)(second_moment + beside, left);
        const vec parameter = NAME(adam_step)(
            o, NAME(load)(parameters + at, room), NAME(load)(gradients + at, room), &first, &second);
        NAME(store)(parameters + at, room, parameter);
        NAME(store)(first_moment + beside, left, first);
        NAME(store)(second_moment + beside, left, second);
    }
}

typedef struct {
    real rate, keep, take, epsilon, momentum, decay;
} NAME(RmspropOptions);

static inline NAME(RmspropOptions) NAME(rmsprop_options)(
    double learning_rate, double rho, double epsilon, double momentum, double weight_decay)
{
    return (NAME(RmspropOptions)){
        .rate = (real)learning_rate, .keep = (real)rho, .take = (real)(1 - rho),
        .epsilon = (real)epsilon, .momentum = (real)momentum, .decay = (real)weight_decay};
}

/* `mean` is NULL where the variance is not centered, `velocity` where there is no momentum. */
INLINE vec NAME(rmsprop_step)(
    NAME(RmspropOptions) o, vec parameter, vec gradient, vec *square, vec *mean, vec *velocity)
{
    vec change = NAME(decayed)(gradient, o.decay, parameter);
    *square = o.keep * *square + o.take * change * change;
    vec variance = *square;
    if (mean) {
        *mean = o.keep * *mean + o.take * change;
        /* Compared and subtracted as one rounded number: rounding leaves no negative variance. */
        const vec square_of_mean = *mean * *mean;
        variance = NAME(zero_where)(*square < square_of_mean, *square - square_of_mean);
    }
    change = change / (NAME(sqrt)(variance) + o.epsilon);
    if (velocity)
        change = *velocity = o.momentum * *velocity + change;
    return parameter - o.rate * change;
}

static inline void NAME(rmsprop)(
    const NAME(RmspropOptions) *options, real *parameters, const real *gradients,
    real *square_average, real *gradient_average, real *velocity, Patch patch)
{
    const NAME(RmspropOptions) o = *options;
    EACH_VECTOR(patch) {
        vec square = NAME(load)(square_average + beside, left), mean = {0}, moving = {0};
        if (gradient_average)
            mean = NAME(load)(gradient_average + beside, left);
        if (velocity)
            moving = NAME(load)(velocity + beside, left);
        const vec parameter = NAME(rmsprop_step)(
            o, NAME(load)(parameters + at, room), NAME(load)(gradients + at, room), &square,
            gradient_average ? &mean : NULL, velocity ? &moving : NULL);
        NAME(store)(parameters + at, room, parameter);
        NAME(store)(square_average + beside, left, square);
        if (gradient_average)
            NAME(store)(gradient_average + beside, left, mean);
        if (velocity)
            NAME(store)(velocity + beside, left, moving);
    }
}

typedef struct {
    real rate, epsilon, decay;
} NAME(AdagradOptions);

static inline NAME(AdagradOptions) NAME(adagrad_options)(
    double learning_rate, double epsilon, double weight_decay)
{
    return (NAME(AdagradOptions)){
        .rate = (real)learning_rate, .epsilon = (real)epsilon, .decay = (real)weight_decay};
}

static inline void NAME(adagrad)(
    const NAME(AdagradOptions) *options, real *parameters, const real *gradients,
    real *square_sum, Patch patch)
{
    const NAME(AdagradOptions) o = *options;
    EACH_VECTOR(patch) {
        const vec parameter = NAME(load)(parameters + at, room);
        const vec change = NAME(decayed)(NAME(load)(gradients + at, room), o.decay, parameter);
        const vec squares = NAME(load)(square_sum + beside, left) + change * change;
        NAME(store)(square_sum + beside, left, squares);
        NAME(store)(
            parameters + at, room, parameter - o.rate * change / (NAME(sqrt)(squares) + o.epsilon));
    }
}

#endif
