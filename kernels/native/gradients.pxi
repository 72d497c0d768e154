"""What stands between a gradient and the parameters, over flat vectors; see gradients.h."""

cdef extern from "gradients.h":
    enum: FLAT_BLOCK
    enum: STRIP_VECTORS
    double penalty_of(
        const double *sums, Py_ssize_t blocks, double l1, double l2, double norm) noexcept nogil
    double penalty_scale(
        const double *sums, Py_ssize_t blocks, double l2, double norm) noexcept nogil
    double clip_scale(const double *sums, Py_ssize_t blocks, double limit) noexcept nogil
    void block_sum_float(const float *x, Py_ssize_t size, double *sums) noexcept nogil
    void block_sum_double(const double *x, Py_ssize_t size, double *sums) noexcept nogil
    void add_penalty_float(
        const float *parameters, Py_ssize_t size, float l1, float scale, float *gradients
    ) noexcept nogil
    void add_penalty_double(
        const double *parameters, Py_ssize_t size, double l1, double scale, double *gradients
    ) noexcept nogil
    void add_up_float(
        float *gradients, float *total, Py_ssize_t size, Py_ssize_t number, Py_ssize_t steps
    ) noexcept nogil
    void add_up_double(
        double *gradients, double *total, Py_ssize_t size, Py_ssize_t number, Py_ssize_t steps
    ) noexcept nogil
    void scale_down_float(float *gradients, Py_ssize_t size, float scale) noexcept nogil
    void scale_down_double(double *gradients, Py_ssize_t size, double scale) noexcept nogil
    void cut_off_float(float *gradients, Py_ssize_t size, float limit) noexcept nogil
    void cut_off_double(double *gradients, Py_ssize_t size, double limit) noexcept nogil
    void limit_columns_float(
        float *w, Py_ssize_t depth, Py_ssize_t stride, Py_ssize_t columns, float limit
    ) noexcept nogil
    void limit_columns_double(
        double *w, Py_ssize_t depth, Py_ssize_t stride, Py_ssize_t columns, double limit
    ) noexcept nogil


cdef void sum_blocks(
    const real *x, Py_ssize_t size, Py_ssize_t first, Py_ssize_t last, double *sums
) noexcept nogil:
    """Write the sums of blocks `first` to `last` - 1 of x; the last block may be shorter."""
    cdef Py_ssize_t number, start
    for number in range(first, last):
        start = number * FLAT_BLOCK
        if real is float:
            block_sum_float(
                x + start, min(<Py_ssize_t> FLAT_BLOCK, size - start), sums + 2 * number)
        else:
            block_sum_double(
                x + start, min(<Py_ssize_t> FLAT_BLOCK, size - start), sums + 2 * number)


cdef inline void add_penalty(
    const real *parameters, Py_ssize_t size, double l1, double scale, real *gradients
) noexcept nogil:
    if real is float:
        add_penalty_float(parameters, size, <float> l1, <float> scale, gradients)
    else:
        add_penalty_double(parameters, size, l1, scale, gradients)


cdef inline void add_up(
    real *gradients, real *total, Py_ssize_t size, Py_ssize_t number, Py_ssize_t steps
) noexcept nogil:
    if real is float:
        add_up_float(gradients, total, size, number, steps)
    else:
        add_up_double(gradients, total, size, number, steps)


cdef inline void limit_gradients(
    real *gradients, Py_ssize_t size, const double *sums, Py_ssize_t blocks, double limit
) noexcept nogil:
    """Scale down to a norm, or where there are no sums cut each number off."""
    if real is float:
        if sums != NULL:
            scale_down_float(gradients, size, <float> clip_scale(sums, blocks, limit))
        else:
            cut_off_float(gradients, size, <float> limit)
    else:
        if sums != NULL:
            scale_down_double(gradients, size, clip_scale(sums, blocks, limit))
        else:
            cut_off_double(gradients, size, limit)


cdef void limit_columns(
    real *w, Py_ssize_t depth, Py_ssize_t columns, double limit, Py_ssize_t part, Py_ssize_t parts
) noexcept nogil:
    """Shorten the long columns of w (depth, columns); parts have whole strips of them."""
    cdef Py_ssize_t strip = STRIP_VECTORS * lanes_of(w), number, first
    cdef Py_ssize_t strips = (columns + strip - 1) // strip
    for number in range(strips * part // parts, strips * (part + 1) // parts):
        first = number * strip
        if real is float:
            limit_columns_float(
                w + first, depth, columns, min(strip, columns - first), <float> limit)
        else:
            limit_columns_double(w + first, depth, columns, min(strip, columns - first), limit)


cdef Outcome block_sums(const Argument *given, const real *like) noexcept nogil:
    cdef const real *x = <const real *> given[0].at
    cdef double *sums = <double *> given[1].at
    sum_blocks(x, given[0].shape[0], 0, given[1].shape[0], sums)
    return DONE


cdef Outcome penalty(const Argument *given, const real *like) noexcept nogil:
    cdef const double *sums = <const double *> given[0].at
    cdef double l1 = given[1].number, l2 = given[2].number, norm = given[3].number
    cdef double *value = <double *> given[4].at
    value[0] = penalty_of(sums, given[0].shape[0], l1, l2, norm)
    return DONE


cdef Outcome penalty_gradient(const Argument *given, const real *like) noexcept nogil:
    cdef const real *parameters = <const real *> given[0].at
    cdef const double *sums = <const double *> given[1].at
    cdef double l1 = given[2].number, l2 = given[3].number, norm = given[4].number
    cdef real *gradients = <real *> given[5].at
    add_penalty(
        parameters, given[0].shape[0], l1, penalty_scale(sums, given[1].shape[0], l2, norm),
        gradients)
    return DONE


cdef Outcome accumulate(const Argument *given, const real *like) noexcept nogil:
    cdef real *gradients = <real *> given[0].at
    cdef real *total = <real *> given[1].at
    cdef Py_ssize_t number = given[2].whole, steps = given[3].whole
    add_up(gradients, total, given[0].shape[0], number, steps)
    return DONE


cdef Outcome clip(const Argument *given, const real *like) noexcept nogil:
    cdef real *gradients = <real *> given[0].at
    cdef const double *sums = <const double *> given[1].at
    cdef double limit = given[2].number
    limit_gradients(gradients, given[0].shape[0], sums, given[1].shape[0], limit)
    return DONE


cdef Outcome max_norm(const Argument *given, const real *like) noexcept nogil:
    cdef real *weights = <real *> given[0].at
    cdef double limit = given[1].number
    limit_columns(weights, given[0].shape[0], given[0].shape[1], limit, 0, 1)
    return DONE


cdef void run_flat(
    const real *like, const Operation *op, const Step *step, Py_ssize_t part, Py_ssize_t parts
) noexcept nogil:
    """A part's blocks of an operation over flat vectors, of which `columns` numbers are meant."""
    cdef Py_ssize_t size = op.columns, blocks = (size + FLAT_BLOCK - 1) // FLAT_BLOCK
    cdef Py_ssize_t first = blocks * part // parts, last = blocks * (part + 1) // parts
    cdef Py_ssize_t start = first * FLAT_BLOCK
    cdef Py_ssize_t taken = min(size, last * <Py_ssize_t> FLAT_BLOCK) - start
    cdef const double *sums = <const double *> op.x.at
    cdef const double *given = op.settings
    cdef real *weights = <real *> op.weights
    cdef real *gradient = <real *> op.gradient
    cdef Update rule
    if op.kind == PENALTY:
        if part == 0:
            (<double *> op.out.at)[0] = penalty_of(sums, op.depth, given[0], given[1], given[2])
    elif op.kind == MAX_NORM:
        limit_columns(weights, op.depth, op.columns, op.parameter, part, parts)
    elif taken <= 0:
        return
    elif op.kind == BLOCK_SUMS:
        sum_blocks(<const real *> op.source, size, first, last, <double *> op.out.at)
    elif op.kind == PENALTY_GRADIENT:
        add_penalty(
            weights + start, taken, given[0], penalty_scale(sums, op.depth, given[1], given[2]),
            gradient + start)
    elif op.kind == ACCUMULATE:
        add_up(
            gradient + start, <real *> op.state[0] + start, taken, step.number,
            <Py_ssize_t> op.settings[0])
    elif op.kind == CLIP:
        limit_gradients(gradient + start, taken, sums, op.depth, op.parameter)
    elif op.kind == UPDATE:
        rule = update_of(op, step, like)
        update_patch(
            &rule, False, weights + start, gradient + start, <real **> op.state, start,
            whole(taken))
