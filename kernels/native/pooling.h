/* Largest and mean values under a sliding window, of one group of samples across the lanes.
 *
 * Windows may reach beyond the image: what lies outside is not looked at, and does not count in a
 * mean. The gradient of a largest value goes to the first place that holds it, NaN being larger
 * than any number.
 */
#ifndef MLCORE_POOLING_H
#define MLCORE_POOLING_H

#include "lanes.h"

/* The part of a window that lies inside the image. */
typedef struct {
    ptrdiff_t top, bottom, left, right;
} Window;

INLINE Window window_at(const Geometry *g, ptrdiff_t p, ptrdiff_t q)
{
    const ptrdiff_t y = p * g->stride_height - g->pad_top;
    const ptrdiff_t x = q * g->stride_width - g->pad_left;
    return (Window){
        larger_of(0, y), smaller_of(g->height, y + g->window_height),
        larger_of(0, x), smaller_of(g->width, x + g->window_width)};
}

#define BODY "pooling.h"
#include "precisions.h"

#elif defined(real)

/* The larger one, or NaN if either is; of equals the first. */
INLINE vec NAME(larger_or_nan)(vec a, vec b)
{
    return NAME(select)((b > a) | (b != b), NAME(select)(a != a, a, b), a);
}

INLINE vec NAME(largest_under)(const Geometry *g, const Window *w, const real *x, ptrdiff_t c)
{
    vec top = NAME(fill)(-INFINITY);
    for (ptrdiff_t y = w->top; y < w->bottom; y++)
        for (ptrdiff_t j = w->left; j < w->right; j++)
            top = NAME(larger_or_nan)(
                top, *(const vec_u *)(x + ((y * g->width + j) * g->channels + c) * LANES));
    return top;
}

static void NAME(max_pool)(const Geometry *g, const real *x, real *out)
{
    for (ptrdiff_t p = 0; p < g->out_height; p++)
        for (ptrdiff_t q = 0; q < g->out_width; q++) {
            const Window w = window_at(g, p, q);
            for (ptrdiff_t c = 0; c < g->channels; c++, out += LANES)
                *(vec_u *)out = NAME(largest_under)(g, &w, x, c);
        }
}

static void NAME(max_pool_backward)(
    const Geometry *g, const real *grad, const real *x, real *dx)
{
    memset(dx, 0, g->height * g->width * g->channels * LANES * sizeof(real));
    for (ptrdiff_t p = 0; p < g->out_height; p++)
        for (ptrdiff_t q = 0; q < g->out_width; q++) {
            const Window w = window_at(g, p, q);
            for (ptrdiff_t c = 0; c < g->channels; c++, grad += LANES) {
                const vec top = NAME(largest_under)(g, &w, x, c), slope = *(const vec_u *)grad;
                ivec open = ~(ivec){0};
                for (ptrdiff_t y = w.top; y < w.bottom; y++)
                    for (ptrdiff_t j = w.left; j < w.right; j++) {
                        const ptrdiff_t at = ((y * g->width + j) * g->channels + c) * LANES;
                        const vec value = *(const vec_u *)(x + at);
                        const ivec here = open & ((value == top) | (value != value));
                        *(vec_u *)(dx + at) += (vec)(here & (ivec)slope);
                        open &= ~here;
                    }
            }
        }
}

static void NAME(avg_pool)(const Geometry *g, const real *x, real *out)
{
    for (ptrdiff_t p = 0; p < g->out_height; p++)
        for (ptrdiff_t q = 0; q < g->out_width; q++) {
            const Window w = window_at(g, p, q);
            const real share = 1 / (real)((w.bottom - w.top) * (w.right - w.left));
            for (ptrdiff_t c = 0; c < g->channels; c++, out += LANES) {
                vec sum = {0};
                for (ptrdiff_t y = w.top; y < w.bottom; y++)
                    for (ptrdiff_t j = w.left; j < w.right; j++)
                        sum += *(const vec_u *)(x + ((y * g->width + j) * g->channels + c) * LANES);
                *(vec_u *)out = share * sum;
            }
        }
}

static void NAME(avg_pool_backward)(const Geometry *g, const real *grad, real *dx)
{
    memset(dx, 0, g->height * g->width * g->channels * LANES * sizeof(real));
    for (ptrdiff_t p = 0; p < g->out_height; p++)
        for (ptrdiff_t q = 0; q < g->out_width; q++) {
            const Window w = window_at(g, p, q);
            const real share = 1 / (real)((w.bottom - w.top) * (w.right - w.left));
            for (ptrdiff_t c = 0; c < g->channels; c++, grad += LANES) {
                const vec slope = share * *(const vec_u *)grad;
                for (ptrdiff_t y = w.top; y < w.bottom; y++)
                    for (ptrdiff_t j = w.left; j < w.right; j++)
                        *(vec_u *)(dx + ((y * g->width + j) * g->channels + c) * LANES) += slope;
            }
        }
}

#endif
