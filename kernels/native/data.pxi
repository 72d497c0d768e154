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


cdef Outcome gather(const Argument *given, const real *like) noexcept nogil:
    cdef const int64_t *rows = <const int64_t *> given[1].at
    cdef real scale = <real> given[2].number
    cdef real *out = <real *> given[3].at
    cdef Py_ssize_t columns = given[3].shape[1]
    gather_rows(
        given[0].at, given[0].item, rows, columns, scale, out, columns, 0, given[1].shape[0])
    return DONE


cdef Outcome gather_labels(const Argument *given, const real *like) noexcept nogil:
    cdef const int32_t *labels = <const int32_t *> given[0].at
    cdef const int64_t *rows = <const int64_t *> given[1].at
    cdef int32_t *out = <int32_t *> given[2].at
    cdef Py_ssize_t i
    for i in range(given[1].shape[0]):
        out[i] = labels[rows[i]]
    return DONE


cdef Outcome gather_weights(const Argument *given, const real *like) noexcept nogil:
    cdef const real *weights = <const real *> given[0].at
    cdef const int64_t *rows = <const int64_t *> given[1].at
    cdef real *out = <real *> given[2].at
    cdef Py_ssize_t i
    for i in range(given[1].shape[0]):
        out[i] = weights[rows[i]]
    return DONE
