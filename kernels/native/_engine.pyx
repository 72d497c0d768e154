# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False, auto_pickle=False
"""The executor: walks the operations of a training step, for every step, on every thread.

Compiled once, for the oldest processor; the operations themselves come from the module of an
instruction set. A `Program` is built by `mlcore.engine` from a plan and owns nothing but the list:
the arrays stay with whoever builds it, which `keep` makes sure of.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport isfinite, pow
from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

import numpy as np

include "engine.pxi"
include "door.pxi"

cdef extern from "pool.h":
    ctypedef struct Barrier:
        Py_ssize_t parts
    void barrier_wait(Barrier *barrier) noexcept nogil
    Py_ssize_t pool_threads(Py_ssize_t wanted) noexcept nogil
    void pool_run(void (*job)(void *, Py_ssize_t, Py_ssize_t) noexcept nogil, void *context,
                  Py_ssize_t parts) noexcept nogil
    void pool_release() noexcept nogil
    unsigned long long flush_denormals() noexcept nogil
    void restore_denormals(unsigned long long before) noexcept nogil

cdef extern from "<stdatomic.h>":
    ctypedef int atomic_int
    ctypedef Py_ssize_t atomic_ptrdiff_t
    int atomic_load(const atomic_int *flag) noexcept nogil
    void atomic_store(atomic_int *flag, int value) noexcept nogil
    Py_ssize_t atomic_fetch_add(atomic_ptrdiff_t *number, Py_ssize_t more) noexcept nogil

cdef extern from "processor.h":
    bint processor_has_avx512() noexcept nogil
    bint processor_has_avx2() noexcept nogil


def has(str instruction_set):
    """Tell whether this processor, and the operating system on it, has an instruction set."""
    if instruction_set == "avx512":
        return processor_has_avx512()
    if instruction_set == "avx2":
        return processor_has_avx2()
    return True


cdef enum:
    PAGE = 4096

ctypedef fused number:
    float
    double

KINDS = {
    "gather": GATHER, "gather_labels": GATHER_LABELS, "gaussian_noise": GAUSSIAN_NOISE,
    "dropout": DROPOUT, "activation": ACTIVATION, "activation_backward": ACTIVATION_BACKWARD,
    "forward": FORWARD, "count_classes": COUNT_CLASSES,
    "count_sides": COUNT_SIDES, "copy_out": COPY_OUT, "plain_forward": PLAIN_FORWARD,
    "loss": LOSS,
    # Weights are a source of one column.
    "gather_weights": GATHER,
    "input_gradient": INPUT_GRADIENT,
    "weight_gradient": WEIGHT_GRADIENT, "update": UPDATE, "total": TOTAL,
    "narrow_gather": NARROW_GATHER, "narrow_forward": NARROW_FORWARD,
    "narrow_backward": NARROW_BACKWARD, "narrow_activation": NARROW_ACTIVATION,
    "narrow_activation_backward": NARROW_ACTIVATION_BACKWARD, "narrow_loss": NARROW_LOSS,
    "narrow_count_classes": NARROW_COUNT_CLASSES, "narrow_count_sides": NARROW_COUNT_SIDES,
    "to_lanes": TO_LANES, "from_lanes": FROM_LANES, "lane_activation": LANE_ACTIVATION,
    "lane_activation_backward": LANE_ACTIVATION_BACKWARD, "surround": SURROUND,
    "convolution": CONVOLUTION, "convolution_input_gradient": CONVOLUTION_INPUT_GRADIENT,
    "convolution_weight_gradient": CONVOLUTION_WEIGHT_GRADIENT, "max_pool": MAX_POOL,
    "max_pool_backward": MAX_POOL_BACKWARD, "avg_pool": AVG_POOL,
    "avg_pool_backward": AVG_POOL_BACKWARD, "moments": MOMENTS, "join_moments": JOIN_MOMENTS,
    "invert_roots": INVERT_ROOTS, "normalize": NORMALIZE, "normalize_sums": NORMALIZE_SUMS,
    "join_sums": JOIN_SUMS, "normalize_backward": NORMALIZE_BACKWARD, "layer_norm": LAYER_NORM,
    "layer_norm_backward": LAYER_NORM_BACKWARD, "add_partials": ADD_PARTIALS,
    "embedding": EMBEDDING, "embedding_backward": EMBEDDING_BACKWARD,
    "pack": PACK,
    "block_sums": BLOCK_SUMS, "penalty": PENALTY, "penalty_gradient": PENALTY_GRADIENT,
    "accumulate": ACCUMULATE, "clip": CLIP, "max_norm": MAX_NORM,
}
UPDATES = {
    "plain_sgd": PLAIN_SGD, "sgd": SGD, "adam": ADAM, "adamw": ADAMW, "rmsprop": RMSPROP,
    "adagrad": ADAGRAD,
    "write_gradient": WRITE_GRADIENT,
}
SHARINGS = {"rows": BY_ROWS, "panels": BY_PANELS, "cells": BY_CELLS, "blocks": BY_BLOCKS}


cdef struct Run:
    # What the threads of one call share; each has a Step of its own.
    const Operation *operations
    Py_ssize_t count, prologue, blocks
    const InstructionSet *instructions
    char *scratch
    Py_ssize_t scratch_size
    const int64_t *order
    Py_ssize_t samples, batch, first, last, grain
    int64_t step, update
    Py_ssize_t group
    double learning_rate
    bint moments
    double betas[2]
    bint guard
    Barrier barrier
    double loss, correct, weight
    Py_ssize_t stopped
    bint broken
    # Set from outside where one thread is to end after the step that it is at; mostly NULL.
    const atomic_int *halt


cdef inline Step step_at(const Run *run, Py_ssize_t at) noexcept nogil:
    cdef Step step
    step.start = at * run.batch
    step.rows = run.order + step.start
    step.count = min(run.batch, run.samples - step.start)
    step.step = run.step + at - run.first
    # Steps whose gradients are added up count as one update, which the last of them makes.
    step.number = (run.update + at - run.first) % run.group
    step.update = (run.update + at - run.first) // run.group + 1
    step.learning_rate = run.learning_rate
    step.turn = at & 1
    step.grain = run.grain
    if run.moments:
        step.powers[0] = pow(run.betas[0], <double> step.update)
        step.powers[1] = pow(run.betas[1], <double> step.update)
    return step


cdef inline void add_in_turns(
    const number *values, Py_ssize_t size, double *totals
) noexcept nogil:
    """Add each number to the next of four totals, which compilers turn into vectors."""
    cdef Py_ssize_t i, whole = size // 4 * 4, j
    for i in range(0, whole, 4):
        for j in range(4):
            totals[j] += values[i + j]
    for i in range(whole, size):
        totals[i - whole] += values[i]


cdef double sum_of(const Operation *op, Rows given, const Step *step) noexcept nogil:
    """The sum of a number a sample, in an order that is the same on every thread."""
    cdef const char *at = given.at + given.flip * step.turn
    cdef double[4] totals = [0, 0, 0, 0]
    if op.single:
        add_in_turns(<const float *> at, step.count, totals)
    else:
        add_in_turns(<const double *> at, step.count, totals)
    return (totals[0] + totals[1]) + (totals[2] + totals[3])


cdef bint add_totals(Run *run, const Operation *op, const Step *step, Py_ssize_t part) noexcept nogil:
    """Add a step's loss, right answers and weight; False where the loss must not be learned from.

    A penalty belongs to the mean loss of a batch, and so to each of its samples.
    """
    cdef double loss = sum_of(op, op.x, step), penalties = 0
    cdef double weight = <double> step.count
    if op.sample_weights.at != NULL:
        weight = sum_of(op, op.sample_weights, step)
    cdef Py_ssize_t row
    for row in range(op.depth):
        penalties += (<const double *> op.stored.at)[row]
    if op.depth:
        loss += weight * penalties
    if run.guard and not isfinite(loss):
        return False
    if part == 0:
        run.loss += loss
        run.weight += weight
        if op.targets.at != NULL:
            for row in range(step.count):
                run.correct += (<const double *> op.targets.at)[row]
    return True


cdef inline void run_together(
    const Run *run, const Operation *first, const Step *step, char *scratch, Py_ssize_t part,
    Py_ssize_t parts
) noexcept nogil:
    """Take one block of rows through operations that only look at rows of their own."""
    cdef int i
    for i in range(first.together):
        if first[i].direct != NULL:
            first[i].direct(&first[i], step)
        else:
            run.instructions.run(&first[i], step, scratch, part, parts)


cdef void work(void *context, Py_ssize_t part, Py_ssize_t parts) noexcept nogil:
    cdef Run *run = <Run *> context
    cdef unsigned long long mode = flush_denormals()
    cdef char *scratch = run.scratch + part * run.scratch_size
    cdef Py_ssize_t at, i, block
    cdef Step step = step_at(run, run.first)
    cdef const Operation *op
    cdef bint going = True
    for i in range(run.prologue):
        run.instructions.run(&run.operations[i], &step, scratch, part, parts)
    at = run.first
    while going and at < run.last and (run.halt == NULL or not atomic_load(run.halt)):
        i = run.prologue
        while i < run.count:
            op = &run.operations[i]
            if op.updates and step.number + 1 < run.group:
                i += 1
                continue
            if op.barrier:
                barrier_wait(&run.barrier)
            if op.kind == TOTAL:
                if not add_totals(run, op, &step, part):
                    going = False
                    break
                i += 1
            elif op.together:
                for block in range(run.blocks):
                    run_together(
                        run, op, &step, scratch, part * run.blocks + block, parts * run.blocks)
                i += op.together
            else:
                run.instructions.run(op, &step, scratch, part, parts)
                i += 1
        if not going:
            break
        at += 1
        if at < run.last:
            # The next batch is drawn into the buffers that this step does not read.
            step = step_at(run, at)
            for i in range(run.prologue):
                run.instructions.run(&run.operations[i], &step, scratch, part, parts)
    if part == 0:
        run.stopped = at
        run.broken = not going
    restore_denormals(mode)


cdef inline Step nothing() noexcept nogil:
    """A step of no samples, for what only looks at weights."""
    cdef Step step
    memset(&step, 0, sizeof(Step))
    step.grain = 1
    return step


cdef class Program:
    """The operations of a step, ready to run.

    Parameters
    ----------
    instructions : capsule
        ``ENGINE`` of an instruction set's module.
    single : bool
        float32, or else float64.
    scratch_bytes : int
        What a thread needs beside the buffers.
    """

    cdef Operation *operations
    cdef Operation *layouts
    cdef Py_ssize_t count, prologue, blocks, grain, layout_count, scratch_size, threads_ready
    cdef const InstructionSet *instructions
    cdef int single
    cdef list kept
    cdef Memory scratch

    def __cinit__(self, instructions, bint single, Py_ssize_t scratch_bytes):
        self.instructions = <const InstructionSet *> PyCapsule_GetPointer(
            instructions, "mlcore.InstructionSet")
        self.single = single
        self.scratch_size = (scratch_bytes + PAGE - 1) // PAGE * PAGE + PAGE
        self.threads_ready = 0
        self.kept = []

    def __dealloc__(self):
        free(self.operations)
        free(self.layouts)

    def keep(self, *arrays):
        """Hold on to arrays whose addresses the operations contain."""
        self.kept.extend(arrays)

    def lay_out(
        self, uintptr_t weight, uintptr_t bias, Py_ssize_t depth, Py_ssize_t columns,
        uintptr_t panels, bint changes
    ):
        """Keep in `panels` what stands at `weight` (depth, columns) and, or 0, at `bias`."""
        cdef Operation *grown = <Operation *> realloc(
            self.layouts, (self.layout_count + 1) * sizeof(Operation))
        if grown == NULL:
            raise MemoryError
        self.layouts = grown
        cdef Operation *op = &grown[self.layout_count]
        memset(op, 0, sizeof(Operation))
        op.single = self.single
        op.x.at = <char *> weight
        op.stored.at = <char *> bias
        op.depth = depth
        op.columns = columns
        op.weights = <void *> panels
        op.kind = UNPACK if changes else PACK
        self.layout_count += 1

    def fill_ones(self, uintptr_t address, Py_ssize_t stride, Py_ssize_t row):
        """Set row `row` of a buffer of [units][samples] to one."""
        cdef Py_ssize_t s
        for s in range(stride):
            if self.single:
                (<float *> address)[row * stride + s] = 1
            else:
                (<double *> address)[row * stride + s] = 1

    def pack(self):
        """Bring all panels up to date."""
        with nogil:
            self.pack_all()

    cdef void pack_all(self) noexcept nogil:
        cdef Py_ssize_t i
        cdef Operation op
        cdef Step step = nothing()
        for i in range(self.layout_count):
            op = self.layouts[i]
            op.kind = PACK
            self.instructions.run(&op, &step, NULL, 0, 1)

    def unpack(self):
        """Write what training has changed back to where it was packed from."""
        with nogil:
            self.unpack_all()

    cdef void unpack_all(self) noexcept nogil:
        cdef Py_ssize_t i
        cdef Step step = nothing()
        for i in range(self.layout_count):
            if self.layouts[i].kind == UNPACK:
                self.instructions.run(&self.layouts[i], &step, NULL, 0, 1)

    def add(self, str kind, str sharing, *, update=None, state=(), settings=(), **fields):
        """Append an operation.

        Fields are those of `Operation` in engine.h: batch buffers as (address, stride, flip),
        other arrays as addresses.
        """
        cdef Operation *grown = <Operation *> realloc(
            self.operations, (self.count + 1) * sizeof(Operation))
        if grown == NULL:
            raise MemoryError
        self.operations = grown
        cdef Operation *op = &grown[self.count]
        memset(op, 0, sizeof(Operation))
        op.kind = KINDS[kind]
        op.sharing = SHARINGS[sharing]
        op.single = self.single
        op.update = UPDATES[update] if update else NO_UPDATE
        for at, address in enumerate(state):
            op.state[at] = <void *> <uintptr_t> address
        for at, number in enumerate(settings):
            op.settings[at] = number
        op.x = rows_of(fields.pop("x", None))
        op.out = rows_of(fields.pop("out", None))
        op.grad = rows_of(fields.pop("grad", None))
        op.stored = rows_of(fields.pop("stored", None))
        op.pre = rows_of(fields.pop("pre", None))
        op.targets = rows_of(fields.pop("targets", None))
        op.sample_weights = rows_of(fields.pop("sample_weights", None))
        op.loss = fields.pop("loss", 0)
        op.columns = fields.pop("columns", 0)
        op.depth = fields.pop("depth", 0)
        op.source = <const void *> <uintptr_t> fields.pop("source", 0)
        op.source_kind = fields.pop("source_kind", 0)
        op.ones = fields.pop("ones", False)
        op.activation = fields.pop("activation", 0)
        op.parameter = fields.pop("parameter", 0.0)
        op.seed = fields.pop("seed", 0)
        op.stream = fields.pop("stream", 0)
        op.weights = <void *> <uintptr_t> fields.pop("weights", 0)
        op.gradient = <void *> <uintptr_t> fields.pop("gradient", 0)
        op.geometry = geometry_of(fields.pop("geometry", None))
        op.positions = fields.pop("positions", 0)
        op.gamma = <void *> <uintptr_t> fields.pop("gamma", 0)
        op.beta = <void *> <uintptr_t> fields.pop("beta", 0)
        op.mean = <void *> <uintptr_t> fields.pop("mean", 0)
        op.inverse = <void *> <uintptr_t> fields.pop("inverse", 0)
        op.running_mean = <void *> <uintptr_t> fields.pop("running_mean", 0)
        op.running_variance = <void *> <uintptr_t> fields.pop("running_variance", 0)
        op.means = <void *> <uintptr_t> fields.pop("means", 0)
        op.partial = <void *> <uintptr_t> fields.pop("partial", 0)
        op.partial_row = fields.pop("partial_row", 0)
        op.biased = fields.pop("biased", False)
        op.bias_apart = fields.pop("bias_apart", False)
        op.weight_decay = fields.pop("weight_decay", 0.0)
        op.bias_decay = fields.pop("bias_decay", 0.0)
        op.updates = fields.pop("updates", False)
        op.local = fields.pop("local", False)
        op.flat_state = fields.pop("flat_state", False)
        if fields:
            raise TypeError(f"{kind} does not take {sorted(fields)}")
        self.count += 1

    def point_output(self, uintptr_t address):
        """Let the copy of the model's outputs go to another array."""
        cdef Py_ssize_t i
        for i in range(self.count):
            if self.operations[i].kind == COPY_OUT:
                self.operations[i].out.at = <char *> address

    def finish(self, Py_ssize_t blocks, Py_ssize_t grain):
        """Decide, once all operations are there, where threads must wait for each other, and which operations come early.

        Operations by rows need no barrier between them: each thread has its own rows. Neither do
        weight gradients, which only read what came before. A thread takes its rows through
        successive operations in so many blocks, which stay in its cache, and each thread and block
        has whole grains of rows. The leading ones by rows fill buffers that exist twice, and are run
        for the next step at the end of this one.
        """
        cdef Py_ssize_t i
        cdef bint quiet = False, cells = False
        self.prologue = 0
        while self.prologue < self.count and self.operations[self.prologue].out.flip:
            self.prologue += 1
        for i in range(self.prologue, self.count):
            op = &self.operations[i]
            op.direct = NULL if op.local else self.instructions.direct(op)
            if op.kind == TOTAL:
                op.barrier = True
                quiet, cells = True, True
            elif op.sharing == BY_ROWS:
                op.barrier = not quiet or cells
                quiet, cells = True, False
            elif op.sharing == BY_CELLS:
                op.barrier = not cells
                quiet, cells = False, True
            else:
                op.barrier = True
                quiet, cells = False, False
        if self.prologue < self.count:
            self.operations[self.prologue].barrier = True
        self.blocks = blocks
        self.grain = grain
        for i in range(self.count - 1, self.prologue - 1, -1):
            op = &self.operations[i]
            if op.sharing == BY_ROWS and op.kind != TOTAL:
                op.together = 1
                if i + 1 < self.count and not self.operations[i + 1].barrier:
                    op.together += self.operations[i + 1].together

    def barriers(self):
        """Return how many barriers a step has."""
        cdef Py_ssize_t i, found = 0
        for i in range(self.count):
            found += self.operations[i].barrier != 0
        return found

    def run(
        self, order, Py_ssize_t batch, Py_ssize_t first, Py_ssize_t last, *,
        int64_t step, int64_t update, double learning_rate, bint guard, Py_ssize_t threads,
        double loss, double correct, double weight, Py_ssize_t group
    ):
        """Run steps `first` to `last` - 1 without the GIL.

        The gradients of `group` steps make one update.

        Returns
        -------
        loss, correct, weight : float
            Sums over the samples, added one step at a time to those given: they do not depend
            on how a pass is cut into calls.
        stopped : int
            `last`, or the step whose loss is not finite and was not learned from.
        """
        cdef Run run
        cdef Memory rows = Memory(order, np.int64)
        if first >= last:
            return loss, correct, weight, last
        self.begin_run(&run, group)
        run.order = <const int64_t *> rows.at
        run.samples = rows.shape[0]
        run.batch = batch
        run.first = first
        run.last = last
        run.step = step
        run.update = update
        run.learning_rate = learning_rate
        run.guard = guard
        run.loss = loss
        run.correct = correct
        run.weight = weight
        with nogil:
            threads = pool_threads(threads)
        try:
            run.barrier.parts = threads
            run.scratch_size = self.scratch_size
            run.scratch = self.scratch_for(threads)
            with nogil:
                pool_run(work, &run, threads)
        finally:
            if threads > 1:
                pool_release()
        return run.loss, run.correct, run.weight, run.stopped

    cdef void begin_run(self, Run *run, Py_ssize_t group) noexcept nogil:
        """Fill in what follows from the operations alone."""
        cdef Py_ssize_t i
        memset(run, 0, sizeof(Run))
        run.operations = self.operations
        run.count = self.count
        run.prologue = self.prologue
        run.blocks = self.blocks
        run.grain = self.grain
        run.instructions = self.instructions
        run.group = group
        for i in range(self.count):
            if self.operations[i].update in (ADAM, ADAMW):
                run.moments = True
                run.betas[0] = self.operations[i].settings[0]
                run.betas[1] = self.operations[i].settings[1]

    cdef char *scratch_for(self, Py_ssize_t threads) except NULL:
        """Return room for so many threads, which begins on a page."""
        if threads > self.threads_ready:
            size = threads * self.scratch_size + PAGE
            self.scratch = Memory(np.empty(size, np.uint8), np.uint8, written=True)
            self.threads_ready = threads
        return <char *> ((<uintptr_t> self.scratch.at + PAGE - 1) // PAGE * PAGE)

cdef bint all_finite(const number *values, Py_ssize_t size) noexcept nogil:
    cdef bint bad = False
    cdef Py_ssize_t i
    for i in range(size):
        # Neither NaN nor an infinity times zero is zero.
        bad |= values[i] * 0 != 0
    return not bad


cdef inline bint finite(bint single, const void *values, Py_ssize_t size) noexcept nogil:
    if single:
        return all_finite(<const float *> values, size)
    return all_finite(<const double *> values, size)


def predict(Program program, x, out):
    """Run a program that predicts a few samples; False, and nothing, if one is not finite.

    The GIL is kept, because the program's buffers serve one call at a time.
    """
    dtype = np.float32 if program.single else np.float64
    cdef Memory rows = Memory(x, dtype), results = Memory(out, dtype, written=True)
    cdef Py_ssize_t i, samples = rows.shape[0]
    cdef Run run
    if not finite(program.single, rows.at, samples * rows.shape[1]):
        return False
    for i in range(program.count):
        if program.operations[i].kind == GATHER:
            program.operations[i].source = rows.at
        elif program.operations[i].kind == COPY_OUT:
            program.operations[i].out.at = <char *> results.at
    program.begin_run(&run, 1)
    run.blocks = 1
    run.order = FIRST
    run.samples = run.batch = samples
    run.last = 1
    run.barrier.parts = 1
    work(&run, 0, 1)
    return True


cdef int64_t[16] FIRST = list(range(16))


# In their order in memory.
GEOMETRY = (
    "height", "width", "channels", "out_height", "out_width", "out_channels", "window_height",
    "window_width", "stride_height", "stride_width", "pad_top", "pad_left",
)


cdef Geometry geometry_of(given) except *:
    cdef Geometry geometry
    cdef Py_ssize_t at
    memset(&geometry, 0, sizeof(Geometry))
    if given is not None:
        for at, name in enumerate(GEOMETRY):
            (<Py_ssize_t *> &geometry)[at] = given[name]
    return geometry


cdef Rows rows_of(given) except *:
    cdef Rows rows
    rows.at = NULL
    rows.stride = rows.flip = 0
    if given is not None:
        address, stride, flip = given
        rows.at = <char *> <uintptr_t> address
        rows.stride = stride
        rows.flip = flip
    return rows


include "many.pxi"
