"""The dense layer: one blocked product serves the forward pass and both gradients."""

from libc.string cimport memcpy, memset

cdef extern from "tile.h":
    enum: TILE_ROWS
    enum: TILE_VECTOR_BYTES
    void tile_float(
        Py_ssize_t rows, const float *a, Py_ssize_t a_row, Py_ssize_t a_depth, const float *panel,
        Py_ssize_t depth, float *c, Py_ssize_t c_row, Py_ssize_t width) noexcept nogil
    void tile_double(
        Py_ssize_t rows, const double *a, Py_ssize_t a_row, Py_ssize_t a_depth,
        const double *panel, Py_ssize_t depth, double *c, Py_ssize_t c_row, Py_ssize_t width
    ) noexcept nogil

cdef enum:
    # Sixteen kilobytes of float32: a panel stays in the first-level cache while the rows pass it.
    PANEL_SIZE = 4096


cdef void add_product(
    const real *a, Py_ssize_t a_row, Py_ssize_t a_depth,
    const real *b, Py_ssize_t b_depth, Py_ssize_t b_column,
    real *c, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth,
) noexcept nogil:
    """c += a @ b with c (rows, columns) contiguous; the strides let a or b be read transposed."""
    cdef real panel[PANEL_SIZE]
    cdef Py_ssize_t width = TILE_VECTOR_BYTES * 2 // sizeof(real)
    cdef Py_ssize_t start = 0, column = 0, row, span, used, taken
    while start < depth:
        span = min(PANEL_SIZE // width, depth - start)
        column = 0
        while column < columns:
            used = min(width, columns - column)
            pack_panel(
                panel, b + start * b_depth + column * b_column, b_depth, b_column, span, used,
                width)
            row = 0
            while row < rows:
                taken = min(<Py_ssize_t> TILE_ROWS, rows - row)
                if real is float:
                    tile_float(
                        taken, a + row * a_row + start * a_depth, a_row, a_depth, panel, span,
                        c + row * columns + column, columns, used)
                else:
                    tile_double(
                        taken, a + row * a_row + start * a_depth, a_row, a_depth, panel, span,
                        c + row * columns + column, columns, used)
                row += TILE_ROWS
            column += width
        start += span


cdef inline void pack_panel(
    real *panel, const real *b, Py_ssize_t b_depth, Py_ssize_t b_column,
    Py_ssize_t span, Py_ssize_t used, Py_ssize_t width
) noexcept nogil:
    """Copy `used` columns of b into a contiguous panel, padded with zeros to `width`."""
    cdef Py_ssize_t j, k
    if b_column == 1 and used == width:
        for k in range(span):
            memcpy(panel + k * width, b + k * b_depth, width * sizeof(real))
        return
    for j in range(used):
        for k in range(span):
            panel[k * width + j] = b[k * b_depth + j * b_column]
    for j in range(used, width):
        for k in range(span):
            panel[k * width + j] = 0


def linear(
    const real[:, ::1] x, const real[:, ::1] w, const real[::1] b, str activation,
    double parameter, real[:, ::1] pre, real[:, ::1] out
):
    cdef int code = ACTIVATION_CODES[activation]
    cdef bint biased = b is not None, kept = pre is not None
    cdef Py_ssize_t rows = x.shape[0], depth = x.shape[1], columns = w.shape[1], i
    cdef real *y = &out[0, 0]
    with nogil:
        for i in range(rows):
            if biased:
                memcpy(y + i * columns, &b[0], columns * sizeof(real))
            else:
                memset(y + i * columns, 0, columns * sizeof(real))
        add_product(&x[0, 0], depth, 1, &w[0, 0], columns, 1, y, rows, columns, depth)
        if kept:
            memcpy(&pre[0, 0], y, rows * columns * sizeof(real))
        if code != IDENTITY:
            activate(code, <real> parameter, y, y, rows, columns)


def linear_backward(
    const real[:, ::1] grad, const real[:, ::1] x, const real[:, ::1] w,
    const real[:, ::1] stored, str activation, double parameter,
    real[:, ::1] dz, real[:, ::1] dw, real[::1] db, real[:, ::1] dx
):
    cdef int code = ACTIVATION_CODES[activation]
    cdef bint want_dw = dw is not None, want_db = db is not None, want_dx = dx is not None
    cdef Py_ssize_t rows = x.shape[0], depth = x.shape[1], columns = w.shape[1], i, j
    cdef double total
    cdef real *z = &dz[0, 0]
    with nogil:
        activate_backward(
            code, <real> parameter, &grad[0, 0], &stored[0, 0], z, rows, columns)
        if want_dw:
            memset(&dw[0, 0], 0, depth * columns * sizeof(real))
            add_product(&x[0, 0], 1, depth, z, columns, 1, &dw[0, 0], depth, columns, rows)
        if want_db:
            for j in range(columns):
                total = 0
                for i in range(rows):
                    total += z[i * columns + j]
                db[j] = <real> total
        if want_dx:
            memset(&dx[0, 0], 0, rows * depth * sizeof(real))
            add_product(z, columns, 1, &w[0, 0], 1, columns, &dx[0, 0], rows, depth, columns)
