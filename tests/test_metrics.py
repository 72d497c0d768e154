"""Metrics against loops and, where it is installed, scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mlcore.kernels.errors import InputError
from mlcore.metrics import ClassificationReport, accuracy, confusion_matrix


@pytest.fixture
def labels_and_guesses():
    random = np.random.default_rng(3)
    labels = random.choice([0, 1, 2, 4], size=300)  # class 3 has no samples
    guesses = np.where(random.random(300) < 0.7, labels, random.integers(0, 5, 300))
    guesses[guesses == 2] = 1  # class 2 is never predicted
    return labels, guesses


def test_accuracy_is_the_same_for_every_form_of_the_targets():
    random = np.random.default_rng(0)
    outputs = random.normal(size=(50, 4)).astype(np.float32)
    labels = random.integers(0, 4, 50)
    one_hot = np.eye(4)[labels]
    expected = (
        sum(max(range(4), key=row.__getitem__) == y for row, y in zip(outputs, labels, strict=True))
        / 50
    )
    assert 0 < expected < 1
    for targets in (
        labels,
        labels.astype(np.uint8),
        labels.astype(float),
        labels[:, None],
        labels.tolist(),
        one_hot,
        one_hot * 0.9 + 0.025,
    ):
        assert accuracy(outputs, targets) == expected


def test_two_columns_are_two_classes_and_not_a_threshold():
    assert accuracy([[0.6, 0.7], [0.7, 0.6]], [1, 0]) == 1.0


def test_binary_scores_are_compared_with_the_threshold():
    scores = np.array([0.2, 0.5, 0.6, -0.1])
    assert accuracy(scores, [0, 0, 1, 0]) == 1.0
    assert accuracy(scores, [1, 1, 1, 0], threshold=0.0) == 1.0
    assert accuracy(scores, [1, 1, 1, 0]) == 0.5


def test_binary_columns_do_not_broadcast_to_a_square():
    scores = np.array([0.9, 0.1, 0.8])
    targets = np.array([1.0, 0.0, 0.0])
    for outputs in (scores, scores[:, None]):
        for wanted in (targets, targets[:, None], targets == 1, np.eye(2)[targets.astype(int)]):
            assert accuracy(outputs, wanted) == 2 / 3


def test_a_nan_output_counts_as_wrong():
    assert accuracy([[np.nan, 0.0], [0.0, 1.0]], [0, 1]) == 0.5
    assert accuracy([[0.0, np.nan, 1.0], [0.0, 2.0, 1.0]], [1, 1]) == 0.5
    assert accuracy([np.nan, 1.0], [0, 1]) == 0.5


def test_outputs_are_not_written_to():
    outputs = np.eye(3)
    outputs.flags.writeable = False
    assert accuracy(outputs[::-1], [2, 1, 0]) == 1.0


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (np.zeros((0, 3)), [], "at least one sample"),
        (np.zeros((2, 3, 4)), [0, 1], r"not \(2, 3, 4\)"),
        (np.zeros((2, 3)), [0, 1, 2], r"shape \(3,\).*must be \(2,\) or \(2, 3\)"),
        (np.zeros((2, 3)), np.zeros((2, 4)), r"shape \(2, 4\)"),
        (np.zeros((3, 3)), [0, 3, 9], r"targets\[1\] is 3, but class numbers go from 0 to 2"),
        (np.zeros((3, 3)), [0, 1, -1], r"targets\[2\] is -1"),
        (np.zeros(2), [0, 2], r"targets\[1\] is 2, but class numbers go from 0 to 1"),
        (np.zeros((2, 3)), [0, 0.5], "whole numbers; entry 1 is 0.5"),
        (np.zeros((2, 3)), [np.nan, 0], "whole numbers; entry 0 is nan"),
        (np.zeros((2, 3)), [0, np.inf], "whole numbers; entry 1 is inf"),
        (np.zeros((2, 2)), [[1, 0], [0, np.nan]], "target row 1 holds a NaN"),
        (np.zeros((2, 2)), ["cat", "dog"], "targets must be numbers, not of dtype <U3"),
        (["a"], [0], "outputs must be numbers"),
    ],
)
def test_accuracy_refuses(outputs, targets, message):
    with pytest.raises(InputError, match=message):
        accuracy(outputs, targets)


def test_confusion_matrix_has_true_rows_and_predicted_columns(labels_and_guesses):
    labels, guesses = labels_and_guesses
    expected = np.zeros((5, 5), dtype=np.int64)
    for true, guess in zip(labels, guesses, strict=True):
        expected[true, guess] += 1
    matrix = confusion_matrix(labels, guesses)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, expected)
    assert (matrix != matrix.T).any()


def test_confusion_matrix_counts_classes():
    assert confusion_matrix([0, 1], [0, 3]).shape == (4, 4)
    assert confusion_matrix([0, 1], [0, 1], classes=7).shape == (7, 7)
    np.testing.assert_array_equal(confusion_matrix([0, 0, 0], [0, 0, 0]), [[3]])
    np.testing.assert_array_equal(confusion_matrix([], [], classes=2), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("labels", "guesses", "classes", "message"),
    [
        ([0, 1], [0], None, "2 labels and 1 predictions"),
        ([], [], None, "give classes="),
        ([0], [0], 0, "not classes=0"),
        ([0, -1], [0, 0], None, r"labels\[1\] is -1, but class numbers must be at least 0"),
        ([0, 1], [5, 9], 5, r"predicted\[0\] is 5, but class numbers go from 0 to 4"),
        ([[0, 1]], [0], None, r"labels must be class numbers of shape \(samples,\)"),
    ],
)
def test_confusion_matrix_refuses(labels, guesses, classes, message):
    with pytest.raises(InputError, match=message):
        confusion_matrix(labels, guesses, classes)


def test_report_agrees_with_scikit_learn(labels_and_guesses):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    labels, guesses = labels_and_guesses
    matrix = confusion_matrix(labels, guesses)
    np.testing.assert_array_equal(
        matrix, metrics.confusion_matrix(labels, guesses, labels=range(5))
    )
    report = ClassificationReport(matrix)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, guesses, labels=range(5), zero_division=0
    )
    np.testing.assert_allclose(report.precision, precision, rtol=1e-15)
    np.testing.assert_allclose(report.recall, recall, rtol=1e-15)
    np.testing.assert_allclose(report.f1, f1, rtol=1e-14)
    np.testing.assert_array_equal(report.support, support)
    assert report.accuracy == metrics.accuracy_score(labels, guesses)


def test_report_by_hand():
    report = ClassificationReport([[8, 2, 0], [1, 3, 0], [0, 0, 0]])
    np.testing.assert_allclose(report.precision, [8 / 9, 3 / 5, 0])
    np.testing.assert_allclose(report.recall, [0.8, 0.75, 0])
    np.testing.assert_allclose(report.f1, [16 / 19, 6 / 9, 0])
    np.testing.assert_array_equal(report.support, [10, 4, 0])
    np.testing.assert_allclose(report.rates, [[0.8, 0.2, 0], [0.25, 0.75, 0], [0, 0, 0]])
    assert report.accuracy == 11 / 14
    assert report.samples == 14


def test_zero_division_is_zero_without_warnings():
    report = ClassificationReport(np.zeros((2, 2), dtype=int))
    assert report.accuracy == 0.0
    for values in (report.precision, report.recall, report.f1, report.rates):
        assert not values.any()
    assert report.most_confused() == []
    assert "0 of 0" in str(report)


def test_one_class():
    report = ClassificationReport([[5]])
    assert report.accuracy == 1.0
    assert report.f1.tolist() == [1.0]
    assert report.most_confused() == []


def test_most_confused_is_ordered_by_count_and_then_by_class():
    report = ClassificationReport([[90, 0, 10], [5, 5, 0], [5, 1, 4]])
    assert report.most_confused() == [
        (0, 2, 10, 0.1),
        (1, 0, 5, 0.5),
        (2, 0, 5, 0.5),
        (2, 1, 1, 0.1),
    ]
    assert report.most_confused(1) == [(0, 2, 10, 0.1)]
    assert report.most_confused(0) == []
    equal = ClassificationReport(np.ones((30, 30), dtype=int)).most_confused(60)
    pairs = [(i, j) for i in range(30) for j in range(30) if i != j]
    assert [mistake[:2] for mistake in equal] == pairs[:60]


def test_table_is_aligned_and_names_the_classes():
    report = ClassificationReport([[1990, 10], [1, 9]], ["T-shirt/top", "Bag"])
    table, mistakes = str(report).split("\n\n")
    lines = table.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["class", "precision", "recall", "f1", "support"]
    assert lines[1].split() == ["T-shirt/top", "0.9995", "0.9950", "0.9972", "2,000"]
    assert lines[-1].split() == ["mean", "0.7366", "0.9475", "0.8090", "2,010"]
    assert "accuracy 0.9945 (1,999 of 2,010)" in mistakes
    assert "T-shirt/top taken for Bag       10   0.50% of its class" in mistakes


def test_as_dict_is_strict_json():
    report = ClassificationReport([[8, 2], [1, 9]], ("cat", "dog"))
    values = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert values["accuracy"] == 0.85
    assert values["samples"] == 20
    assert values["matrix"] == [[8, 2], [1, 9]]
    assert values["classes"][1] == {
        "class": "dog",
        "precision": 9 / 11,
        "recall": 0.9,
        "f1": 18 / 21,
        "support": 10,
    }
    assert values["most_confused"][0] == {"true": 0, "predicted": 1, "samples": 2, "rate": 0.2}


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        (np.zeros((2, 3)), None, r"shape \(2, 3\)"),
        (np.zeros((0, 0)), None, r"shape \(0, 0\)"),
        ([[1, -2], [0, 1]], None, "holds -2"),
        ([[1, 0.5], [0, 1]], None, "whole numbers; entry 1 is 0.5"),
        ([[1, 0], [0, 1]], ["cat"], "1 class names and 2 classes"),
    ],
)
def test_report_refuses(matrix, names, message):
    with pytest.raises(InputError, match=message):
        ClassificationReport(matrix, names)
