/* Blocks whose threads work together. */
#ifndef MLCORE_CUDA_TEAM_H
#define MLCORE_CUDA_TEAM_H

#include "common.h"

enum { TEAM = 256 };

/* A loop over 0 .. count - 1 that the threads of a block of TEAM share. */
#define TEAM_EACH(i, count) for (int64 i = threadIdx.x; i < (count); i += TEAM)

/* The sum of what the threads of a block bring, for each of them; every thread must ask. Where
 * each brings a share that TEAM_EACH gave it, the order depends on the count only. */
DEVICE double team_sum(double value)
{
    __shared__ double parts[TEAM];
    /* What was asked before has been read. */
    __syncthreads();
    parts[threadIdx.x] = value;
    for (unsigned half = TEAM / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    __syncthreads();
    return parts[0];
}

#endif
