"""Losses: each sample's value, and the gradient of their mean where it is wanted."""


def softmax_cross_entropy(
    const real[:, ::1] logits, const int[::1] labels, const real[:, ::1] targets,
    real[::1] losses, real[:, ::1] grad
):
    cdef bint labelled = labels is not None, wanted = grad is not None
    cdef Py_ssize_t rows = logits.shape[0], columns = logits.shape[1], i, j
    cdef real total, mass, value
    cdef const real *x
    cdef const real *t = NULL
    cdef real *g
    with nogil:
        for i in range(rows):
            x = &logits[i, 0]
            total = row_log_sum_exp(x, columns)
            if labelled:
                losses[i] = total - x[labels[i]]
            else:
                t = &targets[i, 0]
                value = 0
                for j in range(columns):
                    if t[j] != 0:
                        value += t[j] * (total - x[j])
                losses[i] = value
            if wanted:
                g = &grad[i, 0]
                row_softmax(x, g, columns)
                if labelled:
                    for j in range(columns):
                        g[j] /= rows
                    g[labels[i]] -= <real> (1.0 / rows)
                else:
                    mass = 0
                    for j in range(columns):
                        mass += t[j]
                    for j in range(columns):
                        g[j] = (g[j] * mass - t[j]) / rows


def sigmoid_cross_entropy(
    const real[:, ::1] logits, const real[:, ::1] targets, real[::1] losses, real[:, ::1] grad
):
    cdef bint wanted = grad is not None
    cdef Py_ssize_t rows = logits.shape[0], columns = logits.shape[1], i, j
    cdef real total, size = <real> (rows * columns)
    with nogil:
        for i in range(rows):
            total = 0
            for j in range(columns):
                total += softplus_of(logits[i, j]) - logits[i, j] * targets[i, j]
            losses[i] = total / columns
            if wanted:
                for j in range(columns):
                    grad[i, j] = (logistic(logits[i, j]) - targets[i, j]) / size


def mse(
    const real[:, ::1] outputs, const real[:, ::1] targets, real[::1] losses, real[:, ::1] grad
):
    cdef bint wanted = grad is not None
    cdef Py_ssize_t rows = outputs.shape[0], columns = outputs.shape[1], i, j
    cdef real total, error, size = <real> (rows * columns)
    with nogil:
        for i in range(rows):
            total = 0
            for j in range(columns):
                error = outputs[i, j] - targets[i, j]
                total += error * error
                if wanted:
                    grad[i, j] = 2 * error / size
            losses[i] = total / columns
