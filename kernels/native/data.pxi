"""Batches: rows picked out of the data, converted and scaled on the way."""

ctypedef fused stored_number:
    unsigned char
    float
    double


def gather(
    const stored_number[:, ::1] source, const long long[::1] rows, double scale, real[:, ::1] out
):
    cdef Py_ssize_t i, j, columns = out.shape[1]
    cdef real factor = scale
    cdef const stored_number *taken
    with nogil:
        for i in range(rows.shape[0]):
            taken = &source[rows[i], 0]
            for j in range(columns):
                out[i, j] = <real> taken[j] * factor


def gather_labels(const int[::1] labels, const long long[::1] rows, int[::1] out):
    cdef Py_ssize_t i
    with nogil:
        for i in range(rows.shape[0]):
            out[i] = labels[rows[i]]
