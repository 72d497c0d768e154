/* Batches drawn from a data set that lies on the device. */
#include "common.h"

template <typename Source>
DEVICE void gather_rows(
    const int *stopped, const Source *source, const int64 *rows, real scale, real *out,
    int64 batch, int64 columns)
{
    EACH(i, batch * columns)
        out[i] = (real)source[rows[i / columns] * columns + i % columns] * scale;
}

KERNEL(gather_uint8,
    const uint8 *source, const int64 *rows, real scale, real *out, int64 batch, int64 columns)
{
    gather_rows(stopped, source, rows, scale, out, batch, columns);
}

KERNEL(gather_float32,
    const float *source, const int64 *rows, real scale, real *out, int64 batch, int64 columns)
{
    gather_rows(stopped, source, rows, scale, out, batch, columns);
}

KERNEL(gather_float64,
    const double *source, const int64 *rows, real scale, real *out, int64 batch, int64 columns)
{
    gather_rows(stopped, source, rows, scale, out, batch, columns);
}

KERNEL(gather_labels, const int *labels, const int64 *rows, int *out, int64 batch)
{
    EACH(i, batch)
        out[i] = labels[rows[i]];
}

KERNEL(gather_weights, const real *weights, const int64 *rows, real *out, int64 batch)
{
    EACH(i, batch)
        out[i] = weights[rows[i]];
}
