"""Operations of networks of a few units, whose batches lie as [units][samples]; see narrow.h.

One thread does them all: a whole step takes a microsecond.
"""

cdef extern from "narrow.h":
    void dots_float(
        const float *x, const float *dz, Py_ssize_t stride, Py_ssize_t vectors, Py_ssize_t rows,
        Py_ssize_t columns, float *gradient) noexcept nogil
    void dots_double(
        const double *x, const double *dz, Py_ssize_t stride, Py_ssize_t vectors,
        Py_ssize_t rows, Py_ssize_t columns, double *gradient) noexcept nogil

cdef extern from "tiny.h":
    Direct tiny_float(const Operation *op) noexcept nogil
    Direct tiny_double(const Operation *op) noexcept nogil


cdef Direct direct_function(const Operation *op) noexcept nogil:
    return tiny_float(op) if op.single else tiny_double(op)


cdef inline void narrow_product(
    const real *a, Py_ssize_t a_row, Py_ssize_t a_depth, const real *b, Py_ssize_t stride,
    Py_ssize_t depth, Py_ssize_t rows, Py_ssize_t samples, real *c
) noexcept nogil:
    """c[i][s] = sum over k of a[i * a_row + k * a_depth] * b[k][s]."""
    cdef Py_ssize_t lanes = lanes_of(a), row = 0, first, taken
    while row < rows:
        taken = min(<Py_ssize_t> TILE_ROWS, rows - row)
        first = 0
        while first < samples:
            tile(
                taken, 2 if samples - first > lanes else 1, a + row * a_row, a_row, a_depth,
                b + first, stride, depth, <const real *> NULL, False, 0, 0,
                c + row * stride + first, stride)
            first += 2 * lanes
        row += TILE_ROWS


cdef void narrow_gather(
    const void *source, int kind, const int64_t *taken, Py_ssize_t columns, real scale, real *out,
    Py_ssize_t stride, Py_ssize_t samples
) noexcept nogil:
    """out[k][s] = source[taken[s]][k] * scale."""
    cdef Py_ssize_t k, s
    if kind == 0:
        for k in range(columns):
            for s in range(samples):
                out[k * stride + s] = scale * (
                    <const unsigned char *> source)[taken[s] * columns + k]
    elif kind == 1:
        for k in range(columns):
            for s in range(samples):
                out[k * stride + s] = scale * <real> (
                    <const float *> source)[taken[s] * columns + k]
    else:
        for k in range(columns):
            for s in range(samples):
                out[k * stride + s] = scale * <real> (
                    <const double *> source)[taken[s] * columns + k]


cdef inline void clear_tail(
    real *out, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t samples
) noexcept nogil:
    """Zero what stands between the last sample and the next row."""
    cdef Py_ssize_t row
    if samples < stride:
        for row in range(rows):
            memset(out + row * stride + samples, 0, (stride - samples) * sizeof(real))


cdef void narrow_forward(
    const Operation *op, const real *x, Py_ssize_t samples, real *pre, real *out
) noexcept nogil:
    cdef Py_ssize_t stride = op.out.stride, depth = op.depth, columns = op.columns
    cdef const real *weights = <const real *> op.weights
    cdef real *z = out if pre == NULL else pre
    narrow_product(weights, 1, columns, x, stride, depth + op.biased, columns, samples, z)
    if op.activation != IDENTITY or z != out:
        activate(
            op.activation, <real> op.parameter, z, stride, out, stride, columns, samples)


cdef void narrow_backward(
    const Operation *op, const real *x, const real *stored, Py_ssize_t samples, real *grad,
    real *dx
) noexcept nogil:
    """The gradients of the weights and, unless NULL, of the input; `grad` is used up."""
    cdef Py_ssize_t stride = op.grad.stride, depth = op.depth, columns = op.columns
    cdef Py_ssize_t lanes = lanes_of(x), vectors = (samples + lanes - 1) // lanes
    cdef const real *weights = <const real *> op.weights
    cdef real *dw = <real *> op.gradient
    if op.activation != IDENTITY:
        activate_backward(
            op.activation, <real> op.parameter, grad, stride, stored, stride, grad, stride,
            columns, samples)
    clear_tail(grad, stride, columns, samples)
    if dw != NULL:
        if real is float:
            dots_float(x, grad, stride, vectors, depth + op.biased, columns, dw)
        else:
            dots_double(x, grad, stride, vectors, depth + op.biased, columns, dw)
    if dx != NULL:
        narrow_product(weights, columns, 1, grad, stride, columns, depth, samples, dx)


cdef void run_narrow(const real *like, const Operation *op, const Step *step) noexcept nogil:
    cdef real *x = <real *> op.x.at
    cdef real *out = <real *> op.out.at
    cdef real *grad = <real *> op.grad.at
    cdef real *stored = <real *> op.stored.at
    cdef Py_ssize_t samples = step.count, columns = op.columns, row, s, stride = op.out.stride
    cdef real number = <real> op.parameter
    if op.kind == NARROW_FORWARD:
        narrow_forward(op, x, samples, <real *> op.pre.at, out)
    elif op.kind == NARROW_BACKWARD:
        narrow_backward(op, x, stored, samples, grad, out)
    elif op.kind == NARROW_GATHER:
        narrow_gather(
            op.source, op.source_kind, step.rows, columns, number, out, stride, samples)
        clear_tail(out, stride, columns, samples)
    elif op.kind == NARROW_ACTIVATION:
        activate(op.activation, number, x, stride, out, stride, columns, samples)
    elif op.kind == NARROW_ACTIVATION_BACKWARD:
        activate_backward(
            op.activation, number, grad, stride, stored, stride, out, stride, columns, samples)
        clear_tail(out, stride, columns, samples)
    elif op.kind == NARROW_TO_ROWS:
        for s in range(samples):
            for row in range(columns):
                out[s * columns + row] = x[row * op.x.stride + s]
    elif op.kind == NARROW_FROM_ROWS:
        for row in range(columns):
            for s in range(samples):
                out[row * stride + s] = x[s * columns + row]
        clear_tail(out, stride, columns, samples)
