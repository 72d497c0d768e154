/* Batch and layer normalization of one group of samples across the lanes; see lanes.h.
 *
 * A sample is [positions][channels]. Batch normalization takes its moments over all samples and
 * positions: a group's mean and sum of squared deviations (`moments`), which `join_moments` puts
 * together as Chan, Golub and LeVeque (1979) do, so that nothing large is subtracted from anything
 * large. Backward needs two sums a channel, which are taken likewise.
 */
#ifndef MLCORE_NORMALIZATION_H
#define MLCORE_NORMALIZATION_H

#include "activations.h"
#include "lanes.h"

enum {
    /* Sums of so many channels are kept in registers at once. */
    ABREAST = 8,
    /* Vectors that stay in the first-level cache until the activation comes to them. */
    AT_HAND = 128
};

#define BODY "normalization.h"
#include "precisions.h"

#elif defined(real)

/* moments[c] = mean, moments[channels + c] = sum of (x - mean)**2, of a group's samples. The sum
 * of what is left when a first mean is taken off says by how much that one was rounded. */
static void NAME(moments)(
    const real *x, ptrdiff_t samples, ptrdiff_t positions, ptrdiff_t channels, double *moments)
{
    const ivec used = NAME(lanes_with_samples)(samples);
    const double count = (double)positions * (double)smaller_of(samples, LANES);
    for (ptrdiff_t c = 0; c < channels; c += ABREAST) {
        const ptrdiff_t abreast = smaller_of(ABREAST, channels - c);
        vec sum[ABREAST] = {{0}}, squares[ABREAST] = {{0}};
        real mean[ABREAST];
        for (ptrdiff_t m = 0; m < positions; m++)
            for (ptrdiff_t i = 0; i < abreast; i++)
                sum[i] += *(const vec_u *)(x + (m * channels + c + i) * LANES);
        for (ptrdiff_t i = 0; i < abreast; i++) {
            mean[i] = (real)((double)NAME(total)((vec)(used & (ivec)sum[i])) / count);
            sum[i] = (vec){0};
        }
        for (ptrdiff_t m = 0; m < positions; m++)
            for (ptrdiff_t i = 0; i < abreast; i++) {
                const vec apart = *(const vec_u *)(x + (m * channels + c + i) * LANES) - mean[i];
                sum[i] += apart;
                squares[i] += apart * apart;
            }
        for (ptrdiff_t i = 0; i < abreast; i++) {
            double left = (double)NAME(total)((vec)(used & (ivec)sum[i])) / count;
            if (!isfinite(left))
                left = 0;
            moments[c + i] = (double)mean[i] + left;
            moments[channels + c + i] =
                (double)NAME(total)((vec)(used & (ivec)squares[i])) - left * left * count;
        }
    }
}

/* Mean and 1 / sqrt(variance + epsilon) of all groups' samples, for channels first..last-1, and
 * running averages where they are wanted. `partial` holds `size` numbers a group. */
static void NAME(join_moments)(
    const double *partial, ptrdiff_t size, ptrdiff_t samples, ptrdiff_t positions,
    ptrdiff_t channels, double momentum, double epsilon, real *running_mean,
    real *running_variance, real *mean, real *inverse, ptrdiff_t first, ptrdiff_t last)
{
    for (ptrdiff_t c = first; c < last; c++) {
        double middle = 0, squares = 0, counted = 0;
        for (ptrdiff_t done = 0; done < samples; done += LANES) {
            const double *group = partial + done / LANES * size;
            const double count = (double)positions * (double)smaller_of(LANES, samples - done);
            const double apart = group[c] - middle, share = count / (counted + count);
            /* The difference of equal infinities is no number. */
            middle += isinf(middle) ? group[c] : apart * share;
            squares += group[channels + c] + apart * apart * share * counted;
            counted += count;
        }
        const double variance = counted > 0 ? squares / counted : 0;
        mean[c] = (real)middle;
        inverse[c] = (real)(1 / __builtin_sqrt(variance + epsilon));
        if (running_mean) {
            running_mean[c] = (real)(momentum * running_mean[c] + (1 - momentum) * middle);
            running_variance[c] = (real)(momentum * running_variance[c] + (1 - momentum) * variance);
        }
    }
}

/* inverse = 1 / sqrt(variance + epsilon), for channels first..last-1. */
static void NAME(invert_roots)(
    const real *variance, double epsilon, real *inverse, ptrdiff_t first, ptrdiff_t last)
{
    for (ptrdiff_t c = first; c < last; c++)
        inverse[c] = (real)(1 / __builtin_sqrt((double)variance[c] + epsilon));
}

/* out = activation((x - mean) * inverse * gamma + beta), and `pre` before the activation; gamma, beta
 * and pre may be NULL. So many positions at a time that they are still at hand for the activation. */
static void NAME(normalize)(
    const real *x, ptrdiff_t positions, ptrdiff_t channels, const real *mean, const real *inverse,
    const real *gamma, const real *beta, int code, real parameter, real *pre, real *out)
{
    const ptrdiff_t abreast = larger_of(1, AT_HAND / channels), position = channels * LANES;
    real *z = pre ? pre : out;
    for (ptrdiff_t m = 0; m < positions; m += abreast) {
        const ptrdiff_t row = smaller_of(abreast, positions - m) * position;
        for (ptrdiff_t done = 0; done < row; done += position)
            for (ptrdiff_t c = 0; c < channels; c++, x += LANES) {
                const vec apart = (*(const vec_u *)x - mean[c]) * inverse[c];
                *(vec_u *)(z + done + c * LANES) =
                    apart * (gamma ? gamma[c] : 1) + (beta ? beta[c] : 0);
            }
        if (code != IDENTITY || pre)
            NAME(activate)(code, parameter, z, row, out, row, 1, row);
        z += row;
        out += row;
    }
}

/* sums[c] = sum of grad, sums[channels + c] = sum of grad * (x - mean) * inverse. */
static void NAME(normalize_sums)(
    const real *grad, const real *x, ptrdiff_t positions, ptrdiff_t channels, const real *mean,
    const real *inverse, double *sums)
{
    for (ptrdiff_t c = 0; c < channels; c += ABREAST) {
        const ptrdiff_t abreast = smaller_of(ABREAST, channels - c);
        vec plain[ABREAST] = {{0}}, along[ABREAST] = {{0}};
        for (ptrdiff_t m = 0; m < positions; m++)
            for (ptrdiff_t i = 0; i < abreast; i++) {
                const ptrdiff_t at = (m * channels + c + i) * LANES;
                const vec slope = *(const vec_u *)(grad + at);
                plain[i] += slope;
                along[i] += slope * ((*(const vec_u *)(x + at) - mean[c + i]) * inverse[c + i]);
            }
        for (ptrdiff_t i = 0; i < abreast; i++) {
            sums[c + i] = NAME(total)(plain[i]);
            sums[channels + c + i] = NAME(total)(along[i]);
        }
    }
}

/* Adds up the groups' sums, `size` numbers a group, for channels first..last-1: dgamma and dbeta
 * where they are wanted, and `means`, the sums over the count, [2][channels]. */
static void NAME(join_sums)(
    const double *partial, ptrdiff_t size, ptrdiff_t samples, ptrdiff_t positions,
    ptrdiff_t channels, real *dgamma, real *dbeta, real *means, ptrdiff_t first, ptrdiff_t last)
{
    const double count = larger_of(1, samples * positions);
    for (ptrdiff_t c = first; c < last; c++) {
        double plain = 0, along = 0;
        for (ptrdiff_t done = 0; done < samples; done += LANES) {
            plain += partial[done / LANES * size + c];
            along += partial[done / LANES * size + channels + c];
        }
        if (dgamma)
            dgamma[c] = (real)along;
        if (dbeta)
            dbeta[c] = (real)plain;
        if (means) {
            means[c] = (real)(plain / count);
            means[channels + c] = (real)(along / count);
        }
    }
}

/* dx = gamma * inverse * (grad - means[c] - (x - mean) * inverse * means[channels + c]), and zero
 * in lanes without a sample; without `means`, mean and inverse do not depend on x. */
static void NAME(normalize_backward)(
    const real *grad, const real *x, ptrdiff_t samples, ptrdiff_t positions, ptrdiff_t channels,
    const real *gamma, const real *mean, const real *inverse, const real *means, real *dx)
{
    const ivec real_lanes = NAME(lanes_with_samples)(samples);
    for (ptrdiff_t m = 0; m < positions; m++)
        for (ptrdiff_t c = 0; c < channels; c++, grad += LANES, x += LANES, dx += LANES) {
            const real scale = gamma ? gamma[c] * inverse[c] : inverse[c];
            vec slope = *(const vec_u *)grad;
            if (means)
                slope -= means[c]
                    + (*(const vec_u *)x - mean[c]) * inverse[c] * means[channels + c];
            *(vec_u *)dx = (vec)(real_lanes & (ivec)(slope * scale));
        }
}

/* Normalizes each position over its channels; mean and inverse are [positions][LANES]. */
static void NAME(layer_norm)(
    const real *x, ptrdiff_t positions, ptrdiff_t channels, const real *gamma, const real *beta,
    real epsilon, real *mean, real *inverse, real *out)
{
    const real share = 1 / (real)channels;
    for (ptrdiff_t m = 0; m < positions; m++) {
        vec sum = {0}, squares = {0};
        for (ptrdiff_t c = 0; c < channels; c++)
            sum += *(const vec_u *)(x + c * LANES);
        const vec middle = sum * share;
        for (ptrdiff_t c = 0; c < channels; c++) {
            const vec apart = *(const vec_u *)(x + c * LANES) - middle;
            squares += apart * apart;
        }
        const vec scale = 1 / NAME(sqrt)(squares * share + epsilon);
        *(vec_u *)(mean + m * LANES) = middle;
        *(vec_u *)(inverse + m * LANES) = scale;
        for (ptrdiff_t c = 0; c < channels; c++, x += LANES, out += LANES) {
            const vec apart = (*(const vec_u *)x - middle) * scale;
            *(vec_u *)out = apart * (gamma ? gamma[c] : 1) + (beta ? beta[c] : 0);
        }
    }
}

/* dx, and the group's part of dgamma and dbeta, each where it is not NULL; `sums` has room for
 * [2][channels][LANES]. */
static void NAME(layer_norm_backward)(
    const real *grad, const real *x, ptrdiff_t positions, ptrdiff_t channels, const real *gamma,
    const real *mean, const real *inverse, real *sums, real *dgamma, real *dbeta, real *dx)
{
    const real share = 1 / (real)channels;
    memset(sums, 0, 2 * channels * LANES * sizeof(real));
    for (ptrdiff_t m = 0; m < positions; m++, grad += channels * LANES, x += channels * LANES) {
        const vec middle = *(const vec_u *)(mean + m * LANES);
        const vec scale = *(const vec_u *)(inverse + m * LANES);
        vec plain = {0}, along = {0};
        for (ptrdiff_t c = 0; c < channels; c++) {
            const vec slope = *(const vec_u *)(grad + c * LANES);
            const vec apart = (*(const vec_u *)(x + c * LANES) - middle) * scale;
            const vec scaled = slope * (gamma ? gamma[c] : 1);
            plain += scaled;
            along += scaled * apart;
            *(vec_u *)(sums + c * LANES) += slope * apart;
            *(vec_u *)(sums + (channels + c) * LANES) += slope;
        }
        for (ptrdiff_t c = 0; dx && c < channels; c++, dx += LANES) {
            const vec apart = (*(const vec_u *)(x + c * LANES) - middle) * scale;
            const vec scaled = *(const vec_u *)(grad + c * LANES) * (gamma ? gamma[c] : 1);
            *(vec_u *)dx = scale * (scaled - share * plain - apart * (share * along));
        }
    }
    for (ptrdiff_t c = 0; c < channels; c++) {
        if (dgamma)
            dgamma[c] = NAME(total)(*(const vec_u *)(sums + c * LANES));
        if (dbeta)
            dbeta[c] = NAME(total)(*(const vec_u *)(sums + (channels + c) * LANES));
    }
}

#endif
