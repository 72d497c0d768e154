/* The functions of libm that the kernels need, a vector at a time.
 *
 * Each argument is brought into a short interval, where a polynomial does. The polynomials were
 * fitted to the least largest relative error (Remez), which is below a quarter of a unit in the
 * last place. Special values go in and come out as in C: NaN stays NaN. Results that would be
 * denormal may come out as zero.
 */
#ifndef MLCORE_FUNCTIONS_H
#define MLCORE_FUNCTIONS_H

#include "vector.h"

#define BODY "functions.h"
#include "precisions.h"

#elif defined(real)

/* The bits of a number: sign, exponent, MANTISSA bits. Adding ROUND, which is 1.5 * 2**MANTISSA,
 * rounds to an integer, and leaves that integer in the lower bits. */
#define MANTISSA (SINGLE ? 23 : 52)
#define ROUND ((real)(SINGLE ? 12582912.0 : 6755399441055744.0))
#define LARGEST ((real)(SINGLE ? 3.40282346638528860e+38 : 1.79769313486231571e+308))
#define SMALLEST_NORMAL ((real)(SINGLE ? 1.17549435082228751e-38 : 2.22507385850720138e-308))

/* The natural logarithm of two in two parts; small integers times the first are exact. */
#define LOG_2_HIGH ((real)(SINGLE ? 6.9313812256e-01 : 6.93147180369123816490e-01))
#define LOG_2_LOW ((real)(SINGLE ? 9.0580006145e-06 : 1.90821492927058770002e-10))

/* (exp(r) - 1 - r) / r**2 for |r| up to log(2) / 2. */
static const real NAME(EXP)[] = {
#if SINGLE
    0.5000000062, 0.166665428, 0.04166628153, 0.008366610433, 0.001394648922,
#else
    0.500000000000000557, 0.16666666666666686, 0.0416666666665733269, 0.00833333333331457443,
    0.00138888889324838135, 0.000198412699030852183, 0.0000248015043123276383,
    2.75572278940042763e-6, 2.76263822094515185e-7, 2.51144952469506529e-8,
#endif
};

/* (log((1 + s) / (1 - s)) - 2 * s) / s**3, in s**2, for (1 + s) / (1 - s) up to sqrt(2). */
static const real NAME(LOG)[] = {
#if SINGLE
    0.6666677672, 0.3997749542, 0.2987307694,
#else
    0.66666666666667349, 0.399999999994110761, 0.285714287432635602, 0.222221984760854858,
    0.181835697275390764, 0.15313903698050436, 0.147975021179831903,
#endif
};

/* erf(x) / x, in x**2, for |x| up to 1. */
static const real NAME(ERF)[] = {
#if SINGLE
    1.128379166, -0.3761262582, 0.1128358515, -0.02685381196, 0.005188327758, -0.0008010194243,
    7.853863091e-5,
#else
    1.12837916709551257, -0.376126389031835195, 0.112837916709441844, -0.0268661706431114317,
    0.00522397760611830219, -0.00085483259293114713, 0.000120552935769395056,
    -0.0000149247123047568151, 1.64471316247336885e-6, -1.62063142851308316e-7,
    1.37109830677663764e-8, -7.77947402816790729e-10,
#endif
};

/* exp(x**2) * (1 - erf(x)), in 1 / (x + 2), for x from 1 to where erf(x) rounds to 1. */
static const real NAME(ERF_TAIL)[] = {
#if SINGLE
    0.001822482849, 0.5194012095, 1.587208412, -0.5156854044, 10.18688103, -7.385653893,
#else
    0.000028565040006103905, 0.562944143511457419, 1.15287342956494105, 1.68899371442736889,
    5.00026936212040028, -8.58287652610172826, 38.815154978637245, -92.1604640036393882,
    73.1620360035307954, 40.4118262040071604, -103.18151826096892, 50.0093133463378773,
#endif
};

/* sin(2 * pi * r) / r and (cos(2 * pi * r) - 1) / r**2, in r**2, for |r| up to 1/8. */
static const real NAME(SINE)[] = {
#if SINGLE
    6.283185287, -41.34166145, 81.59235354, -75.39356288,
#else
    6.28318530717958646, -41.3417022403996315, 81.6052492759445096, -76.7058597033153239,
    42.0586849020958713, -15.0937975083495726, 3.78072625103195963,
#endif
};
static const real NAME(COSINE)[] = {
#if SINGLE
    -19.73920869, 64.93932647, -85.44374144, 59.24595489,
#else
    -19.7392088021787171, 64.9393940226680134, -85.4568172065400485, 60.2446413316109591,
    -26.4262511403553526, 7.90310163430284533, -1.69702000935720818,
#endif
};

INLINE vec NAME(polynomial)(vec x, const real *coefficients, const int count)
{
    vec sum = NAME(fill)(coefficients[count - 1]);
#pragma GCC unroll 16
    for (int i = count - 2; i >= 0; i--)
        sum = sum * x + coefficients[i];
    return sum;
}

#define POLYNOMIAL(x, of) NAME(polynomial)(x, NAME(of), sizeof NAME(of) / sizeof *NAME(of))

/* Gives r with x = n * log(2) + r and |r| up to log(2) / 2, and n in the bits of `shifted`. */
INLINE vec NAME(without_powers_of_two)(vec x, vec *shifted)
{
    *shifted = x * (real)1.44269504088896341 + ROUND;
    const vec n = *shifted - ROUND;
    return (x - n * LOG_2_HIGH) - n * LOG_2_LOW;
}

INLINE vec NAME(exp)(vec x)
{
    const real above = SINGLE ? 88.72283 : 709.782712893384;
    const real below = SINGLE ? -87.33654 : -708.396418532264;
    vec shifted;
    const vec r = NAME(without_powers_of_two)(x, &shifted);
    const vec power = 1 + (r + r * r * POLYNOMIAL(r, EXP));
    const vec scaled = (vec)((uvec)power + ((uvec)shifted << MANTISSA));
    /* Infinity above the range, and NaN where nothing compares. */
    const vec result = NAME(select)(x <= above, scaled, x * LARGEST);
    return NAME(zero_where)(x < below, result);
}

/* exp(x) - 1, with all its digits near zero, where that is not too large a number. */
INLINE vec NAME(expm1_in_range)(vec x)
{
    vec shifted;
    /* From here down the result rounds to -1. */
    const vec raised = NAME(larger)(NAME(fill)(SINGLE ? -20 : -40), x);
    const vec r = NAME(without_powers_of_two)(raised, &shifted);
    const vec power = r + r * r * POLYNOMIAL(r, EXP);
    /* Half of 2**n, since 2**n itself may be too large by one bit. */
    const vec half = (vec)((uvec)NAME(fill)((real)0.5) + ((uvec)shifted << MANTISSA));
    return 2 * (half * power + (half - (real)0.5));
}

INLINE vec NAME(expm1)(vec x)
{
    const real above = SINGLE ? 88.72283 : 709.782712893384;
    return NAME(select)(x <= above, NAME(expm1_in_range)(x), x * LARGEST);
}

/* log(x) for normal numbers above zero. */
INLINE vec NAME(log_of_normal)(vec x)
{
    const uvec one = (uvec)NAME(fill)(1);
    const uvec root_half = (uvec)NAME(fill)((real)0.70710678118654752);
    const uvec place = (uvec)x - root_half + one;
    const real bias = SINGLE ? 127 : 1023;
    const vec n = (vec)((uvec)NAME(fill)(ROUND) + (place >> MANTISSA)) - (ROUND + bias);
    const uvec fraction = ~(~(uvec){0} << MANTISSA);
    const vec f = (vec)((place & fraction) + root_half) - 1;
    const vec s = f / (2 + f);
    const vec z = s * s;
    const vec half_square = (real)0.5 * f * f;
    const vec rest = s * (half_square + z * POLYNOMIAL(z, LOG)) + n * LOG_2_LOW;
    return n * LOG_2_HIGH + (f - (half_square - rest));
}

/* The logarithm of what is not between zero and infinity. */
INLINE vec NAME(log_outside)(vec x)
{
    const vec or_nan = NAME(select)(x < 0, NAME(fill)(NAN), x);
    return NAME(select)(x == 0, NAME(fill)(-INFINITY), or_nan);
}

INLINE vec NAME(log)(vec x)
{
    const real lift = SINGLE ? 33554432.0 : 18014398509481984.0;
    const real log_of_lift = SINGLE ? 17.3286795 : 37.4299477502370479;
    const ivec denormal = x < SMALLEST_NORMAL;
    const vec found = NAME(log_of_normal)(NAME(select)(denormal, x * lift, x)) -
                      NAME(zero_where)(~denormal, NAME(fill)(log_of_lift));
    return NAME(select)((x > 0) & (x < INFINITY), found, NAME(log_outside)(x));
}

/* log(1 + x), with all its digits near zero. */
INLINE vec NAME(log1p)(vec x)
{
    const vec sum = 1 + x;
    /* What the sum rounded away. */
    const vec lost = NAME(select)(sum > 2, 1 - (sum - x), x - (sum - 1));
    const vec found = NAME(log_of_normal)(sum) + lost / sum;
    return NAME(select)((sum > 0) & (sum < INFINITY), found, NAME(log_outside)(sum));
}

/* 1 / (1 + exp(-x)). */
INLINE vec NAME(logistic)(vec x)
{
    return 1 / (1 + NAME(exp)(-x));
}

INLINE vec NAME(tanh)(vec x)
{
    const vec less = NAME(expm1_in_range)(-2 * NAME(magnitude)(x));
    return NAME(with_sign_of)(less / (2 + less), x);
}

INLINE vec NAME(erf)(vec x)
{
    const vec size = NAME(smaller)(NAME(fill)(SINGLE ? 4 : 6), NAME(magnitude)(x));
    const vec square = size * size;
    const vec inner = size * POLYNOMIAL(square, ERF);
    const vec tail = POLYNOMIAL(1 / (2 + size), ERF_TAIL);
    const vec outer = 1 - NAME(exp)(-square) * tail;
    return NAME(with_sign_of)(NAME(select)(size > 1, outer, inner), x);
}

/* The sine and the cosine of 2 * pi * turn, for |turn| up to a million. */
INLINE void NAME(sine_and_cosine)(vec turn, vec *sine, vec *cosine)
{
    const vec shifted = 4 * turn + ROUND;
    const ivec quarter = (ivec)shifted;
    const vec r = turn - (real)0.25 * (shifted - ROUND);
    const vec z = r * r;
    const vec s = r * POLYNOMIAL(z, SINE);
    const vec c = 1 + z * POLYNOMIAL(z, COSINE);
    const int last = 8 * sizeof(real) - 1;
    const ivec odd = (quarter & 1) != 0;
    const ivec sine_sign = (ivec)((uvec)(quarter & 2) << (last - 1));
    const ivec cosine_sign = (ivec)((uvec)((quarter + 1) & 2) << (last - 1));
    *sine = (vec)((ivec)NAME(select)(odd, c, s) ^ sine_sign);
    *cosine = (vec)((ivec)NAME(select)(odd, s, c) ^ cosine_sign);
}

#undef MANTISSA
#undef ROUND
#undef LARGEST
#undef SMALLEST_NORMAL
#undef LOG_2_HIGH
#undef LOG_2_LOW
#undef POLYNOMIAL

#endif
