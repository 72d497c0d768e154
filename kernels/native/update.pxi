"""Optimizers: one pass over the flat parameter vector and the state beside it."""


cdef inline real decayed(real gradient, real decay, real parameter) noexcept nogil:
    """Without decay an infinite parameter must not turn the gradient into NaN."""
    return gradient if decay == 0 else gradient + decay * parameter


def sgd(
    real[::1] parameters, const real[::1] gradients, real[::1] velocity, double learning_rate,
    double momentum, double dampening, bint nesterov, double weight_decay, Py_ssize_t step
):
    cdef bint moving = velocity is not None
    cdef Py_ssize_t i, size = parameters.shape[0]
    cdef real rate = learning_rate, keep = momentum, take = 1 - dampening, decay = weight_decay
    cdef real change
    with nogil:
        if not moving:
            for i in range(size):
                parameters[i] -= rate * decayed(gradients[i], decay, parameters[i])
        else:
            for i in range(size):
                change = decayed(gradients[i], decay, parameters[i])
                # The first step ignores what stands in the velocity, which may be anything.
                velocity[i] = change if step == 1 else keep * velocity[i] + take * change
                if nesterov:
                    change += <real> momentum * velocity[i]
                else:
                    change = velocity[i]
                parameters[i] -= rate * change


cdef inline void adam_step(
    real *parameter, real gradient, real *first, real *second, real keep_1, real take_1,
    real keep_2, real take_2, real scale, real root_scale, real epsilon
) noexcept nogil:
    first[0] = keep_1 * first[0] + take_1 * gradient
    second[0] = keep_2 * second[0] + take_2 * gradient * gradient
    parameter[0] -= scale * first[0] / (square_root(second[0]) * root_scale + epsilon)


def adam(
    real[::1] parameters, const real[::1] gradients, real[::1] first_moment,
    real[::1] second_moment, double learning_rate, double beta_1, double beta_2, double epsilon,
    double weight_decay, Py_ssize_t step
):
    cdef Py_ssize_t i, size = parameters.shape[0]
    # In float32, 1 - 0.999 would be off by a hundred thousandth.
    cdef real take_1 = 1 - beta_1, take_2 = 1 - beta_2
    cdef real scale = learning_rate / (1 - beta_1 ** step)
    cdef real root_scale = 1 / libm.sqrt(1 - beta_2 ** step)
    cdef real decay = weight_decay
    with nogil:
        for i in range(size):
            adam_step(
                &parameters[i], decayed(gradients[i], decay, parameters[i]), &first_moment[i],
                &second_moment[i], <real> beta_1, take_1, <real> beta_2, take_2, scale,
                root_scale, <real> epsilon)


def adamw(
    real[::1] parameters, const real[::1] gradients, real[::1] first_moment,
    real[::1] second_moment, double learning_rate, double beta_1, double beta_2, double epsilon,
    double weight_decay, Py_ssize_t step
):
    cdef Py_ssize_t i, size = parameters.shape[0]
    # In float32, 1 - 0.999 would be off by a hundred thousandth.
    cdef real take_1 = 1 - beta_1, take_2 = 1 - beta_2
    cdef real scale = learning_rate / (1 - beta_1 ** step)
    cdef real root_scale = 1 / libm.sqrt(1 - beta_2 ** step)
    cdef real shrink = 1 - learning_rate * weight_decay
    with nogil:
        for i in range(size):
            parameters[i] *= shrink
            adam_step(
                &parameters[i], gradients[i], &first_moment[i], &second_moment[i],
                <real> beta_1, take_1, <real> beta_2, take_2, scale, root_scale, <real> epsilon)


def rmsprop(
    real[::1] parameters, const real[::1] gradients, real[::1] square_average,
    real[::1] gradient_average, real[::1] velocity, double learning_rate, double rho,
    double epsilon, double momentum, double weight_decay
):
    cdef bint centered = gradient_average is not None, moving = velocity is not None
    cdef Py_ssize_t i, size = parameters.shape[0]
    cdef real keep = rho, take = 1 - rho, decay = weight_decay
    cdef real change, variance
    with nogil:
        for i in range(size):
            change = decayed(gradients[i], decay, parameters[i])
            square_average[i] = keep * square_average[i] + take * change * change
            variance = square_average[i]
            if centered:
                gradient_average[i] = keep * gradient_average[i] + take * change
                variance -= gradient_average[i] * gradient_average[i]
                variance = 0 if variance < 0 else variance
            change /= square_root(variance) + <real> epsilon
            if moving:
                velocity[i] = <real> momentum * velocity[i] + change
                change = velocity[i]
            parameters[i] -= <real> learning_rate * change
