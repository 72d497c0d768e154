/* Convolutions, channels last: x (B, H, W, C), w (R, S, C, N), out and grad (B, P, Q, N).
 *
 * What lies outside of x counts as zero, and is multiplied: NaN in w reaches all that it would in
 * a product of matrices.
 */
#include "team.h"
#include "windows.h"

DEVICE real inside_or_zero(
    const real *x, int64 b, int64 h, int64 w, int64 c, int64 height, int64 width, int64 channels)
{
    const bool inside = h >= 0 && h < height && w >= 0 && w < width;
    return inside ? x[((b * height + h) * width + w) * channels + c] : (real)0;
}

/* One thread a number of the output. */
KERNEL(conv2d,
    const real *x, const real *weight, const real *bias, int64 stride_h, int64 stride_w,
    int64 pad_top, int64 pad_left, real *out, int64 batch, int64 height, int64 width,
    int64 channels, int64 rows, int64 columns, int64 size_h, int64 size_w, int64 filters)
{
    EACH(i, batch * rows * columns * filters) {
        const int64 n = i % filters, q = i / filters % columns;
        const int64 p = i / filters / columns % rows, b = i / filters / columns / rows;
        const real *times = weight + n;
        real sum = 0;
        for (int64 r = 0; r < size_h; r++)
            for (int64 s = 0; s < size_w; s++)
                for (int64 c = 0; c < channels; c++, times += filters)
                    sum += *times * inside_or_zero(
                        x, b, p * stride_h - pad_top + r, q * stride_w - pad_left + s, c, height,
                        width, channels);
        out[i] = bias ? sum + bias[n] : sum;
    }
}

/* One block a weight, which sums over all places of all samples. */
KERNEL(conv2d_weights,
    const real *grad, const real *x, int64 stride_h, int64 stride_w, int64 pad_top, int64 pad_left,
    real *dw, int64 batch, int64 height, int64 width, int64 channels, int64 rows, int64 columns,
    int64 size_w, int64 filters)
{
    if (IS_STOPPED)
        return;
    const int64 n = blockIdx.x % filters, c = blockIdx.x / filters % channels;
    const int64 s = blockIdx.x / filters / channels % size_w;
    const int64 r = blockIdx.x / filters / channels / size_w;
    double sum = 0;
    TEAM_EACH(i, batch * rows * columns) {
        const int64 q = i % columns, p = i / columns % rows, b = i / columns / rows;
        sum += (double)grad[i * filters + n] * inside_or_zero(
            x, b, p * stride_h - pad_top + r, q * stride_w - pad_left + s, c, height, width,
            channels);
    }
    sum = team_sum(sum);
    if (threadIdx.x == 0)
        dw[blockIdx.x] = (real)sum;
}

/* One thread a number of the input, which sums over the windows that cover it. */
KERNEL(conv2d_inputs,
    const real *grad, const real *weight, int64 stride_h, int64 stride_w, int64 pad_top,
    int64 pad_left, real *dx, int64 batch, int64 height, int64 width, int64 channels, int64 rows,
    int64 columns, int64 size_h, int64 size_w, int64 filters)
{
    EACH(i, batch * height * width * channels) {
        const int64 c = i % channels, w = i / channels % width;
        const int64 h = i / channels / width % height, b = i / channels / width / height;
        const Span down = windows_over(h, size_h, stride_h, pad_top, rows);
        const Span across = windows_over(w, size_w, stride_w, pad_left, columns);
        real sum = 0;
        for (int64 p = down.first; p < down.end; p++)
            for (int64 q = across.first; q < across.end; q++) {
                const int64 r = h + pad_top - p * stride_h, s = w + pad_left - q * stride_w;
                const real *slope = grad + ((b * rows + p) * columns + q) * filters;
                const real *times = weight + ((r * size_w + s) * channels + c) * filters;
                for (int64 n = 0; n < filters; n++)
                    sum += slope[n] * times[n];
            }
        dx[i] = sum;
    }
}

/* The gradient of the bias: one block a column of grad. */
KERNEL(column_sums, const real *grad, real *sums, int64 rows, int64 columns)
{
    if (IS_STOPPED)
        return;
    double sum = 0;
    TEAM_EACH(row, rows)
        sum += grad[row * columns + blockIdx.x];
    sum = team_sum(sum);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = (real)sum;
}
