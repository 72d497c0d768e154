/* How fast one core can go: the two limits that every kernel is measured against.
 *
 * By definition, one after the other,
 *
 *   for (round = 0; round < rounds; round++)
 *       for (chain = 0; chain < CHAINS; chain++) sum[chain] = sum[chain] * factor + addend;
 *   for (i = 0; i < size; i++) all |= buffer[i];
 *
 * The first does nothing but multiply and add: its chains do not wait for each other, and there
 * are more of them than a core can have in flight (four cycles times two units), yet few enough
 * that they stay in registers where there are sixteen. The second does nothing but read.
 */
#ifndef MLCORE_PEAK_H
#define MLCORE_PEAK_H

#include "vector.h"

/* The compiler may neither work the value out beforehand nor leave the loop out. */
#if defined(__x86_64__) || defined(__i386__)
#define KEEP(vector) __asm__ volatile("" : "+v"(vector))
#elif defined(__aarch64__)
#define KEEP(vector) __asm__ volatile("" : "+w"(vector))
#else
#define KEEP(vector) __asm__ volatile("" : "+m"(vector))
#endif

/* Named variables, not an array: compilers keep an array on the stack here. */
#define EACH_STREAM(DO, type) DO(type, a) DO(type, b) DO(type, c) DO(type, d)                      \
                              DO(type, e) DO(type, f) DO(type, g) DO(type, h)
#define EACH_CHAIN(DO, type) EACH_STREAM(DO, type) DO(type, i) DO(type, j) DO(type, k) DO(type, l)
enum { STREAMS = 8, CHAINS = 12 };

/* The chains run into 1 / (1 - factor), and so neither overflow nor become denormal. */
#define START_CHAIN(type, name) type name = addend;
#define MULTIPLY_ADD(type, name) name = name * factor + addend; KEEP(name);
#define DEFINE_MULTIPLY_ADD(element)                                                               \
    static void multiply_add_##element(ptrdiff_t rounds)                                           \
    {                                                                                              \
        v_##element factor = (v_##element){0} + (element)0.5;                                      \
        v_##element addend = (v_##element){0} + (element)1;                                        \
        KEEP(factor);                                                                              \
        KEEP(addend);                                                                              \
        EACH_CHAIN(START_CHAIN, v_##element)                                                       \
        for (ptrdiff_t round = 0; round < rounds; round++) { EACH_CHAIN(MULTIPLY_ADD, ) }          \
    }

DEFINE_MULTIPLY_ADD(float)
DEFINE_MULTIPLY_ADD(double)

/* Reads whole turns of STREAMS vectors, and leaves what is beyond them; returns the bytes read. */
#define START_STREAM(type, name) type name = {0};
#define READ(type, name) name |= *(const type##_u *)word; KEEP(name); word += DOUBLES;
static ptrdiff_t read_all(const double *buffer, ptrdiff_t size)
{
    const ptrdiff_t whole = size - size % (STREAMS * DOUBLES);
    const double *word = buffer;
    EACH_STREAM(START_STREAM, v_uint64)
    while (word < buffer + whole) { EACH_STREAM(READ, v_uint64) }
    return whole * (ptrdiff_t)sizeof(double);
}

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#endif
