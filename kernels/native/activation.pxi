"""Activations and their derivatives. Comparisons are written so that NaN stays NaN."""

cdef enum:
    IDENTITY, RELU, RELU6, LEAKY_RELU, ELU, TANH, SIGMOID, SOFTPLUS, SILU, GELU, SOFTMAX, LOG_SOFTMAX

ACTIVATION_CODES = {
    "identity": IDENTITY, "relu": RELU, "relu6": RELU6, "leaky_relu": LEAKY_RELU, "elu": ELU,
    "tanh": TANH, "sigmoid": SIGMOID, "softplus": SOFTPLUS, "silu": SILU, "gelu": GELU,
    "softmax": SOFTMAX, "log_softmax": LOG_SOFTMAX,
}

cdef double ROOT_HALF = 0.7071067811865476
cdef double ROOT_OF_TWO_PI = 2.5066282746310002


cdef inline real logistic(real x) noexcept nogil:
    cdef real small = exponential(-magnitude(x))
    return (1 if x >= 0 else small) / (1 + small)


cdef inline real softplus_of(real x) noexcept nogil:
    return (0 if x < 0 else x) + logarithm_of_one_plus(exponential(-magnitude(x)))


cdef inline real row_maximum(const real *x, Py_ssize_t columns) noexcept nogil:
    cdef real top = -libm.INFINITY
    cdef Py_ssize_t j
    for j in range(columns):
        if not x[j] <= top:
            top = x[j]
    return top


cdef inline real row_log_sum_exp(const real *x, Py_ssize_t columns) noexcept nogil:
    cdef real top = row_maximum(x, columns), total = 0
    cdef Py_ssize_t j
    for j in range(columns):
        total += exponential(x[j] - top)
    return top + logarithm(total)


cdef inline void row_softmax(const real *x, real *y, Py_ssize_t columns) noexcept nogil:
    cdef real top = row_maximum(x, columns), total = 0
    cdef Py_ssize_t j
    for j in range(columns):
        y[j] = exponential(x[j] - top)
        total += y[j]
    for j in range(columns):
        y[j] /= total


cdef void activate(
    int code, real a, const real *x, real *y, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """y = activation(x); y may be x."""
    cdef Py_ssize_t i, j, size = rows * columns
    cdef real value
    if code == IDENTITY:
        for i in range(size):
            y[i] = x[i]
    elif code == RELU:
        for i in range(size):
            y[i] = 0 if x[i] < 0 else x[i]
    elif code == RELU6:
        for i in range(size):
            value = 0 if x[i] < 0 else x[i]
            y[i] = 6 if value > 6 else value
    elif code == LEAKY_RELU:
        for i in range(size):
            y[i] = x[i] if x[i] > 0 else a * x[i]
    elif code == ELU:
        for i in range(size):
            y[i] = x[i] if x[i] > 0 else a * exponential_less_one(x[i])
    elif code == TANH:
        for i in range(size):
            y[i] = hyperbolic_tangent(x[i])
    elif code == SIGMOID:
        for i in range(size):
            y[i] = logistic(a * x[i])
    elif code == SOFTPLUS:
        for i in range(size):
            y[i] = softplus_of(x[i])
    elif code == SILU:
        for i in range(size):
            y[i] = x[i] * logistic(x[i])
    elif code == GELU:
        for i in range(size):
            y[i] = x[i] * (<real> 0.5 * (1 + error_function(x[i] * <real> ROOT_HALF)))
    elif code == SOFTMAX:
        for i in range(rows):
            row_softmax(x + i * columns, y + i * columns, columns)
    elif code == LOG_SOFTMAX:
        for i in range(rows):
            value = row_log_sum_exp(x + i * columns, columns)
            for j in range(columns):
                y[i * columns + j] = x[i * columns + j] - value


cdef void activate_backward(
    int code, real a, const real *grad, const real *stored, real *out,
    Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """out = grad * activation'(stored); out may be grad."""
    cdef Py_ssize_t i, j, at, size = rows * columns
    cdef real value, total
    if code == IDENTITY:
        for i in range(size):
            out[i] = grad[i]
    elif code == RELU:
        for i in range(size):
            out[i] = grad[i] * <real> (0 if stored[i] <= 0 else 1)
    elif code == RELU6:
        for i in range(size):
            out[i] = grad[i] * <real> (0 if stored[i] <= 0 or stored[i] >= 6 else 1)
    elif code == LEAKY_RELU:
        for i in range(size):
            out[i] = grad[i] * (a if stored[i] <= 0 else 1)
    elif code == ELU:
        for i in range(size):
            out[i] = grad[i] * (stored[i] + a if stored[i] <= 0 else 1)
    elif code == TANH:
        for i in range(size):
            out[i] = grad[i] * (1 - stored[i] * stored[i])
    elif code == SIGMOID:
        for i in range(size):
            out[i] = grad[i] * (a * stored[i] * (1 - stored[i]))
    elif code == SOFTPLUS:
        for i in range(size):
            out[i] = grad[i] * -exponential_less_one(-stored[i])
    elif code == SILU:
        for i in range(size):
            value = logistic(stored[i])
            out[i] = grad[i] * (value * (1 + stored[i] * (1 - value)))
    elif code == GELU:
        for i in range(size):
            value = <real> 0.5 * (1 + error_function(stored[i] * <real> ROOT_HALF))
            total = exponential(<real> -0.5 * stored[i] * stored[i]) / <real> ROOT_OF_TWO_PI
            out[i] = grad[i] * (value + stored[i] * total)
    elif code == SOFTMAX:
        for i in range(rows):
            total = 0
            for j in range(columns):
                total += grad[i * columns + j] * stored[i * columns + j]
            for j in range(columns):
                at = i * columns + j
                out[at] = stored[at] * (grad[at] - total)
    elif code == LOG_SOFTMAX:
        for i in range(rows):
            total = 0
            for j in range(columns):
                total += grad[i * columns + j]
            for j in range(columns):
                at = i * columns + j
                out[at] = grad[at] - exponential(stored[at]) * total


def activation(const real[:, ::1] x, str activation, double parameter, real[:, ::1] out):
    cdef int code = ACTIVATION_CODES[activation]
    with nogil:
        activate(code, <real> parameter, &x[0, 0], &out[0, 0], x.shape[0], x.shape[1])


def activation_backward(
    const real[:, ::1] grad, const real[:, ::1] stored, str activation, double parameter,
    real[:, ::1] out
):
    cdef int code = ACTIVATION_CODES[activation]
    with nogil:
        activate_backward(
            code, <real> parameter, &grad[0, 0], &stored[0, 0], &out[0, 0],
            grad.shape[0], grad.shape[1],
        )
