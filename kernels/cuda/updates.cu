/* Optimizers: one thread a parameter and the state beside it. Vectors of state that an optimizer
 * goes without are NULL. */
#include "common.h"

/* Without decay an infinite parameter must not turn the gradient into NaN. */
DEVICE real decayed(real gradient, real decay, real parameter)
{
    return decay == 0 ? gradient : gradient + decay * parameter;
}

/* `take` is 1 - dampening. The first step does not read the velocity, which may hold anything. */
KERNEL(sgd,
    real *parameters, const real *gradients, real *velocity, GIVEN(double, learning_rate),
    real momentum, real take, int nesterov, real decay, GIVEN(int64, step), int64 size)
{
    const real rate = (real)VALUE(learning_rate);
    const bool first = VALUE(step) == 1;
    EACH(i, size) {
        real change = decayed(gradients[i], decay, parameters[i]);
        if (velocity) {
            const real moving = first ? change : momentum * velocity[i] + take * change;
            velocity[i] = moving;
            change = nesterov ? change + momentum * moving : moving;
        }
        parameters[i] -= rate * change;
    }
}

DEVICE double whole_power(double base, int64 exponent)
{
    double result = 1;
    for (; exponent > 0; exponent >>= 1, base *= base)
        if (exponent & 1)
            result *= base;
    return result;
}

/* Adam, or with a `shrinking` decay, which is taken off the parameters themselves, AdamW.
 *
 * The corrections of the bias are worked out once a block, in double: in float32, 1 - 0.999 is
 * off by a hundred thousandth. For that reason `take_1` and `take_2` come as they are.
 */
KERNEL(adam,
    real *parameters, const real *gradients, real *first_moment, real *second_moment,
    GIVEN(double, learning_rate), double beta_1, double beta_2, real take_1, real take_2,
    real epsilon, real decay, double shrinking, GIVEN(int64, step), int64 size)
{
    __shared__ real shared_scale, shared_root, shared_shrink;
    if (threadIdx.x == 0) {
        const double rate = VALUE(learning_rate);
        shared_scale = (real)(rate / (1 - whole_power(beta_1, VALUE(step))));
        shared_root = (real)(1 / sqrt(1 - whole_power(beta_2, VALUE(step))));
        shared_shrink = (real)(1 - rate * shrinking);
    }
    __syncthreads();
    const real scale = shared_scale, root_scale = shared_root, shrink = shared_shrink;
    EACH(i, size) {
        const real change = decayed(gradients[i], decay, parameters[i]);
        const real first = (real)beta_1 * first_moment[i] + take_1 * change;
        const real second = (real)beta_2 * second_moment[i] + take_2 * change * change;
        first_moment[i] = first;
        second_moment[i] = second;
        parameters[i] =
            shrink * parameters[i] - scale * first / (sqrt(second) * root_scale + epsilon);
    }
}

KERNEL(adagrad,
    real *parameters, const real *gradients, real *square_sum, GIVEN(double, learning_rate),
    real epsilon, real decay, int64 size)
{
    const real rate = (real)VALUE(learning_rate);
    EACH(i, size) {
        const real change = decayed(gradients[i], decay, parameters[i]);
        const real sum = square_sum[i] + change * change;
        square_sum[i] = sum;
        parameters[i] -= rate * change / (sqrt(sum) + epsilon);
    }
}

KERNEL(rmsprop,
    real *parameters, const real *gradients, real *square_average, real *gradient_average,
    real *velocity, GIVEN(double, learning_rate), real rho, real take, real epsilon, real momentum,
    real decay, int64 size)
{
    const real rate = (real)VALUE(learning_rate);
    EACH(i, size) {
        real change = decayed(gradients[i], decay, parameters[i]);
        const real square = rho * square_average[i] + take * change * change;
        real variance = square_average[i] = square;
        if (gradient_average) {
            const real mean = gradient_average[i] = rho * gradient_average[i] + take * change;
            variance = square - mean * mean;
            variance = variance < 0 ? (real)0 : variance;
        }
        change = change / (sqrt(variance) + epsilon);
        if (velocity)
            change = velocity[i] = momentum * velocity[i] + change;
        parameters[i] -= rate * change;
    }
}
