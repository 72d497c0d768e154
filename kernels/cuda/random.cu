/* Random numbers as a pure function of (seed, stream, step, row, column), and the noise layers.
 *
 * reference.py states which word of which counter a column takes. A thread draws one counter, and
 * writes the columns of its four words, which stand 16 apart; 16 threads write neighbours.
 */
#include "common.h"

struct Words {
    uint32 word[4];
};

/* Ten rounds of Philox4x32. */
DEVICE Words philox(Words given, uint32 low, uint32 high)
{
    uint32 *c = given.word;
    for (int round = 0; round < 10; round++) {
        const uint64 left = (uint64)c[0] * 0xD2511F53u, right = (uint64)c[2] * 0xCD9E8D57u;
        c[0] = (uint32)(right >> 32) ^ c[1] ^ low;
        c[1] = (uint32)right;
        c[2] = (uint32)(left >> 32) ^ c[3] ^ high;
        c[3] = (uint32)left;
        low += 0x9E3779B9u;
        high += 0xBB67AE85u;
    }
    return given;
}

KERNEL(philox4x32, const uint32 *counters, const uint32 *key, uint32 *words, int64 count)
{
    EACH(i, count) {
        Words drawn;
        for (int k = 0; k < 4; k++)
            drawn.word[k] = counters[4 * i + k];
        drawn = philox(drawn, key[0], key[1]);
        for (int k = 0; k < 4; k++)
            words[4 * i + k] = drawn.word[k];
    }
}

/* A counter of a row: its words, and the column of the first one. */
struct Drawn {
    int64 row, column;
    Words words;
};

/* How many counters a row has, where 16 of them serve `width` columns. */
DEVICE int64 row_counters(int64 columns, int64 width)
{
    return (columns + width - 1) / width * 16;
}

/* The counter number `i` of all rows. */
DEVICE Drawn draw(uint64 seed, uint64 stream, uint64 step, int64 i, int64 columns, int64 width)
{
    const int64 row = i / row_counters(columns, width), number = i % row_counters(columns, width);
    const Words counter = {
        {(uint32)number, (uint32)row, (uint32)step, (uint32)((stream << 16) | (step >> 32))}};
    const Drawn drawn = {
        row, number / 16 * width + number % 16,
        philox(counter, (uint32)seed, (uint32)(seed >> 32))};
    return drawn;
}

#define EACH_DRAWN(i, width) EACH(i, rows * row_counters(columns, width))
#define DRAWN(i, width) draw(seed, stream, (uint64)VALUE(step), i, columns, width)

KERNEL(bits,
    uint64 seed, uint64 stream, GIVEN(int64, step), uint32 *out, int64 rows, int64 columns)
{
    EACH_DRAWN(i, 64) {
        const Drawn at = DRAWN(i, 64);
        for (int k = 0; k < 4 && at.column + 16 * k < columns; k++)
            out[at.row * columns + at.column + 16 * k] = at.words.word[k];
    }
}

KERNEL(uniform,
    uint64 seed, uint64 stream, GIVEN(int64, step), real *out, int64 rows, int64 columns)
{
    EACH_DRAWN(i, 64) {
        const Drawn at = DRAWN(i, 64);
        for (int k = 0; k < 4 && at.column + 16 * k < columns; k++)
            out[at.row * columns + at.column + 16 * k] =
                (real)(at.words.word[k] >> 8) * (real)5.9604644775390625e-8;
    }
}

/* out = x + stddev * normal, or stddev * normal where x is NULL; out may be x. Box and Muller: the
 * first two words make two numbers, and the last two. */
KERNEL(gaussian_noise,
    const real *x, real stddev, uint64 seed, uint64 stream, GIVEN(int64, step), real *out,
    int64 rows, int64 columns)
{
    EACH_DRAWN(i, 64) {
        const Drawn at = DRAWN(i, 64);
        for (int k = 0; k < 4; k += 2) {
            const real share =
                ((real)(at.words.word[k] >> 9) + (real)0.5) * (real)1.1920928955078125e-7;
            const real radius = stddev * sqrt(-2 * log(share));
            real sine, cosine;
            const real half_turns = (real)(at.words.word[k + 1] >> 8) * (real)1.1920928955078125e-7;
            sincospi(half_turns, &sine, &cosine);
            for (int half = 0; half < 2; half++) {
                const int64 column = at.column + 16 * (k + half);
                if (column >= columns)
                    break;
                const int64 place = at.row * columns + column;
                const real noise = radius * (half ? sine : cosine);
                out[place] = x ? x[place] + noise : noise;
            }
        }
    }
}

/* A unit is dropped where its 16 bits are below `threshold`. Each word serves two columns, the
 * lower half 16 columns before the upper. */
KERNEL(dropout,
    const real *x, int64 threshold, real scale, uint64 seed, uint64 stream, GIVEN(int64, step),
    real *out, int64 rows, int64 columns)
{
    EACH_DRAWN(i, 128) {
        const Drawn at = DRAWN(i, 128);
        for (int k = 0; k < 8 && at.column + 16 * k < columns; k++) {
            const int64 place = at.row * columns + at.column + 16 * k;
            const uint32 drawn = (at.words.word[k / 2] >> (k % 2 * 16)) & 0xFFFF;
            out[place] = x[place] * (drawn >= threshold ? scale : (real)0);
        }
    }
}
