/* The words of CUDA for a C++ compiler, so that a processor can run the kernels, thread by thread.
 *
 * A kernel whose threads wait for each other runs with a stack for each thread of a block, which
 * __syncthreads leaves for the next thread's; any other is called once for each thread. The order
 * of blocks and threads can be turned round: no result may depend on it.
 */
#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <functional>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

struct Place {
    unsigned x, y, z;
};

static Place threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __device__
#define __shared__ static

static inline void sincospi(double x, double *sine, double *cosine)
{
    *sine = sin(3.14159265358979323846 * x);
    *cosine = cos(3.14159265358979323846 * x);
}

static inline void sincospi(float x, float *sine, float *cosine)
{
    double wide_sine, wide_cosine;
    sincospi((double)x, &wide_sine, &wide_cosine);
    *sine = (float)wide_sine;
    *cosine = (float)wide_cosine;
}

enum { MOST_THREADS = 1024, STACK_BYTES = 16 * 1024 };

/* A thread of a block whose threads wait for each other. Made once, it runs kernel after kernel. */
struct Thread {
    Place place;
    bool made, done;
    jmp_buf where;
    ucontext_t start;
    std::vector<char> stack;
};

static jmp_buf scheduler;
static Thread *running;
static const std::function<void()> *body;

static void leave()
{
    if (!_setjmp(running->where))
        _longjmp(scheduler, 1);
}

static inline void __syncthreads()
{
    if (!running) {
        fprintf(stderr, "a kernel waits that was not known to\n");
        abort();
    }
    leave();
}

static void run_thread()
{
    for (;;) {
        (*body)();
        running->done = true;
        leave();
    }
}

/* Lets a thread go on until it waits, or is done. */
static __attribute__((noinline)) void resume(Thread *thread)
{
    running = thread;
    threadIdx = thread->place;
    if (_setjmp(scheduler))
        return;
    if (thread->made)
        _longjmp(thread->where, 1);
    thread->made = true;
    thread->stack.resize(STACK_BYTES);
    getcontext(&thread->start);
    thread->start.uc_stack.ss_sp = thread->stack.data();
    thread->start.uc_stack.ss_size = thread->stack.size();
    makecontext(&thread->start, run_thread, 0);
    setcontext(&thread->start);
}

static Place place_of(unsigned number, bool backwards)
{
    if (backwards)
        number = blockDim.x * blockDim.y - 1 - number;
    return {number % blockDim.x, number / blockDim.x, 0};
}

/* Every thread goes on to the barrier after the last one, in turn, until all are done. */
static void run_together(bool backwards)
{
    static std::vector<Thread> threads(MOST_THREADS);
    const unsigned count = blockDim.x * blockDim.y;
    for (unsigned number = 0; number < count; number++) {
        threads[number].place = place_of(number, backwards);
        threads[number].done = false;
    }
    for (unsigned done = 0; done < count;) {
        done = 0;
        for (unsigned number = 0; number < count; number++) {
            if (!threads[number].done)
                resume(&threads[number]);
            done += threads[number].done;
        }
    }
    running = nullptr;
}

static void run_grid(
    const std::function<void()> &call, const unsigned *grid, const unsigned *block, bool together,
    bool backwards)
{
    body = &call;
    gridDim = {grid[0], 1, 1};
    blockDim = {block[0], block[1], 1};
    for (unsigned number = 0; number < gridDim.x; number++) {
        blockIdx = {backwards ? gridDim.x - 1 - number : number, 0, 0};
        if (together) {
            run_together(backwards);
            continue;
        }
        for (unsigned thread = 0; thread < blockDim.x * blockDim.y; thread++) {
            threadIdx = place_of(thread, backwards);
            call();
        }
    }
}

template <typename... Types, size_t... At>
static void call_with(
    void (*kernel)(Types...), void **arguments, std::index_sequence<At...>)
{
    kernel(*(Types *)arguments[At]...);
}

template <typename... Types> static std::string types_of(void (*)(Types...))
{
    std::string names;
    for (const char *name : {typeid(Types).name()...})
        names += std::string(name) + " ";
    return names;
}

template <typename... Types>
static void run(
    void (*kernel)(Types...), const unsigned *grid, const unsigned *block, void **arguments,
    bool together, bool backwards)
{
    run_grid(
        [&] { call_with(kernel, arguments, std::index_sequence_for<Types...>{}); }, grid, block,
        together, backwards);
}

/* What the stand-in for CuPy calls: the parameters' types, and the kernel itself. */
#define ENTRY(name)                                                                                \
    extern "C" const char *types_##name()                                                          \
    {                                                                                              \
        static const std::string types = types_of(name);                                           \
        return types.c_str();                                                                      \
    }                                                                                              \
    extern "C" void run_##name(                                                                    \
        const unsigned *grid, const unsigned *block, void **arguments, int together, int backwards) \
    {                                                                                              \
        run(name, grid, block, arguments, together, backwards);                                    \
    }
