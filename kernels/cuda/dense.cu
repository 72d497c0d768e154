/* What stands around the matrix products of a dense layer, which are cuBLAS's. */
#include "activations.h"

/* The product in `out` becomes activation(product + b); `b` and `pre` may be NULL. */
KERNEL(finish_linear,
    real *out, const real *b, int64 code, real a, real *pre, int64 rows, int64 columns)
{
    EACH(i, rows * columns) {
        const real z = b ? out[i] + b[i % columns] : out[i];
        if (pre)
            pre[i] = z;
        out[i] = activated(code, a, z);
    }
}

enum { COLUMNS = 32, LINES = 16 };

/* dz = grad * activation'(stored), and db = its sums over the rows; dz may be grad.
 *
 * A block takes COLUMNS columns. Its line k of threads adds the rows k, k + LINES, ..., then the
 * first line adds up the lines: an order that depends on the number of rows only.
 */
KERNEL(dz_and_db,
    const real *grad, const real *stored, int64 code, real a, real *dz, real *db, int64 rows,
    int64 columns)
{
    __shared__ real sums[LINES][COLUMNS];
    const int64 column = blockIdx.x * COLUMNS + threadIdx.x;
    const bool busy = column < columns && !IS_STOPPED;
    real sum = 0;
    if (busy)
        for (int64 row = threadIdx.y; row < rows; row += LINES) {
            const int64 at = row * columns + column;
            const real value =
                code == IDENTITY ? grad[at] : grad[at] * slope(code, a, stored[at]);
            dz[at] = value;
            sum += value;
        }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (busy && threadIdx.y == 0) {
        for (int line = 1; line < LINES; line++)
            sum += sums[line][threadIdx.x];
        db[column] = sum;
    }
}

/* How many numbers lie before the panel of a column, in which column of which width it stands. */
struct PanelPlace {
    int64 start, width, column;
};

DEVICE PanelPlace panel_of(int64 column, int64 depth, int64 columns, int64 lanes)
{
    const int64 first = column / (2 * lanes) * (2 * lanes);
    const PanelPlace place = {
        first * (depth + 1), columns - first <= lanes ? lanes : 2 * lanes, column - first};
    return place;
}

/* One thread a number of `panels`, so that what is padding becomes zero. */
KERNEL(pack_panels,
    const real *w, const real *b, int64 lanes, real *panels, int64 depth, int64 columns,
    int64 size)
{
    EACH(i, size) {
        const int64 panel = i / (2 * lanes * (depth + 1)), first = panel * 2 * lanes;
        const PanelPlace place = panel_of(first, depth, columns, lanes);
        const int64 row = (i - place.start) / place.width;
        const int64 column = first + (i - place.start) % place.width;
        real value = 0;
        if (column < columns && row < depth)
            value = w[row * columns + column];
        else if (column < columns && row == depth && b)
            value = b[column];
        panels[i] = value;
    }
}

/* One thread a number of w, with b as a row behind it. */
KERNEL(unpack_panels,
    const real *panels, int64 lanes, real *w, real *b, int64 depth, int64 columns)
{
    EACH(i, (depth + 1) * columns) {
        const int64 row = i / columns, column = i % columns;
        const PanelPlace place = panel_of(column, depth, columns, lanes);
        const real value = panels[place.start + row * place.width + place.column];
        if (row < depth)
            w[i] = value;
        else if (b)
            b[column] = value;
    }
}
