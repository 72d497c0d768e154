/* Windows that move over an image, along one axis at a time. */
#ifndef MLCORE_CUDA_WINDOWS_H
#define MLCORE_CUDA_WINDOWS_H

#include "common.h"

/* From `first` up to, and not with, `end`. */
struct Span {
    int64 first, end;
};

DEVICE Span span(int64 first, int64 end, int64 count)
{
    const Span found = {first < 0 ? 0 : first, end > count ? count : end};
    return found;
}

/* The places of the axis that a window covers. */
DEVICE Span places_in(int64 window, int64 size, int64 stride, int64 pad, int64 length)
{
    const int64 start = window * stride - pad;
    return span(start, start + size, length);
}

/* The windows that cover a place. */
DEVICE Span windows_over(int64 place, int64 size, int64 stride, int64 pad, int64 count)
{
    const int64 from = place + pad - size;
    return span(from < 0 ? 0 : from / stride + 1, (place + pad) / stride + 1, count);
}

#endif
