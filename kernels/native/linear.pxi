"""The dense layer as rows of the kernel table: plain matrices around the products of panels."""

from libc.stdlib cimport free

cdef extern from "<stdlib.h>":
    void *aligned_alloc(size_t alignment, size_t size) noexcept nogil


cdef inline Py_ssize_t padded(Py_ssize_t columns, Py_ssize_t lanes) noexcept nogil:
    """The stride of a batch buffer: room for a column of ones, and an odd number of cache lines,
    so that the rows of a tile do not compete for the same places in the cache.
    """
    cdef Py_ssize_t line = 16 if lanes == FLOATS else 8
    return ((columns + line) // line | 1) * line


cdef real *reserve(Py_ssize_t size, const real *like) except NULL:
    cdef void *memory = aligned_alloc(64, (size * sizeof(real) + 127) // 64 * 64)
    if memory == NULL:
        raise MemoryError
    return <real *> memory


cdef void copy_rows(
    const real *source, Py_ssize_t source_row, real *out, Py_ssize_t out_row, Py_ssize_t rows,
    Py_ssize_t columns
) noexcept nogil:
    cdef Py_ssize_t row
    for row in range(rows):
        memcpy(out + row * out_row, source + row * source_row, columns * sizeof(real))


def product(
    const real[:, ::1] a, const real[:, ::1] b, const real[::1] start, bint blend, double keep,
    double scale, real[:, ::1] c
):
    cdef Py_ssize_t rows = a.shape[0], depth = a.shape[1], columns = b.shape[1], number, row
    cdef const real *first = NULL if start is None else &start[0]
    cdef Py_ssize_t lanes = lanes_of(first), stride = padded(columns, lanes)
    cdef Py_ssize_t size = packed_size(depth, columns, lanes)
    cdef real *memory = reserve(size + rows * stride, first)
    cdef real *wide = memory + size
    cdef Panel panel
    try:
        with nogil:
            pack(
                &b[0, 0], first, depth, columns, lanes, memory, 0, count_panels(columns, lanes))
            copy_rows(&c[0, 0], columns, wide, stride, rows, columns)
            for number in range(count_panels(columns, lanes)):
                panel = panel_at(number, columns, depth, lanes)
                row = 0
                while row < rows:
                    tile(
                        min(<Py_ssize_t> TILE_ROWS, rows - row), panel.vectors,
                        &a[0, 0] + row * depth, depth, 1, memory + panel.offset, panel.width,
                        depth,
                        NULL if blend else memory + panel.offset + depth * panel.width, blend,
                        <real> keep, <real> scale, wide + row * stride + panel.first, stride)
                    row += TILE_ROWS
            copy_rows(wide, stride, &c[0, 0], columns, rows, columns)
    finally:
        free(memory)


def linear(
    const real[:, ::1] x, const real[:, ::1] w, const real[::1] b, str activation,
    double parameter, real[:, ::1] pre, real[:, ::1] out
):
    cdef int code = ACTIVATION_CODES[activation]
    cdef Py_ssize_t rows = x.shape[0], depth = x.shape[1], columns = w.shape[1]
    cdef const real *bias = &b[0] if b is not None else NULL
    cdef real *kept = &pre[0, 0] if pre is not None else NULL
    cdef real *y = &out[0, 0]
    cdef Py_ssize_t lanes = lanes_of(bias), stride = padded(columns, lanes)
    cdef Py_ssize_t size = packed_size(depth, columns, lanes)
    cdef real *memory = reserve(size + rows * stride, bias)
    cdef real *z = memory + size
    try:
        with nogil:
            pack(
                &w[0, 0], bias, depth, columns, lanes, memory, 0, count_panels(columns, lanes))
            forward(
                &x[0, 0], depth, memory, bias != NULL, depth, columns, IDENTITY, <real> 0,
                <real *> NULL, 0, z, stride, 0, rows, 0, count_panels(columns, lanes))
            if kept != NULL:
                copy_rows(z, stride, kept, columns, rows, columns)
            activate(
                code, <real> parameter, z, stride, y, columns, rows, columns)
    finally:
        free(memory)


def linear_backward(
    const real[:, ::1] grad, const real[:, ::1] x, const real[:, ::1] w,
    const real[:, ::1] stored, str activation, double parameter,
    real[:, ::1] dz, real[:, ::1] dw, real[::1] db, real[:, ::1] dx
):
    cdef int code = ACTIVATION_CODES[activation]
    cdef Py_ssize_t rows = x.shape[0], depth = x.shape[1], columns = w.shape[1], row
    cdef real *weight = &dw[0, 0] if dw is not None else NULL
    cdef real *bias = &db[0] if db is not None else NULL
    cdef real *input = &dx[0, 0] if dx is not None else NULL
    cdef real *z = &dz[0, 0]
    cdef Py_ssize_t lanes = lanes_of(bias), stride = padded(depth, lanes)
    cdef Py_ssize_t z_stride = padded(columns, lanes)
    cdef Py_ssize_t size = packed_size(depth, columns, lanes)
    cdef Py_ssize_t side = (columns + lanes) * 2 * lanes
    cdef real *memory = reserve(2 * size + side + rows * (stride + z_stride), bias)
    cdef real *panels = memory
    cdef real *packed_gradient = panels + size
    cdef real *transposed = packed_gradient + size
    cdef real *wide = transposed + side
    cdef real *wide_dz = wide + rows * stride
    cdef Cells cells
    try:
        with nogil:
            activate_backward(
                code, <real> parameter, &grad[0, 0], columns, &stored[0, 0], columns, z, columns,
                rows, columns)
            copy_rows(z, columns, wide_dz, z_stride, rows, columns)
            if weight != NULL or bias != NULL:
                copy_rows(&x[0, 0], depth, wide, stride, rows, depth)
                for row in range(rows):
                    wide[row * stride + depth] = 1
                memset(packed_gradient, 0, size * sizeof(real))
                cells = cells_of(depth, columns, True, False, lanes)
                weight_gradient(
                    wide, stride, wide_dz, z_stride, rows, cells, packed_gradient, 0, cells.count)
                unpack(packed_gradient, depth, columns, lanes, weight, bias)
            if input != NULL:
                pack(
                    &w[0, 0], <const real *> NULL, depth, columns, lanes, panels, 0,
                    count_panels(columns, lanes))
                input_gradient(
                    wide_dz, z_stride, panels, depth, columns, IDENTITY, <real> 0,
                    <const real *> NULL, 0, transposed, wide, stride, 0, rows, 0,
                    count_panels(depth, lanes))
                copy_rows(wide, stride, input, depth, rows, depth)
    finally:
        free(memory)
