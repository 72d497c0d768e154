"""The counter-based generator: published answers, documented mappings, what is drawn from it."""

import math

import numpy as np
import pytest

from mlcore import kernels
from mlcore.kernels import reference

BACKENDS = [kernels.get(entry.name) for entry in kernels.status() if entry.available]
DTYPES = [np.float32, np.float64]
ONES = 0xFFFFFFFF

# Salmon and others 2011: the file kat_vectors of Random123.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def label(value):
    return getattr(value, "name", None) or getattr(value, "__name__", None) or str(value)


def philox(backend, counter, key):
    words = np.empty((len(counter), 4), np.uint32)
    backend.call(
        "philox4x32",
        counter=np.array(counter, np.uint32),
        key=np.array(key, np.uint32),
        words=words,
    )
    return words


def draw(backend, name, shape, dtype=np.float64, **given):
    out = np.empty(shape, np.uint32 if name == "bits" else dtype)
    backend.call(name, **{"seed": 1, "stream": 0, "step": 0, **given}, out=out)
    return out


def shuffled(backend, count, seed=0, epoch=0):
    out = np.empty(count, np.int64)
    backend.call("permutation", seed=seed, epoch=epoch, out=out)
    return out


def chi_square_bound(degrees):
    """What chi-square stays below with all but one in some millions of seeds."""
    return degrees + 5 * math.sqrt(2 * degrees) + 15


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_philox_gives_the_published_answers(backend, counter, key, answer):
    assert [hex(word) for word in philox(backend, [counter], key)[0]] == [hex(w) for w in answer]


@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_philox_answers_stand_at_every_place_of_a_long_array(backend):
    counter, key, answer = KNOWN_ANSWERS[2]
    words = philox(backend, [counter] * 37, key)
    assert (words == np.array(answer, np.uint32)).all()


DRAWS = [
    {"seed": 0, "stream": 0, "step": 0},
    {"seed": 2**64 - 3, "stream": 65_535, "step": 2**40 + 7},
    {"seed": 0x0123456789ABCDEF, "stream": 0x8001, "step": 3},
]


def counter_of(lane, row, stream, step):
    return (lane, row, step & ONES, (stream << 16) | (step >> 32))


def key_of(seed):
    return (seed & ONES, seed >> 32)


@pytest.mark.parametrize("given", DRAWS, ids=str)
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_columns_of_bits_come_from_the_documented_counters(backend, given):
    rows, columns = 3, 150
    found = draw(backend, "bits", (rows, columns), **given)
    for row in range(rows):
        for column in range(columns):
            lane = 16 * (column // 64) + column % 16
            counter = counter_of(lane, row, given["stream"], given["step"])
            word = philox(backend, [counter], key_of(given["seed"]))[0][column % 64 // 16]
            assert found[row, column] == word, (row, column)


@pytest.mark.parametrize("given", DRAWS, ids=str)
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_columns_of_dropout_come_from_the_documented_counters(backend, given):
    rate, threshold = 0.3, round(0.3 * 65536)
    found = draw(backend, "dropout", (2, 270), x=np.ones((2, 270)), rate=rate, **given)
    for row in range(2):
        for column in range(270):
            lane = 16 * (column // 128) + column % 16
            counter = counter_of(lane, row, given["stream"], given["step"])
            word = philox(backend, [counter], key_of(given["seed"]))[0][column % 128 // 32]
            half = int(word) & 0xFFFF if column % 32 < 16 else int(word) >> 16
            assert (found[row, column] != 0) == (half >= threshold), (row, column)


@pytest.mark.parametrize("given", DRAWS, ids=str)
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_normals_are_box_muller_of_pairs_sixteen_columns_apart(backend, given):
    bits = draw(backend, "bits", (2, 128), **given).astype(np.uint64)
    found = draw(backend, "normal", (2, 128), **given)
    for column in range(128):
        place = column - column % 32 + column % 16
        radius = np.sqrt(-2 * np.log(((bits[:, place] >> 9) + 0.5) / 2**23))
        angle = 2 * np.pi * (bits[:, place + 16] >> 8) / 2**24
        wanted = radius * (np.cos(angle) if column % 32 < 16 else np.sin(angle))
        np.testing.assert_allclose(found[:, column], wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("given", DRAWS, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (5, 63), (4, 64), (3, 200), (50, 784)])
def test_bits_uniforms_and_masks_are_equal_in_every_backend_and_dtype(shape, given):
    bits = draw(kernels.get("numpy"), "bits", shape, **given)
    uniforms = draw(kernels.get("numpy"), "uniform", shape, **given)
    assert np.array_equal(uniforms, (bits >> 8) / 2**24)
    masks = []
    for backend in BACKENDS:
        assert np.array_equal(draw(backend, "bits", shape, **given), bits)
        for dtype in DTYPES:
            assert np.array_equal(draw(backend, "uniform", shape, dtype, **given), uniforms)
            x = np.ones(shape, dtype)
            masks.append(draw(backend, "dropout", shape, dtype, x=x, rate=0.4, **given) != 0)
    assert all(np.array_equal(mask, masks[0]) for mask in masks)


@pytest.mark.parametrize("dtype", DTYPES, ids=label)
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_uniforms_are_in_the_half_open_unit_interval_and_flat(backend, dtype):
    drawn = draw(backend, "uniform", (500, 400), dtype, seed=5).astype(float)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert drawn.mean() == pytest.approx(1 / 2, abs=5 / math.sqrt(12 * drawn.size))
    assert drawn.var() == pytest.approx(1 / 12, rel=0.01)
    counts = np.histogram(drawn, 100, (0, 1))[0]
    expected = drawn.size / 100
    assert ((counts - expected) ** 2 / expected).sum() < chi_square_bound(99)


@pytest.mark.parametrize("dtype", DTYPES, ids=label)
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_normals_have_the_moments_and_tails_of_a_normal(backend, dtype):
    drawn = draw(backend, "normal", (700, 640), dtype, seed=3).astype(float)
    count = drawn.size
    assert abs(drawn.mean()) < 5 / math.sqrt(count)
    assert drawn.var() == pytest.approx(1, abs=5 * math.sqrt(2 / count))
    assert (drawn**3).mean() == pytest.approx(0, abs=5 * math.sqrt(15 / count))
    assert (drawn**4).mean() == pytest.approx(3, abs=5 * math.sqrt(96 / count))
    for bound in (1, 2, 3, 4):
        share = math.erfc(bound / math.sqrt(2))
        wanted = count * share
        assert np.count_nonzero(abs(drawn) > bound) == pytest.approx(
            wanted, abs=5 * math.sqrt(wanted)
        )
    # 23 bits of radius reach sqrt(2 log 2**24), which is 5.77.
    assert 4.3 < abs(drawn).max() < 5.8


@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_normals_of_a_row_and_of_a_pair_are_uncorrelated(backend):
    drawn = draw(backend, "normal", (4000, 64), seed=8)
    correlation = drawn.T @ drawn / len(drawn) - np.eye(64)
    assert np.abs(correlation).max() < 6 * math.sqrt(2 / len(drawn))


@pytest.mark.parametrize("name", ["bits", "normal", "uniform"])
def test_normals_differ_by_seed_stream_step_row_and_column(name):
    base = draw(kernels.get("numpy"), name, (6, 70))
    for change in ({"seed": 2}, {"seed": 1 + 2**32}, {"stream": 1}, {"step": 1}, {"step": 2**32}):
        other = draw(kernels.get("numpy"), name, (6, 70), **change)
        assert np.mean(other == base) < 0.01, change
    assert len(np.unique(base)) > 0.99 * base.size


def test_backends_draw_the_same_normals_to_rounding():
    wanted = draw(kernels.get("numpy"), "normal", (40, 300))
    for backend in BACKENDS:
        for dtype in DTYPES:
            bound = 64 * np.finfo(dtype).eps
            found = draw(backend, "normal", (40, 300), dtype)
            np.testing.assert_allclose(found, wanted, rtol=bound, atol=bound)


@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_gaussian_noise_is_stddev_times_normal(backend):
    x = np.full((30, 90), 2.0)
    noisy = draw(backend, "gaussian_noise", x.shape, x=x, stddev=0.25, seed=4, stream=2, step=9)
    normal = draw(backend, "normal", x.shape, seed=4, stream=2, step=9)
    np.testing.assert_allclose(noisy, 2 + 0.25 * normal, rtol=1e-14)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_dropout_drops_its_share_and_keeps_the_mean(backend, rate):
    shape = (1000, 300)
    dropped = draw(backend, "dropout", shape, x=np.ones(shape), rate=rate, seed=6)
    count = dropped.size
    share = np.count_nonzero(dropped == 0) / count
    assert share == pytest.approx(rate, abs=5 * math.sqrt(rate * (1 - rate) / count))
    kept = 1 - round(rate * 65536) / 65536
    np.testing.assert_allclose(dropped[dropped != 0], 1 / kept, rtol=1e-14)
    assert dropped.mean() == pytest.approx(1, abs=5 * math.sqrt(rate / (1 - rate) / count))


@pytest.mark.parametrize("rate", [0.0, 2**-16, 0.25, 0.3, 1 - 2**-16, 1 - 2**-20])
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_dropout_compares_sixteen_bits_with_the_rounded_rate(backend, rate):
    threshold = min(round(rate * 65536), 65535)
    assert reference.dropout_threshold(rate) == threshold
    shape = (64, 1024)
    ours = draw(backend, "dropout", shape, x=np.ones(shape), rate=rate, seed=2)
    words = draw(backend, "bits", (64, 512), seed=2).astype(int)
    halves = np.sort(np.concatenate([words & 0xFFFF, words >> 16]), axis=None)
    assert np.count_nonzero(ours == 0) == np.searchsorted(halves, threshold)
    assert set(np.unique(ours)) <= {0, 65536 / (65536 - threshold)}


@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_the_mask_is_drawn_again_from_the_same_arguments(backend):
    x = np.random.default_rng(0).standard_normal((20, 150))
    masks = [
        draw(backend, "dropout", x.shape, x=values, rate=0.5, step=4) != 0 for values in (x, 3 - x)
    ]
    assert np.array_equal(*masks)
    other = draw(backend, "dropout", x.shape, x=x, rate=0.5, step=5) != 0
    assert 0.4 < np.mean(masks[0] == other) < 0.6


@pytest.mark.parametrize("name", ["bits", "uniform", "normal", "dropout", "gaussian_noise"])
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_a_row_does_not_depend_on_the_batch_nor_a_column_on_the_width(backend, name):
    def drawn(rows, columns):
        x = {"x": np.ones((rows, columns))} if name in ("dropout", "gaussian_noise") else {}
        setting = {"dropout": {"rate": 0.5}, "gaussian_noise": {"stddev": 1.0}}.get(name, {})
        return draw(backend, name, (rows, columns), **x, **setting)

    full = drawn(50, 200)
    assert np.array_equal(drawn(3, 200), full[:3])
    assert np.array_equal(drawn(1, 200), full[:1])
    assert np.array_equal(drawn(50, 33), full[:, :33])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 97, 1000, 10_007])
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_a_permutation_holds_every_row_once(backend, count):
    assert np.array_equal(np.sort(shuffled(backend, count, seed=9)), np.arange(count))


def test_permutations_are_the_same_in_every_backend():
    for seed, epoch in ((0, 0), (5, 3), (2**64 - 1, 2**33 + 1)):
        wanted = shuffled(kernels.get("numpy"), 1234, seed, epoch)
        assert all(np.array_equal(shuffled(b, 1234, seed, epoch), wanted) for b in BACKENDS)


@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_a_permutation_is_fisher_and_yates_with_the_documented_words(backend):
    words = draw(backend, "bits", (1, 50), seed=3, stream=65_535, step=8)[0]
    order = list(range(50))
    for last in range(49, 0, -1):
        other = int(words[last]) * (last + 1) >> 32
        order[last], order[other] = order[other], order[last]
    assert shuffled(backend, 50, seed=3, epoch=8).tolist() == order


@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_permutations_differ_by_epoch_and_seed(backend):
    base = shuffled(backend, 1000)
    for seed, epoch in ((0, 1), (1, 0), (2**32, 0), (0, 2**32)):
        same = np.count_nonzero(shuffled(backend, 1000, seed, epoch) == base)
        assert same < 10, (seed, epoch)


@pytest.mark.parametrize("place", [0, 6, 12])
@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_every_row_comes_to_every_place_equally_often(backend, place):
    count, times = 13, 6500
    counts = np.zeros(count)
    for epoch in range(times):
        counts[shuffled(backend, count, seed=21, epoch=epoch)[place]] += 1
    expected = times / count
    assert ((counts - expected) ** 2 / expected).sum() < chi_square_bound(count - 1)


@pytest.mark.parametrize("backend", BACKENDS, ids=label)
def test_pairs_of_places_are_filled_equally_often(backend):
    count, times = 5, 4000
    counts = np.zeros((count, count))
    for epoch in range(times):
        order = shuffled(backend, count, seed=22, epoch=epoch)
        counts[order[0], order[1]] += 1
    expected = times / (count * (count - 1))
    off = counts[~np.eye(count, dtype=bool)]
    assert np.trace(counts) == 0
    assert ((off - expected) ** 2 / expected).sum() < chi_square_bound(len(off) - 1)
