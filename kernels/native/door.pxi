"""The door from Python: the memory of arrays, and the kernels as callables.

There is one door for all instruction sets and rows. It looks at what the functions behind it
cannot: whether there are enough arguments, and of each array whether it has the right axes and
numbers, lies in one piece and, where it is an output, can be written.
"""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_IsContiguous,
    PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer,
)
from cpython.number cimport PyNumber_Index

from mlcore.kernels.errors import InputError, unknown

include "arguments.pxi"


cdef class Memory:
    """The memory of an array of a dtype, which stays where it is for as long as this lives."""

    cdef Py_buffer view
    cdef void *at
    cdef Py_ssize_t *shape

    def __cinit__(self, array, dtype, bint written=False):
        if array.dtype != dtype:
            raise TypeError(f"the array is {array.dtype}; it must be {np.dtype(dtype)}")
        PyObject_GetBuffer(
            array, &self.view, PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if written else 0))
        self.at = self.view.buf
        self.shape = self.view.shape

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef void *held(list kept, array, dtype, bint written=False) except? NULL:
    """Return where an array lies, which stays so for as long as `kept` lives."""
    cdef Memory memory = Memory(array, dtype, written)
    kept.append(memory)
    return memory.at


cdef enum Sort:
    ARRAY, NUMBER, INTEGER, TRUTH, NAME

SORTS = {float: NUMBER, int: INTEGER, bool: TRUTH, str: NAME}
SORT_WORDS = {NUMBER: "a number", INTEGER: "a whole number", TRUTH: "True or False"}
# By kind of the table: of what items an array may consist, and how NumPy calls them.
ITEMS = {
    "real": ((FLOAT, DOUBLE), "float32 or float64"),
    "whole": ((FLOAT, DOUBLE), "float32 or float64"),
    "labels": ((INT32,), "int32"),
    "index": ((INT64,), "int64"),
    "bits": ((UINT32,), "uint32"),
    "sums": ((DOUBLE,), "float64"),
    "data": ((BYTE, FLOAT, DOUBLE), "uint8, float32 or float64"),
}


cdef Item item_of(const Py_buffer *view) noexcept:
    """What an array consists of, by the letters of Python's module `struct`."""
    cdef char letter
    # More letters are structures; the other order of bytes begins with its own sign.
    if view.format == NULL or view.format[0] == 0 or view.format[1] != 0:
        return OTHER
    letter = view.format[0]
    if letter == b"B":
        return BYTE
    if letter == b"f":
        return FLOAT
    if letter == b"d":
        return DOUBLE
    if letter == b"i" or letter == b"l" or letter == b"q":
        return INT32 if view.itemsize == 4 else INT64
    if (letter == b"I" or letter == b"L") and view.itemsize == 4:
        return UINT32
    return OTHER


cdef struct Wanted:
    # What the table says of an argument.
    Sort sort
    int axes
    # Of an array: what it may consist of, as a set of bits, and whether all arrays that say so
    # must be of one and the same.
    int items
    bint alike, written, optional


cdef enum:
    MOST_ARGUMENTS = 12


cdef class Kernel:
    """A row of the kernel table, ready to be called with the row's arguments in their order.

    Parameters
    ----------
    row : Row
    functions : tuple of int
        Where its functions for float and for double are; see `ROWS` of kernels.pxi.
    codes : dict of str to int
        What its setting that is a name stands for.

    Raises
    ------
    InputError
        From a call whose arguments do not fit, before anything is written.
    MemoryError
        From a call that found too little for what it must set aside.
    """

    cdef readonly object row
    cdef Single single
    cdef Double double
    cdef dict codes
    cdef int count
    cdef Wanted[MOST_ARGUMENTS] wanted

    def __cinit__(self, row, functions, dict codes):
        cdef uintptr_t single, double
        cdef Wanted *wanted
        if len(row.arguments) > MOST_ARGUMENTS:
            raise ValueError(f"{row.name} has more than {MOST_ARGUMENTS} arguments")
        single, double = functions
        self.row, self.codes = row, codes
        self.single, self.double = <Single> single, <Double> double
        for name, spec in row.arguments.items():
            wanted = &self.wanted[self.count]
            self.count += 1
            if spec is None:
                wanted.sort = SORTS[row.settings[name]]
                continue
            wanted.sort = ARRAY
            if len(spec.dims) > MOST_AXES:
                raise ValueError(f"{row.name}: {name} has more than {MOST_AXES} axes")
            wanted.axes = len(spec.dims)
            wanted.alike = spec.kind in ("real", "whole")
            wanted.written = spec.role != "in"
            wanted.optional = spec.optional
            for item in ITEMS[spec.kind][0]:
                wanted.items |= 1 << <int> item

    def __repr__(self):
        return f"<compiled kernel {self.row.name}({', '.join(self.row.arguments)})>"

    def __call__(self, *given):
        cdef Py_buffer[MOST_ARGUMENTS] views
        cdef Argument[MOST_ARGUMENTS] arguments
        cdef const Wanted *wanted
        cdef int at, opened = 0
        cdef Item real = OTHER
        cdef Outcome outcome
        if len(given) != self.count:
            raise InputError(
                f"{self.row.name} takes {self.count} arguments ({', '.join(self.row.arguments)}), "
                f"not {len(given)}"
            )
        try:
            for at in range(self.count):
                wanted = &self.wanted[at]
                if wanted.sort != ARRAY:
                    self.take_setting(at, given[at], &arguments[at])
                elif given[at] is None and wanted.optional:
                    memset(&arguments[at], 0, sizeof(Argument))
                else:
                    self.open_array(at, given[at], &views[opened])
                    opened += 1
                    self.take_array(at, given[at], &views[opened - 1], &arguments[at], &real)
            with nogil:
                if real == DOUBLE:
                    outcome = self.double(arguments, NULL)
                else:
                    outcome = self.single(arguments, NULL)
        finally:
            for at in range(opened):
                PyBuffer_Release(&views[at])
        if outcome == NO_MEMORY:
            raise MemoryError(f"{self.row.name} found too little memory")

    cdef str name(self, int at):
        return list(self.row.arguments)[at]

    cdef object spec(self, int at):
        return self.row.arguments[self.name(at)]

    cdef object misfit(self, int at, str what):
        return InputError(f"{self.row.name}: {self.name(at)} {what}")

    cdef int take_setting(self, int at, object given, Argument *taken) except -1:
        cdef Sort sort = self.wanted[at].sort
        if sort == NAME:
            if not isinstance(given, str) or given not in self.codes:
                raise unknown(self.name(at), given, self.codes)
            taken.whole = self.codes[given]
            return 0
        try:
            if sort == NUMBER:
                taken.number = given
            elif sort == TRUTH:
                taken.whole = bool(given)
            else:
                number = PyNumber_Index(given)
                # Seeds have all 64 bits.
                taken.whole = <int64_t> number if number < 0 else <uint64_t> number
        except (TypeError, ValueError, OverflowError) as error:
            raise self.misfit(at, f"must be {SORT_WORDS[sort]}, not {given!r}") from error
        return 0

    cdef int open_array(self, int at, object given, Py_buffer *view) except -1:
        if not PyObject_CheckBuffer(given):
            raise self.misfit(at, f"must be an array, not {given!r:.40}")
        return PyObject_GetBuffer(given, view, PyBUF_STRIDES | PyBUF_FORMAT)

    cdef int take_array(
        self, int at, object given, const Py_buffer *view, Argument *taken, Item *real
    ) except -1:
        cdef const Wanted *wanted = &self.wanted[at]
        cdef Item item = item_of(view)
        if view.ndim != wanted.axes:
            raise self.misfit(at, f"has {view.ndim} axes; it needs {self.spec(at).dims}")
        if not wanted.items >> item & 1:
            _, right = ITEMS[self.spec(at).kind]
            raise self.misfit(at, f"is {dtype_of(given)}; it must be {right}")
        if wanted.alike:
            if real[0] == OTHER:
                real[0] = item
            elif real[0] != item:
                raise self.misfit(
                    at, f"is {dtype_of(given)}, unlike the arrays before it; use one dtype for all")
        if wanted.written and view.readonly:
            raise self.misfit(at, "is written to, but read-only")
        if not PyBuffer_IsContiguous(view, b"C"):
            raise self.misfit(at, "must be C-contiguous")
        taken.at = view.buf
        taken.item = item
        memcpy(taken.shape, view.shape, wanted.axes * sizeof(Py_ssize_t))
        return 0


cdef object dtype_of(given):
    return getattr(given, "dtype", type(given).__name__)
