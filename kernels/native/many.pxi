"""Many trainings, one after another on each thread, with no Python in between.

All networks have the shape that one program was made for, so each thread has a copy of that
program, with vectors and buffers of its own. For every network it copies the flat vectors in,
trains, and copies them out again; nothing else changes but where the samples lie and the seed.
So a network cannot know who was there before it, nor on which thread.
"""

cdef extern from "<time.h>":
    struct timespec:
        long long tv_sec
        long tv_nsec
    int timespec_get(timespec *time, int base) noexcept nogil
    int TIME_UTC

# How a training ended.
cdef enum:
    WAITING, WHOLE, HALTED, NOT_FINITE

ENDINGS = {"waiting": WAITING, "whole": WHOLE, "halted": HALTED, "not finite": NOT_FINITE}


cdef inline double seconds_now() noexcept nogil:
    cdef timespec now
    timespec_get(&now, TIME_UTC)
    return <double> now.tv_sec + 1e-9 * <double> now.tv_nsec


cdef class Berth:
    """A program, and where networks lie while it trains them.

    Parameters
    ----------
    program : Program
        Of one thread.
    vectors : list of ndarray
        The flat vectors that a network brings, parameters first, as the program has them.
    memory : ndarray of uint8
        The program's buffers, as they are before the first step.
    sources : list of int
        The addresses of the arrays that batches are gathered from, as the program has them.
    """

    cdef readonly Program program
    cdef list kept
    cdef Py_ssize_t count, bytes
    cdef const uintptr_t *vectors
    cdef const Py_ssize_t *sizes
    cdef void *memory
    cdef const void *fresh
    # Of each operation, which of the sources it gathers from, or -1.
    cdef const int *gathers

    def __cinit__(self, Program program, vectors, memory, sources):
        cdef Py_ssize_t i
        gathers = np.full(program.count, -1, np.intc)
        for i in range(program.count):
            if <uintptr_t> program.operations[i].source in sources:
                gathers[i] = sources.index(<uintptr_t> program.operations[i].source)
        addresses = np.array([vector.ctypes.data for vector in vectors], np.uintp)
        sizes = np.array([vector.nbytes for vector in vectors], np.intp)
        self.program, self.count, self.bytes = program, len(vectors), memory.nbytes
        self.kept = []
        self.vectors = <const uintptr_t *> held(self.kept, addresses, np.uintp)
        self.sizes = <const Py_ssize_t *> held(self.kept, sizes, np.intp)
        self.memory = held(self.kept, memory, np.uint8, written=True)
        self.fresh = held(self.kept, memory.copy(), np.uint8)
        self.gathers = <const int *> held(self.kept, gathers, np.intc)

    cdef void take_in(
        self, const uintptr_t *vectors, const uintptr_t *sources, uint64_t seed
    ) noexcept nogil:
        cdef Py_ssize_t i
        memcpy(self.memory, self.fresh, self.bytes)
        for i in range(self.count):
            memcpy(<void *> self.vectors[i], <void *> vectors[i], self.sizes[i])
        for i in range(self.program.count):
            self.program.operations[i].seed = seed
            if self.gathers[i] >= 0:
                self.program.operations[i].source = <void *> sources[self.gathers[i]]
        self.program.pack_all()

    cdef void let_out(self, const uintptr_t *vectors) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.count):
            memcpy(<void *> vectors[i], <void *> self.vectors[i], self.sizes[i])

    cdef bint finite(self) noexcept nogil:
        cdef Py_ssize_t width = sizeof(float) if self.program.single else sizeof(double)
        return finite(
            self.program.single, <const void *> self.vectors[0], self.sizes[0] // width)


cdef class Many:
    """The trainings of many networks, which threads take from one by one.

    Parameters
    ----------
    vectors : ndarray of uintp (networks, vectors)
        Addresses of each network's flat vectors, in the order of a berth's.
    sources : ndarray of uintp (networks, sources)
        Addresses of the arrays that its batches are gathered from, likewise.
    seeds : ndarray of uint64 (networks,)
    counts : ndarray of int64 (networks, 3)
        How many epochs, steps and updates it had made before.
    rates : ndarray of float64 (epochs,)
        The learning rate of each epoch.
    samples, batch, group : int
        Samples an epoch, samples a step, steps an update.
    shuffle : bool

    Attributes
    ----------
    totals : ndarray of float64 (networks, epochs, 4)
        Sums of losses, right answers and weights over each epoch, and its seconds.
    reached : ndarray of int64 (networks, 3)
        Whole epochs, steps after them, and one of `ENDINGS`.
    """

    cdef list kept
    cdef Py_ssize_t networks, vectors_each, sources_each, epochs, samples, batch, group
    cdef bint shuffle
    cdef const uintptr_t *vectors
    cdef const uintptr_t *sources
    cdef const uint64_t *seeds
    cdef const int64_t *counts
    cdef const double *rates
    cdef readonly object totals, reached
    cdef double *sums
    cdef int64_t *ends
    cdef atomic_ptrdiff_t next
    cdef atomic_int halt

    def __cinit__(
        self, vectors, sources, seeds, counts, rates, *, Py_ssize_t samples, Py_ssize_t batch,
        Py_ssize_t group, bint shuffle
    ):
        self.networks, self.epochs = len(seeds), len(rates)
        self.vectors_each, self.sources_each = vectors.shape[1], sources.shape[1]
        self.samples, self.batch, self.group, self.shuffle = samples, batch, group, shuffle
        self.totals = np.zeros((self.networks, self.epochs, 4))
        self.reached = np.zeros((self.networks, 3), np.int64)
        self.kept = []
        self.vectors = <const uintptr_t *> held(self.kept, vectors, np.uintp)
        self.sources = <const uintptr_t *> held(self.kept, sources, np.uintp)
        self.seeds = <const uint64_t *> held(self.kept, seeds, np.uint64)
        self.counts = <const int64_t *> held(self.kept, counts, np.int64)
        self.rates = <const double *> held(self.kept, rates, np.float64)
        self.sums = <double *> held(self.kept, self.totals, np.float64, written=True)
        self.ends = <int64_t *> held(self.kept, self.reached, np.int64, written=True)

    def stop(self):
        """Have every thread end after the step that it is at."""
        atomic_store(&self.halt, True)

    def train(self, Berth berth not None):
        """Train one network after another, until there are no more; for each thread to call."""
        cdef Memory order = Memory(np.arange(self.samples, dtype=np.int64), np.int64, written=True)
        cdef Program program = berth.program
        cdef char *scratch = program.scratch_for(1)
        cdef Py_ssize_t network
        with nogil:
            while not atomic_load(&self.halt):
                network = atomic_fetch_add(&self.next, 1)
                if network >= self.networks:
                    break
                self.train_one(program, berth, network, <int64_t *> order.at, scratch)

    cdef void train_one(
        self, Program program, Berth berth, Py_ssize_t network, int64_t *order, char *scratch
    ) noexcept nogil:
        cdef Run run
        cdef Py_ssize_t epoch = 0, steps = (self.samples + self.batch - 1) // self.batch
        cdef int64_t ending = WHOLE, after = 0
        cdef const int64_t *before = self.counts + 3 * network
        cdef int64_t *end = self.ends + 3 * network
        cdef double began
        cdef double *sums
        cdef const uintptr_t *vectors = self.vectors + network * self.vectors_each
        berth.take_in(
            vectors, self.sources + network * self.sources_each, self.seeds[network])
        program.begin_run(&run, self.group)
        run.scratch = scratch
        run.order = order
        run.samples = self.samples
        run.batch = self.batch
        run.last = steps
        run.guard = True
        run.barrier.parts = 1
        run.halt = &self.halt
        while epoch < self.epochs:
            began = seconds_now()
            if self.shuffle:
                program.instructions.permute(
                    self.seeds[network], before[0] + epoch, self.samples, order)
            run.step = before[1] + epoch * steps
            run.update = before[2] + epoch * steps
            run.learning_rate = self.rates[epoch]
            run.loss = run.correct = run.weight = 0
            work(&run, 0, 1)
            program.unpack_all()
            sums = self.sums + 4 * (network * self.epochs + epoch)
            sums[0], sums[1], sums[2] = run.loss, run.correct, run.weight
            sums[3] = seconds_now() - began
            if run.broken or run.stopped < steps or not berth.finite():
                ending = HALTED if run.stopped < steps and not run.broken else NOT_FINITE
                after = run.stopped
                break
            epoch += 1
            if epoch < self.epochs and atomic_load(&self.halt):
                ending = HALTED
                break
        berth.let_out(vectors)
        end[0], end[1], end[2] = epoch, after, ending
