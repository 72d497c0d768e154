/* Random numbers as a pure function of (seed, stream, step, row, column), and the noise layers.
 *
 * `mlcore.kernels.reference` states which word of which counter a column takes. Philox runs in
 * 64-bit lanes, a counter in each: only the lower half of a lane counts, and what stands in the
 * upper half is never cleaned away. Two vectors, one with the even and one with the odd counters,
 * then make vectors of 32-bit words, neighbours beside each other.
 */
#ifndef MLCORE_RANDOM_H
#define MLCORE_RANDOM_H

#include "functions.h"

enum { PHILOX_ROUNDS = 10 };

/* The two halves of the key in each round, each in a lane of its own: a vector instruction reads
 * it from memory into all of its lanes. */
typedef struct {
    uint64_t low[PHILOX_ROUNDS], high[PHILOX_ROUNDS];
} Keys;

static inline Keys round_keys(uint32_t low, uint32_t high)
{
    Keys keys;
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        keys.low[round] = low;
        keys.high[round] = high;
        low += 0x9E3779B9;
        high += 0xBB67AE85;
    }
    return keys;
}

/* Ten rounds of Philox4x32 on the four words of each lane. */
INLINE void philox(v_uint64 words[4], const Keys *keys)
{
#pragma GCC unroll 10
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        const v_uint64 left = wide_product(words[0], 0xD2511F53);
        const v_uint64 right = wide_product(words[2], 0xCD9E8D57);
        words[0] = (right >> 32) ^ words[1] ^ keys->low[round];
        words[1] = right;
        words[2] = (left >> 32) ^ words[3] ^ keys->high[round];
        words[3] = left;
    }
}

/* Philox of `count` counters of four words each. */
static inline void philox_of(
    const uint32_t *counters, const uint32_t *key, uint32_t *words, ptrdiff_t count)
{
    const Keys keys = round_keys(key[0], key[1]);
    for (ptrdiff_t i = 0; i < count; i += DOUBLES) {
        v_uint64 lanes[4] = {{0}};
        for (int lane = 0; lane < DOUBLES && i + lane < count; lane++)
            for (int word = 0; word < 4; word++)
                lanes[word][lane] = counters[4 * (i + lane) + word];
        philox(lanes, &keys);
        for (int lane = 0; lane < DOUBLES && i + lane < count; lane++)
            for (int word = 0; word < 4; word++)
                words[4 * (i + lane) + word] = (uint32_t)lanes[word][lane];
    }
}

/* What the random numbers of a whole call have in common. */
typedef struct {
    Keys keys;
    uint32_t step, tag;
} Stream;

static inline Stream open_stream(uint64_t seed, uint64_t stream, uint64_t step)
{
    return (Stream){
        .keys = round_keys((uint32_t)seed, (uint32_t)(seed >> 32)), .step = (uint32_t)step,
        .tag = (uint32_t)((stream << 16) | (step >> 32))};
}

/* A block is 16 counters: their first words, their second words, and so on. */
enum { BLOCK_COUNTERS = 16, BLOCK_WORDS = 64, DRAWN_WORDS = 2 * BLOCK_WORDS };
typedef uint32_t Words[DRAWN_WORDS] __attribute__((aligned(VECTOR_BYTES)));

/* Draws a row's words from number `first` on, which is where a block begins: one block, or two
 * where more are wanted. Gives the number of words drawn. */
INLINE int draw(
    const Stream *stream, ptrdiff_t row, ptrdiff_t first, ptrdiff_t wanted, uint32_t *words)
{
    const int blocks = wanted > BLOCK_WORDS ? 2 : 1;
    v_uint64 even;
    for (int lane = 0; lane < DOUBLES; lane++)
        even[lane] = 2 * lane;
    for (int at = 0; at < blocks * BLOCK_COUNTERS; at += FLOATS) {
        v_uint64 lanes[2][4];
#pragma GCC unroll 2
        for (int odd = 0; odd < 2; odd++) {
            lanes[odd][0] = even + (uint64_t)(first / 4 + at + odd);
            lanes[odd][1] = (v_uint64){0} + (uint32_t)row;
            lanes[odd][2] = (v_uint64){0} + stream->step;
            lanes[odd][3] = (v_uint64){0} + stream->tag;
            philox(lanes[odd], &stream->keys);
        }
        uint32_t *start = words + at / BLOCK_COUNTERS * BLOCK_WORDS + at % BLOCK_COUNTERS;
#pragma GCC unroll 4
        for (int word = 0; word < 4; word++)
            *(v_uint64_u *)(start + word * BLOCK_COUNTERS) =
                (lanes[0][word] & 0xFFFFFFFF) | (lanes[1][word] << 32);
    }
    return blocks * BLOCK_WORDS;
}

static inline void draw_bits(
    const Stream *stream, uint32_t *out, ptrdiff_t out_row, ptrdiff_t first_row,
    ptrdiff_t rows, ptrdiff_t columns)
{
    Words words;
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j += DRAWN_WORDS) {
            const ptrdiff_t left = columns - j;
            const int drawn = draw(stream, first_row + i, j, left, words);
            const size_t taken = left < drawn ? left : drawn;
            memcpy(out + i * out_row + j, words, taken * sizeof *words);
        }
}

/* The 16-bit number below which a unit is dropped; never all of them. */
static inline int32_t dropout_threshold(double rate)
{
    const double rounded = nearbyint(rate * 65536);
    return rounded < 65535 ? (int32_t)rounded : 65535;
}

#define BODY "random.h"
#include "precisions.h"

#elif defined(real)

/* What is left of neighbouring words without their lowest bits. */
INLINE vec NAME(upper_bits)(const uint32_t *words, const int without)
{
    return __builtin_convertvector((word_ivec)(*(const word_uvec_u *)words >> without), vec);
}

static inline void NAME(uniform)(
    const Stream *stream, real *out, ptrdiff_t out_row, ptrdiff_t first_row, ptrdiff_t rows,
    ptrdiff_t columns)
{
    Words words;
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j += DRAWN_WORDS) {
            const ptrdiff_t left = columns - j;
            const int drawn = draw(stream, first_row + i, j, left, words);
            for (int at = 0; at < drawn && at < left; at += LANES) {
                const vec number = NAME(upper_bits)(words + at, 8) * (real)0x1p-24;
                NAME(store)(out + i * out_row + j + at, left - at, number);
            }
        }
}

/* Box and Muller: the normal numbers of one vector of pairs of words. */
INLINE void NAME(normal_pair)(const uint32_t *pair, real stddev, vec *first, vec *second)
{
    const vec share = (NAME(upper_bits)(pair, 9) + (real)0.5) * (real)0x1p-23;
    const vec radius = stddev * NAME(sqrt)(-2 * NAME(log_of_normal)(share));
    const vec turn = NAME(upper_bits)(pair + BLOCK_COUNTERS, 8) * (real)0x1p-24;
    vec sine, cosine;
    NAME(sine_and_cosine)(turn, &sine, &cosine);
    *first = radius * cosine;
    *second = radius * sine;
}

INLINE void NAME(store_noise)(const real *x, real *out, ptrdiff_t left, vec noise)
{
    if (left <= 0)
        return;
    if (x)
        noise += NAME(load)(x, left);
    NAME(store)(out, left, noise);
}

/* out = x + stddev * normal, or stddev * normal where x is NULL; out may be x. */
static inline void NAME(gaussian_noise)(
    const real *x, ptrdiff_t x_row, real stddev, const Stream *stream, real *out,
    ptrdiff_t out_row, ptrdiff_t first_row, ptrdiff_t rows, ptrdiff_t columns)
{
    Words words;
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j += DRAWN_WORDS) {
            const ptrdiff_t left = columns - j;
            const int drawn = draw(stream, first_row + i, j, left, words);
            const real *from = x ? x + i * x_row + j : NULL;
            real *to = out + i * out_row + j;
            for (int pair = 0; pair < drawn && pair < left; pair += 2 * BLOCK_COUNTERS)
                for (int lane = 0; lane < BLOCK_COUNTERS; lane += LANES) {
                    const int near = pair + lane, far = near + BLOCK_COUNTERS;
                    vec first, second;
                    NAME(normal_pair)(words + near, stddev, &first, &second);
                    NAME(store_noise)(x ? from + near : NULL, to + near, left - near, first);
                    NAME(store_noise)(x ? from + far : NULL, to + far, left - far, second);
                }
        }
}

INLINE void NAME(store_kept)(
    const real *x, real *out, ptrdiff_t left, word_ivec drawn, int32_t threshold, real scale)
{
    if (left <= 0)
        return;
    const ivec dropped = __builtin_convertvector(drawn < threshold, ivec);
    const vec factor = NAME(zero_where)(dropped, NAME(fill)(scale));
    NAME(store)(out, left, NAME(load)(x, left) * factor);
}

/* `threshold` is what dropout_threshold gives; out may be x. */
static inline void NAME(dropout)(
    const real *x, ptrdiff_t x_row, int32_t threshold, const Stream *stream, real *out,
    ptrdiff_t out_row, ptrdiff_t first_row, ptrdiff_t rows, ptrdiff_t columns)
{
    const real scale = (real)(65536.0 / (65536 - threshold));
    Words words;
    for (ptrdiff_t i = 0; i < rows; i++)
        /* Each word serves two columns, the lower half 16 columns before the upper. */
        for (ptrdiff_t j = 0; j < columns; j += 2 * DRAWN_WORDS) {
            const int drawn = draw(stream, first_row + i, j / 2, (columns - j + 1) / 2, words);
            for (int at = 0; at < drawn; at += LANES) {
                const word_uvec both = *(const word_uvec_u *)(words + at);
                const ptrdiff_t place = j + 2 * at - at % BLOCK_COUNTERS;
                NAME(store_kept)(
                    x + i * x_row + place, out + i * out_row + place, columns - place,
                    (word_ivec)(both & 0xFFFF), threshold, scale);
                NAME(store_kept)(
                    x + i * x_row + place + BLOCK_COUNTERS,
                    out + i * out_row + place + BLOCK_COUNTERS, columns - place - BLOCK_COUNTERS,
                    (word_ivec)(both >> 16), threshold, scale);
            }
        }
}

#endif
