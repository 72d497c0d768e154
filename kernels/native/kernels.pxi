"""The compiled kernels: the table of `mlcore.kernels.table`, and the operations of the engine.

What each computes is written in `mlcore.kernels.reference` under the same name. Arrays are
taken as they come: shapes, ranges and contiguity are checked by `Backend.call` and by the plan.
"""

ctypedef fused real:
    float
    double

include "engine.pxi"
include "activation.pxi"
include "update.pxi"
include "rule.pxi"
include "products.pxi"
include "linear.pxi"
include "loss.pxi"
include "random.pxi"
include "data.pxi"
include "peak.pxi"
include "narrow.pxi"
include "spatial.pxi"
include "gradients.pxi"
include "operations.pxi"
