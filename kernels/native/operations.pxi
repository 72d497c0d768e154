"""The operations of a training step, as the executor calls them: a part of one on one thread."""

from cpython.pycapsule cimport PyCapsule_New


cdef inline real *rows_at(Rows rows, const Step *step, const real *like) noexcept nogil:
    return <real *> (rows.at + rows.flip * step.turn)


cdef void gather_rows(
    const void *source, int kind, const int64_t *taken, Py_ssize_t columns, real scale, real *out,
    Py_ssize_t out_row, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    cdef Py_ssize_t row
    for row in range(first, last):
        if kind == 0:
            gather_row(
                <const unsigned char *> source + taken[row] * columns, columns, scale,
                out + row * out_row)
        elif kind == 1:
            gather_row(
                <const float *> source + taken[row] * columns, columns, scale, out + row * out_row)
        else:
            gather_row(
                <const double *> source + taken[row] * columns, columns, scale,
                out + row * out_row)


cdef void count_classes(
    const real *z, Py_ssize_t z_row, Py_ssize_t z_unit, Py_ssize_t columns, const int32_t *labels,
    double *right, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """One where a row's first largest output stands at its label, else, as with NaN, zero."""
    cdef Py_ssize_t row, j, best
    cdef bint valid
    cdef const real *at
    for row in range(first, last):
        at = z + row * z_row
        best = 0
        valid = True
        for j in range(columns):
            if at[j * z_unit] > at[best * z_unit]:
                best = j
            valid = valid and at[j * z_unit] == at[j * z_unit]
        right[row] = 1 if valid and best == labels[row] else 0


cdef void count_sides(
    const real *z, Py_ssize_t z_row, Py_ssize_t z_unit, Py_ssize_t columns, const real *targets,
    Py_ssize_t targets_row, Py_ssize_t targets_unit, double *right, Py_ssize_t first,
    Py_ssize_t last
) noexcept nogil:
    """The share of a row's outputs that stand on the side of zero that their targets ask for."""
    cdef Py_ssize_t row, j, same
    cdef const real *at
    cdef const real *wanted
    for row in range(first, last):
        at = z + row * z_row
        wanted = targets + row * targets_row
        same = 0
        for j in range(columns):
            same += (at[j * z_unit] > 0) == (wanted[j * targets_unit] > 0.5)
        right[row] = <double> same / columns


cdef void update_part(
    const Operation *op, const Step *step, Py_ssize_t first, Py_ssize_t last, const real *like
) noexcept nogil:
    """Update a part of a run of parameters, if the operation has an update."""
    cdef Update rule
    if op.update == NO_UPDATE or first == last:
        return
    rule = update_of(op, step, like)
    update_patch(
        &rule, False, <real *> op.weights + first, <real *> op.gradient + first,
        <real **> op.state, first, whole(last - first))


cdef void run_typed(
    const real *like, const Operation *op, const Step *step, real *scratch, Py_ssize_t part,
    Py_ssize_t parts
) noexcept nogil:
    cdef Py_ssize_t first = row_bound(step, part, parts), last = row_bound(step, part + 1, parts)
    cdef Py_ssize_t lanes = lanes_of(like), first_unit = 0, last_unit, row, columns = op.columns
    cdef real *x = rows_at(op.x, step, like)
    cdef real *out = rows_at(op.out, step, like)
    cdef real *grad = rows_at(op.grad, step, like)
    cdef real *stored = rows_at(op.stored, step, like)
    cdef real *targets = rows_at(op.targets, step, like)
    cdef real *pre
    cdef real **state = <real **> op.state
    cdef const int32_t *labels = <const int32_t *> targets
    cdef real number = <real> op.parameter
    cdef Update rule
    cdef Cells cells
    if op.kind == GATHER:
        gather_rows(
            op.source, op.source_kind, step.rows, columns, number, out, op.out.stride, first, last)
    elif op.kind == GATHER_LABELS:
        for row in range(first, last):
            (<int32_t *> out)[row] = (<const int32_t *> op.source)[step.rows[row]]
    elif op.kind == GAUSSIAN_NOISE:
        add_noise(
            x + first * op.x.stride, op.x.stride, number, op.seed, op.stream, step.step,
            out + first * op.out.stride, op.out.stride, first, last - first, columns)
    elif op.kind == DROPOUT:
        drop_out(
            x + first * op.x.stride, op.x.stride, op.parameter, op.seed, op.stream, step.step,
            out + first * op.out.stride, op.out.stride, first, last - first, columns)
    elif op.kind == ACTIVATION:
        activate(
            op.activation, number, x + first * op.x.stride, op.x.stride,
            out + first * op.out.stride, op.out.stride, last - first, columns)
    elif op.kind == ACTIVATION_BACKWARD:
        activate_backward(
            op.activation, number, grad + first * op.grad.stride, op.grad.stride,
            stored + first * op.stored.stride, op.stored.stride, out + first * op.out.stride,
            op.out.stride, last - first, columns)
    elif op.kind == FORWARD:
        last_unit = count_panels(columns, lanes)
        if op.sharing == BY_PANELS:
            first = 0
            last = step.count
            first_unit = last_unit * part // parts
            last_unit = last_unit * (part + 1) // parts
        pre = NULL if op.pre.at == NULL else rows_at(op.pre, step, like)
        forward(
            x, op.x.stride, <real *> op.weights, op.biased, op.depth, columns, op.activation,
            number, pre, op.pre.stride, out, op.out.stride, first, last, first_unit, last_unit)
        if op.activation >= SOFTMAX:
            activate(
                op.activation, number, out + first * op.out.stride, op.out.stride,
                out + first * op.out.stride, op.out.stride, last - first, columns)
        if last_unit < count_panels(columns, lanes):
            return
    elif op.kind == PLAIN_FORWARD:
        plain_forward(
            x, op.x.stride, <real *> op.weights, <real *> op.state[0], op.depth, columns,
            op.activation, number, out, op.out.stride, first, last)
    elif op.kind == INPUT_GRADIENT:
        last_unit = count_panels(op.depth, lanes)
        if op.sharing == BY_PANELS:
            first = 0
            last = step.count
            first_unit = last_unit * part // parts
            last_unit = last_unit * (part + 1) // parts
        input_gradient(
            grad, op.grad.stride, <real *> op.weights, op.depth, columns, op.activation, number,
            stored, op.stored.stride, scratch, out, op.out.stride, first, last, first_unit,
            last_unit)
    elif op.kind == WEIGHT_GRADIENT:
        cells = cells_of(op.depth, columns, op.biased, op.bias_apart, lanes)
        rule = update_of(op, step, like)
        weight_update(
            x, op.x.stride, grad, op.grad.stride, step.count, cells, &rule, <real *> op.weights,
            state, op.flat_state, <real *> op.gradient, scratch, cells.count * part // parts,
            cells.count * (part + 1) // parts)
    elif op.kind == UPDATE or BLOCK_SUMS <= op.kind <= MAX_NORM:
        run_flat(like, op, step, part, parts)
    elif op.kind == ADD_PARTIALS:
        first = columns * part // parts
        last = columns * (part + 1) // parts
        add_partials(
            <real *> op.partial, op.partial_row, (step.count + step.grain - 1) // step.grain,
            <real *> op.gradient, first, last)
        update_part(op, step, first, last, like)
        return
    elif op.kind == EMBEDDING:
        look_up(
            x, op.x.stride, <real *> op.weights, op.positions, columns // op.positions, out,
            op.out.stride, first, last)
    elif op.kind == EMBEDDING_BACKWARD:
        first = op.depth * part // parts
        last = op.depth * (part + 1) // parts
        add_looked_up(
            grad, op.grad.stride, x, op.x.stride, step.count, op.positions,
            columns // op.positions, <real *> op.gradient, first, last)
        columns //= op.positions
        update_part(op, step, first * columns, last * columns, like)
        return
    elif op.kind == PACK:
        last_unit = count_panels(columns, lanes)
        pack(
            x, stored, op.depth, columns, lanes, <real *> op.weights, last_unit * part // parts,
            last_unit * (part + 1) // parts)
    elif op.kind == UNPACK:
        unpack(<real *> op.weights, op.depth, columns, lanes, x, stored)
    elif op.kind == LOSS:
        judge(
            op.loss, op.parameter, x, op.x.stride, labels if op.targets.stride == 0 else NULL,
            NULL if op.targets.stride == 0 else targets, op.targets.stride,
            rows_at(op.sample_weights, step, like), out, grad, op.grad.stride, first, last,
            columns, step.count)
    elif op.kind == COUNT_CLASSES:
        count_classes(x, op.x.stride, 1, columns, labels, <double *> out, first, last)
    elif op.kind == COUNT_SIDES:
        count_sides(
            x, op.x.stride, 1, columns, targets, op.targets.stride, 1, <double *> out, first, last)
    elif op.kind == COPY_OUT and out != NULL:
        for row in range(first, last):
            memcpy(
                out + (step.start + row) * columns, x + row * op.x.stride, columns * sizeof(real))
    if op.ones:
        for row in range(first, last):
            out[row * op.out.stride + columns] = 1


cdef void run_operation(
    const Operation *op, const Step *step, void *scratch, Py_ssize_t part, Py_ssize_t parts
) noexcept nogil:
    if TO_LANES <= op.kind < ADD_PARTIALS:
        if op.single:
            run_lanes_float(op, step, <float *> scratch, part, parts)
        else:
            run_lanes_double(op, step, <double *> scratch, part, parts)
    elif NARROW_GATHER <= op.kind < TO_LANES:
        if op.single:
            run_narrow(<const float *> NULL, op, step, <char *> scratch, part, parts)
        else:
            run_narrow(<const double *> NULL, op, step, <char *> scratch, part, parts)
    elif op.single:
        run_typed(<const float *> NULL, op, step, <float *> scratch, part, parts)
    else:
        run_typed(<const double *> NULL, op, step, <double *> scratch, part, parts)


cdef InstructionSet instruction_set
instruction_set.run = run_operation
instruction_set.direct = direct_function
instruction_set.permute = permute
instruction_set.lanes[0] = DOUBLES
instruction_set.lanes[1] = FLOATS

ENGINE = PyCapsule_New(&instruction_set, "mlcore.InstructionSet", NULL)
LANES = {"float32": FLOATS, "float64": DOUBLES}
# More samples than this a step, and the gradient of a layer needs a buffer.
SUMMED_IN_REGISTERS = SAMPLES_A_SUM


def stride(Py_ssize_t columns, str dtype):
    """Return the elements from row to row of a batch buffer."""
    return padded(columns, LANES[dtype])


def packed_elements(Py_ssize_t depth, Py_ssize_t columns, str dtype):
    """Return the elements of a layer's weights and bias in panels."""
    return packed_size(depth, columns, LANES[dtype])
