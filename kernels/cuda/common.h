/* What every kernel has in common.
 *
 * REAL, float or double, is given when the text is compiled, once for each; so are the numbers of
 * the activations, by the order of the table. There is no header of CUDA in here: NVRTC compiles
 * the text as it is, and so does a C++ compiler to which the words of CUDA are explained, which is
 * how the tests run these kernels on a processor.
 */
#ifndef MLCORE_CUDA_COMMON_H
#define MLCORE_CUDA_COMMON_H

typedef REAL real;
typedef unsigned char uint8;
typedef unsigned int uint32;
typedef unsigned long long uint64;
typedef long long int64;

/* Every kernel is first told where the flag lies that stops a training run, or NULL. Once it is
 * set, the steps that stand in the queue leave everything as it is. */
#define KERNEL(name, ...) extern "C" __global__ void name(const int *stopped, __VA_ARGS__)
#define IS_STOPPED (stopped && *stopped)

/* A loop over 0 .. count - 1 that all threads of a launch share. */
#define EACH(i, count)                                                                             \
    for (int64 i = IS_STOPPED ? (count) : blockIdx.x * (int64)blockDim.x + threadIdx.x;            \
         i < (count); i += gridDim.x * (int64)blockDim.x)

/* A setting that changes from step to step: a number, or a place on the device where a step that
 * was recorded finds it each time it is repeated. */
#define GIVEN(type, name) const type *name##_place, type name##_value
#define VALUE(name) (name##_place ? *name##_place : name##_value)

#define DEVICE __device__ inline

#endif
