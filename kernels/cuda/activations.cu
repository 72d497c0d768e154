/* The activations as operations of their own. `out` may be what is read. */
#include "activations.h"

KERNEL(activate, const real *x, int64 code, real a, real *out, int64 count)
{
    EACH(i, count)
        out[i] = activated(code, a, x[i]);
}

KERNEL(activate_backward,
    const real *grad, const real *stored, int64 code, real a, real *out, int64 count)
{
    EACH(i, count)
        out[i] = grad[i] * slope(code, a, stored[i]);
}

KERNEL(softmax, const real *x, real *out, int64 rows, int64 columns)
{
    EACH(row, rows) {
        const real *from = x + row * columns;
        real *to = out + row * columns;
        const real top = row_top(from, columns), total = row_powers(from, top, columns);
        for (int64 j = 0; j < columns; j++)
            to[j] = exp(from[j] - top) / total;
    }
}

KERNEL(log_softmax, const real *x, real *out, int64 rows, int64 columns)
{
    EACH(row, rows) {
        const real *from = x + row * columns;
        real *to = out + row * columns;
        const real top = row_top(from, columns);
        const real total = top + log(row_powers(from, top, columns));
        for (int64 j = 0; j < columns; j++)
            to[j] = from[j] - total;
    }
}

KERNEL(softmax_backward,
    const real *grad, const real *stored, real *out, int64 rows, int64 columns)
{
    EACH(row, rows) {
        const real *upstream = grad + row * columns, *y = stored + row * columns;
        real *to = out + row * columns;
        real total = 0;
        for (int64 j = 0; j < columns; j++)
            total += upstream[j] * y[j];
        for (int64 j = 0; j < columns; j++)
            to[j] = y[j] * (upstream[j] - total);
    }
}

KERNEL(log_softmax_backward,
    const real *grad, const real *stored, real *out, int64 rows, int64 columns)
{
    EACH(row, rows) {
        const real *upstream = grad + row * columns, *y = stored + row * columns;
        real *to = out + row * columns;
        real total = 0;
        for (int64 j = 0; j < columns; j++)
            total += upstream[j];
        for (int64 j = 0; j < columns; j++)
            to[j] = upstream[j] - exp(y[j]) * total;
    }
}
