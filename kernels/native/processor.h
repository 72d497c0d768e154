/* What the processor can do, and the operating system lets it do.
 *
 * Each function asks for all that setup.py lets the compiler use for that instruction set.
 */
#ifndef MLCORE_PROCESSOR_H
#define MLCORE_PROCESSOR_H

#if defined(__x86_64__) && defined(__GNUC__)

static int processor_has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

static int processor_has_avx512(void)
{
    return processor_has_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

#else

static int processor_has_avx2(void)
{
    return 0;
}

static int processor_has_avx512(void)
{
    return 0;
}

#endif
#endif
