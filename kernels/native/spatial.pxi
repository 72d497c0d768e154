"""Convolution, pooling, normalization and lookup as rows of the kernel table.

Each runs the executor's own operations, over plain arrays that are brought into the lanes and
back; spatial.h and lanes.h have the layout.
"""

from libc.stdlib cimport free

cdef extern from "spatial.h":
    void run_lanes_float(
        const Operation *op, const Step *step, float *scratch, Py_ssize_t part, Py_ssize_t parts
    ) noexcept nogil
    void run_lanes_double(
        const Operation *op, const Step *step, double *scratch, Py_ssize_t part, Py_ssize_t parts
    ) noexcept nogil

cdef enum:
    MOST_PIECES = 16


cdef struct Workspace:
    # Memory of one call, given back when the call is over.
    void *pieces[MOST_PIECES]
    int used
    bint lacking


cdef inline Workspace opened() noexcept nogil:
    cdef Workspace room
    room.used = room.lacking = 0
    return room


cdef void *take(Workspace *room, Py_ssize_t size) noexcept nogil:
    """Memory for so many bytes, or NULL, which the workspace then remembers."""
    cdef void *memory = aligned_alloc(64, (size + 127) // 64 * 64)
    if memory == NULL:
        room.lacking = True
        return NULL
    room.pieces[room.used] = memory
    room.used += 1
    return memory


cdef Outcome give_back(Workspace *room) noexcept nogil:
    """Free what was taken, and tell whether it was all that was asked for."""
    cdef int i
    for i in range(room.used):
        free(room.pieces[i])
    return NO_MEMORY if room.lacking else DONE


cdef inline Py_ssize_t groups_of(Py_ssize_t samples, const real *like) noexcept nogil:
    return (samples + lanes_of(like) - 1) // lanes_of(like)


cdef void run_alone(
    Operation *op, OperationKind kind, Py_ssize_t samples, real *scratch
) noexcept nogil:
    """Run an operation on all samples, on this thread."""
    cdef Step step
    memset(&step, 0, sizeof(Step))
    step.count = samples
    step.grain = lanes_of(scratch)
    op.kind = kind
    if real is float:
        run_lanes_float(op, &step, scratch, 0, 1)
    else:
        run_lanes_double(op, &step, scratch, 0, 1)


cdef Operation blank() noexcept nogil:
    cdef Operation op
    memset(&op, 0, sizeof(Operation))
    return op


cdef Rows room_in_lanes(
    Workspace *room, Py_ssize_t samples, Py_ssize_t elements, const real *like
) noexcept nogil:
    cdef Rows rows
    rows.stride = elements * lanes_of(like)
    rows.at = <char *> take(room, groups_of(samples, like) * rows.stride * sizeof(real))
    rows.flip = 0
    return rows


cdef Rows in_lanes(
    Workspace *room, const real *x, Py_ssize_t samples, Py_ssize_t elements
) noexcept nogil:
    """Bring rows into the lanes, if there is memory for them."""
    cdef Rows rows = room_in_lanes(room, samples, elements, x)
    cdef Operation op = blank()
    op.x.at = <char *> x
    op.x.stride = op.columns = elements
    op.out = rows
    if not room.lacking:
        run_alone(&op, TO_LANES, samples, <real *> NULL)
    return rows


cdef void in_rows(Rows rows, real *out, Py_ssize_t samples, Py_ssize_t elements) noexcept nogil:
    """Bring what stands in the lanes back into rows."""
    cdef Operation op = blank()
    op.x = rows
    op.out.at = <char *> out
    op.out.stride = op.columns = elements
    run_alone(&op, FROM_LANES, samples, <real *> NULL)


cdef Rows surrounded(
    Workspace *room, Rows x, Geometry *geometry, Py_ssize_t samples, const real *like
) noexcept nogil:
    """Put zeros around an input, and say so in its geometry; an input without any stays."""
    cdef Operation op = blank()
    cdef Py_ssize_t height, width
    if geometry.pad_top == 0 and geometry.pad_left == 0 and reach(geometry):
        return x
    op.x = x
    op.geometry = geometry[0]
    height = (geometry.out_height - 1) * geometry.stride_height + geometry.window_height
    width = (geometry.out_width - 1) * geometry.stride_width + geometry.window_width
    op.out = room_in_lanes(room, samples, height * width * geometry.channels, like)
    if not room.lacking:
        run_alone(&op, SURROUND, samples, <real *> NULL)
    geometry.height, geometry.width = height, width
    geometry.pad_top = geometry.pad_left = 0
    return op.out


cdef inline bint reach(const Geometry *geometry) noexcept nogil:
    """Whether all windows end inside the image."""
    return (
        (geometry.out_height - 1) * geometry.stride_height + geometry.window_height
        - geometry.pad_top <= geometry.height
        and (geometry.out_width - 1) * geometry.stride_width + geometry.window_width
        - geometry.pad_left <= geometry.width)


cdef inline Geometry geometry_of(
    const Argument *image, const Argument *result, Py_ssize_t window_height,
    Py_ssize_t window_width, const Argument *strides
) noexcept nogil:
    """The four settings from `strides` on are the strides and what stands above and to the left."""
    cdef Geometry geometry
    geometry.height, geometry.width = image.shape[1], image.shape[2]
    geometry.channels = image.shape[3]
    geometry.out_height, geometry.out_width = result.shape[1], result.shape[2]
    geometry.out_channels = result.shape[3]
    geometry.window_height, geometry.window_width = window_height, window_width
    geometry.stride_height, geometry.stride_width = strides[0].whole, strides[1].whole
    geometry.pad_top, geometry.pad_left = strides[2].whole, strides[3].whole
    return geometry


cdef inline Py_ssize_t size_of(const Argument *array) noexcept nogil:
    """The elements of a sample of four axes."""
    return array.shape[1] * array.shape[2] * array.shape[3]


cdef void add_partials(
    const real *partial, Py_ssize_t row, Py_ssize_t groups, real *out, Py_ssize_t first,
    Py_ssize_t last
) noexcept nogil:
    """out[i] = the sum over the groups, in their order, of partial[i]; zero without a group."""
    cdef Py_ssize_t i, group
    memset(out + first, 0, (last - first) * sizeof(real))
    for group in range(groups):
        for i in range(first, last):
            out[i] += partial[group * row + i]


cdef Outcome conv2d(const Argument *given, const real *like) noexcept nogil:
    cdef const Argument *x = &given[0]
    cdef const Argument *w = &given[1]
    cdef const Argument *strides = &given[3]
    cdef const Argument *out = &given[7]
    cdef Workspace room = opened()
    cdef Py_ssize_t samples = x.shape[0]
    cdef Operation op = blank()
    cdef Rows taken = in_lanes(&room, <const real *> x.at, samples, size_of(x))
    op.geometry = geometry_of(x, out, w.shape[0], w.shape[1], strides)
    op.x = surrounded(&room, taken, &op.geometry, samples, like)
    op.weights, op.beta = w.at, given[2].at
    op.out = room_in_lanes(&room, samples, size_of(out), like)
    if not room.lacking:
        run_alone(&op, CONVOLUTION, samples, <real *> NULL)
        in_rows(op.out, <real *> out.at, samples, size_of(out))
    return give_back(&room)


cdef Outcome conv2d_backward(const Argument *given, const real *like) noexcept nogil:
    cdef const Argument *grad = &given[0]
    cdef const Argument *x = &given[1]
    cdef const Argument *w = &given[2]
    cdef const Argument *strides = &given[3]
    cdef real *dw = <real *> given[7].at
    cdef real *db = <real *> given[8].at
    cdef real *dx = <real *> given[9].at
    cdef Workspace room = opened()
    cdef Py_ssize_t samples = x.shape[0], groups = groups_of(samples, like)
    cdef Py_ssize_t weights = w.shape[0] * w.shape[1] * w.shape[2] * w.shape[3]
    cdef Py_ssize_t channels = w.shape[3]
    cdef real *partial
    cdef Operation op = blank()
    cdef Rows taken
    op.geometry = geometry_of(x, grad, w.shape[0], w.shape[1], strides)
    op.grad = in_lanes(&room, <const real *> grad.at, samples, size_of(grad))
    op.weights = w.at
    if dx != NULL:
        op.out = room_in_lanes(&room, samples, size_of(x), like)
        if not room.lacking:
            run_alone(&op, CONVOLUTION_INPUT_GRADIENT, samples, <real *> NULL)
            in_rows(op.out, dx, samples, size_of(x))
    if dw != NULL or db != NULL:
        taken = in_lanes(&room, <const real *> x.at, samples, size_of(x))
        op.x = surrounded(&room, taken, &op.geometry, samples, like)
        op.biased = True
        op.partial_row = weights + channels
        op.partial = take(&room, groups * op.partial_row * sizeof(real))
        partial = <real *> op.partial
        if not room.lacking:
            run_alone(&op, CONVOLUTION_WEIGHT_GRADIENT, samples, <real *> NULL)
            if dw != NULL:
                add_partials(partial, op.partial_row, groups, dw, 0, weights)
            if db != NULL:
                add_partials(partial + weights, op.partial_row, groups, db, 0, channels)
    return give_back(&room)


cdef inline Outcome pool(
    OperationKind kind, const Argument *x, const Argument *window, const Argument *out,
    const real *like
) noexcept nogil:
    cdef Workspace room = opened()
    cdef Py_ssize_t samples = x.shape[0]
    cdef Operation op = blank()
    op.geometry = geometry_of(x, out, window[0].whole, window[1].whole, &window[2])
    op.x = in_lanes(&room, <const real *> x.at, samples, size_of(x))
    op.out = room_in_lanes(&room, samples, size_of(out), like)
    if not room.lacking:
        run_alone(&op, kind, samples, <real *> NULL)
        in_rows(op.out, <real *> out.at, samples, size_of(out))
    return give_back(&room)


cdef Outcome max_pool(const Argument *given, const real *like) noexcept nogil:
    return pool(MAX_POOL, &given[0], &given[1], &given[7], like)


cdef Outcome avg_pool(const Argument *given, const real *like) noexcept nogil:
    return pool(AVG_POOL, &given[0], &given[1], &given[7], like)


cdef inline Outcome pool_backward(
    OperationKind kind, const Argument *grad, const Argument *x, const Argument *window,
    const Argument *dx, const real *like
) noexcept nogil:
    """The images are only asked for their largest numbers; without them `x` is NULL."""
    cdef Workspace room = opened()
    cdef Py_ssize_t samples = grad.shape[0]
    cdef Operation op = blank()
    op.geometry = geometry_of(dx, grad, window[0].whole, window[1].whole, &window[2])
    if x != NULL:
        op.x = in_lanes(&room, <const real *> x.at, samples, size_of(x))
    op.grad = in_lanes(&room, <const real *> grad.at, samples, size_of(grad))
    op.out = room_in_lanes(&room, samples, size_of(dx), like)
    if not room.lacking:
        run_alone(&op, kind, samples, <real *> NULL)
        in_rows(op.out, <real *> dx.at, samples, size_of(dx))
    return give_back(&room)


cdef Outcome max_pool_backward(const Argument *given, const real *like) noexcept nogil:
    return pool_backward(MAX_POOL_BACKWARD, &given[0], &given[1], &given[2], &given[8], like)


cdef Outcome avg_pool_backward(const Argument *given, const real *like) noexcept nogil:
    return pool_backward(AVG_POOL_BACKWARD, &given[0], NULL, &given[1], &given[7], like)


cdef Outcome batch_norm(const Argument *given, const real *like) noexcept nogil:
    cdef const Argument *x = &given[0]
    cdef real *out = <real *> given[9].at
    cdef Workspace room = opened()
    cdef Py_ssize_t samples = x.shape[0], elements = x.shape[1] * x.shape[2]
    cdef Operation op = blank()
    op.positions, op.columns = x.shape[1], x.shape[2]
    op.gamma, op.beta = given[1].at, given[2].at
    op.running_mean, op.running_variance = given[3].at, given[4].at
    op.settings[0] = given[5].number  # momentum
    op.parameter = given[6].number  # epsilon
    op.mean, op.inverse = given[7].at, given[8].at
    op.x = in_lanes(&room, <const real *> x.at, samples, elements)
    op.out = room_in_lanes(&room, samples, elements, like)
    op.partial_row = 2 * op.columns
    op.partial = take(&room, groups_of(samples, like) * op.partial_row * sizeof(double))
    if not room.lacking:
        run_alone(&op, MOMENTS, samples, <real *> NULL)
        run_alone(&op, JOIN_MOMENTS, samples, <real *> NULL)
        run_alone(&op, NORMALIZE, samples, <real *> NULL)
        in_rows(op.out, out, samples, elements)
    return give_back(&room)


cdef void normalization_backward(
    Workspace *room, Operation *op, const Argument *grad, const Argument *x, void *dgamma,
    void *dbeta, bint moves, real *dx
) noexcept nogil:
    """The gradients of a normalization, whose `mean` and `inverse` may move with x."""
    cdef Py_ssize_t samples = x.shape[0], elements = op.positions * op.columns
    cdef void *gamma = op.gamma
    op.x = in_lanes(room, <const real *> x.at, samples, elements)
    op.grad = in_lanes(room, <const real *> grad.at, samples, elements)
    op.out = room_in_lanes(room, samples, elements, <const real *> NULL)
    op.partial_row = 2 * op.columns
    op.partial = take(room, groups_of(samples, dx) * op.partial_row * sizeof(double))
    op.means = take(room, 2 * op.columns * sizeof(real))
    if room.lacking:
        return
    run_alone(op, NORMALIZE_SUMS, samples, <real *> NULL)
    op.gamma, op.beta = dgamma, dbeta
    run_alone(op, JOIN_SUMS, samples, <real *> NULL)
    if dx == NULL:
        return
    op.gamma = gamma
    if not moves:
        op.means = NULL
    run_alone(op, NORMALIZE_BACKWARD, samples, <real *> NULL)
    in_rows(op.out, dx, samples, elements)


cdef Outcome batch_norm_backward(const Argument *given, const real *like) noexcept nogil:
    cdef const Argument *grad = &given[0]
    cdef const Argument *x = &given[1]
    cdef void *dgamma = given[5].at
    cdef void *dbeta = given[6].at
    cdef real *dx = <real *> given[7].at
    cdef Workspace room = opened()
    cdef Operation op = blank()
    op.positions, op.columns = x.shape[1], x.shape[2]
    op.gamma, op.mean, op.inverse = given[2].at, given[3].at, given[4].at
    normalization_backward(&room, &op, grad, x, dgamma, dbeta, True, dx)
    return give_back(&room)


cdef Outcome normalize(const Argument *given, const real *like) noexcept nogil:
    cdef const Argument *x = &given[0]
    cdef real *out = <real *> given[6].at
    cdef Workspace room = opened()
    cdef Py_ssize_t samples = x.shape[0], elements = x.shape[1] * x.shape[2]
    cdef Operation op = blank()
    op.positions, op.columns = x.shape[1], x.shape[2]
    op.mean, op.running_variance = given[1].at, given[2].at
    op.gamma, op.beta = given[3].at, given[4].at
    op.parameter = given[5].number  # epsilon
    op.inverse = take(&room, op.columns * sizeof(real))
    op.x = in_lanes(&room, <const real *> x.at, samples, elements)
    op.out = room_in_lanes(&room, samples, elements, like)
    if not room.lacking:
        run_alone(&op, INVERT_ROOTS, samples, <real *> NULL)
        run_alone(&op, NORMALIZE, samples, <real *> NULL)
        in_rows(op.out, out, samples, elements)
    return give_back(&room)


cdef Outcome normalize_backward(const Argument *given, const real *like) noexcept nogil:
    cdef const Argument *grad = &given[0]
    cdef const Argument *x = &given[1]
    cdef void *dgamma = given[6].at
    cdef void *dbeta = given[7].at
    cdef real *dx = <real *> given[8].at
    cdef Workspace room = opened()
    cdef Operation op = blank()
    op.positions, op.columns = x.shape[1], x.shape[2]
    op.mean, op.running_variance = given[2].at, given[3].at
    op.gamma = given[4].at
    op.parameter = given[5].number  # epsilon
    op.inverse = take(&room, op.columns * sizeof(real))
    if not room.lacking:
        run_alone(&op, INVERT_ROOTS, x.shape[0], <real *> NULL)
        normalization_backward(&room, &op, grad, x, dgamma, dbeta, False, dx)
    return give_back(&room)


cdef Outcome layer_norm(const Argument *given, const real *like) noexcept nogil:
    cdef const Argument *x = &given[0]
    cdef real *mean = <real *> given[4].at
    cdef real *inverse = <real *> given[5].at
    cdef real *out = <real *> given[6].at
    cdef Workspace room = opened()
    cdef Py_ssize_t samples = x.shape[0], elements = x.shape[1] * x.shape[2]
    cdef Operation op = blank()
    op.positions, op.columns = x.shape[1], x.shape[2]
    op.gamma, op.beta = given[1].at, given[2].at
    op.parameter = given[3].number  # epsilon
    op.x = in_lanes(&room, <const real *> x.at, samples, elements)
    op.stored = room_in_lanes(&room, samples, op.positions, like)
    op.pre = room_in_lanes(&room, samples, op.positions, like)
    op.out = room_in_lanes(&room, samples, elements, like)
    if not room.lacking:
        run_alone(&op, LAYER_NORM, samples, <real *> NULL)
        in_rows(op.stored, mean, samples, op.positions)
        in_rows(op.pre, inverse, samples, op.positions)
        in_rows(op.out, out, samples, elements)
    return give_back(&room)


cdef Outcome layer_norm_backward(const Argument *given, const real *like) noexcept nogil:
    cdef const Argument *x = &given[1]
    cdef const real *grad = <const real *> given[0].at
    cdef const real *mean = <const real *> given[3].at
    cdef const real *inverse = <const real *> given[4].at
    cdef real *dgamma = <real *> given[5].at
    cdef real *dbeta = <real *> given[6].at
    cdef real *dx = <real *> given[7].at
    cdef Workspace room = opened()
    cdef Py_ssize_t samples = x.shape[0], elements = x.shape[1] * x.shape[2]
    cdef Py_ssize_t channels = x.shape[2], groups = groups_of(samples, like)
    cdef real *partial
    cdef real *scratch
    cdef Operation op = blank()
    op.positions, op.columns = x.shape[1], channels
    op.gamma = given[2].at
    op.x = in_lanes(&room, <const real *> x.at, samples, elements)
    op.grad = in_lanes(&room, grad, samples, elements)
    op.stored = in_lanes(&room, mean, samples, op.positions)
    op.pre = in_lanes(&room, inverse, samples, op.positions)
    if dx != NULL:
        op.out = room_in_lanes(&room, samples, elements, like)
    op.partial_row = 2 * channels
    op.partial = take(&room, groups * op.partial_row * sizeof(real))
    partial = <real *> op.partial
    scratch = <real *> take(&room, 2 * channels * lanes_of(like) * sizeof(real))
    if not room.lacking:
        run_alone(&op, LAYER_NORM_BACKWARD, samples, scratch)
        if dgamma != NULL:
            add_partials(partial, op.partial_row, groups, dgamma, 0, channels)
        if dbeta != NULL:
            add_partials(partial + channels, op.partial_row, groups, dbeta, 0, channels)
        if dx != NULL:
            in_rows(op.out, dx, samples, elements)
    return give_back(&room)


cdef void look_up(
    const real *x, Py_ssize_t x_row, const real *w, Py_ssize_t places, Py_ssize_t width, real *out,
    Py_ssize_t out_row, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """Row x[row][place] of w, for every place of every row."""
    cdef Py_ssize_t row, place
    for row in range(first, last):
        for place in range(places):
            memcpy(
                out + row * out_row + place * width,
                w + <Py_ssize_t> x[row * x_row + place] * width, width * sizeof(real))


cdef void add_looked_up(
    const real *grad, Py_ssize_t grad_row, const real *x, Py_ssize_t x_row, Py_ssize_t samples,
    Py_ssize_t places, Py_ssize_t width, real *dw, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """Rows `first` to `last` - 1 of dw: the sums of the gradients of where each was looked up."""
    cdef Py_ssize_t row, place, wanted, j
    memset(dw + first * width, 0, (last - first) * width * sizeof(real))
    for row in range(samples):
        for place in range(places):
            wanted = <Py_ssize_t> x[row * x_row + place]
            if first <= wanted < last:
                for j in range(width):
                    dw[wanted * width + j] += grad[row * grad_row + place * width + j]


cdef Outcome embedding(const Argument *given, const real *like) noexcept nogil:
    cdef const real *x = <const real *> given[0].at
    cdef const real *w = <const real *> given[1].at
    cdef real *out = <real *> given[2].at
    cdef Py_ssize_t samples = given[0].shape[0], places = given[0].shape[1]
    cdef Py_ssize_t width = given[1].shape[1]
    look_up(x, places, w, places, width, out, places * width, 0, samples)
    return DONE


cdef Outcome embedding_backward(const Argument *given, const real *like) noexcept nogil:
    cdef const real *grad = <const real *> given[0].at
    cdef const real *x = <const real *> given[1].at
    cdef real *dw = <real *> given[2].at
    cdef Py_ssize_t samples = given[1].shape[0], places = given[1].shape[1]
    cdef Py_ssize_t words = given[2].shape[0], width = given[2].shape[1]
    add_looked_up(
        grad, places * width, x, places, samples, places, width, dw, 0, words)
    return DONE
