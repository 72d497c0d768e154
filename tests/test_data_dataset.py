"""Datasets keep what they are given, and say what is wrong with what they cannot keep."""

import numpy as np
import pytest

from mlcore.data import Dataset, Splits
from mlcore.data.targets import as_labels, as_targets, one_hot
from mlcore.kernels.errors import InputError

NUMERIC = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", NUMERIC)
def test_inputs_keep_values_and_dtype_in_native_order(dtype, order):
    values = np.arange(24).reshape(4, 6).astype(order + dtype)
    dataset = Dataset(values, np.zeros(4))
    assert dataset.inputs.dtype == np.dtype(dtype)
    assert dataset.inputs.dtype.isnative
    assert dataset.inputs.flags.c_contiguous
    np.testing.assert_array_equal(dataset.inputs, values)


def test_native_contiguous_inputs_are_not_copied():
    values = np.zeros((4, 6), dtype=np.uint8)
    assert np.shares_memory(Dataset(values, np.zeros(4)).inputs, values)


@pytest.mark.parametrize(
    "layout",
    [np.asfortranarray, lambda a: a[::-1], lambda a: np.repeat(a, 2, axis=1)[:, ::2]],
)
def test_layouts_and_read_only_arrays(layout):
    values = layout(np.arange(24, dtype=np.float32).reshape(4, 6))
    values.flags.writeable = False
    targets = np.arange(8)[::2]
    targets.flags.writeable = False
    dataset = Dataset(values, targets)
    assert dataset.inputs.flags.c_contiguous
    np.testing.assert_array_equal(dataset.inputs, values)
    np.testing.assert_array_equal(dataset.y, [0, 2, 4, 6])


def test_scale_is_by_dtype_unless_told():
    bytes_ = np.full((2, 3), 255, dtype=np.uint8)
    assert Dataset(bytes_, [0, 1]).scale == 1 / 255
    assert Dataset(bytes_.astype(np.float32), [0, 1]).scale == 1.0
    assert Dataset(bytes_, [0, 1], scale=1.0).scale == 1.0
    mask = Dataset(bytes_.astype(bool), [0, 1])
    assert (mask.inputs.dtype, mask.scale) == (np.uint8, 1.0)


def test_x_is_defined_bit_for_bit():
    every = np.arange(256, dtype=np.uint8).reshape(-1, 1)
    x = Dataset(every, np.zeros(256)).x
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, every.astype(np.float32) * np.float32(1 / 255))
    assert not np.shares_memory(x, every)
    floats = np.ones((2, 2), dtype=np.float32)
    assert not np.shares_memory(Dataset(floats, [0, 1]).x, floats)


def test_unpacks_into_x_and_y():
    dataset = Dataset(np.ones((3, 2)), [1, 2, 0])
    x, y = dataset
    assert x.shape == (3, 2)
    assert y.dtype == np.int32
    assert len(dataset) == 3


def test_images_are_flattened_and_their_shape_kept():
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    dataset = Dataset(images, [0, 1])
    assert dataset.inputs.shape == (2, 12)
    assert dataset.image_shape == (3, 4)
    np.testing.assert_array_equal(dataset.inputs[1].reshape(3, 4), images[1])
    assert Dataset(np.arange(3.0), np.arange(3.0)).inputs.shape == (3, 1)
    assert Dataset(images[:0], images[:0, 0, 0]).inputs.shape == (0, 12)


def test_targets_labels_and_numbers():
    x = np.zeros((3, 2))
    for dtype in NUMERIC[:8]:
        y = Dataset(x, np.array([0, 1, 2], dtype=dtype)).targets
        assert (y.dtype, y.tolist()) == (np.int32, [0, 1, 2])
    assert Dataset(x, [[0], [1], [2]]).targets.shape == (3,)
    assert Dataset(x, np.zeros(3, dtype=">f4")).targets.dtype == np.float32
    # Floats stay as they are even where they could be one-hot: a subset must not change its kind.
    soft = Dataset(x, np.eye(3))
    assert soft.subset([0, 1]).targets.shape == (2, 3)


def test_subset():
    dataset = Dataset(np.arange(10).reshape(5, 2), np.arange(5), 0.5, "d", list("abcde"), (2, 1))
    assert dataset.subset(slice(1, 3)).targets.tolist() == [1, 2]
    assert dataset.subset([4, 0, -1]).targets.tolist() == [4, 0, 4]
    assert dataset.subset(dataset.targets % 2 == 0).inputs.tolist() == [[0, 1], [4, 5], [8, 9]]
    assert len(dataset.subset([])) == 0
    part = dataset.subset(slice(None, None, -1))
    assert part.inputs.flags.c_contiguous
    assert (part.scale, part.name, part.class_names, part.image_shape) == (
        0.5,
        "d",
        tuple("abcde"),
        (2, 1),
    )
    for rows, message in [
        ([5], "row 5 is out of range for 5 samples"),
        ([0, -6], "row -6 is out of range"),
        (np.array([True]), "a mask of 1 for 5 samples"),
        ([0.5], "rows are a slice"),
        ([[0]], "rows are a slice"),
    ]:
        with pytest.raises(InputError, match=message):
            dataset.subset(rows)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"targets": [0]}, "d: 2 inputs but 1 targets"),
        ({"inputs": ["a", "b"]}, "d: inputs have dtype <U1"),
        ({"inputs": np.ones((2, 1), complex)}, "inputs have dtype complex128"),
        ({"inputs": 3.0}, "one number"),
        ({"targets": ["a", "b"]}, "targets have dtype <U1"),
        ({"targets": np.zeros((2, 1, 1))}, r"targets have shape \(2, 1, 1\)"),
        ({"targets": [[0, 1], [1, 0]]}, "give labels"),
        ({"targets": [0, 2**31]}, "the label 2147483648 does not fit into int32"),
        ({"targets": [0, -(2**31) - 1]}, "the label -2147483649 does not fit"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"scale": 0}, "scale is 0.0"),
        ({"image_shape": (2, 2)}, r"image_shape \(2, 2\) holds 4 values, a row of inputs 3"),
    ],
)
def test_dataset_errors(keywords, message):
    given = {"inputs": np.ones((2, 3)), "targets": [0, 1], "name": "d"} | keywords
    with pytest.raises(InputError, match=message):
        Dataset(**given)


def test_repr():
    images = np.zeros((1000, 28, 28), dtype=np.uint8)
    labels = np.arange(1000) % 10
    assert repr(Dataset(images, labels, name="m")) == (
        "Dataset('m': 1,000 samples of 28x28 uint8 times 1/255, labels 0 to 9)"
    )
    assert repr(Dataset(np.zeros((2, 3)), np.zeros((2, 4)), 0.3, "d")) == (
        "Dataset('d': 2 samples of 3 features float64 times 0.3, targets float64 of shape (2, 4))"
    )
    assert "2 classes" in repr(Dataset(np.zeros((2, 3)), [0, 1], class_names=["a", "b"]))
    assert "no labels" in repr(Dataset(np.zeros((0, 3)), np.zeros(0, int)))


def test_splits_unpack_train_and_test():
    train, test = (Dataset(np.zeros((n, 1)), np.zeros(n)) for n in (3, 2))
    splits = Splits(train, test=test, name="s")
    assert tuple(splits) == (train, test)
    assert list(splits.parts()) == ["train", "test"]
    with pytest.raises(InputError, match="s has no test part to unpack"):
        tuple(Splits(train, name="s"))


@pytest.mark.parametrize("dtype", [*NUMERIC, ">u2", ">i8", ">f4", bool])
def test_one_hot_rows_of_any_dtype_become_labels(dtype):
    rows = np.eye(4)[[2, 0, 3, 1, 1]].astype(dtype)
    for values in (rows, np.asfortranarray(rows), rows[::-1][::-1]):
        labels = as_targets(values, where="y")
        assert labels.dtype == np.int32
        assert labels.tolist() == [2, 0, 3, 1, 1]


def test_soft_targets_and_regression_stay_floats():
    soft = np.array([[0.25, 0.75], [1.0, 0.0]], dtype=np.float32)
    numbers = np.array([[2.5, -1.0], [0.0, 0.0]], dtype=">f8")
    assert as_targets(soft, where="y").dtype == np.float32
    np.testing.assert_array_equal(as_targets(soft, where="y"), soft)
    kept = as_targets(numbers, where="y")
    assert kept.dtype.isnative
    np.testing.assert_array_equal(kept, numbers)
    assert as_targets(np.ones((3, 1)), where="y").shape == (3, 1)
    assert as_targets(np.zeros((3, 1), dtype=np.uint8), where="y").shape == (3,)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1, 1, 0], "y: one-hot row 17 sums to 2;"),
        ([0, 0, 0], "y: one-hot row 17 sums to 0;"),
        ([0, 3, 0], "y: one-hot row 17 holds 3;"),
        ([1, -1, 1], "y: one-hot row 17 holds -1;"),
    ],
)
def test_integer_rows_that_are_not_one_hot(row, message):
    values = np.eye(3, dtype=np.int8)[np.zeros(20, int)]
    values[17] = row
    values[19] = [1, 1, 1]
    with pytest.raises(InputError, match=message):
        as_targets(values, where="y")


def test_target_errors():
    with pytest.raises(InputError, match="y has dtype <U1"):
        as_targets(np.array(["a"]), where="y")
    with pytest.raises(InputError, match=r"y has shape \(1, 1, 1\)"):
        as_targets(np.zeros((1, 1, 1)), where="y")
    with pytest.raises(InputError, match="18446744073709551615 does not fit"):
        as_labels(np.array([2**64 - 1], dtype=np.uint64), where="y")


def test_one_hot_writes_what_as_targets_reads():
    labels = np.array([3, 0, 1], dtype=np.int32)
    rows = one_hot(labels, 4, where="y")
    assert rows.dtype == np.uint8
    np.testing.assert_array_equal(as_targets(rows, where="y"), labels)
    with pytest.raises(InputError, match="y: sample 0 has label 3: one-hot rows of 3 classes"):
        one_hot(labels, 3, where="y")
    with pytest.raises(InputError, match="sample 1 has label -1"):
        Dataset(np.zeros((2, 1)), [0, -1]).one_hot()
    with pytest.raises(InputError, match="float64 are not labels"):
        Dataset(np.zeros((2, 1)), [0.0, 1.0]).one_hot()
    assert Dataset(np.zeros((2, 1)), [0, 1], class_names="abc").one_hot().shape == (2, 3)
