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


cdef class Workspace:
    """Memory of one call, given back when the call is over."""

    cdef void *pieces[MOST_PIECES]
    cdef int used

    cdef char *take(self, Py_ssize_t size) except NULL:
        cdef void *memory = aligned_alloc(64, (size + 127) // 64 * 64)
        if memory == NULL:
            raise MemoryError
        self.pieces[self.used] = memory
        self.used += 1
        return <char *> memory

    def __dealloc__(self):
        cdef int i
        for i in range(self.used):
            free(self.pieces[i])


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
    Workspace room, Py_ssize_t samples, Py_ssize_t elements, const real *like
) except *:
    cdef Rows rows
    rows.stride = elements * lanes_of(like)
    rows.at = room.take(groups_of(samples, like) * rows.stride * sizeof(real))
    rows.flip = 0
    return rows


cdef Rows in_lanes(
    Workspace room, const real *x, Py_ssize_t samples, Py_ssize_t elements
) except *:
    """Bring rows into the lanes."""
    cdef Rows rows = room_in_lanes(room, samples, elements, x)
    cdef Operation op = blank()
    op.x.at = <char *> x
    op.x.stride = op.columns = elements
    op.out = rows
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
    Workspace room, Rows x, Geometry *geometry, Py_ssize_t samples, const real *like
) except *:
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
    const Py_ssize_t *image, const Py_ssize_t *result, Py_ssize_t window_height,
    Py_ssize_t window_width, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t pad_top,
    Py_ssize_t pad_left
) noexcept nogil:
    cdef Geometry geometry
    geometry.height, geometry.width, geometry.channels = image[1], image[2], image[3]
    geometry.out_height, geometry.out_width = result[1], result[2]
    geometry.out_channels = result[3]
    geometry.window_height, geometry.window_width = window_height, window_width
    geometry.stride_height, geometry.stride_width = stride_h, stride_w
    geometry.pad_top, geometry.pad_left = pad_top, pad_left
    return geometry


cdef inline Py_ssize_t size_of(const Py_ssize_t *shape) noexcept nogil:
    return shape[1] * shape[2] * shape[3]


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


def conv2d(
    const real[:, :, :, ::1] x, const real[:, :, :, ::1] w, const real[::1] b,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t pad_top, Py_ssize_t pad_left,
    real[:, :, :, ::1] out
):
    cdef Workspace room = Workspace()
    cdef Py_ssize_t samples = x.shape[0]
    cdef Operation op = blank()
    cdef Rows given = in_lanes(room, &x[0, 0, 0, 0], samples, size_of(x.shape))
    op.geometry = geometry_of(
        x.shape, out.shape, w.shape[0], w.shape[1], stride_h, stride_w, pad_top, pad_left)
    op.x = surrounded(room, given, &op.geometry, samples, <real *> NULL)
    op.weights = <void *> &w[0, 0, 0, 0]
    op.beta = NULL if b is None else <void *> &b[0]
    op.out = room_in_lanes(room, samples, size_of(out.shape), <real *> NULL)
    with nogil:
        run_alone(&op, CONVOLUTION, samples, <real *> NULL)
        in_rows(op.out, &out[0, 0, 0, 0], samples, size_of(out.shape))


def conv2d_backward(
    const real[:, :, :, ::1] grad, const real[:, :, :, ::1] x, const real[:, :, :, ::1] w,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t pad_top, Py_ssize_t pad_left,
    real[:, :, :, ::1] dw, real[::1] db, real[:, :, :, ::1] dx
):
    cdef Workspace room = Workspace()
    cdef Py_ssize_t samples = x.shape[0], groups = groups_of(samples, <real *> NULL)
    cdef Py_ssize_t weights = w.shape[0] * w.shape[1] * w.shape[2] * w.shape[3]
    cdef Py_ssize_t channels = w.shape[3]
    cdef real *weight = NULL if dw is None else &dw[0, 0, 0, 0]
    cdef real *bias = NULL if db is None else &db[0]
    cdef real *input = NULL if dx is None else &dx[0, 0, 0, 0]
    cdef real *partial
    cdef Operation op = blank()
    cdef Rows given
    op.geometry = geometry_of(
        x.shape, grad.shape, w.shape[0], w.shape[1], stride_h, stride_w, pad_top, pad_left)
    op.grad = in_lanes(room, &grad[0, 0, 0, 0], samples, size_of(grad.shape))
    op.weights = <void *> &w[0, 0, 0, 0]
    if input != NULL:
        op.out = room_in_lanes(room, samples, size_of(x.shape), input)
        with nogil:
            run_alone(&op, CONVOLUTION_INPUT_GRADIENT, samples, input)
            in_rows(op.out, input, samples, size_of(x.shape))
    if weight == NULL and bias == NULL:
        return
    given = in_lanes(room, &x[0, 0, 0, 0], samples, size_of(x.shape))
    op.x = surrounded(room, given, &op.geometry, samples, <real *> NULL)
    op.biased = True
    op.partial_row = weights + channels
    op.partial = room.take(groups * op.partial_row * sizeof(real))
    partial = <real *> op.partial
    with nogil:
        run_alone(&op, CONVOLUTION_WEIGHT_GRADIENT, samples, <real *> NULL)
        if weight != NULL:
            add_partials(partial, op.partial_row, groups, weight, 0, weights)
        if bias != NULL:
            add_partials(partial + weights, op.partial_row, groups, bias, 0, channels)


cdef inline void pool(
    OperationKind kind, const real[:, :, :, ::1] x, Geometry geometry, real[:, :, :, ::1] out
) except *:
    cdef Workspace room = Workspace()
    cdef Py_ssize_t samples = x.shape[0]
    cdef Operation op = blank()
    op.geometry = geometry
    op.x = in_lanes(room, &x[0, 0, 0, 0], samples, size_of(x.shape))
    op.out = room_in_lanes(room, samples, size_of(out.shape), <real *> NULL)
    with nogil:
        run_alone(&op, kind, samples, <real *> NULL)
        in_rows(op.out, &out[0, 0, 0, 0], samples, size_of(out.shape))


def max_pool(
    const real[:, :, :, ::1] x, Py_ssize_t size_h, Py_ssize_t size_w, Py_ssize_t stride_h,
    Py_ssize_t stride_w, Py_ssize_t pad_top, Py_ssize_t pad_left, real[:, :, :, ::1] out
):
    pool(
        MAX_POOL, x, geometry_of(
            x.shape, out.shape, size_h, size_w, stride_h, stride_w, pad_top, pad_left), out)


def avg_pool(
    const real[:, :, :, ::1] x, Py_ssize_t size_h, Py_ssize_t size_w, Py_ssize_t stride_h,
    Py_ssize_t stride_w, Py_ssize_t pad_top, Py_ssize_t pad_left, real[:, :, :, ::1] out
):
    pool(
        AVG_POOL, x, geometry_of(
            x.shape, out.shape, size_h, size_w, stride_h, stride_w, pad_top, pad_left), out)


def max_pool_backward(
    const real[:, :, :, ::1] grad, const real[:, :, :, ::1] x, Py_ssize_t size_h,
    Py_ssize_t size_w, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t pad_top,
    Py_ssize_t pad_left, real[:, :, :, ::1] dx
):
    cdef Workspace room = Workspace()
    cdef Py_ssize_t samples = x.shape[0]
    cdef Operation op = blank()
    op.geometry = geometry_of(
        x.shape, grad.shape, size_h, size_w, stride_h, stride_w, pad_top, pad_left)
    op.x = in_lanes(room, &x[0, 0, 0, 0], samples, size_of(x.shape))
    op.grad = in_lanes(room, &grad[0, 0, 0, 0], samples, size_of(grad.shape))
    op.out = room_in_lanes(room, samples, size_of(x.shape), <real *> NULL)
    with nogil:
        run_alone(&op, MAX_POOL_BACKWARD, samples, <real *> NULL)
        in_rows(op.out, &dx[0, 0, 0, 0], samples, size_of(x.shape))


def avg_pool_backward(
    const real[:, :, :, ::1] grad, Py_ssize_t size_h, Py_ssize_t size_w, Py_ssize_t stride_h,
    Py_ssize_t stride_w, Py_ssize_t pad_top, Py_ssize_t pad_left, real[:, :, :, ::1] dx
):
    cdef Workspace room = Workspace()
    cdef Py_ssize_t samples = grad.shape[0]
    cdef Operation op = blank()
    op.geometry = geometry_of(
        dx.shape, grad.shape, size_h, size_w, stride_h, stride_w, pad_top, pad_left)
    op.grad = in_lanes(room, &grad[0, 0, 0, 0], samples, size_of(grad.shape))
    op.out = room_in_lanes(room, samples, size_of(dx.shape), <real *> NULL)
    with nogil:
        run_alone(&op, AVG_POOL_BACKWARD, samples, <real *> NULL)
        in_rows(op.out, &dx[0, 0, 0, 0], samples, size_of(dx.shape))


cdef inline void *address_of(const real[::1] vector) noexcept nogil:
    return NULL if vector is None else <void *> &vector[0]


def batch_norm(
    const real[:, :, ::1] x, const real[::1] gamma, const real[::1] beta,
    real[::1] running_mean, real[::1] running_variance, double momentum, double epsilon,
    real[::1] mean, real[::1] inverse, real[:, :, ::1] out
):
    cdef Workspace room = Workspace()
    cdef Py_ssize_t samples = x.shape[0], elements = x.shape[1] * x.shape[2]
    cdef Operation op = blank()
    op.positions, op.columns = x.shape[1], x.shape[2]
    op.settings[0], op.parameter = momentum, epsilon
    op.gamma, op.beta = address_of(gamma), address_of(beta)
    op.mean, op.inverse = <void *> &mean[0], <void *> &inverse[0]
    op.running_mean, op.running_variance = <void *> &running_mean[0], <void *> &running_variance[0]
    op.x = in_lanes(room, &x[0, 0, 0], samples, elements)
    op.out = room_in_lanes(room, samples, elements, <real *> NULL)
    op.partial_row = 2 * op.columns
    op.partial = room.take(groups_of(samples, <real *> NULL) * op.partial_row * sizeof(double))
    with nogil:
        run_alone(&op, MOMENTS, samples, <real *> NULL)
        run_alone(&op, JOIN_MOMENTS, samples, <real *> NULL)
        run_alone(&op, NORMALIZE, samples, <real *> NULL)
        in_rows(op.out, &out[0, 0, 0], samples, elements)


cdef void normalization_backward(
    Workspace room, Operation *op, const real *grad, const real *x, Py_ssize_t samples,
    void *dgamma, void *dbeta, bint moves, real *dx
) except *:
    """The gradients of a normalization, whose `mean` and `inverse` may move with x."""
    cdef Py_ssize_t elements = op.positions * op.columns
    cdef void *gamma = op.gamma
    op.x = in_lanes(room, x, samples, elements)
    op.grad = in_lanes(room, grad, samples, elements)
    op.out = room_in_lanes(room, samples, elements, x)
    op.partial_row = 2 * op.columns
    op.partial = room.take(groups_of(samples, x) * op.partial_row * sizeof(double))
    op.means = room.take(2 * op.columns * sizeof(real))
    with nogil:
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


def batch_norm_backward(
    const real[:, :, ::1] grad, const real[:, :, ::1] x, const real[::1] gamma,
    const real[::1] mean, const real[::1] inverse, real[::1] dgamma, real[::1] dbeta,
    real[:, :, ::1] dx
):
    cdef Operation op = blank()
    op.positions, op.columns = x.shape[1], x.shape[2]
    op.gamma = address_of(gamma)
    op.mean, op.inverse = <void *> &mean[0], <void *> &inverse[0]
    normalization_backward(
        Workspace(), &op, &grad[0, 0, 0], &x[0, 0, 0], x.shape[0], address_of(dgamma),
        address_of(dbeta), True, NULL if dx is None else &dx[0, 0, 0])


def normalize(
    const real[:, :, ::1] x, const real[::1] mean, const real[::1] variance,
    const real[::1] gamma, const real[::1] beta, double epsilon, real[:, :, ::1] out
):
    cdef Workspace room = Workspace()
    cdef Py_ssize_t samples = x.shape[0], elements = x.shape[1] * x.shape[2]
    cdef Operation op = blank()
    op.positions, op.columns, op.parameter = x.shape[1], x.shape[2], epsilon
    op.gamma, op.beta = address_of(gamma), address_of(beta)
    op.mean, op.running_variance = <void *> &mean[0], <void *> &variance[0]
    op.inverse = room.take(op.columns * sizeof(real))
    op.x = in_lanes(room, &x[0, 0, 0], samples, elements)
    op.out = room_in_lanes(room, samples, elements, <real *> NULL)
    with nogil:
        run_alone(&op, INVERT_ROOTS, samples, <real *> NULL)
        run_alone(&op, NORMALIZE, samples, <real *> NULL)
        in_rows(op.out, &out[0, 0, 0], samples, elements)


def normalize_backward(
    const real[:, :, ::1] grad, const real[:, :, ::1] x, const real[::1] mean,
    const real[::1] variance, const real[::1] gamma, double epsilon, real[::1] dgamma,
    real[::1] dbeta, real[:, :, ::1] dx
):
    cdef Workspace room = Workspace()
    cdef Operation op = blank()
    op.positions, op.columns, op.parameter = x.shape[1], x.shape[2], epsilon
    op.gamma = address_of(gamma)
    op.mean, op.running_variance = <void *> &mean[0], <void *> &variance[0]
    op.inverse = room.take(op.columns * sizeof(real))
    run_alone(&op, INVERT_ROOTS, x.shape[0], <real *> NULL)
    normalization_backward(
        room, &op, &grad[0, 0, 0], &x[0, 0, 0], x.shape[0], address_of(dgamma),
        address_of(dbeta), False, NULL if dx is None else &dx[0, 0, 0])


def layer_norm(
    const real[:, :, ::1] x, const real[::1] gamma, const real[::1] beta, double epsilon,
    real[:, ::1] mean, real[:, ::1] inverse, real[:, :, ::1] out
):
    cdef Workspace room = Workspace()
    cdef Py_ssize_t samples = x.shape[0], elements = x.shape[1] * x.shape[2]
    cdef Operation op = blank()
    op.positions, op.columns, op.parameter = x.shape[1], x.shape[2], epsilon
    op.gamma, op.beta = address_of(gamma), address_of(beta)
    op.x = in_lanes(room, &x[0, 0, 0], samples, elements)
    op.stored = room_in_lanes(room, samples, op.positions, <real *> NULL)
    op.pre = room_in_lanes(room, samples, op.positions, <real *> NULL)
    op.out = room_in_lanes(room, samples, elements, <real *> NULL)
    with nogil:
        run_alone(&op, LAYER_NORM, samples, <real *> NULL)
        in_rows(op.stored, &mean[0, 0], samples, op.positions)
        in_rows(op.pre, &inverse[0, 0], samples, op.positions)
        in_rows(op.out, &out[0, 0, 0], samples, elements)


def layer_norm_backward(
    const real[:, :, ::1] grad, const real[:, :, ::1] x, const real[::1] gamma,
    const real[:, ::1] mean, const real[:, ::1] inverse, real[::1] dgamma, real[::1] dbeta,
    real[:, :, ::1] dx
):
    cdef Workspace room = Workspace()
    cdef Py_ssize_t samples = x.shape[0], elements = x.shape[1] * x.shape[2]
    cdef Py_ssize_t channels = x.shape[2], groups = groups_of(samples, <real *> NULL)
    cdef real *partial
    cdef real *scratch
    cdef Operation op = blank()
    op.positions, op.columns = x.shape[1], channels
    op.gamma = address_of(gamma)
    op.x = in_lanes(room, &x[0, 0, 0], samples, elements)
    op.grad = in_lanes(room, &grad[0, 0, 0], samples, elements)
    op.stored = in_lanes(room, &mean[0, 0], samples, op.positions)
    op.pre = in_lanes(room, &inverse[0, 0], samples, op.positions)
    if dx is not None:
        op.out = room_in_lanes(room, samples, elements, <real *> NULL)
    op.partial_row = 2 * channels
    op.partial = room.take(groups * op.partial_row * sizeof(real))
    partial = <real *> op.partial
    scratch = <real *> room.take(2 * channels * lanes_of(partial) * sizeof(real))
    with nogil:
        run_alone(&op, LAYER_NORM_BACKWARD, samples, scratch)
        if dgamma is not None:
            add_partials(partial, op.partial_row, groups, &dgamma[0], 0, channels)
        if dbeta is not None:
            add_partials(partial + channels, op.partial_row, groups, &dbeta[0], 0, channels)
        if dx is not None:
            in_rows(op.out, &dx[0, 0, 0], samples, elements)


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


def embedding(const real[:, ::1] x, const real[:, ::1] w, real[:, :, ::1] out):
    cdef Py_ssize_t places = x.shape[1], width = w.shape[1]
    with nogil:
        look_up(
            &x[0, 0], places, &w[0, 0], places, width, &out[0, 0, 0], places * width, 0,
            x.shape[0])


def embedding_backward(const real[:, :, ::1] grad, const real[:, ::1] x, real[:, ::1] dw):
    cdef Py_ssize_t places = x.shape[1], width = dw.shape[1]
    with nogil:
        add_looked_up(
            &grad[0, 0, 0], places * width, &x[0, 0], places, x.shape[0], places, width,
            &dw[0, 0], 0, dw.shape[0])
