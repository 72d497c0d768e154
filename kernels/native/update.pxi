"""Optimizers: one pass over the flat parameter vector and the state beside it; see updates.h."""

from libc.math cimport pow
from libc.stdint cimport int64_t

cdef extern from "updates.h":
    ctypedef struct Patch:
        Py_ssize_t rows, columns, room, row, state_row
    ctypedef struct SgdOptions_float:
        pass
    ctypedef struct SgdOptions_double:
        pass
    ctypedef struct AdamOptions_float:
        pass
    ctypedef struct AdamOptions_double:
        pass
    ctypedef struct RmspropOptions_float:
        pass
    ctypedef struct RmspropOptions_double:
        pass
    ctypedef struct AdagradOptions_float:
        pass
    ctypedef struct AdagradOptions_double:
        pass

    SgdOptions_float sgd_options_float(
        double learning_rate, double momentum, double dampening, int nesterov,
        double weight_decay, int64_t step) noexcept nogil
    SgdOptions_double sgd_options_double(
        double learning_rate, double momentum, double dampening, int nesterov,
        double weight_decay, int64_t step) noexcept nogil
    AdamOptions_float adam_options_float(
        double learning_rate, double beta_1, double beta_2, double epsilon, double weight_decay,
        const double *powers) noexcept nogil
    AdamOptions_double adam_options_double(
        double learning_rate, double beta_1, double beta_2, double epsilon, double weight_decay,
        const double *powers) noexcept nogil
    AdamOptions_float adamw_options_float(
        double learning_rate, double beta_1, double beta_2, double epsilon, double weight_decay,
        const double *powers) noexcept nogil
    AdamOptions_double adamw_options_double(
        double learning_rate, double beta_1, double beta_2, double epsilon, double weight_decay,
        const double *powers) noexcept nogil
    RmspropOptions_float rmsprop_options_float(
        double learning_rate, double rho, double epsilon, double momentum, double weight_decay
    ) noexcept nogil
    RmspropOptions_double rmsprop_options_double(
        double learning_rate, double rho, double epsilon, double momentum, double weight_decay
    ) noexcept nogil
    AdagradOptions_float adagrad_options_float(
        double learning_rate, double epsilon, double weight_decay) noexcept nogil
    AdagradOptions_double adagrad_options_double(
        double learning_rate, double epsilon, double weight_decay) noexcept nogil

    void sgd_float(
        const SgdOptions_float *options, float *parameters, const float *gradients,
        float *velocity, Patch patch) noexcept nogil
    void sgd_double(
        const SgdOptions_double *options, double *parameters, const double *gradients,
        double *velocity, Patch patch) noexcept nogil
    void adam_float(
        const AdamOptions_float *options, float *parameters, const float *gradients,
        float *first_moment, float *second_moment, Patch patch) noexcept nogil
    void adam_double(
        const AdamOptions_double *options, double *parameters, const double *gradients,
        double *first_moment, double *second_moment, Patch patch) noexcept nogil
    void rmsprop_float(
        const RmspropOptions_float *options, float *parameters, const float *gradients,
        float *square_average, float *gradient_average, float *velocity, Patch patch
    ) noexcept nogil
    void rmsprop_double(
        const RmspropOptions_double *options, double *parameters, const double *gradients,
        double *square_average, double *gradient_average, double *velocity, Patch patch
    ) noexcept nogil
    void adagrad_float(
        const AdagradOptions_float *options, float *parameters, const float *gradients,
        float *square_sum, Patch patch) noexcept nogil
    void adagrad_double(
        const AdagradOptions_double *options, double *parameters, const double *gradients,
        double *square_sum, Patch patch) noexcept nogil


cdef inline Patch whole(Py_ssize_t size) noexcept nogil:
    """A run of flat vectors."""
    cdef Patch patch
    patch.rows = 1
    patch.columns = patch.room = size
    patch.row = patch.state_row = 0
    return patch


def sgd(
    real[::1] parameters, const real[::1] gradients, real[::1] velocity, double learning_rate,
    double momentum, double dampening, bint nesterov, double weight_decay, int64_t step
):
    cdef SgdOptions_float single
    cdef SgdOptions_double twice
    cdef real *moving = NULL if velocity is None else &velocity[0]
    with nogil:
        if real is float:
            single = sgd_options_float(
                learning_rate, momentum, dampening, nesterov, weight_decay, step)
            sgd_float(
                &single, &parameters[0], &gradients[0], moving, whole(parameters.shape[0]))
        else:
            twice = sgd_options_double(
                learning_rate, momentum, dampening, nesterov, weight_decay, step)
            sgd_double(
                &twice, &parameters[0], &gradients[0], moving, whole(parameters.shape[0]))


def adam(
    real[::1] parameters, const real[::1] gradients, real[::1] first_moment,
    real[::1] second_moment, double learning_rate, double beta_1, double beta_2, double epsilon,
    double weight_decay, int64_t step
):
    cdef AdamOptions_float single
    cdef AdamOptions_double twice
    cdef double[2] powers = [pow(beta_1, <double> step), pow(beta_2, <double> step)]
    with nogil:
        if real is float:
            single = adam_options_float(
                learning_rate, beta_1, beta_2, epsilon, weight_decay, powers)
            adam_float(
                &single, &parameters[0], &gradients[0], &first_moment[0], &second_moment[0],
                whole(parameters.shape[0]))
        else:
            twice = adam_options_double(
                learning_rate, beta_1, beta_2, epsilon, weight_decay, powers)
            adam_double(
                &twice, &parameters[0], &gradients[0], &first_moment[0], &second_moment[0],
                whole(parameters.shape[0]))


def adamw(
    real[::1] parameters, const real[::1] gradients, real[::1] first_moment,
    real[::1] second_moment, double learning_rate, double beta_1, double beta_2, double epsilon,
    double weight_decay, int64_t step
):
    cdef AdamOptions_float single
    cdef AdamOptions_double twice
    cdef double[2] powers = [pow(beta_1, <double> step), pow(beta_2, <double> step)]
    with nogil:
        if real is float:
            single = adamw_options_float(
                learning_rate, beta_1, beta_2, epsilon, weight_decay, powers)
            adam_float(
                &single, &parameters[0], &gradients[0], &first_moment[0], &second_moment[0],
                whole(parameters.shape[0]))
        else:
            twice = adamw_options_double(
                learning_rate, beta_1, beta_2, epsilon, weight_decay, powers)
            adam_double(
                &twice, &parameters[0], &gradients[0], &first_moment[0], &second_moment[0],
                whole(parameters.shape[0]))


def rmsprop(
    real[::1] parameters, const real[::1] gradients, real[::1] square_average,
    real[::1] gradient_average, real[::1] velocity, double learning_rate, double rho,
    double epsilon, double momentum, double weight_decay
):
    cdef RmspropOptions_float single
    cdef RmspropOptions_double twice
    cdef real *mean = NULL if gradient_average is None else &gradient_average[0]
    cdef real *moving = NULL if velocity is None else &velocity[0]
    with nogil:
        if real is float:
            single = rmsprop_options_float(learning_rate, rho, epsilon, momentum, weight_decay)
            rmsprop_float(
                &single, &parameters[0], &gradients[0], &square_average[0], mean, moving,
                whole(parameters.shape[0]))
        else:
            twice = rmsprop_options_double(learning_rate, rho, epsilon, momentum, weight_decay)
            rmsprop_double(
                &twice, &parameters[0], &gradients[0], &square_average[0], mean, moving,
                whole(parameters.shape[0]))


def adagrad(
    real[::1] parameters, const real[::1] gradients, real[::1] square_sum, double learning_rate,
    double epsilon, double weight_decay
):
    cdef AdagradOptions_float single
    cdef AdagradOptions_double twice
    with nogil:
        if real is float:
            single = adagrad_options_float(learning_rate, epsilon, weight_decay)
            adagrad_float(
                &single, &parameters[0], &gradients[0], &square_sum[0], whole(parameters.shape[0]))
        else:
            twice = adagrad_options_double(learning_rate, epsilon, weight_decay)
            adagrad_double(
                &twice, &parameters[0], &gradients[0], &square_sum[0], whole(parameters.shape[0]))
