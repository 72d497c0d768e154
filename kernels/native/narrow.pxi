"""Operations of networks of few units, whose batches lie as [units][samples]; see narrow.h."""

cdef extern from "narrow.h":
    void turned_rows_float(
        const float *x, const int64_t *taken, Py_ssize_t columns, float factor, float *out,
        Py_ssize_t stride, Py_ssize_t samples) noexcept nogil
    void turned_rows_double(
        const double *x, const int64_t *taken, Py_ssize_t columns, double factor, double *out,
        Py_ssize_t stride, Py_ssize_t samples) noexcept nogil
    void tiles_float(
        const float *a, Py_ssize_t a_row, Py_ssize_t a_depth, const float *b, Py_ssize_t b_row,
        Py_ssize_t depth, Py_ssize_t rows, Py_ssize_t left, float *c, Py_ssize_t c_row
    ) noexcept nogil
    void tiles_double(
        const double *a, Py_ssize_t a_row, Py_ssize_t a_depth, const double *b, Py_ssize_t b_row,
        Py_ssize_t depth, Py_ssize_t rows, Py_ssize_t left, double *c, Py_ssize_t c_row
    ) noexcept nogil
    void narrow_gradient_float(
        const float *x, const float *dz, Py_ssize_t stride, Py_ssize_t samples, Py_ssize_t rows,
        Py_ssize_t columns, float *scratch, float *gradient) noexcept nogil
    void narrow_gradient_double(
        const double *x, const double *dz, Py_ssize_t stride, Py_ssize_t samples,
        Py_ssize_t rows, Py_ssize_t columns, double *scratch, double *gradient) noexcept nogil

cdef extern from "losses.h":
    void group_losses_float(
        int loss, double setting, const float *outputs, Py_ssize_t outputs_unit,
        const float *targets, Py_ssize_t targets_unit, const float *weights, float *losses,
        float *grad, Py_ssize_t grad_unit, Py_ssize_t first, Py_ssize_t samples,
        Py_ssize_t columns, Py_ssize_t batch) noexcept nogil
    void group_losses_double(
        int loss, double setting, const double *outputs, Py_ssize_t outputs_unit,
        const double *targets, Py_ssize_t targets_unit, const double *weights, double *losses,
        double *grad, Py_ssize_t grad_unit, Py_ssize_t first, Py_ssize_t samples,
        Py_ssize_t columns, Py_ssize_t batch) noexcept nogil

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
    cdef Py_ssize_t vectors = whole_vectors(samples, a) // lanes_of(a)
    if real is float:
        tiles_float(a, a_row, a_depth, b, stride, depth, rows, vectors, c, stride)
    else:
        tiles_double(a, a_row, a_depth, b, stride, depth, rows, vectors, c, stride)


cdef inline Py_ssize_t whole_vectors(Py_ssize_t samples, const real *like) noexcept nogil:
    cdef Py_ssize_t lanes = lanes_of(like)
    return (samples + lanes - 1) // lanes * lanes


cdef inline void clear_tail(
    real *out, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t samples
) noexcept nogil:
    """Zero what stands behind the last sample in its vector."""
    cdef Py_ssize_t row, tail = whole_vectors(samples, out) - samples
    if tail:
        for row in range(rows):
            memset(out + row * stride + samples, 0, tail * sizeof(real))


cdef enum:
    # So few columns are picked number by number.
    PICKED = 2


cdef inline void pick(
    const stored_number *source, const int64_t *taken, Py_ssize_t columns, real scale, real *out,
    Py_ssize_t stride, Py_ssize_t samples
) noexcept nogil:
    """As `narrow_gather`, a number at a time."""
    cdef Py_ssize_t k, s
    for k in range(columns):
        for s in range(samples):
            out[k * stride + s] = scale * <real> source[taken[s] * columns + k]


cdef void narrow_gather(
    const void *source, int kind, const int64_t *taken, Py_ssize_t columns, real scale, real *out,
    Py_ssize_t stride, Py_ssize_t samples
) noexcept nogil:
    """out[k][s] = source[taken[s]][k] * scale."""
    if columns > PICKED:
        if real is float:
            if kind == 1:
                turned_rows_float(
                    <const float *> source, taken, columns, scale, out, stride, samples)
                return
        elif kind == 2:
            turned_rows_double(
                <const double *> source, taken, columns, scale, out, stride, samples)
            return
    if kind == 0:
        pick(<const unsigned char *> source, taken, columns, scale, out, stride, samples)
    elif kind == 1:
        pick(<const float *> source, taken, columns, scale, out, stride, samples)
    else:
        pick(<const double *> source, taken, columns, scale, out, stride, samples)


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
    const Operation *op, real *x, const real *stored, Py_ssize_t samples, real *grad, real *dx,
    real *dw, real *scratch
) noexcept nogil:
    """The gradients of the weights and of the input, each unless NULL; `grad` is used up."""
    cdef Py_ssize_t stride = op.grad.stride, depth = op.depth, columns = op.columns
    cdef const real *weights = <const real *> op.weights
    if op.activation != IDENTITY:
        activate_backward(
            op.activation, <real> op.parameter, grad, stride, stored, stride, grad, stride,
            columns, samples)
    clear_tail(grad, stride, columns, samples)
    if dw != NULL:
        # Behind the last sample there may be NaN that another run has left in the scratch, or what
        # products, with no activation there to bound them, have let grow.
        clear_tail(x, stride, depth, samples)
        if real is float:
            narrow_gradient_float(
                x, grad, stride, samples, depth + op.biased, columns, scratch, dw)
        else:
            narrow_gradient_double(
                x, grad, stride, samples, depth + op.biased, columns, scratch, dw)
    if dx != NULL:
        narrow_product(weights, columns, 1, grad, stride, columns, depth, samples, dx)


cdef void narrow_loss(
    const Operation *op, const real *outputs, const real *targets, real *grad, Py_ssize_t first,
    Py_ssize_t samples, Py_ssize_t batch
) noexcept nogil:
    cdef const real *weights = <const real *> op.sample_weights.at
    cdef real *losses = <real *> op.out.at + first
    if real is float:
        group_losses_float(
            op.loss, op.parameter, outputs, op.x.stride, targets, op.targets.stride, weights,
            losses, grad, op.grad.stride, first, samples, op.columns, batch)
    else:
        group_losses_double(
            op.loss, op.parameter, outputs, op.x.stride, targets, op.targets.stride, weights,
            losses, grad, op.grad.stride, first, samples, op.columns, batch)


cdef inline real *moved_rows(Rows rows, const char *base, const real *like) noexcept nogil:
    return NULL if rows.at == NULL else <real *> (base + <Py_ssize_t> rows.at)


cdef void run_narrow(
    const real *like, const Operation *op, const Step *step, char *scratch, Py_ssize_t part,
    Py_ssize_t parts
) noexcept nogil:
    """One group of samples; a batch of several has its buffers in the thread's scratch."""
    cdef Py_ssize_t first = row_bound(step, part, parts)
    cdef Py_ssize_t samples = row_bound(step, part + 1, parts) - first
    cdef Py_ssize_t columns = op.columns, stride = op.out.stride, s
    cdef const char *base = scratch if op.local else NULL
    cdef real *x = moved_rows(op.x, base, like)
    cdef real *out = moved_rows(op.out, base, like)
    cdef real *grad = moved_rows(op.grad, base, like)
    cdef real *stored = moved_rows(op.stored, base, like)
    cdef real *dw = <real *> op.gradient
    cdef real number = <real> op.parameter
    if samples == 0:
        return
    if op.partial != NULL:
        dw = <real *> op.partial + first // step.grain * op.partial_row
    if op.kind == NARROW_FORWARD:
        narrow_forward(op, x, samples, moved_rows(op.pre, base, like), out)
    elif op.kind == NARROW_BACKWARD:
        narrow_backward(op, x, stored, samples, grad, out, dw, <real *> scratch)
    elif op.kind == NARROW_GATHER:
        narrow_gather(
            op.source, op.source_kind, step.rows + first, columns, number, out, stride, samples)
    elif op.kind == NARROW_ACTIVATION:
        activate(op.activation, number, x, stride, out, stride, columns, samples)
    elif op.kind == NARROW_ACTIVATION_BACKWARD:
        activate_backward(
            op.activation, number, grad, stride, stored, stride, out, stride, columns, samples)
    elif op.kind == NARROW_LOSS:
        narrow_loss(
            op, x, moved_rows(op.targets, base, like), grad, first, samples, step.count)
    elif op.kind == NARROW_COUNT_CLASSES:
        count_classes(
            x, 1, op.x.stride, columns, <const int32_t *> op.source + first,
            <double *> op.out.at + first, 0, samples)
    elif op.kind == NARROW_COUNT_SIDES:
        count_sides(
            x, 1, op.x.stride, columns, moved_rows(op.targets, base, like), 1, op.targets.stride,
            <double *> op.out.at + first, 0, samples)
    if op.ones:
        for s in range(whole_vectors(samples, like)):
            out[columns * stride + s] = 1
