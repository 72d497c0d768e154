"""Losses: each sample's value, and the gradient of their mean where it is wanted; see losses.h."""

from libc.stdint cimport int32_t

cdef extern from "losses.h":
    enum:
        SOFTMAX_LOSS, SIGMOID_LOSS, SQUARED_LOSS, ABSOLUTE_LOSS, HUBER_LOSS, HINGE_LOSS
        SQUARED_HINGE_LOSS
    void losses_float(
        int loss, double setting, const float *outputs, Py_ssize_t outputs_row,
        const int32_t *labels, const float *targets, Py_ssize_t targets_row, const float *weights,
        float *losses, float *grad, Py_ssize_t grad_row, Py_ssize_t first, Py_ssize_t last,
        Py_ssize_t columns, Py_ssize_t batch) noexcept nogil
    void losses_double(
        int loss, double setting, const double *outputs, Py_ssize_t outputs_row,
        const int32_t *labels, const double *targets, Py_ssize_t targets_row,
        const double *weights, double *losses, double *grad, Py_ssize_t grad_row,
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t columns, Py_ssize_t batch) noexcept nogil

# By kernel; the square of `hinge` is a loss of its own here.
LOSS_CODES = {
    "softmax_cross_entropy": SOFTMAX_LOSS,
    "sigmoid_cross_entropy": SIGMOID_LOSS,
    "mse": SQUARED_LOSS,
    "mae": ABSOLUTE_LOSS,
    "huber": HUBER_LOSS,
    "hinge": HINGE_LOSS,
    "squared_hinge": SQUARED_HINGE_LOSS,
}


cdef inline void judge(
    int loss, double setting, const real *outputs, Py_ssize_t outputs_row, const int32_t *labels,
    const real *targets, Py_ssize_t targets_row, const real *weights, real *losses, real *grad,
    Py_ssize_t grad_row, Py_ssize_t first, Py_ssize_t last, Py_ssize_t columns, Py_ssize_t batch
) noexcept nogil:
    if real is float:
        losses_float(
            loss, setting, outputs, outputs_row, labels, targets, targets_row, weights, losses,
            grad, grad_row, first, last, columns, batch)
    else:
        losses_double(
            loss, setting, outputs, outputs_row, labels, targets, targets_row, weights, losses,
            grad, grad_row, first, last, columns, batch)


cdef inline Outcome judge_all(
    int loss, double setting, const Argument *outputs, const void *labels, const void *targets,
    const void *weights, void *losses, void *grad, const real *like
) noexcept nogil:
    """Take a whole batch; labels or targets, and weights and grad, may be NULL."""
    cdef Py_ssize_t rows = outputs.shape[0], columns = outputs.shape[1]
    judge(
        loss, setting, <const real *> outputs.at, columns, <const int32_t *> labels,
        <const real *> targets, columns, <const real *> weights, <real *> losses, <real *> grad,
        columns, 0, rows, columns, rows)
    return DONE


cdef Outcome softmax_cross_entropy(const Argument *given, const real *like) noexcept nogil:
    cdef double smoothing = given[4].number
    return judge_all(
        SOFTMAX_LOSS, smoothing, &given[0], given[1].at, given[2].at, given[3].at, given[5].at,
        given[6].at, like)


cdef Outcome sigmoid_cross_entropy(const Argument *given, const real *like) noexcept nogil:
    cdef double smoothing = given[3].number
    return judge_all(
        SIGMOID_LOSS, smoothing, &given[0], NULL, given[1].at, given[2].at, given[4].at,
        given[5].at, like)


cdef Outcome mse(const Argument *given, const real *like) noexcept nogil:
    return judge_all(
        SQUARED_LOSS, 0, &given[0], NULL, given[1].at, given[2].at, given[3].at, given[4].at, like)


cdef Outcome mae(const Argument *given, const real *like) noexcept nogil:
    return judge_all(
        ABSOLUTE_LOSS, 0, &given[0], NULL, given[1].at, given[2].at, given[3].at, given[4].at, like)


cdef Outcome huber(const Argument *given, const real *like) noexcept nogil:
    cdef double delta = given[3].number
    return judge_all(
        HUBER_LOSS, delta, &given[0], NULL, given[1].at, given[2].at, given[4].at, given[5].at,
        like)


cdef Outcome hinge(const Argument *given, const real *like) noexcept nogil:
    cdef double margin = given[4].number
    cdef bint squared = given[5].whole
    return judge_all(
        SQUARED_HINGE_LOSS if squared else HINGE_LOSS, margin, &given[0], given[1].at, given[2].at,
        given[3].at, given[6].at, given[7].at, like)
