/* What the executor and the instruction sets agree on: the operations of a training step.
 *
 * The executor (_engine.pyx) is compiled once, for the oldest processor. The operations are
 * compiled once per instruction set, and reach it as one function of an InstructionSet. A plan
 * becomes an array of Operation; the executor walks it for every step, on every thread, and
 * each thread does its part of each operation.
 *
 * Batch buffers are rows with a stride. Those that are filled for the next step while this one
 * still reads them exist twice, `flip` bytes apart; steps take them in turns.
 */
#ifndef MLCORE_ENGINE_H
#define MLCORE_ENGINE_H

#include <stddef.h>
#include <stdint.h>

/* The shapes around a window that slides over images. Rows of zeros stand above, and columns to
 * the left; how many stand below and to the right follows from the output's size. */
typedef struct {
    ptrdiff_t height, width, channels;
    ptrdiff_t out_height, out_width, out_channels;
    ptrdiff_t window_height, window_width, stride_height, stride_width, pad_top, pad_left;
} Geometry;

typedef struct {
    char *at;
    ptrdiff_t stride; /* from row to row, in elements */
    ptrdiff_t flip;
} Rows;

typedef struct {
    const int64_t *rows; /* the samples of this batch */
    ptrdiff_t count;
    ptrdiff_t start; /* the number of its first sample in the pass */
    int64_t step;    /* of the noise */
    int64_t update;  /* of the optimizer, from 1 */
    double learning_rate;
    double powers[2]; /* Adam's beta_1 and beta_2, to the power of `update` */
    ptrdiff_t number; /* among the steps whose gradients are added up, from 0 */
    int turn;
    ptrdiff_t grain; /* threads share out rows by so many */
} Step;

typedef enum {
    GATHER, GATHER_LABELS, GAUSSIAN_NOISE, DROPOUT, ACTIVATION, ACTIVATION_BACKWARD, FORWARD,
    LOSS,
    COUNT_CLASSES, COUNT_SIDES, COPY_OUT,
    PLAIN_FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, UPDATE, PACK, UNPACK, TOTAL,
    /* Those between gradients and updates, over flat vectors; see gradients.h. */
    BLOCK_SUMS, PENALTY, PENALTY_GRADIENT, ACCUMULATE, CLIP, MAX_NORM,
    /* Those of networks of a few units. */
    NARROW_GATHER, NARROW_FORWARD, NARROW_BACKWARD, NARROW_ACTIVATION,
    NARROW_ACTIVATION_BACKWARD, NARROW_LOSS, NARROW_COUNT_CLASSES, NARROW_COUNT_SIDES,
    /* Those of samples across the lanes, lanes.h, and what joins their groups. */
    TO_LANES, FROM_LANES, LANE_ACTIVATION, LANE_ACTIVATION_BACKWARD, SURROUND, CONVOLUTION,
    CONVOLUTION_INPUT_GRADIENT, CONVOLUTION_WEIGHT_GRADIENT, MAX_POOL, MAX_POOL_BACKWARD, AVG_POOL,
    AVG_POOL_BACKWARD, MOMENTS, JOIN_MOMENTS, INVERT_ROOTS, NORMALIZE, NORMALIZE_SUMS, JOIN_SUMS,
    NORMALIZE_BACKWARD, LAYER_NORM, LAYER_NORM_BACKWARD,
    ADD_PARTIALS, EMBEDDING, EMBEDDING_BACKWARD
} OperationKind;

typedef enum { BY_ROWS, BY_PANELS, BY_CELLS, BY_BLOCKS } Sharing;

/* WRITE_GRADIENT updates nothing: it writes the gradient to its place in a flat vector. */
typedef enum {
    NO_UPDATE, PLAIN_SGD, SGD, ADAM, ADAMW, RMSPROP,
    ADAGRAD,
    WRITE_GRADIENT
} UpdateKind;

typedef struct Operation Operation;
/* All of an operation, on one thread. */
typedef void (*Direct)(const Operation *, const Step *);

struct Operation {
    Direct direct;      /* called instead of all else, where there is such a function */
    OperationKind kind;
    Sharing sharing;
    int single;         /* float, or else double */
    int barrier;        /* whether all threads must have finished what comes before */
    int together;       /* how many operations by rows, from here on, need no barrier */
    int updates;        /* whether it is left out while gradients of several steps are added up */
    int local;          /* whether turned buffers are in the thread's scratch, `at` bytes into it */
    ptrdiff_t columns;  /* of the output, without padding */
    ptrdiff_t depth;    /* of the product */

    Rows x, out, grad, stored, pre, targets;
    const void *source; /* the data set, [samples][columns] */
    int source_kind;    /* 0: bytes, 1: float, 2: double */
    int ones;           /* whether column `columns` of the output is set to one */

    int activation;
    double parameter;   /* of the activation; the scale, rate or deviation of the others */
    int loss;           /* which one; `parameter` is its setting */
    Rows sample_weights; /* of the loss, and of the sums over a step */
    uint64_t seed, stream;

    void *weights;      /* panels, and the optimizer's state laid out likewise */
    void *state[3];
    void *gradient;     /* for batches whose sum is too long for one tile */
    int biased, bias_apart;
    int flat_state;     /* whether the state is not in panels, but where the flat vectors have it */
    UpdateKind update;
    double settings[6], weight_decay, bias_decay;

    /* Of samples across the lanes: images, features, and sums by group of samples. */
    Geometry geometry;
    ptrdiff_t positions;
    void *gamma, *beta, *mean, *inverse, *running_mean, *running_variance, *means;
    void *partial;
    ptrdiff_t partial_row; /* from group to group, in elements */
};

/* The rows of a part: whole grains, as evenly as can be. */
static inline ptrdiff_t row_bound(const Step *step, ptrdiff_t part, ptrdiff_t parts)
{
    const ptrdiff_t grains = (step->count + step->grain - 1) / step->grain;
    const ptrdiff_t row = grains * part / parts * step->grain;
    return row < step->count ? row : step->count;
}

typedef struct {
    void (*run)(const Operation *, const Step *, void *scratch, ptrdiff_t part, ptrdiff_t parts);
    Direct (*direct)(const Operation *);
    void (*permute)(uint64_t seed, uint64_t epoch, ptrdiff_t size, int64_t *out);
    ptrdiff_t lanes[2]; /* of double, of float */
} InstructionSet;

#endif
