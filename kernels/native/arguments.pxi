"""What the door hands to a row's function, which is compiled for float and for double.

`given` has the row's arguments in the order of the table; `like` is NULL and only says which of
the two is meant. The door has checked what is given, so that nothing but memory can run out.
"""

from libc.stdint cimport int64_t

cdef enum:
    MOST_AXES = 4

# What an array consists of; of the first three are data sets, see `Operation.source_kind`.
cdef enum Item:
    BYTE, FLOAT, DOUBLE, INT32, INT64, UINT32, OTHER

cdef enum Outcome:
    DONE, NO_MEMORY

cdef struct Argument:
    # Of an array; NULL where an optional one is absent.
    void *at
    Py_ssize_t[MOST_AXES] shape
    Item item
    # Of a setting: a float, or else a whole number, a truth or the code of a name.
    double number
    int64_t whole

ctypedef Outcome (*Single)(const Argument *given, const float *like) noexcept nogil
ctypedef Outcome (*Double)(const Argument *given, const double *like) noexcept nogil
