"""What this machine can do at most, measured: multiplying and adding, and reading memory."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

from time import perf_counter

cdef extern from "peak.h":
    enum: CHAINS
    enum: VECTOR_BYTES
    const char *COMPILER
    void multiply_add_float(Py_ssize_t rounds) noexcept nogil
    void multiply_add_double(Py_ssize_t rounds) noexcept nogil
    Py_ssize_t read_all(const double *buffer, Py_ssize_t size) noexcept nogil

cdef enum:
    # Some ten microseconds: the clock's own time does not count beside it.
    ROUNDS_BETWEEN_LOOKS_AT_THE_CLOCK = 4096
    BYTES_BETWEEN_LOOKS_AT_THE_CLOCK = 1 << 20


def fma_peak(str dtype, double seconds):
    """Return the GFLOP/s of one core that multiplies and adds for `seconds` and does no more."""
    cdef bint double_precision = dtype == "float64"
    cdef Py_ssize_t width = VECTOR_BYTES // (8 if double_precision else 4)
    cdef double began = perf_counter(), elapsed = 0, operations = 0
    while elapsed < seconds or elapsed == 0:
        with nogil:
            if double_precision:
                multiply_add_double(ROUNDS_BETWEEN_LOOKS_AT_THE_CLOCK)
            else:
                multiply_add_float(ROUNDS_BETWEEN_LOOKS_AT_THE_CLOCK)
        operations += 2.0 * ROUNDS_BETWEEN_LOOKS_AT_THE_CLOCK * CHAINS * width
        elapsed = perf_counter() - began
    return operations / elapsed / 1e9


def read_bandwidth(buffer, double seconds):
    """Return the GB/s at which one core reads `buffer` over and over for `seconds`."""
    cdef Py_buffer view
    cdef Py_ssize_t done, turn
    cdef double began = perf_counter(), elapsed = 0, total = 0
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    while elapsed < seconds or elapsed == 0:
        done = 0
        with nogil:
            while done < BYTES_BETWEEN_LOOKS_AT_THE_CLOCK:
                turn = read_all(<const double *> view.buf, view.len // sizeof(double))
                done += turn
                if turn == 0:
                    break
        total += done
        elapsed = perf_counter() - began
    PyBuffer_Release(&view)
    return total / elapsed / 1e9


def built_with():
    """Return the compiler that made this module, and the bytes of its vectors."""
    return f"{COMPILER.decode()}, vectors of {VECTOR_BYTES} bytes"
