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
    ptrdiff_t top, left, height, width;
} Window;

#define EACH_PLACE(w)                                                                              \
    _Pragma("GCC unroll 2") for (ptrdiff_t y = 0; y < (w).height; y++)                             \
        _Pragma("GCC unroll 2") for (ptrdiff_t j = 0; j < (w).width; j++)

/* Whether windows are 2x2, side by side and inside the image. With that known as it compiles, a
 * loop over a window is four steps without a test. */
INLINE int halves(const Geometry *g)
{
    return g->window_height == 2 && g->window_width == 2 && g->stride_height == 2 &&
        g->stride_width == 2 && g->pad_top == 0 && g->pad_left == 0 &&
        2 * g->out_height <= g->height && 2 * g->out_width <= g->width;
}

INLINE Window window_at(const Geometry *g, ptrdiff_t p, ptrdiff_t q, int halved)
{
    if (halved)
        return (Window){2 * p, 2 * q, 2, 2};
    const ptrdiff_t y = p * g->stride_height - g->pad_top;
    const ptrdiff_t x = q * g->stride_width - g->pad_left;
    const ptrdiff_t top = larger_of(0, y), left = larger_of(0, x);
    return (Window){
        top, left, smaller_of(g->height, y + g->window_height) - top,
        smaller_of(g->width, x + g->window_width) - left};
}

#define BODY "pooling.h"
#include "precisions.h"

#elif defined(real)

/* The larger one, or NaN if either is. */
INLINE vec NAME(larger_or_nan)(vec a, vec b)
{
    return NAME(select)(a != a, a, NAME(larger)(a, b));
}

INLINE ptrdiff_t NAME(place)(const Geometry *g, Window w, ptrdiff_t y, ptrdiff_t x, ptrdiff_t c)
{
    return (((w.top + y) * g->width + w.left + x) * g->channels + c) * LANES;
}

INLINE vec NAME(largest_under)(const Geometry *g, Window w, const real *x, ptrdiff_t c)
{
    vec top = NAME(fill)(-INFINITY);
    EACH_PLACE(w)
        top = NAME(larger_or_nan)(top, *(const vec_u *)(x + NAME(place)(g, w, y, j, c)));
    return top;
}

INLINE void NAME(max_pool_of)(const Geometry *g, const real *x, real *out, int halved)
{
    for (ptrdiff_t p = 0; p < g->out_height; p++)
        for (ptrdiff_t q = 0; q < g->out_width; q++) {
            const Window w = window_at(g, p, q, halved);
            for (ptrdiff_t c = 0; c < g->channels; c++, out += LANES)
                *(vec_u *)out = NAME(largest_under)(g, w, x, c);
        }
}

static void NAME(max_pool)(const Geometry *g, const real *x, real *out)
{
    if (halves(g))
        NAME(max_pool_of)(g, x, out, 1);
    else
        NAME(max_pool_of)(g, x, out, 0);
}

/* Windows side by side write each place once; others add up. */
INLINE void NAME(share_out)(real *place, vec share, int halved)
{
    if (!halved)
        share += *(const vec_u *)place;
    *(vec_u *)place = share;
}

/* Zeros wherever what follows does not write, or adds. */
INLINE void NAME(clear)(const Geometry *g, real *dx, int halved)
{
    if (!halved || g->height > 2 * g->out_height || g->width > 2 * g->out_width)
        memset(dx, 0, g->height * g->width * g->channels * LANES * sizeof(real));
}

INLINE void NAME(max_pool_backward_of)(
    const Geometry *g, const real *grad, const real *x, real *dx, int halved)
{
    NAME(clear)(g, dx, halved);
    for (ptrdiff_t p = 0; p < g->out_height; p++)
        for (ptrdiff_t q = 0; q < g->out_width; q++) {
            const Window w = window_at(g, p, q, halved);
            for (ptrdiff_t c = 0; c < g->channels; c++, grad += LANES) {
                const vec top = NAME(largest_under)(g, w, x, c);
                ivec left = (ivec)(vec) * (const vec_u *)grad;
                EACH_PLACE(w) {
                    const ptrdiff_t at = NAME(place)(g, w, y, j, c);
                    const vec value = *(const vec_u *)(x + at);
                    const ivec here = (value == top) | (value != value);
                    NAME(share_out)(dx + at, (vec)(here & left), halved);
                    left &= ~here;
                }
            }
        }
}

static void NAME(max_pool_backward)(
    const Geometry *g, const real *grad, const real *x, real *dx)
{
    if (halves(g))
        NAME(max_pool_backward_of)(g, grad, x, dx, 1);
    else
        NAME(max_pool_backward_of)(g, grad, x, dx, 0);
}

INLINE void NAME(avg_pool_of)(const Geometry *g, const real *x, real *out, int halved)
{
    for (ptrdiff_t p = 0; p < g->out_height; p++)
        for (ptrdiff_t q = 0; q < g->out_width; q++) {
            const Window w = window_at(g, p, q, halved);
            const real share = 1 / (real)(w.height * w.width);
            for (ptrdiff_t c = 0; c < g->channels; c++, out += LANES) {
                vec sum = {0};
                EACH_PLACE(w)
                    sum += *(const vec_u *)(x + NAME(place)(g, w, y, j, c));
                *(vec_u *)out = share * sum;
            }
        }
}

static void NAME(avg_pool)(const Geometry *g, const real *x, real *out)
{
    if (halves(g))
        NAME(avg_pool_of)(g, x, out, 1);
    else
        NAME(avg_pool_of)(g, x, out, 0);
}

INLINE void NAME(avg_pool_backward_of)(
    const Geometry *g, const real *grad, real *dx, int halved)
{
    NAME(clear)(g, dx, halved);
    for (ptrdiff_t p = 0; p < g->out_height; p++)
        for (ptrdiff_t q = 0; q < g->out_width; q++) {
            const Window w = window_at(g, p, q, halved);
            const real share = 1 / (real)(w.height * w.width);
            for (ptrdiff_t c = 0; c < g->channels; c++, grad += LANES) {
                const vec slope = share * *(const vec_u *)grad;
                EACH_PLACE(w)
                    NAME(share_out)(dx + NAME(place)(g, w, y, j, c), slope, halved);
            }
        }
}

static void NAME(avg_pool_backward)(const Geometry *g, const real *grad, real *dx)
{
    if (halves(g))
        NAME(avg_pool_backward_of)(g, grad, dx, 1);
    else
        NAME(avg_pool_backward_of)(g, grad, dx, 0);
}

#endif
