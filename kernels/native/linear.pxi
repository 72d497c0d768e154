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


cdef inline real *reserve(Py_ssize_t size, const real *like) noexcept nogil:
    """Memory for so many numbers, or NULL."""
    return <real *> aligned_alloc(64, (size * sizeof(real) + 127) // 64 * 64)


cdef void copy_rows(
    const real *source, Py_ssize_t source_row, real *out, Py_ssize_t out_row, Py_ssize_t rows,
    Py_ssize_t columns
) noexcept nogil:
    cdef Py_ssize_t row
    for row in range(rows):
        memcpy(out + row * out_row, source + row * source_row, columns * sizeof(real))


cdef Outcome product(const Argument *given, const real *like) noexcept nogil:
    cdef const real *a = <const real *> given[0].at
    cdef const real *b = <const real *> given[1].at
    cdef const real *start = <const real *> given[2].at
    cdef bint blend = given[3].whole
    cdef real keep = <real> given[4].number, scale = <real> given[5].number
    cdef real *c = <real *> given[6].at
    cdef Py_ssize_t rows = given[0].shape[0], depth = given[0].shape[1]
    cdef Py_ssize_t columns = given[1].shape[1], number, row
    cdef Py_ssize_t lanes = lanes_of(like), stride = padded(columns, lanes)
    cdef Py_ssize_t size = packed_size(depth, columns, lanes)
    cdef real *memory = reserve(size + rows * stride, like)
    cdef real *wide = memory + size
    cdef Panel panel
    if memory == NULL:
        return NO_MEMORY
    pack(b, start, depth, columns, lanes, memory, 0, count_panels(columns, lanes))
    copy_rows(c, columns, wide, stride, rows, columns)
    for number in range(count_panels(columns, lanes)):
        panel = panel_at(number, columns, depth, lanes)
        row = 0
        while row < rows:
            tile(
                min(<Py_ssize_t> TILE_ROWS, rows - row), panel.vectors, a + row * depth, depth, 1,
                memory + panel.offset, panel.width, depth,
                NULL if blend else memory + panel.offset + depth * panel.width, blend, keep,
                scale, wide + row * stride + panel.first, stride)
            row += TILE_ROWS
    copy_rows(wide, stride, c, columns, rows, columns)
    free(memory)
    return DONE


cdef Outcome linear(const Argument *given, const real *like) noexcept nogil:
    cdef const real *x = <const real *> given[0].at
    cdef const real *w = <const real *> given[1].at
    cdef const real *b = <const real *> given[2].at
    cdef int code = <int> given[3].whole
    cdef real parameter = <real> given[4].number
    cdef real *pre = <real *> given[5].at
    cdef real *out = <real *> given[6].at
    cdef Py_ssize_t rows = given[0].shape[0], depth = given[0].shape[1]
    cdef Py_ssize_t columns = given[1].shape[1]
    cdef Py_ssize_t lanes = lanes_of(like), stride = padded(columns, lanes)
    cdef Py_ssize_t size = packed_size(depth, columns, lanes)
    cdef real *memory = reserve(size + rows * stride, like)
    cdef real *z = memory + size
    if memory == NULL:
        return NO_MEMORY
    pack(w, b, depth, columns, lanes, memory, 0, count_panels(columns, lanes))
    forward(
        x, depth, memory, b != NULL, depth, columns, IDENTITY, <real> 0, <real *> NULL, 0, z,
        stride, 0, rows, 0, count_panels(columns, lanes))
    if pre != NULL:
        copy_rows(z, stride, pre, columns, rows, columns)
    activate(code, parameter, z, stride, out, columns, rows, columns)
    free(memory)
    return DONE


cdef Outcome linear_backward(const Argument *given, const real *like) noexcept nogil:
    cdef const real *grad = <const real *> given[0].at
    cdef const real *x = <const real *> given[1].at
    cdef const real *w = <const real *> given[2].at
    cdef const real *stored = <const real *> given[3].at
    cdef int code = <int> given[4].whole
    cdef real parameter = <real> given[5].number
    cdef real *dz = <real *> given[6].at
    cdef real *dw = <real *> given[7].at
    cdef real *db = <real *> given[8].at
    cdef real *dx = <real *> given[9].at
    cdef Py_ssize_t rows = given[1].shape[0], depth = given[1].shape[1]
    cdef Py_ssize_t columns = given[2].shape[1], row
    cdef Py_ssize_t lanes = lanes_of(like), stride = padded(depth, lanes)
    cdef Py_ssize_t z_stride = padded(columns, lanes)
    cdef Py_ssize_t size = packed_size(depth, columns, lanes)
    cdef Py_ssize_t side = (columns + lanes) * 2 * lanes
    cdef real *memory = reserve(2 * size + side + rows * (stride + z_stride), like)
    cdef real *panels = memory
    cdef real *packed_gradient = panels + size
    cdef real *transposed = packed_gradient + size
    cdef real *wide = transposed + side
    cdef real *wide_dz = wide + rows * stride
    cdef Cells cells
    if memory == NULL:
        return NO_MEMORY
    activate_backward(
        code, parameter, grad, columns, stored, columns, dz, columns, rows, columns)
    copy_rows(dz, columns, wide_dz, z_stride, rows, columns)
    if dw != NULL or db != NULL:
        copy_rows(x, depth, wide, stride, rows, depth)
        for row in range(rows):
            wide[row * stride + depth] = 1
        memset(packed_gradient, 0, size * sizeof(real))
        cells = cells_of(depth, columns, True, False, lanes)
        weight_gradient(
            wide, stride, wide_dz, z_stride, rows, cells, packed_gradient, 0, cells.count)
        unpack(packed_gradient, depth, columns, lanes, dw, db)
    if dx != NULL:
        pack(
            w, <const real *> NULL, depth, columns, lanes, panels, 0,
            count_panels(columns, lanes))
        input_gradient(
            wide_dz, z_stride, panels, depth, columns, IDENTITY, <real> 0, <const real *> NULL, 0,
            transposed, wide, stride, 0, rows, 0, count_panels(depth, lanes))
        copy_rows(wide, stride, dx, depth, rows, depth)
    free(memory)
    return DONE
