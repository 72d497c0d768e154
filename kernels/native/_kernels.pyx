# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled kernels: the table of `mlcore.kernels.table`, float32 and float64, one thread.

What each computes is written in `mlcore.kernels.reference` under the same name. Arrays are
taken as they come: shapes, ranges and contiguity are checked by `Backend.call` and by the plan.
"""

ctypedef fused real:
    float
    double

include "math.pxi"
include "activation.pxi"
include "linear.pxi"
include "loss.pxi"
include "update.pxi"
include "random.pxi"
include "data.pxi"
