"""The compiled kernels: the table of `mlcore.kernels.table`, and the operations of the engine.

What each computes is written in `mlcore.kernels.reference` under the same name. Arrays are
taken as they come: shapes and ranges are checked by `Backend.call` and by the plan, and what an
array consists of and how it lies by the door to Python, which the engine has for all instruction
sets together.
"""

from libc.stdint cimport uintptr_t

ctypedef fused real:
    float
    double

include "arguments.pxi"
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


cdef object compiled(Single single, Double double):
    return <uintptr_t> single, <uintptr_t> double


# By row of the table: where its functions for float and for double are.
ROWS = {
    "linear": compiled(linear[float], linear[double]),
    "linear_backward": compiled(linear_backward[float], linear_backward[double]),
    "product": compiled(product[float], product[double]),
    "pack_panels": compiled(pack_panels[float], pack_panels[double]),
    "unpack_panels": compiled(unpack_panels[float], unpack_panels[double]),
    "activation": compiled(activation[float], activation[double]),
    "activation_backward": compiled(activation_backward[float], activation_backward[double]),
    "softmax_cross_entropy": compiled(softmax_cross_entropy[float], softmax_cross_entropy[double]),
    "sigmoid_cross_entropy": compiled(sigmoid_cross_entropy[float], sigmoid_cross_entropy[double]),
    "mse": compiled(mse[float], mse[double]),
    "mae": compiled(mae[float], mae[double]),
    "huber": compiled(huber[float], huber[double]),
    "hinge": compiled(hinge[float], hinge[double]),
    "sgd": compiled(sgd[float], sgd[double]),
    "adam": compiled(adam[float], adam[double]),
    "adamw": compiled(adamw[float], adamw[double]),
    "rmsprop": compiled(rmsprop[float], rmsprop[double]),
    "conv2d": compiled(conv2d[float], conv2d[double]),
    "conv2d_backward": compiled(conv2d_backward[float], conv2d_backward[double]),
    "max_pool": compiled(max_pool[float], max_pool[double]),
    "max_pool_backward": compiled(max_pool_backward[float], max_pool_backward[double]),
    "avg_pool": compiled(avg_pool[float], avg_pool[double]),
    "avg_pool_backward": compiled(avg_pool_backward[float], avg_pool_backward[double]),
    "batch_norm": compiled(batch_norm[float], batch_norm[double]),
    "batch_norm_backward": compiled(batch_norm_backward[float], batch_norm_backward[double]),
    "normalize": compiled(normalize[float], normalize[double]),
    "normalize_backward": compiled(normalize_backward[float], normalize_backward[double]),
    "layer_norm": compiled(layer_norm[float], layer_norm[double]),
    "layer_norm_backward": compiled(layer_norm_backward[float], layer_norm_backward[double]),
    "embedding": compiled(embedding[float], embedding[double]),
    "embedding_backward": compiled(embedding_backward[float], embedding_backward[double]),
    "adagrad": compiled(adagrad[float], adagrad[double]),
    "block_sums": compiled(block_sums[float], block_sums[double]),
    "penalty": compiled(penalty[float], penalty[double]),
    "penalty_gradient": compiled(penalty_gradient[float], penalty_gradient[double]),
    "accumulate": compiled(accumulate[float], accumulate[double]),
    "clip": compiled(clip[float], clip[double]),
    "max_norm": compiled(max_norm[float], max_norm[double]),
    "philox4x32": compiled(philox4x32[float], philox4x32[double]),
    "bits": compiled(bits[float], bits[double]),
    "uniform": compiled(uniform[float], uniform[double]),
    "normal": compiled(normal[float], normal[double]),
    "gaussian_noise": compiled(gaussian_noise[float], gaussian_noise[double]),
    "dropout": compiled(dropout[float], dropout[double]),
    "permutation": compiled(permutation[float], permutation[double]),
    "gather": compiled(gather[float], gather[double]),
    "gather_labels": compiled(gather_labels[float], gather_labels[double]),
    "gather_weights": compiled(gather_weights[float], gather_weights[double]),
}
