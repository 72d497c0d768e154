/* Convolutions of one group of samples, which stand across the lanes; see lanes.h.
 *
 * What is computed, for every sample:
 *
 *     out[p][q][n] = b[n] + sum over r, s, c of x[p*sh + r][q*sw + s][c] * w[r][s][c][n]
 *
 *     dw[r][s][c][n] = sum over p, q of x[p*sh + r][q*sw + s][c] * dz[p][q][n]
 *
 *     dx[y][x][c] = sum of dz[p][q][n] * w[r][s][c][n] over all p, q, r, s, n for which
 *                   p*sh + r = y + pad_top and q*sw + s = x + pad_left
 *
 * The first two take an input that has its zeros around it already (`surround`), so no window
 * ever leaves it, and the `window_width * channels` numbers under one row of the window are one
 * run of memory. The third skips what lies outside.
 *
 * Each keeps a block of sums in registers: forward PIXELS x CHANNELS, where an input vector meets
 * CHANNELS weights and a weight PIXELS vectors, so that there are more multiply-adds than loads.
 */
#ifndef MLCORE_CONVOLUTION_H
#define MLCORE_CONVOLUTION_H

#include "activations.h"
#include "lanes.h"

/* Of 32 registers 24 hold sums, of 16 twelve. */
#if VECTOR_BYTES == 64 || defined(__aarch64__)
enum { PIXELS = 4, CHANNELS = 6, TAPS = 8, SLOPES = 3 };
#else
enum { PIXELS = 2, CHANNELS = 6, TAPS = 4, SLOPES = 3 };
#endif

#define BODY "convolution.h"
#include "precisions.h"

#undef FOR_EACH_BLOCK
#undef FOR_EACH_SLOPE

#elif defined(real)

/* Calls DO(pixels, channels) with the sizes as constants. */
#ifndef FOR_EACH_BLOCK
#define BLOCKS_OF(DO, pixels) DO(pixels, 1) DO(pixels, 2) DO(pixels, 3) DO(pixels, 4) DO(pixels, 5) DO(pixels, 6)
#if VECTOR_BYTES == 64 || defined(__aarch64__)
#define FOR_EACH_BLOCK(DO) BLOCKS_OF(DO, 1) BLOCKS_OF(DO, 2) BLOCKS_OF(DO, 3) BLOCKS_OF(DO, 4)
#else
#define FOR_EACH_BLOCK(DO) BLOCKS_OF(DO, 1) BLOCKS_OF(DO, 2)
#endif
#define SLOPES_OF(DO, taps) DO(taps, 1) DO(taps, 2) DO(taps, 3)
#if VECTOR_BYTES == 64 || defined(__aarch64__)
#define FOR_EACH_SLOPE(DO)                                                                         \
    SLOPES_OF(DO, 1) SLOPES_OF(DO, 2) SLOPES_OF(DO, 3) SLOPES_OF(DO, 4) SLOPES_OF(DO, 5)           \
    SLOPES_OF(DO, 6) SLOPES_OF(DO, 7) SLOPES_OF(DO, 8)
#else
#define FOR_EACH_SLOPE(DO) SLOPES_OF(DO, 1) SLOPES_OF(DO, 2) SLOPES_OF(DO, 3) SLOPES_OF(DO, 4)
#endif
#endif

/* Copies an input into a field of zeros, as far as windows reach; out is
 * [(out_height - 1) * stride_height + window_height][likewise][channels][LANES]. */
static void NAME(surround)(const Geometry *g, const real *x, real *out)
{
    const ptrdiff_t height = (g->out_height - 1) * g->stride_height + g->window_height;
    const ptrdiff_t width = (g->out_width - 1) * g->stride_width + g->window_width;
    const ptrdiff_t pixel = g->channels * LANES;
    const ptrdiff_t left = smaller_of(g->pad_left, width);
    const ptrdiff_t taken = smaller_of(g->width, width - left), right = width - left - taken;
    for (ptrdiff_t y = 0; y < height; y++, out += width * pixel) {
        const ptrdiff_t from = y - g->pad_top;
        if (from < 0 || from >= g->height) {
            memset(out, 0, width * pixel * sizeof(real));
            continue;
        }
        memset(out, 0, left * pixel * sizeof(real));
        memcpy(out + left * pixel, x + from * g->width * pixel, taken * pixel * sizeof(real));
        memset(out + (left + taken) * pixel, 0, right * pixel * sizeof(real));
    }
}

/* `pixels` neighbours in a row of the output, and `channels` of their channels. */
INLINE void NAME(convolve_block)(
    const int pixels, const int channels, const Geometry *g, const real *x, const real *w,
    const real *b, real *out)
{
    const ptrdiff_t run = g->window_width * g->channels, next = g->stride_width * g->channels;
    const ptrdiff_t all = g->out_channels;
    vec sum[PIXELS][CHANNELS];
#pragma GCC unroll 4
    for (int j = 0; j < pixels; j++)
#pragma GCC unroll 6
        for (int i = 0; i < channels; i++)
            sum[j][i] = b ? NAME(fill)(b[i]) : (vec){0};
    for (ptrdiff_t r = 0; r < g->window_height; r++) {
        const real *under = x + r * g->width * g->channels * LANES;
        const real *weight = w + r * run * all;
        for (ptrdiff_t k = 0; k < run; k++) {
            vec given[PIXELS];
#pragma GCC unroll 4
            for (int j = 0; j < pixels; j++)
                given[j] = *(const vec_u *)(under + (j * next + k) * LANES);
#pragma GCC unroll 6
            for (int i = 0; i < channels; i++) {
                const vec factor = NAME(fill)(weight[k * all + i]);
#pragma GCC unroll 4
                for (int j = 0; j < pixels; j++)
                    sum[j][i] += given[j] * factor;
            }
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < pixels; j++)
#pragma GCC unroll 6
        for (int i = 0; i < channels; i++)
            *(vec_u *)(out + (j * all + i) * LANES) = sum[j][i];
}

/* out = activation(x * w + b), and `pre` before the activation where it is not NULL. */
static void NAME(convolve)(
    const Geometry *g, const real *x, const real *w, const real *b, int code, real parameter,
    real *pre, real *out)
{
    const ptrdiff_t columns = parts_of(g->out_width, PIXELS);
    const ptrdiff_t blocks = parts_of(g->out_channels, CHANNELS);
    const ptrdiff_t row = g->out_width * g->out_channels * LANES;
    real *z = pre ? pre : out;
    for (ptrdiff_t p = 0; p < g->out_height; p++, z += row, out += row) {
        for (ptrdiff_t block = 0; block < blocks; block++) {
            const ptrdiff_t n = cut(g->out_channels, block, blocks);
            const ptrdiff_t channels = cut(g->out_channels, block + 1, blocks) - n;
            for (ptrdiff_t column = 0; column < columns; column++) {
                const ptrdiff_t q = cut(g->out_width, column, columns);
                const ptrdiff_t pixels = cut(g->out_width, column + 1, columns) - q;
                const real *at = x + (p * g->stride_height * g->width + q * g->stride_width)
                    * g->channels * LANES;
                real *to = z + (q * g->out_channels + n) * LANES;
                switch (pixels * 8 + channels) {
#define DO(pixels, channels)                                                                       \
    case pixels * 8 + channels:                                                                    \
        NAME(convolve_block)(pixels, channels, g, at, w + n, b ? b + n : NULL, to);                \
        break;
                    FOR_EACH_BLOCK(DO)
#undef DO
                }
            }
        }
        if (code != IDENTITY || pre)
            NAME(activate)(code, parameter, z, row, out, row, 1, row);
    }
}

/* `taps` neighbours in a run under one row of the window, and `channels` slopes of the output. */
INLINE void NAME(tap_block)(
    const int taps, const int channels, const Geometry *g, const real *x, const real *dz,
    real *dw)
{
    const ptrdiff_t all = g->out_channels, next = g->stride_width * g->channels * LANES;
    vec sum[TAPS][SLOPES];
#pragma GCC unroll 8
    for (int t = 0; t < taps; t++)
#pragma GCC unroll 3
        for (int i = 0; i < channels; i++)
            sum[t][i] = (vec){0};
    for (ptrdiff_t p = 0; p < g->out_height; p++) {
        const real *at = x + p * g->stride_height * g->width * g->channels * LANES;
        const real *slope = dz + p * g->out_width * all * LANES;
        for (ptrdiff_t q = 0; q < g->out_width; q++, at += next, slope += all * LANES) {
            vec right[SLOPES];
#pragma GCC unroll 3
            for (int i = 0; i < channels; i++)
                right[i] = *(const vec_u *)(slope + i * LANES);
#pragma GCC unroll 8
            for (int t = 0; t < taps; t++) {
                const vec left = *(const vec_u *)(at + t * LANES);
#pragma GCC unroll 3
                for (int i = 0; i < channels; i++)
                    sum[t][i] += left * right[i];
            }
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < taps; t++)
#pragma GCC unroll 3
        for (int i = 0; i < channels; i++)
            dw[t * all + i] = NAME(total)(sum[t][i]);
}

/* dw, and db behind it where it is not NULL, of one group. */
static void NAME(convolution_weight_gradient)(
    const Geometry *g, const real *x, const real *dz, real *dw, real *db)
{
    const ptrdiff_t run = g->window_width * g->channels, all = g->out_channels;
    const ptrdiff_t pieces = parts_of(run, TAPS), blocks = parts_of(all, SLOPES);
    for (ptrdiff_t block = 0; block < blocks; block++) {
        const ptrdiff_t n = cut(all, block, blocks), channels = cut(all, block + 1, blocks) - n;
        for (ptrdiff_t r = 0; r < g->window_height; r++)
            for (ptrdiff_t piece = 0; piece < pieces; piece++) {
                const ptrdiff_t k = cut(run, piece, pieces), taps = cut(run, piece + 1, pieces) - k;
                const real *at = x + (r * g->width * g->channels + k) * LANES;
                const real *slope = dz + n * LANES;
                real *to = dw + (r * run + k) * all + n;
                switch (taps * 4 + channels) {
#define DO(taps, channels)                                                                         \
    case taps * 4 + channels: NAME(tap_block)(taps, channels, g, at, slope, to); break;
                    FOR_EACH_SLOPE(DO)
#undef DO
                }
            }
    }
    for (ptrdiff_t n = 0; db && n < all; n++) {
        vec sum = {0};
        for (ptrdiff_t pixel = 0; pixel < g->out_height * g->out_width; pixel++)
            sum += *(const vec_u *)(dz + (pixel * all + n) * LANES);
        db[n] = NAME(total)(sum);
    }
}

/* `pixels` of a row of the input, stride_width apart from x on, and `channels` from c on. */
INLINE void NAME(spread_block)(
    const int pixels, const int channels, const Geometry *g, const real *dz, const real *w,
    ptrdiff_t y, ptrdiff_t x, ptrdiff_t c, real *dx)
{
    const ptrdiff_t all = g->out_channels, next = g->stride_width * g->channels * LANES;
    vec sum[PIXELS][CHANNELS];
#pragma GCC unroll 4
    for (int j = 0; j < pixels; j++)
#pragma GCC unroll 6
        for (int i = 0; i < channels; i++)
            sum[j][i] = (vec){0};
    for (ptrdiff_t r = 0; r < g->window_height; r++) {
        const ptrdiff_t above = y + g->pad_top - r, p = above / g->stride_height;
        if (above < 0 || above % g->stride_height || p >= g->out_height)
            continue;
        for (ptrdiff_t s = 0; s < g->window_width; s++) {
            const ptrdiff_t before = x + g->pad_left - s;
            if (before % g->stride_width)
                continue;
            const ptrdiff_t q = before / g->stride_width;
            const real *slope = dz + (p * g->out_width + q) * all * LANES;
            const real *weight = w + ((r * g->window_width + s) * g->channels + c) * all;
            if (q >= 0 && q + pixels <= g->out_width) {
                for (ptrdiff_t n = 0; n < all; n++) {
                    vec given[PIXELS];
#pragma GCC unroll 4
                    for (int j = 0; j < pixels; j++)
                        given[j] = *(const vec_u *)(slope + (j * all + n) * LANES);
#pragma GCC unroll 6
                    for (int i = 0; i < channels; i++) {
                        const vec factor = NAME(fill)(weight[i * all + n]);
#pragma GCC unroll 4
                        for (int j = 0; j < pixels; j++)
                            sum[j][i] += given[j] * factor;
                    }
                }
                continue;
            }
#pragma GCC unroll 4
            for (int j = 0; j < pixels; j++) {
                if (q + j < 0 || q + j >= g->out_width)
                    continue;
                for (ptrdiff_t n = 0; n < all; n++) {
                    const vec given = *(const vec_u *)(slope + (j * all + n) * LANES);
#pragma GCC unroll 6
                    for (int i = 0; i < channels; i++)
                        sum[j][i] += given * weight[i * all + n];
                }
            }
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < pixels; j++)
#pragma GCC unroll 6
        for (int i = 0; i < channels; i++)
            *(vec_u *)(dx + j * next + (x * g->channels + c + i) * LANES) = sum[j][i];
}

static void NAME(convolution_input_gradient)(
    const Geometry *g, const real *dz, const real *w, real *dx)
{
    const ptrdiff_t blocks = parts_of(g->channels, CHANNELS);
    for (ptrdiff_t y = 0; y < g->height; y++, dx += g->width * g->channels * LANES)
        for (ptrdiff_t block = 0; block < blocks; block++) {
            const ptrdiff_t c = cut(g->channels, block, blocks);
            const ptrdiff_t channels = cut(g->channels, block + 1, blocks) - c;
            for (ptrdiff_t first = 0; first < smaller_of(g->stride_width, g->width); first++) {
                const ptrdiff_t many = parts_of(g->width - first, g->stride_width);
                const ptrdiff_t columns = parts_of(many, PIXELS);
                for (ptrdiff_t column = 0; column < columns; column++) {
                    const ptrdiff_t j = cut(many, column, columns);
                    const ptrdiff_t pixels = cut(many, column + 1, columns) - j;
                    const ptrdiff_t x = first + j * g->stride_width;
                    switch (pixels * 8 + channels) {
#define DO(pixels, channels)                                                                       \
    case pixels * 8 + channels:                                                                    \
        NAME(spread_block)(pixels, channels, g, dz, w, y, x, c, dx);                               \
        break;
                        FOR_EACH_BLOCK(DO)
#undef DO
                    }
                }
            }
        }
}

#endif
