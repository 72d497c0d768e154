"""Batches: rows picked out of the data, converted and scaled on the way."""

from libc.stdint cimport int32_t, int64_t

ctypedef fused stored_number:
    unsigned char
    float
    double


cdef inline void gather_row(
    const stored_number *taken, Py_ssize_t columns, real scale, real *out
) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(columns):
        out[j] = <real> taken[j] * scale


def gather(
    const stored_number[:, ::1] source, const int64_t[::1] rows, double scale, real[:, ::1] out
):
    cdef Py_ssize_t i
    with nogil:
        for i in range(rows.shape[0]):
            gather_row(&source[rows[i], 0], out.shape[1], <real> scale, &out[i, 0])


def gather_labels(const int32_t[::1] labels, const int64_t[::1] rows, int32_t[::1] out):
    cdef Py_ssize_t i
    with nogil:
        for i in range(rows.shape[0]):
            out[i] = labels[rows[i]]


def gather_weights(const real[::1] weights, const int64_t[::1] rows, real[::1] out):
    cdef Py_ssize_t i
    with nogil:
        for i in range(rows.shape[0]):
            out[i] = weights[rows[i]]
