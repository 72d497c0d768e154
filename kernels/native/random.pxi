"""Random numbers as a pure function of (seed, stream, step, row, column), and the noise layers.

`mlcore.kernels.reference` states which word of which counter a column takes.
"""

from libc.stdint cimport uint32_t, uint64_t

cdef struct Words:
    uint32_t w[4]


cdef inline Words philox(
    uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1
) noexcept nogil:
    cdef uint64_t left, right
    cdef Words words
    cdef int i
    for i in range(10):
        left = <uint64_t> c0 * <uint64_t> 0xD2511F53
        right = <uint64_t> c2 * <uint64_t> 0xCD9E8D57
        c0 = <uint32_t> (right >> 32) ^ c1 ^ k0
        c1 = <uint32_t> right
        c2 = <uint32_t> (left >> 32) ^ c3 ^ k1
        c3 = <uint32_t> left
        k0 += <uint32_t> 0x9E3779B9
        k1 += <uint32_t> 0xBB67AE85
    words.w[0] = c0
    words.w[1] = c1
    words.w[2] = c2
    words.w[3] = c3
    return words


cdef struct Stream:
    uint32_t low, high, step, tag


cdef inline Stream open_stream(uint64_t seed, uint64_t stream, uint64_t step) noexcept nogil:
    cdef Stream opened
    opened.low = <uint32_t> seed
    opened.high = <uint32_t> (seed >> 32)
    opened.step = <uint32_t> step
    opened.tag = <uint32_t> ((stream << 16) | (step >> 32))
    return opened


cdef inline Words draw(Stream s, Py_ssize_t row, Py_ssize_t counter) noexcept nogil:
    return philox(<uint32_t> counter, <uint32_t> row, s.step, s.tag, s.low, s.high)


def philox4x32(const uint32_t[:, ::1] counter, const uint32_t[::1] key, uint32_t[:, ::1] words):
    cdef Py_ssize_t i, word
    cdef Words drawn
    with nogil:
        for i in range(counter.shape[0]):
            drawn = philox(
                counter[i, 0], counter[i, 1], counter[i, 2], counter[i, 3], key[0], key[1])
            for word in range(4):
                words[i, word] = drawn.w[word]


def bits(uint64_t seed, uint64_t stream, uint64_t step, uint32_t[:, ::1] out):
    cdef Stream s = open_stream(seed, stream, step)
    cdef Py_ssize_t row, start, lane, word, column, columns = out.shape[1]
    cdef Words drawn
    with nogil:
        for row in range(out.shape[0]):
            for start in range(0, columns, 64):
                for lane in range(min(<Py_ssize_t> 16, columns - start)):
                    drawn = draw(s, row, start // 4 + lane)
                    for word in range(4):
                        column = start + 16 * word + lane
                        if column < columns:
                            out[row, column] = drawn.w[word]


def uniform(uint64_t seed, uint64_t stream, uint64_t step, real[:, ::1] out):
    cdef Stream s = open_stream(seed, stream, step)
    cdef Py_ssize_t row, start, lane, word, column, columns = out.shape[1]
    cdef Words drawn
    with nogil:
        for row in range(out.shape[0]):
            for start in range(0, columns, 64):
                for lane in range(min(<Py_ssize_t> 16, columns - start)):
                    drawn = draw(s, row, start // 4 + lane)
                    for word in range(4):
                        column = start + 16 * word + lane
                        if column < columns:
                            out[row, column] = <real> (drawn.w[word] >> 8) * <real> 5.9604644775390625e-08


cdef inline void normal_row(
    Stream s, Py_ssize_t row, real stddev, const real *x, real *y, Py_ssize_t columns
) noexcept nogil:
    """y = x + stddev * normal, or stddev * normal where x is NULL."""
    cdef Py_ssize_t start, lane, pair, column
    cdef real radius, angle
    cdef Words drawn
    for start in range(0, columns, 64):
        for lane in range(min(<Py_ssize_t> 16, columns - start)):
            drawn = draw(s, row, start // 4 + lane)
            for pair in range(2):
                column = start + 32 * pair + lane
                if column >= columns:
                    break
                radius = (<real> (drawn.w[2 * pair] >> 9) + <real> 0.5) * <real> 1.1920928955078125e-07
                radius = stddev * square_root(-2 * logarithm(radius))
                angle = <real> 6.283185307179586 * (
                    <real> (drawn.w[2 * pair + 1] >> 8) * <real> 5.9604644775390625e-08)
                y[column] = (x[column] if x != NULL else 0) + radius * cosine(angle)
                column += 16
                if column < columns:
                    y[column] = (x[column] if x != NULL else 0) + radius * sine(angle)


def normal(uint64_t seed, uint64_t stream, uint64_t step, real[:, ::1] out):
    cdef Stream s = open_stream(seed, stream, step)
    cdef Py_ssize_t row
    with nogil:
        for row in range(out.shape[0]):
            normal_row[real](s, row, 1, NULL, &out[row, 0], out.shape[1])


def gaussian_noise(
    const real[:, ::1] x, double stddev, uint64_t seed, uint64_t stream, uint64_t step,
    real[:, ::1] out
):
    cdef Stream s = open_stream(seed, stream, step)
    cdef Py_ssize_t row
    with nogil:
        for row in range(out.shape[0]):
            normal_row[real](s, row, <real> stddev, &x[row, 0], &out[row, 0], out.shape[1])


def dropout(
    const real[:, ::1] x, double rate, uint64_t seed, uint64_t stream, uint64_t step,
    real[:, ::1] out
):
    cdef Stream s = open_stream(seed, stream, step)
    cdef Py_ssize_t row, start, lane, half, column, columns = x.shape[1]
    cdef uint32_t threshold = min(round(rate * 65536), 65535)
    cdef real scale = 65536.0 / (65536 - threshold)
    cdef uint32_t number
    cdef Words drawn
    with nogil:
        for row in range(x.shape[0]):
            for start in range(0, columns, 128):
                for lane in range(min(<Py_ssize_t> 16, columns - start)):
                    drawn = draw(s, row, start // 8 + lane)
                    for half in range(8):
                        column = start + 16 * half + lane
                        if column < columns:
                            number = (drawn.w[half >> 1] >> (16 * (half & 1))) & 0xFFFF
                            out[row, column] = x[row, column] * (scale if number >= threshold else 0)


def permutation(uint64_t seed, uint64_t epoch, long long[::1] out):
    cdef Stream s = open_stream(seed, 65535, epoch)
    cdef Py_ssize_t size = out.shape[0], block, lane, word, place
    cdef uint32_t words[64]
    cdef long long held, other
    cdef Words drawn
    with nogil:
        for place in range(size):
            out[place] = place
        for block in range((size - 1) // 64, -1, -1):
            for lane in range(16):
                drawn = draw(s, 0, 16 * block + lane)
                for word in range(4):
                    words[16 * word + lane] = drawn.w[word]
            for place in range(min(size - 1, 64 * block + 63), max(0, 64 * block - 1), -1):
                other = (<uint64_t> words[place - 64 * block] * <uint64_t> (place + 1)) >> 32
                held = out[place]
                out[place] = out[other]
                out[other] = held
