/* Rows of a table w (V, D), looked up by whole numbers that lie in an array of real numbers. */
#include "common.h"

KERNEL(embedding, const real *x, const real *w, real *out, int64 places, int64 columns)
{
    EACH(i, places * columns)
        out[i] = w[(int64)x[i / columns] * columns + i % columns];
}

/* One thread a number of dw, which looks through all places in their order. */
KERNEL(embedding_backward,
    const real *grad, const real *x, real *dw, int64 places, int64 entries, int64 columns)
{
    EACH(i, entries * columns) {
        const int64 entry = i / columns, column = i % columns;
        real sum = 0;
        for (int64 place = 0; place < places; place++)
            if ((int64)x[place] == entry)
                sum += grad[place * columns + column];
        dw[i] = sum;
    }
}
