"""The structures of engine.h."""

from libc.stdint cimport int64_t, uint64_t

cdef extern from "engine.h":
    ctypedef struct Geometry:
        Py_ssize_t height, width, channels, out_height, out_width, out_channels
        Py_ssize_t window_height, window_width, stride_height, stride_width, pad_top, pad_left

    ctypedef struct Rows:
        char *at
        Py_ssize_t stride, flip

    ctypedef struct Step:
        const int64_t *rows
        Py_ssize_t count, start
        int64_t step, update
        double learning_rate
        double powers[2]
        Py_ssize_t number
        int turn
        Py_ssize_t grain

    ctypedef enum OperationKind:
        GATHER, GATHER_LABELS, GAUSSIAN_NOISE, DROPOUT, ACTIVATION, ACTIVATION_BACKWARD, FORWARD
        LOSS
        COUNT_CLASSES, COUNT_SIDES, COPY_OUT
        PLAIN_FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, UPDATE, PACK, UNPACK, TOTAL
        BLOCK_SUMS, PENALTY, PENALTY_GRADIENT, ACCUMULATE, CLIP, MAX_NORM
        NARROW_GATHER, NARROW_FORWARD, NARROW_BACKWARD, NARROW_ACTIVATION
        NARROW_ACTIVATION_BACKWARD, NARROW_LOSS, NARROW_COUNT_CLASSES, NARROW_COUNT_SIDES
        TO_LANES, FROM_LANES, LANE_ACTIVATION, LANE_ACTIVATION_BACKWARD, SURROUND, CONVOLUTION
        CONVOLUTION_INPUT_GRADIENT, CONVOLUTION_WEIGHT_GRADIENT, MAX_POOL, MAX_POOL_BACKWARD
        AVG_POOL, AVG_POOL_BACKWARD, MOMENTS, JOIN_MOMENTS, INVERT_ROOTS, NORMALIZE
        NORMALIZE_SUMS, JOIN_SUMS, NORMALIZE_BACKWARD, LAYER_NORM, LAYER_NORM_BACKWARD
        ADD_PARTIALS, EMBEDDING, EMBEDDING_BACKWARD

    ctypedef enum Sharing:
        BY_ROWS, BY_PANELS, BY_CELLS, BY_BLOCKS

    ctypedef enum UpdateKind:
        NO_UPDATE, PLAIN_SGD, SGD, ADAM, ADAMW, RMSPROP
        ADAGRAD
        WRITE_GRADIENT

    ctypedef struct Operation
    ctypedef void (*Direct)(const Operation *op, const Step *step) noexcept nogil

    ctypedef struct Operation:
        Direct direct
        OperationKind kind
        Sharing sharing
        int single, barrier, together, updates, local
        Py_ssize_t columns, depth
        Rows x, out, grad, stored, pre, targets
        const void *source
        int source_kind, ones
        int activation
        double parameter
        int loss
        Rows sample_weights
        uint64_t seed, stream
        void *weights
        void *state[3]
        void *gradient
        int biased, bias_apart
        int flat_state
        UpdateKind update
        double settings[6]
        double weight_decay, bias_decay
        Geometry geometry
        Py_ssize_t positions
        void *gamma
        void *beta
        void *mean
        void *inverse
        void *running_mean
        void *running_variance
        void *means
        void *partial
        Py_ssize_t partial_row

    Py_ssize_t row_bound(const Step *step, Py_ssize_t part, Py_ssize_t parts) noexcept nogil

    ctypedef struct InstructionSet:
        void (*run)(
            const Operation *op, const Step *step, void *scratch, Py_ssize_t part,
            Py_ssize_t parts) noexcept nogil
        Direct (*direct)(const Operation *op) noexcept nogil
        void (*permute)(
            uint64_t seed, uint64_t epoch, Py_ssize_t size, int64_t *out) noexcept nogil
        Py_ssize_t lanes[2]
