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


cdef void judge_all(
    int loss, double setting, const real[:, ::1] outputs, const int32_t *labels,
    const real[:, ::1] targets, const real[::1] weights, real[::1] losses, real[:, ::1] grad
):
    """Take a whole batch; targets, weights and grad may be None."""
    cdef Py_ssize_t rows = outputs.shape[0], columns = outputs.shape[1]
    cdef const real *wanted = NULL if targets is None else &targets[0, 0]
    cdef const real *shares = NULL if weights is None else &weights[0]
    cdef real *slopes = NULL if grad is None else &grad[0, 0]
    with nogil:
        judge(
            loss, setting, &outputs[0, 0], columns, labels, wanted, columns, shares, &losses[0],
            slopes, columns, 0, rows, columns, rows)


def softmax_cross_entropy(
    const real[:, ::1] logits, const int32_t[::1] labels, const real[:, ::1] targets,
    const real[::1] weights, double smoothing, real[::1] losses, real[:, ::1] grad
):
    cdef const int32_t *classes = NULL if labels is None else &labels[0]
    judge_all(SOFTMAX_LOSS, smoothing, logits, classes, targets, weights, losses, grad)


def sigmoid_cross_entropy(
    const real[:, ::1] logits, const real[:, ::1] targets, const real[::1] weights,
    double smoothing, real[::1] losses, real[:, ::1] grad
):
    judge_all(SIGMOID_LOSS, smoothing, logits, NULL, targets, weights, losses, grad)


def mse(
    const real[:, ::1] outputs, const real[:, ::1] targets, const real[::1] weights,
    real[::1] losses, real[:, ::1] grad
):
    judge_all(SQUARED_LOSS, 0, outputs, NULL, targets, weights, losses, grad)


def mae(
    const real[:, ::1] outputs, const real[:, ::1] targets, const real[::1] weights,
    real[::1] losses, real[:, ::1] grad
):
    judge_all(ABSOLUTE_LOSS, 0, outputs, NULL, targets, weights, losses, grad)


def huber(
    const real[:, ::1] outputs, const real[:, ::1] targets, const real[::1] weights, double delta,
    real[::1] losses, real[:, ::1] grad
):
    judge_all(HUBER_LOSS, delta, outputs, NULL, targets, weights, losses, grad)


def hinge(
    const real[:, ::1] outputs, const int32_t[::1] labels, const real[:, ::1] targets,
    const real[::1] weights, double margin, bint squared, real[::1] losses, real[:, ::1] grad
):
    cdef const int32_t *classes = NULL if labels is None else &labels[0]
    judge_all(
        SQUARED_HINGE_LOSS if squared else HINGE_LOSS, margin, outputs, classes, targets, weights,
        losses, grad)
