"""The three products of a dense layer over packed weights; tile.h has the layout and the reasons.

Each function does a part of the work, a range of rows, panels or cells, so that threads can share
it; no element's value depends on the range that it stands in.
"""

from libc.string cimport memcpy, memset

cdef extern from "tile.h":
    enum: TILE_ROWS
    enum: FLOATS
    enum: DOUBLES
    void prefetch(const void *start, Py_ssize_t size) noexcept nogil
    void tile_float(
        Py_ssize_t rows, Py_ssize_t vectors, const float *a, Py_ssize_t a_row, Py_ssize_t a_depth,
        const float *b, Py_ssize_t b_depth, Py_ssize_t depth, const float *start, int blend,
        float keep, float scale, float *c, Py_ssize_t c_row) noexcept nogil
    void tile_double(
        Py_ssize_t rows, Py_ssize_t vectors, const double *a, Py_ssize_t a_row,
        Py_ssize_t a_depth, const double *b, Py_ssize_t b_depth, Py_ssize_t depth,
        const double *start, int blend, double keep, double scale, double *c, Py_ssize_t c_row
    ) noexcept nogil

cdef extern from "turn.h":
    void turn_square_float(
        const float *x, Py_ssize_t x_row, float *out, Py_ssize_t out_row) noexcept nogil
    void turn_square_double(
        const double *x, Py_ssize_t x_row, double *out, Py_ssize_t out_row) noexcept nogil

cdef extern from "strip.h":
    void row_product_float(
        const float *x, const float *w, const float *b, Py_ssize_t depth, Py_ssize_t columns,
        float *out) noexcept nogil
    void row_product_double(
        const double *x, const double *w, const double *b, Py_ssize_t depth, Py_ssize_t columns,
        double *out) noexcept nogil

cdef enum:
    # A weight gradient sums so many samples in registers; more go through memory, and so many
    # rows of the weights at a time, so that the samples they meet stay in the second-level cache.
    SAMPLES_A_SUM = 256
    TILES_A_BLOCK = 512 // TILE_ROWS


cdef inline Py_ssize_t lanes_of(const real *any) noexcept nogil:
    return <Py_ssize_t> FLOATS if real is float else <Py_ssize_t> DOUBLES


cdef inline void tile(
    Py_ssize_t rows, Py_ssize_t vectors, const real *a, Py_ssize_t a_row, Py_ssize_t a_depth,
    const real *b, Py_ssize_t b_depth, Py_ssize_t depth, const real *start, bint blend,
    real keep, real scale, real *c, Py_ssize_t c_row
) noexcept nogil:
    if real is float:
        tile_float(
            rows, vectors, a, a_row, a_depth, b, b_depth, depth, start, blend, keep, scale, c,
            c_row)
    else:
        tile_double(
            rows, vectors, a, a_row, a_depth, b, b_depth, depth, start, blend, keep, scale, c,
            c_row)


cdef struct Panel:
    Py_ssize_t first, columns  # the columns of the matrix that it holds
    Py_ssize_t vectors, width  # and those it has room for
    Py_ssize_t offset


cdef inline Py_ssize_t count_panels(Py_ssize_t columns, Py_ssize_t lanes) noexcept nogil:
    return (columns + 2 * lanes - 1) // (2 * lanes)


cdef inline Panel panel_at(
    Py_ssize_t number, Py_ssize_t columns, Py_ssize_t depth, Py_ssize_t lanes
) noexcept nogil:
    cdef Panel panel
    panel.first = number * 2 * lanes
    panel.columns = min(2 * lanes, columns - panel.first)
    panel.vectors = 1 if panel.columns <= lanes else 2
    panel.width = panel.vectors * lanes
    panel.offset = panel.first * (depth + 1)
    return panel


cdef Py_ssize_t packed_size(
    Py_ssize_t depth, Py_ssize_t columns, Py_ssize_t lanes
) noexcept nogil:
    """Elements of packed weights, with room behind them for a transposition that reads on."""
    return (depth + 1 + 2 * lanes) * ((columns + lanes - 1) // lanes * lanes)


cdef void pack(
    const real *w, const real *b, Py_ssize_t depth, Py_ssize_t columns, Py_ssize_t lanes,
    real *panels, Py_ssize_t first_panel, Py_ssize_t last_panel
) noexcept nogil:
    """Lay out w (depth, columns) and b in some of their panels; no bias is a bias of zero."""
    cdef Py_ssize_t number, k
    cdef Panel panel
    cdef real *row
    cdef const real *source
    for number in range(first_panel, last_panel):
        panel = panel_at(number, columns, depth, lanes)
        for k in range(depth + 1):
            row = panels + panel.offset + k * panel.width
            memset(row, 0, panel.width * sizeof(real))
            source = w + k * columns if k < depth else b
            if source != NULL:
                memcpy(row, source + panel.first, panel.columns * sizeof(real))


cdef void unpack(
    const real *panels, Py_ssize_t depth, Py_ssize_t columns, Py_ssize_t lanes, real *w, real *b
) noexcept nogil:
    """Write packed weights back to w (depth, columns) and b, each where it is wanted."""
    cdef Py_ssize_t number, k
    cdef Panel panel
    cdef real *target
    for number in range(count_panels(columns, lanes)):
        panel = panel_at(number, columns, depth, lanes)
        for k in range(depth + 1):
            target = (w + k * columns if w != NULL else NULL) if k < depth else b
            if target != NULL:
                memcpy(
                    target + panel.first, panels + panel.offset + k * panel.width,
                    panel.columns * sizeof(real))


cdef Outcome pack_panels(const Argument *given, const real *like) noexcept nogil:
    cdef const real *w = <const real *> given[0].at
    cdef const real *b = <const real *> given[1].at
    cdef Py_ssize_t lanes = given[2].whole
    cdef real *panels = <real *> given[3].at
    cdef Py_ssize_t depth = given[0].shape[0], columns = given[0].shape[1]
    cdef Py_ssize_t used = (depth + 1) * ((columns + lanes - 1) // lanes * lanes)
    pack(w, b, depth, columns, lanes, panels, 0, count_panels(columns, lanes))
    memset(panels + used, 0, (given[3].shape[0] - used) * sizeof(real))
    return DONE


cdef Outcome unpack_panels(const Argument *given, const real *like) noexcept nogil:
    cdef const real *panels = <const real *> given[0].at
    cdef Py_ssize_t lanes = given[1].whole
    cdef real *w = <real *> given[2].at
    cdef real *b = <real *> given[3].at
    unpack(panels, given[2].shape[0], given[2].shape[1], lanes, w, b)
    return DONE


cdef void forward(
    const real *x, Py_ssize_t x_row, const real *panels, bint biased, Py_ssize_t depth,
    Py_ssize_t columns, int code, real parameter, real *pre, Py_ssize_t pre_row, real *out,
    Py_ssize_t out_row, Py_ssize_t first_row, Py_ssize_t last_row, Py_ssize_t first_panel,
    Py_ssize_t last_panel
) noexcept nogil:
    """out = activation(x @ w + b), and `pre` before the activation where it is not NULL.

    Rows are written to the width of the panels. Activations of whole rows are left to the caller.
    """
    cdef Py_ssize_t rows = last_row - first_row, number, t, row, taken
    cdef Py_ssize_t tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
    cdef Py_ssize_t z_row = out_row if pre == NULL else pre_row
    cdef real *z
    cdef Panel panel
    for number in range(first_panel, last_panel):
        panel = panel_at(number, columns, depth, lanes_of(x))
        for t in range(tiles):
            row = first_row + rows * t // tiles
            taken = first_row + rows * (t + 1) // tiles - row
            z = (out if pre == NULL else pre) + row * z_row + panel.first
            tile(
                taken, panel.vectors, x + row * x_row, x_row, 1, panels + panel.offset,
                panel.width, depth,
                panels + panel.offset + depth * panel.width if biased else NULL, False, 0, 0, z,
                z_row)
            if (code != IDENTITY or pre != NULL) and code < SOFTMAX:
                activate(
                    code, parameter, z, z_row, out + row * out_row + panel.first, out_row, taken,
                    panel.columns)


cdef void plain_forward(
    const real *x, Py_ssize_t x_row, const real *w, const real *b, Py_ssize_t depth,
    Py_ssize_t columns, int code, real parameter, real *out, Py_ssize_t out_row,
    Py_ssize_t first_row, Py_ssize_t last_row
) noexcept nogil:
    """out = activation(x @ w + b) for a few rows, from weights in their plain layout."""
    cdef Py_ssize_t row
    for row in range(first_row, last_row):
        if real is float:
            row_product_float(
                x + row * x_row, w, b, depth, columns, out + row * out_row)
        else:
            row_product_double(
                x + row * x_row, w, b, depth, columns, out + row * out_row)
    activate(
        code, parameter, out + first_row * out_row, out_row, out + first_row * out_row, out_row,
        last_row - first_row, columns)


cdef inline void transpose_panel(
    const real *panels, Py_ssize_t depth, Py_ssize_t columns, Panel wanted, real *transposed
) noexcept nogil:
    """transposed[n][j] = w[wanted.first + j][n], as wide as the panel that is wanted."""
    cdef Py_ssize_t lanes = lanes_of(panels), number, j, n
    cdef Panel panel
    cdef const real *square
    cdef real *target
    for number in range(count_panels(columns, lanes)):
        panel = panel_at(number, columns, depth, lanes)
        for n in range(panel.vectors):
            for j in range(wanted.vectors):
                square = panels + panel.offset + n * lanes
                square += (wanted.first + j * lanes) * panel.width
                target = transposed + (panel.first + n * lanes) * wanted.width + j * lanes
                if real is float:
                    turn_square_float(square, panel.width, target, wanted.width)
                else:
                    turn_square_double(square, panel.width, target, wanted.width)


cdef void input_gradient(
    const real *dz, Py_ssize_t dz_row, const real *panels, Py_ssize_t depth, Py_ssize_t columns,
    int code, real parameter, const real *stored, Py_ssize_t stored_row, real *transposed,
    real *dx, Py_ssize_t dx_row, Py_ssize_t first_row, Py_ssize_t last_row,
    Py_ssize_t first_panel, Py_ssize_t last_panel
) noexcept nogil:
    """dx = (dz @ w.T) * activation'(stored), the activation being that of the layer before.

    Panels are those of dx; `transposed` holds one of w.T, (columns + lanes) x 2 lanes.
    """
    cdef Py_ssize_t rows = last_row - first_row, number, t, row, taken
    cdef Py_ssize_t tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
    cdef real *target
    cdef Panel panel
    for number in range(first_panel, last_panel):
        panel = panel_at(number, depth, 0, lanes_of(dz))
        transpose_panel(panels, depth, columns, panel, transposed)
        for t in range(tiles):
            row = first_row + rows * t // tiles
            taken = first_row + rows * (t + 1) // tiles - row
            target = dx + row * dx_row + panel.first
            tile(
                taken, panel.vectors, dz + row * dz_row, dz_row, 1, transposed, panel.width,
                columns, <const real *> NULL, False, 0, 0, target, dx_row)
            if code != IDENTITY:
                activate_backward(
                    code, parameter, target, dx_row, stored + row * stored_row + panel.first,
                    stored_row, target, dx_row, taken, panel.columns)


cdef struct Cells:
    # A weight gradient is shared out in cells: tiles of the weights, panel after panel. A bias
    # that decays otherwise than the weights above it is a cell of its own.
    Py_ssize_t depth, columns, lanes
    Py_ssize_t rows, tiles, count
    bint bias_apart


cdef struct Cell:
    Panel panel
    Py_ssize_t row, taken
    Py_ssize_t offset, size
    bint is_bias


cdef inline Cells cells_of(
    Py_ssize_t depth, Py_ssize_t columns, bint biased, bint bias_apart, Py_ssize_t lanes
) noexcept nogil:
    cdef Cells cells
    cells.depth = depth
    cells.columns = columns
    cells.lanes = lanes
    cells.bias_apart = biased and bias_apart
    cells.rows = depth + (1 if biased and not bias_apart else 0)
    cells.tiles = (cells.rows + TILE_ROWS - 1) // TILE_ROWS + cells.bias_apart
    cells.count = cells.tiles * count_panels(columns, lanes)
    return cells


cdef inline Cell cell_at(Cells cells, Py_ssize_t number) noexcept nogil:
    cdef Cell cell
    cdef Py_ssize_t panel = number // cells.tiles, t = number % cells.tiles
    cdef Py_ssize_t whole = cells.tiles - cells.bias_apart
    cell.panel = panel_at(panel, cells.columns, cells.depth, cells.lanes)
    cell.is_bias = t == whole
    cell.row = cells.rows if cell.is_bias else cells.rows * t // whole
    cell.taken = 1 if cell.is_bias else cells.rows * (t + 1) // whole - cell.row
    cell.offset = cell.panel.offset + cell.row * cell.panel.width
    cell.size = cell.taken * cell.panel.width
    return cell


cdef inline void cell_gradient(
    Cell cell, const real *x, Py_ssize_t x_row, const real *dz, Py_ssize_t dz_row,
    Py_ssize_t samples, bint blend, real keep, real scale, real *out
) noexcept nogil:
    tile(
        cell.taken, cell.panel.vectors, x + cell.row, 1, x_row, dz + cell.panel.first, dz_row,
        samples, <const real *> NULL, blend, keep, scale, out, cell.panel.width)


cdef void weight_gradient(
    const real *x, Py_ssize_t x_row, const real *dz, Py_ssize_t dz_row, Py_ssize_t samples,
    Cells cells, real *gradient, Py_ssize_t first_cell, Py_ssize_t last_cell
) noexcept nogil:
    """gradient = x.T @ dz, laid out as the weights are; column `depth` of x holds ones."""
    cdef Py_ssize_t part, block, panel, t, first, number
    cdef Py_ssize_t blocks = (cells.tiles + TILES_A_BLOCK - 1) // TILES_A_BLOCK
    cdef Cell cell
    if first_cell >= last_cell:
        return
    for part in range((samples + SAMPLES_A_SUM - 1) // SAMPLES_A_SUM):
        first = part * SAMPLES_A_SUM
        for block in range(blocks):
            for panel in range(first_cell // cells.tiles, (last_cell - 1) // cells.tiles + 1):
                for t in range(
                    block * TILES_A_BLOCK,
                    min(cells.tiles, (block + 1) * <Py_ssize_t> TILES_A_BLOCK)
                ):
                    number = panel * cells.tiles + t
                    if not first_cell <= number < last_cell:
                        continue
                    cell = cell_at(cells, number)
                    cell_gradient(
                        cell, x + first * x_row, x_row, dz + first * dz_row, dz_row,
                        min(<Py_ssize_t> SAMPLES_A_SUM, samples - first), part > 0, 1, 1,
                        gradient + cell.offset)


cdef inline void write_cell(
    Cell cell, Py_ssize_t depth, Py_ssize_t columns, const real *found, real *w, real *b
) noexcept nogil:
    """Write the gradient of a cell to those of w (depth, columns) and b, without the padding."""
    cdef Py_ssize_t row
    cdef real *target
    for row in range(cell.taken):
        target = w + (cell.row + row) * columns if cell.row + row < depth else b
        memcpy(
            target + cell.panel.first, found + row * cell.panel.width,
            cell.panel.columns * sizeof(real))


cdef inline void prefetch_state(Cell cell, Py_ssize_t columns, real **state) noexcept nogil:
    """Ask for the state of a cell, whose rows lie apart, before the gradient is computed."""
    cdef Py_ssize_t row
    cdef int vector
    for vector in range(3):
        if state[vector] != NULL:
            for row in range(cell.row, cell.row + cell.taken):
                prefetch(
                    state[vector] + row * columns + cell.panel.first,
                    cell.panel.columns * sizeof(real))


cdef inline Patch patch_of(Cell cell, Py_ssize_t columns, bint flat_state) noexcept nogil:
    """The weights of a cell, and the state beside them: in flat vectors it has rows of `columns`."""
    cdef Patch patch
    if not flat_state:
        return whole(cell.size)
    patch.rows = cell.taken
    patch.columns = cell.panel.columns
    patch.room = patch.row = cell.panel.width
    patch.state_row = columns
    return patch


cdef void weight_update(
    const real *x, Py_ssize_t x_row, const real *dz, Py_ssize_t dz_row, Py_ssize_t samples,
    Cells cells, const Update *rule, real *weights, real **state, bint flat_state, real *gradient,
    real *scratch, Py_ssize_t first_cell, Py_ssize_t last_cell
) noexcept nogil:
    """Update the weights from their gradient, cell by cell, while it is in the cache.

    WRITE_GRADIENT leaves them, and writes the gradient to the flat vectors that `state` names.
    Only a sum over more than SAMPLES_A_SUM samples goes through `gradient`, which is as large as
    the weights; `scratch` holds a cell. The state lies as the weights do, or, `flat_state`, in the
    flat vectors.
    """
    cdef bint long_sum = samples > SAMPLES_A_SUM
    cdef Py_ssize_t number, offset
    cdef double decay
    cdef real *found
    cdef Cell cell
    if long_sum:
        weight_gradient(x, x_row, dz, dz_row, samples, cells, gradient, first_cell, last_cell)
    for number in range(first_cell, last_cell):
        cell = cell_at(cells, number)
        if rule.kind == PLAIN_SGD and not long_sum:
            prefetch(weights + cell.offset + cell.size, cell.size * sizeof(real))
            decay = rule.bias_decay if cell.is_bias else rule.weight_decay
            cell_gradient(
                cell, x, x_row, dz, dz_row, samples, True,
                <real> (1 - rule.learning_rate * decay), <real> -rule.learning_rate,
                weights + cell.offset)
            continue
        found = gradient + cell.offset if long_sum else scratch
        if flat_state:
            prefetch_state(cell, cells.columns, state)
        if not long_sum:
            cell_gradient(cell, x, x_row, dz, dz_row, samples, False, 0, 0, scratch)
        if rule.kind == WRITE_GRADIENT:
            write_cell(cell, cells.depth, cells.columns, found, state[0], state[1])
        else:
            # In flat vectors the bias is the row behind those of the weights.
            offset = cell.row * cells.columns + cell.panel.first if flat_state else cell.offset
            update_patch(
                rule, cell.is_bias, weights + cell.offset, found, state, offset,
                patch_of(cell, cells.columns, flat_state))
