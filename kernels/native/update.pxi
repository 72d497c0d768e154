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


cdef Outcome sgd(const Argument *given, const real *like) noexcept nogil:
    cdef real *parameters = <real *> given[0].at
    cdef const real *gradients = <const real *> given[1].at
    cdef real *velocity = <real *> given[2].at
    cdef double learning_rate = given[3].number, momentum = given[4].number
    cdef double dampening = given[5].number
    cdef bint nesterov = given[6].whole
    cdef double weight_decay = given[7].number
    cdef int64_t step = given[8].whole
    cdef Patch all = whole(given[0].shape[0])
    cdef SgdOptions_float single
    cdef SgdOptions_double twice
    if real is float:
        single = sgd_options_float(
            learning_rate, momentum, dampening, nesterov, weight_decay, step)
        sgd_float(&single, parameters, gradients, velocity, all)
    else:
        twice = sgd_options_double(
            learning_rate, momentum, dampening, nesterov, weight_decay, step)
        sgd_double(&twice, parameters, gradients, velocity, all)
    return DONE


cdef inline Outcome adaptive_moments(
    const Argument *given, bint decoupled, const real *like
) noexcept nogil:
    """Adam, or AdamW where the decay of the weights is decoupled from their gradient."""
    cdef real *parameters = <real *> given[0].at
    cdef const real *gradients = <const real *> given[1].at
    cdef real *first_moment = <real *> given[2].at
    cdef real *second_moment = <real *> given[3].at
    cdef double learning_rate = given[4].number, beta_1 = given[5].number
    cdef double beta_2 = given[6].number, epsilon = given[7].number
    cdef double weight_decay = given[8].number
    cdef int64_t step = given[9].whole
    cdef double[2] powers = [pow(beta_1, <double> step), pow(beta_2, <double> step)]
    cdef Patch all = whole(given[0].shape[0])
    cdef AdamOptions_float single
    cdef AdamOptions_double twice
    if real is float:
        if decoupled:
            single = adamw_options_float(
                learning_rate, beta_1, beta_2, epsilon, weight_decay, powers)
        else:
            single = adam_options_float(
                learning_rate, beta_1, beta_2, epsilon, weight_decay, powers)
        adam_float(&single, parameters, gradients, first_moment, second_moment, all)
    else:
        if decoupled:
            twice = adamw_options_double(
                learning_rate, beta_1, beta_2, epsilon, weight_decay, powers)
        else:
            twice = adam_options_double(
                learning_rate, beta_1, beta_2, epsilon, weight_decay, powers)
        adam_double(&twice, parameters, gradients, first_moment, second_moment, all)
    return DONE


cdef Outcome adam(const Argument *given, const real *like) noexcept nogil:
    return adaptive_moments(given, False, like)


cdef Outcome adamw(const Argument *given, const real *like) noexcept nogil:
    return adaptive_moments(given, True, like)


cdef Outcome rmsprop(const Argument *given, const real *like) noexcept nogil:
    cdef real *parameters = <real *> given[0].at
    cdef const real *gradients = <const real *> given[1].at
    cdef real *square_average = <real *> given[2].at
    cdef real *gradient_average = <real *> given[3].at
    cdef real *velocity = <real *> given[4].at
    cdef double learning_rate = given[5].number, rho = given[6].number
    cdef double epsilon = given[7].number, momentum = given[8].number
    cdef double weight_decay = given[9].number
    cdef Patch all = whole(given[0].shape[0])
    cdef RmspropOptions_float single
    cdef RmspropOptions_double twice
    if real is float:
        single = rmsprop_options_float(learning_rate, rho, epsilon, momentum, weight_decay)
        rmsprop_float(
            &single, parameters, gradients, square_average, gradient_average, velocity, all)
    else:
        twice = rmsprop_options_double(learning_rate, rho, epsilon, momentum, weight_decay)
        rmsprop_double(
            &twice, parameters, gradients, square_average, gradient_average, velocity, all)
    return DONE


cdef Outcome adagrad(const Argument *given, const real *like) noexcept nogil:
    cdef real *parameters = <real *> given[0].at
    cdef const real *gradients = <const real *> given[1].at
    cdef real *square_sum = <real *> given[2].at
    cdef double learning_rate = given[3].number, epsilon = given[4].number
    cdef double weight_decay = given[5].number
    cdef Patch all = whole(given[0].shape[0])
    cdef AdagradOptions_float single
    cdef AdagradOptions_double twice
    if real is float:
        single = adagrad_options_float(learning_rate, epsilon, weight_decay)
        adagrad_float(&single, parameters, gradients, square_sum, all)
    else:
        twice = adagrad_options_double(learning_rate, epsilon, weight_decay)
        adagrad_double(&twice, parameters, gradients, square_sum, all)
    return DONE
