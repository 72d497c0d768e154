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


cdef Outcome philox4x32(const Argument *given, const real *like) noexcept nogil:
    cdef const uint32_t *counter = <const uint32_t *> given[0].at
    cdef const uint32_t *key = <const uint32_t *> given[1].at
    cdef uint32_t *words = <uint32_t *> given[2].at
    philox_of(counter, key, words, given[0].shape[0])
    return DONE


cdef Outcome bits(const Argument *given, const real *like) noexcept nogil:
    cdef uint64_t seed = given[0].whole, stream = given[1].whole, step = given[2].whole
    cdef uint32_t *out = <uint32_t *> given[3].at
    cdef Py_ssize_t rows = given[3].shape[0], columns = given[3].shape[1]
    cdef Stream opened = open_stream(seed, stream, step)
    draw_bits(&opened, out, columns, 0, rows, columns)
    return DONE


cdef Outcome uniform(const Argument *given, const real *like) noexcept nogil:
    cdef uint64_t seed = given[0].whole, stream = given[1].whole, step = given[2].whole
    cdef real *out = <real *> given[3].at
    cdef Py_ssize_t rows = given[3].shape[0], columns = given[3].shape[1]
    cdef Stream opened = open_stream(seed, stream, step)
    if real is float:
        uniform_float(&opened, out, columns, 0, rows, columns)
    else:
        uniform_double(&opened, out, columns, 0, rows, columns)
    return DONE


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


cdef Outcome normal(const Argument *given, const real *like) noexcept nogil:
    cdef uint64_t seed = given[0].whole, stream = given[1].whole, step = given[2].whole
    cdef real *out = <real *> given[3].at
    cdef Py_ssize_t rows = given[3].shape[0], columns = given[3].shape[1]
    add_noise(
        <const real *> NULL, 0, <real> 1, seed, stream, step, out, columns, 0, rows, columns)
    return DONE


cdef Outcome gaussian_noise(const Argument *given, const real *like) noexcept nogil:
    cdef const real *x = <const real *> given[0].at
    cdef real stddev = <real> given[1].number
    cdef uint64_t seed = given[2].whole, stream = given[3].whole, step = given[4].whole
    cdef real *out = <real *> given[5].at
    cdef Py_ssize_t rows = given[0].shape[0], columns = given[0].shape[1]
    add_noise(x, columns, stddev, seed, stream, step, out, columns, 0, rows, columns)
    return DONE


cdef Outcome dropout(const Argument *given, const real *like) noexcept nogil:
    cdef const real *x = <const real *> given[0].at
    cdef double rate = given[1].number
    cdef uint64_t seed = given[2].whole, stream = given[3].whole, step = given[4].whole
    cdef real *out = <real *> given[5].at
    cdef Py_ssize_t rows = given[0].shape[0], columns = given[0].shape[1]
    drop_out(x, columns, rate, seed, stream, step, out, columns, 0, rows, columns)
    return DONE


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


cdef Outcome permutation(const Argument *given, const real *like) noexcept nogil:
    cdef uint64_t seed = given[0].whole, epoch = given[1].whole
    cdef int64_t *out = <int64_t *> given[2].at
    permute(seed, epoch, given[2].shape[0], out)
    return DONE
