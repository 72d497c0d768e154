"""Random numbers as a pure function of (seed, stream, step, row, column), and the noise layers.

`mlcore.kernels.reference` states which word of which counter a column takes; random.h draws.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from "random.h":
    ctypedef struct Stream:
        pass
    enum: BLOCK_WORDS
    enum: DRAWN_WORDS
    Stream open_stream(uint64_t seed, uint64_t stream, uint64_t step) noexcept nogil
    int draw(
        const Stream *stream, Py_ssize_t row, Py_ssize_t first, Py_ssize_t wanted,
        uint32_t *words) noexcept nogil
    void philox_of(
        const uint32_t *counters, const uint32_t *key, uint32_t *words, Py_ssize_t count
    ) noexcept nogil
    void draw_bits(
        const Stream *stream, uint32_t *out, Py_ssize_t out_row, Py_ssize_t first_row,
        Py_ssize_t rows, Py_ssize_t columns) noexcept nogil
    int32_t dropout_threshold(double rate) noexcept nogil
    void uniform_float(
        const Stream *stream, float *out, Py_ssize_t out_row, Py_ssize_t first_row,
        Py_ssize_t rows, Py_ssize_t columns) noexcept nogil
    void uniform_double(
        const Stream *stream, double *out, Py_ssize_t out_row, Py_ssize_t first_row,
        Py_ssize_t rows, Py_ssize_t columns) noexcept nogil
    void gaussian_noise_float(
        const float *x, Py_ssize_t x_row, float stddev, const Stream *stream, float *out,
        Py_ssize_t out_row, Py_ssize_t first_row, Py_ssize_t rows, Py_ssize_t columns
    ) noexcept nogil
    void gaussian_noise_double(
        const double *x, Py_ssize_t x_row, double stddev, const Stream *stream, double *out,
        Py_ssize_t out_row, Py_ssize_t first_row, Py_ssize_t rows, Py_ssize_t columns
    ) noexcept nogil
    void dropout_float(
        const float *x, Py_ssize_t x_row, int32_t threshold, const Stream *stream, float *out,
        Py_ssize_t out_row, Py_ssize_t first_row, Py_ssize_t rows, Py_ssize_t columns
    ) noexcept nogil
    void dropout_double(
        const double *x, Py_ssize_t x_row, int32_t threshold, const Stream *stream, double *out,
        Py_ssize_t out_row, Py_ssize_t first_row, Py_ssize_t rows, Py_ssize_t columns
    ) noexcept nogil


def philox4x32(const uint32_t[:, ::1] counter, const uint32_t[::1] key, uint32_t[:, ::1] words):
    with nogil:
        philox_of(&counter[0, 0], &key[0], &words[0, 0], counter.shape[0])


def bits(uint64_t seed, uint64_t stream, uint64_t step, uint32_t[:, ::1] out):
    cdef Stream opened = open_stream(seed, stream, step)
    with nogil:
        draw_bits(&opened, &out[0, 0], out.shape[1], 0, out.shape[0], out.shape[1])


def uniform(uint64_t seed, uint64_t stream, uint64_t step, real[:, ::1] out):
    cdef Stream opened = open_stream(seed, stream, step)
    cdef Py_ssize_t rows = out.shape[0], columns = out.shape[1]
    with nogil:
        if real is float:
            uniform_float(&opened, &out[0, 0], columns, 0, rows, columns)
        else:
            uniform_double(&opened, &out[0, 0], columns, 0, rows, columns)


cdef inline void add_noise(
    const real *x, Py_ssize_t x_row, real stddev, uint64_t seed, uint64_t stream, uint64_t step,
    real *out, Py_ssize_t out_row, Py_ssize_t first_row, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """out = x + stddev * normal, or stddev * normal where x is NULL; out may be x.

    What stands first in memory is row `first_row` of the random numbers.
    """
    cdef Stream opened = open_stream(seed, stream, step)
    if real is float:
        gaussian_noise_float(
            x, x_row, stddev, &opened, out, out_row, first_row, rows, columns)
    else:
        gaussian_noise_double(
            x, x_row, stddev, &opened, out, out_row, first_row, rows, columns)


cdef inline void drop_out(
    const real *x, Py_ssize_t x_row, double rate, uint64_t seed, uint64_t stream, uint64_t step,
    real *out, Py_ssize_t out_row, Py_ssize_t first_row, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """out = x / (1 - q) where a unit is kept, else zero; out may be x."""
    cdef Stream opened = open_stream(seed, stream, step)
    cdef int32_t threshold = dropout_threshold(rate)
    if real is float:
        dropout_float(x, x_row, threshold, &opened, out, out_row, first_row, rows, columns)
    else:
        dropout_double(x, x_row, threshold, &opened, out, out_row, first_row, rows, columns)


def normal(uint64_t seed, uint64_t stream, uint64_t step, real[:, ::1] out):
    cdef Py_ssize_t rows = out.shape[0], columns = out.shape[1]
    with nogil:
        add_noise[real](
            NULL, 0, 1, seed, stream, step, &out[0, 0], columns, 0, rows, columns)


def gaussian_noise(
    const real[:, ::1] x, double stddev, uint64_t seed, uint64_t stream, uint64_t step,
    real[:, ::1] out
):
    cdef Py_ssize_t rows = x.shape[0], columns = x.shape[1]
    with nogil:
        add_noise(
            &x[0, 0], columns, <real> stddev, seed, stream, step, &out[0, 0], columns, 0, rows,
            columns)


def dropout(
    const real[:, ::1] x, double rate, uint64_t seed, uint64_t stream, uint64_t step,
    real[:, ::1] out
):
    cdef Py_ssize_t rows = x.shape[0], columns = x.shape[1]
    with nogil:
        drop_out(
            &x[0, 0], columns, rate, seed, stream, step, &out[0, 0], columns, 0, rows, columns)


cdef void permute(uint64_t seed, uint64_t epoch, Py_ssize_t size, int64_t *out) noexcept nogil:
    """The order of the samples in an epoch."""
    cdef Stream opened = open_stream(seed, 65535, epoch)
    cdef Py_ssize_t block, start, place
    cdef uint32_t words[DRAWN_WORDS]
    cdef int64_t held, other
    for place in range(size):
        out[place] = place
    for block in range((size - 1) // BLOCK_WORDS, -1, -1):
        start = block * BLOCK_WORDS
        draw(&opened, 0, start, BLOCK_WORDS, words)
        for place in range(min(size - 1, start + BLOCK_WORDS - 1), max(0, start - 1), -1):
            other = (<uint64_t> words[place - start] * <uint64_t> (place + 1)) >> 32
            held = out[place]
            out[place] = out[other]
            out[other] = held


def permutation(uint64_t seed, uint64_t epoch, int64_t[::1] out):
    with nogil:
        permute(seed, epoch, out.shape[0], &out[0])
