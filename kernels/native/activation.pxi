"""Activations and their derivatives; activations.h holds the loops."""

cdef extern from "activations.h":
    enum:
        IDENTITY, RELU, RELU6, LEAKY_RELU, ELU, TANH, SIGMOID, SOFTPLUS, SILU, GELU
        SOFTMAX, LOG_SOFTMAX
    void activate_float(
        int code, float a, const float *x, Py_ssize_t x_row, float *y, Py_ssize_t y_row,
        Py_ssize_t rows, Py_ssize_t columns) noexcept nogil
    void activate_double(
        int code, double a, const double *x, Py_ssize_t x_row, double *y, Py_ssize_t y_row,
        Py_ssize_t rows, Py_ssize_t columns) noexcept nogil
    void activate_backward_float(
        int code, float a, const float *grad, Py_ssize_t grad_row, const float *stored,
        Py_ssize_t stored_row, float *out, Py_ssize_t out_row, Py_ssize_t rows, Py_ssize_t columns
    ) noexcept nogil
    void activate_backward_double(
        int code, double a, const double *grad, Py_ssize_t grad_row, const double *stored,
        Py_ssize_t stored_row, double *out, Py_ssize_t out_row, Py_ssize_t rows, Py_ssize_t columns
    ) noexcept nogil

ACTIVATION_CODES = {
    "identity": IDENTITY, "relu": RELU, "relu6": RELU6, "leaky_relu": LEAKY_RELU, "elu": ELU,
    "tanh": TANH, "sigmoid": SIGMOID, "softplus": SOFTPLUS, "silu": SILU, "gelu": GELU,
    "softmax": SOFTMAX, "log_softmax": LOG_SOFTMAX,
}


cdef inline void activate(
    int code, real a, const real *x, Py_ssize_t x_row, real *y, Py_ssize_t y_row,
    Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """y = activation(x); y may be x."""
    if real is float:
        activate_float(code, a, x, x_row, y, y_row, rows, columns)
    else:
        activate_double(code, a, x, x_row, y, y_row, rows, columns)


cdef inline void activate_backward(
    int code, real a, const real *grad, Py_ssize_t grad_row, const real *stored,
    Py_ssize_t stored_row, real *out, Py_ssize_t out_row, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """out = grad * activation'(stored); out may be grad."""
    if real is float:
        activate_backward_float(
            code, a, grad, grad_row, stored, stored_row, out, out_row, rows, columns)
    else:
        activate_backward_double(
            code, a, grad, grad_row, stored, stored_row, out, out_row, rows, columns)


cdef Outcome activation(const Argument *given, const real *like) noexcept nogil:
    cdef const real *x = <const real *> given[0].at
    cdef int code = <int> given[1].whole
    cdef real parameter = <real> given[2].number
    cdef real *out = <real *> given[3].at
    cdef Py_ssize_t rows = given[0].shape[0], columns = given[0].shape[1]
    activate(code, parameter, x, columns, out, columns, rows, columns)
    return DONE


cdef Outcome activation_backward(const Argument *given, const real *like) noexcept nogil:
    cdef const real *grad = <const real *> given[0].at
    cdef const real *stored = <const real *> given[1].at
    cdef int code = <int> given[2].whole
    cdef real parameter = <real> given[3].number
    cdef real *out = <real *> given[4].at
    cdef Py_ssize_t rows = given[0].shape[0], columns = given[0].shape[1]
    activate_backward(
        code, parameter, grad, columns, stored, columns, out, columns, rows, columns)
    return DONE
