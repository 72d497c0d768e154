/* Samples across the lanes: the layout of images, and of whatever has few channels.
 *
 * A layer of six channels would leave most of a vector of channels empty, so here a vector holds
 * one number of LANES samples. LANES samples are a group, and a batch buffer in this layout is
 *
 *     [group][element][LANES]
 *
 * where the elements of a sample stand in the order that they have in a row, height, width and
 * channels. Every operation is then a loop over elements without a thought for the lanes, whatever
 * the number of channels. The lanes of the last group that have no sample hold zeros in inputs and
 * in gradients; what an operation computes there is finite, and never leaves them.
 *
 * Threads share out whole groups. What is summed over samples (gradients of weights, moments) is
 * summed within each group first, and the groups' sums, `partial`, are added in their order:
 * results do not depend on the number of threads.
 */
#ifndef MLCORE_LANES_H
#define MLCORE_LANES_H

#include "engine.h"
#include "turn.h"

INLINE ptrdiff_t smaller_of(ptrdiff_t a, ptrdiff_t b)
{
    return a < b ? a : b;
}

INLINE ptrdiff_t larger_of(ptrdiff_t a, ptrdiff_t b)
{
    return a > b ? a : b;
}

/* Where part `number` of `parts` begins, when `length` is cut as evenly as can be. */
INLINE ptrdiff_t cut(ptrdiff_t length, ptrdiff_t number, ptrdiff_t parts)
{
    return length * number / parts;
}

INLINE ptrdiff_t parts_of(ptrdiff_t length, ptrdiff_t longest)
{
    return (length + longest - 1) / longest;
}

#define BODY "lanes.h"
#include "precisions.h"

#elif defined(real)

/* The first `samples` lanes set, the others not. */
INLINE ivec NAME(lanes_with_samples)(ptrdiff_t samples)
{
    return NAME(lane_numbers)() < (int)smaller_of(samples, LANES);
}

INLINE real NAME(total)(vec x)
{
    return NAME(sum_of_lanes)(x)[0];
}

#endif
