"""Losses: each sample's value, and the gradient of their mean where it is wanted; see losses.h."""

from libc.stdint cimport int32_t

cdef extern from "losses.h":
    void softmax_cross_entropy_float(
        const float *logits, Py_ssize_t logits_row, const int32_t *labels, const float *targets,
        Py_ssize_t targets_row, float *losses, float *grad, Py_ssize_t grad_row, Py_ssize_t rows,
        Py_ssize_t columns, double batch) noexcept nogil
    void softmax_cross_entropy_double(
        const double *logits, Py_ssize_t logits_row, const int32_t *labels, const double *targets,
        Py_ssize_t targets_row, double *losses, double *grad, Py_ssize_t grad_row, Py_ssize_t rows,
        Py_ssize_t columns, double batch) noexcept nogil
    void sigmoid_cross_entropy_float(
        const float *logits, Py_ssize_t logits_row, const float *targets, Py_ssize_t targets_row,
        float *losses, float *grad, Py_ssize_t grad_row, Py_ssize_t rows, Py_ssize_t columns,
        double batch) noexcept nogil
    void sigmoid_cross_entropy_double(
        const double *logits, Py_ssize_t logits_row, const double *targets, Py_ssize_t targets_row,
        double *losses, double *grad, Py_ssize_t grad_row, Py_ssize_t rows, Py_ssize_t columns,
        double batch) noexcept nogil
    void mse_float(
        const float *outputs, Py_ssize_t outputs_row, const float *targets, Py_ssize_t targets_row,
        float *losses, float *grad, Py_ssize_t grad_row, Py_ssize_t rows, Py_ssize_t columns,
        double batch) noexcept nogil
    void mse_double(
        const double *outputs, Py_ssize_t outputs_row, const double *targets,
        Py_ssize_t targets_row, double *losses, double *grad, Py_ssize_t grad_row, Py_ssize_t rows,
        Py_ssize_t columns, double batch) noexcept nogil


cdef inline void cross_entropy(
    const real *logits, Py_ssize_t logits_row, const int32_t *labels, const real *targets,
    Py_ssize_t targets_row, real *losses, real *grad, Py_ssize_t grad_row, Py_ssize_t rows,
    Py_ssize_t columns, double batch
) noexcept nogil:
    if real is float:
        softmax_cross_entropy_float(
            logits, logits_row, labels, targets, targets_row, losses, grad, grad_row, rows,
            columns, batch)
    else:
        softmax_cross_entropy_double(
            logits, logits_row, labels, targets, targets_row, losses, grad, grad_row, rows,
            columns, batch)


cdef inline void binary_cross_entropy(
    const real *logits, Py_ssize_t logits_row, const real *targets, Py_ssize_t targets_row,
    real *losses, real *grad, Py_ssize_t grad_row, Py_ssize_t rows, Py_ssize_t columns,
    double batch
) noexcept nogil:
    if real is float:
        sigmoid_cross_entropy_float(
            logits, logits_row, targets, targets_row, losses, grad, grad_row, rows, columns, batch)
    else:
        sigmoid_cross_entropy_double(
            logits, logits_row, targets, targets_row, losses, grad, grad_row, rows, columns, batch)


cdef inline void squared_error(
    const real *outputs, Py_ssize_t outputs_row, const real *targets, Py_ssize_t targets_row,
    real *losses, real *grad, Py_ssize_t grad_row, Py_ssize_t rows, Py_ssize_t columns,
    double batch
) noexcept nogil:
    if real is float:
        mse_float(
            outputs, outputs_row, targets, targets_row, losses, grad, grad_row, rows, columns,
            batch)
    else:
        mse_double(
            outputs, outputs_row, targets, targets_row, losses, grad, grad_row, rows, columns,
            batch)


def softmax_cross_entropy(
    const real[:, ::1] logits, const int32_t[::1] labels, const real[:, ::1] targets,
    real[::1] losses, real[:, ::1] grad
):
    cdef Py_ssize_t rows = logits.shape[0], columns = logits.shape[1]
    cdef const int32_t *classes = NULL if labels is None else &labels[0]
    cdef const real *shares = NULL if targets is None else &targets[0, 0]
    cdef real *slopes = NULL if grad is None else &grad[0, 0]
    with nogil:
        cross_entropy(
            &logits[0, 0], columns, classes, shares, columns, &losses[0], slopes, columns, rows,
            columns, rows)


def sigmoid_cross_entropy(
    const real[:, ::1] logits, const real[:, ::1] targets, real[::1] losses, real[:, ::1] grad
):
    cdef Py_ssize_t rows = logits.shape[0], columns = logits.shape[1]
    cdef real *slopes = NULL if grad is None else &grad[0, 0]
    with nogil:
        binary_cross_entropy(
            &logits[0, 0], columns, &targets[0, 0], columns, &losses[0], slopes, columns, rows,
            columns, rows)


def mse(
    const real[:, ::1] outputs, const real[:, ::1] targets, real[::1] losses, real[:, ::1] grad
):
    cdef Py_ssize_t rows = outputs.shape[0], columns = outputs.shape[1]
    cdef real *slopes = NULL if grad is None else &grad[0, 0]
    with nogil:
        squared_error(
            &outputs[0, 0], columns, &targets[0, 0], columns, &losses[0], slopes, columns, rows,
            columns, rows)
