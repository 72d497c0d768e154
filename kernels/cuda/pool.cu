/* Pools, channels last: x and dx (B, H, W, C), out and grad (B, P, Q, C). What lies outside of x
 * is not looked at, and each window holds some of x. One thread a number of the result. */
#include "windows.h"

/* Where the first largest number of a window stands, or its first NaN; x is one sample. */
DEVICE int64 largest(
    const real *x, Span down, Span across, int64 width, int64 channels, int64 channel)
{
    int64 best = (down.first * width + across.first) * channels + channel;
    for (int64 h = down.first; h < down.end; h++)
        for (int64 w = across.first; w < across.end; w++) {
            const int64 at = (h * width + w) * channels + channel;
            if (x[best] != x[best])
                return best;
            if (x[at] > x[best] || x[at] != x[at])
                best = at;
        }
    return best;
}

KERNEL(max_pool,
    const real *x, int64 size_h, int64 size_w, int64 stride_h, int64 stride_w, int64 pad_top,
    int64 pad_left, real *out, int64 batch, int64 height, int64 width, int64 channels, int64 rows,
    int64 columns)
{
    EACH(i, batch * rows * columns * channels) {
        const int64 c = i % channels, q = i / channels % columns;
        const int64 p = i / channels / columns % rows, b = i / channels / columns / rows;
        const real *sample = x + b * height * width * channels;
        const Span down = places_in(p, size_h, stride_h, pad_top, height);
        const Span across = places_in(q, size_w, stride_w, pad_left, width);
        out[i] = sample[largest(sample, down, across, width, channels, c)];
    }
}

KERNEL(max_pool_backward,
    const real *grad, const real *x, int64 size_h, int64 size_w, int64 stride_h, int64 stride_w,
    int64 pad_top, int64 pad_left, real *dx, int64 batch, int64 height, int64 width,
    int64 channels, int64 rows, int64 columns)
{
    EACH(i, batch * height * width * channels) {
        const int64 c = i % channels, w = i / channels % width;
        const int64 h = i / channels / width % height, b = i / channels / width / height;
        const int64 size = height * width * channels;
        const Span down = windows_over(h, size_h, stride_h, pad_top, rows);
        const Span across = windows_over(w, size_w, stride_w, pad_left, columns);
        real sum = 0;
        for (int64 p = down.first; p < down.end; p++)
            for (int64 q = across.first; q < across.end; q++) {
                const int64 found = largest(
                    x + b * size, places_in(p, size_h, stride_h, pad_top, height),
                    places_in(q, size_w, stride_w, pad_left, width), width, channels, c);
                if (found == i % size)
                    sum += grad[((b * rows + p) * columns + q) * channels + c];
            }
        dx[i] = sum;
    }
}

KERNEL(avg_pool,
    const real *x, int64 size_h, int64 size_w, int64 stride_h, int64 stride_w, int64 pad_top,
    int64 pad_left, real *out, int64 batch, int64 height, int64 width, int64 channels, int64 rows,
    int64 columns)
{
    EACH(i, batch * rows * columns * channels) {
        const int64 c = i % channels, q = i / channels % columns;
        const int64 p = i / channels / columns % rows, b = i / channels / columns / rows;
        const Span down = places_in(p, size_h, stride_h, pad_top, height);
        const Span across = places_in(q, size_w, stride_w, pad_left, width);
        real sum = 0;
        for (int64 h = down.first; h < down.end; h++)
            for (int64 w = across.first; w < across.end; w++)
                sum += x[((b * height + h) * width + w) * channels + c];
        out[i] = sum / ((down.end - down.first) * (across.end - across.first));
    }
}

KERNEL(avg_pool_backward,
    const real *grad, int64 size_h, int64 size_w, int64 stride_h, int64 stride_w, int64 pad_top,
    int64 pad_left, real *dx, int64 batch, int64 height, int64 width, int64 channels, int64 rows,
    int64 columns)
{
    EACH(i, batch * height * width * channels) {
        const int64 c = i % channels, w = i / channels % width;
        const int64 h = i / channels / width % height, b = i / channels / width / height;
        const Span down = windows_over(h, size_h, stride_h, pad_top, rows);
        const Span across = windows_over(w, size_w, stride_w, pad_left, columns);
        real sum = 0;
        for (int64 p = down.first; p < down.end; p++)
            for (int64 q = across.first; q < across.end; q++) {
                const Span held = places_in(p, size_h, stride_h, pad_top, height);
                const Span wide = places_in(q, size_w, stride_w, pad_left, width);
                const int64 count = (held.end - held.first) * (wide.end - wide.first);
                sum += grad[((b * rows + p) * columns + q) * channels + c] / count;
            }
        dx[i] = sum;
    }
}
