"""Splits: disjoint, complete, in proportion, and the same for the same seed."""

import numpy as np
import pytest

from mlcore.data import Dataset, split
from mlcore.kernels.errors import InputError


def numbered(count, classes=3):
    return Dataset(np.arange(count), np.arange(count) % classes, name="n")


def rows(dataset):
    return [] if dataset is None else dataset.inputs.ravel().tolist()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize("sizes", [(0.2, 0.1), (7, 0.3), (0.0, 12), (9, 0)])
def test_parts_share_nothing_and_lose_nothing(shuffle, stratify, sizes):
    validation, test = sizes
    parts = split(
        numbered(90), validation=validation, test=test, stratify=stratify, shuffle=shuffle, seed=3
    )
    everything = rows(parts.train) + rows(parts.validation) + rows(parts.test)
    assert sorted(everything) == list(range(90))


def test_unshuffled_takes_the_end_as_keras_does():
    parts = split(numbered(10), validation=0.2)
    assert rows(parts.train) == list(range(8))
    assert rows(parts.validation) == [8, 9]
    assert parts.test is None
    parts = split(numbered(10), validation=2, test=3)
    assert rows(parts.validation) == [5, 6]
    assert rows(parts.test) == [7, 8, 9]


@pytest.mark.parametrize("fraction", [0.07, 0.1, 0.29, 0.3, 0.58, 0.9])
def test_fractions_of_a_hundred_are_exact(fraction):
    assert len(split(numbered(100), validation=fraction).validation) == round(100 * fraction)


def test_fraction_rounds_train_down():
    assert len(split(numbered(10), validation=0.25).train) == 7


def test_seed_decides_and_nothing_else():
    def drawn(seed):
        return rows(split(numbered(50), validation=0.2, shuffle=True, seed=seed).validation)

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    # Pinned, so that a change of generator does not go unseen.
    assert drawn(0) == [7, 39, 49, 5, 14, 29, 41, 33, 15, 31]


def test_stratified_by_largest_remainder():
    labels = np.repeat([0, 1, 2], [50, 30, 17])
    dataset = Dataset(np.arange(97), labels)
    parts = split(dataset, validation=10, test=20, stratify=True, shuffle=True)
    # 10 * (50, 30, 17) / 97 = 5.15, 3.09, 1.75 and 20 * ... = 10.31, 6.19, 3.51.
    assert np.bincount(parts.validation.targets).tolist() == [5, 3, 2]
    assert np.bincount(parts.test.targets).tolist() == [10, 6, 4]
    np.testing.assert_array_equal(parts.train.targets, labels[rows(parts.train)])


def test_stratified_in_order_keeps_the_order():
    parts = split(numbered(12), validation=3, stratify=True)
    assert rows(parts.validation) == [9, 10, 11]
    assert rows(parts.train) == list(range(9))


def test_what_the_set_knows_goes_with_the_parts():
    images = np.zeros((10, 2, 2), dtype=np.uint8)
    dataset = Dataset(images, np.arange(10) % 2, 0.5, "d", ["a", "b"])
    part = split(dataset, test=2).test
    assert (part.scale, part.class_names, part.image_shape) == (0.5, ("a", "b"), (2, 2))
    assert part.name == "d test"
    assert not np.shares_memory(part.inputs, dataset.inputs)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"validation": 1.0}, "validation is 1.0: a fraction is from 0"),
        ({"test": -0.1}, "test is -0.1"),
        ({"validation": float("nan")}, "validation is nan"),
        ({"test": -1}, "a number of samples is not negative"),
        ({"validation": True}, "validation is True"),
        ({"validation": "0.1"}, "validation is '0.1'"),
        ({"validation": 0.5, "test": 0.5}, "leave none to train on"),
        ({"validation": 9}, "n has 9 samples: 9 for validation and 0 for test leave none"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"validation": 2, "stratify": True}, "class 2 has 3 samples, too few"),
    ],
)
def test_errors(keywords, message):
    with pytest.raises(InputError, match=message):
        split(numbered(9), **keywords)


def test_stratify_needs_labels_with_enough_samples():
    with pytest.raises(InputError, match="stratify needs class labels"):
        split(Dataset(np.zeros(4), np.zeros(4)), validation=1, stratify=True)
    rare = Dataset(np.zeros(20), [7] + [1] * 19)
    with pytest.raises(InputError, match="class 7 has 1 samples"):
        split(rare, validation=0.3, stratify=True)
