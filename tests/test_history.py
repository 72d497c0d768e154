"""History: columns, the best epoch, the table, and files that keep every bit."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from mlcore.history import COLUMNS, History
from mlcore.kernels.errors import InputError, MissingFileError

EXACT = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 123456789.12345679]


@pytest.fixture
def history():
    """Three epochs, with everything that is hard to write down."""
    history = History()
    history.append(dict(zip(COLUMNS[1:7], EXACT, strict=True)) | {"learning_rate": 0.1})
    history.append({"loss": math.inf, "val_loss": -math.inf, "val_accuracy": 0.5, "seconds": 17})
    history.append({"loss": np.float32(0.1), "val_accuracy": None, "running_loss": math.nan})
    return history


def same(first: History, second: History) -> bool:
    """Compare bit by bit, the sign of zero included; the reprs of equal floats are equal."""
    return repr(first.history) == repr(second.history)


def test_columns_are_in_order_and_missing_values_are_nan(history):
    assert list(history.history) == list(COLUMNS)
    assert len(history) == 3
    assert history["epoch"] == [1, 2, 3]
    assert history["running_loss"][0] == 0.1
    assert math.isnan(history["val_accuracy"][2])
    assert math.isnan(history["learning_rate"][1])
    assert history["loss"][2] == float(np.float32(0.1))
    assert all(type(value) is float for value in history["loss"])


def test_append_refuses_and_leaves_the_history_as_it_was(history):
    for record, message in [
        ({"loss": 1.0, "val_acuracy": 0.5}, "unknown history column 'val_acuracy'.*val_accuracy"),
        ({"loss": "high"}, "column 'loss' cannot hold 'high'"),
        ({"seconds": [1.0]}, r"column 'seconds' cannot hold \[1.0\]"),
        ({"epoch": 3}, "epoch 3 cannot follow epoch 3"),
        ({"epoch": 4.5}, "epoch 4.5 cannot follow"),
        ({"epoch": math.inf}, "epoch inf cannot follow"),
    ]:
        with pytest.raises(InputError, match=message):
            history.append(record)
    assert {len(column) for column in history.history.values()} == {3}


def test_epochs_may_be_given():
    history = History()
    history.append({"epoch": np.int64(5)})
    history.append({})
    assert history["epoch"] == [5, 6]


def test_unknown_column():
    with pytest.raises(InputError, match=r"unknown history column 'vall_loss'.*'val_loss'"):
        History()["vall_loss"]


def test_best_is_the_first_greatest_accuracy_or_least_loss():
    history = History()
    for accuracy, loss in [(0.5, 3.0), (math.nan, 1.0), (0.75, math.nan), (0.75, 1.0)]:
        history.append({"val_accuracy": accuracy, "val_loss": loss})
    assert history.best() == (3, 0.75)
    assert history.best("val_loss") == (2, 1.0)


def test_best_refuses():
    history = History()
    history.append({"loss": 1.0})
    with pytest.raises(InputError, match="no epoch of this history has a val_accuracy"):
        history.best()
    with pytest.raises(InputError, match="unknown monitor 'seconds'"):
        history.best("seconds")


def test_table_leaves_out_what_was_never_measured():
    history = History()
    history.append({"loss": 2.302585, "learning_rate": 0.1, "samples_per_second": 51234.5})
    history.append({"loss": 1.5e-7, "learning_rate": 0.05, "seconds": 1.2345})
    assert str(history).splitlines() == [
        "epoch       loss  learning_rate  seconds  samples_per_second",
        "    1     2.3026            0.1        -              51,234",
        "    2  1.500e-07           0.05     1.23                   -",
    ]
    assert repr(history) == "<History of 2 epochs>"
    assert str(History()) == "epoch"


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_files_keep_every_bit(history, tmp_path, suffix):
    path = tmp_path / f"history.{suffix}"
    getattr(history, f"to_{suffix}")(path)
    again = getattr(History, f"from_{suffix}")(path)
    assert same(again, history)
    assert again == history
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_a_history_without_epochs_survives(tmp_path, suffix):
    path = tmp_path / f"history.{suffix}"
    getattr(History(), f"to_{suffix}")(path)
    assert same(getattr(History, f"from_{suffix}")(path), History())


def test_csv_cells(history, tmp_path):
    history.to_csv(tmp_path / "history.csv")
    text = (tmp_path / "history.csv").read_bytes().decode()
    assert "\r" not in text
    rows = list(csv.reader(text.splitlines()))
    assert rows[0] == list(COLUMNS)
    assert rows[1][:7] == ["1", *map(repr, EXACT)]
    assert rows[2] == ["2", "", "", "inf", "", "-inf", "0.5", "", "17.0", ""]
    assert len(rows) == 4


def test_json_is_strict(history, tmp_path):
    history.to_json(tmp_path / "history.json")

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    text = (tmp_path / "history.json").read_text()
    columns = json.loads(text, parse_constant=refuse)
    assert columns["val_accuracy"] == [EXACT[5], 0.5, None]
    assert columns["loss"][1] == "inf"
    assert columns["epoch"] == [1, 2, 3]


def test_dict_survives_json_and_plain_columns(history):
    text = json.dumps(history.to_dict(), allow_nan=False)
    assert same(History.from_dict(json.loads(text)), history)
    assert same(History.from_dict(history.history), history)


def test_from_dict_makes_a_copy(history):
    again = History.from_dict(history.history)
    again.append({})
    assert len(history) == 3
    assert again != history


def test_equality_is_of_the_numbers():
    first, second = History(), History()
    for each in (first, second):
        each.append({"loss": math.nan, "val_loss": 0.5})
    assert first == second
    second["loss"][0] = 0.0
    assert first != second
    assert first != "history"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "has no column 'epoch'"),
        ("a.csv", b"epoch,loss\n1,0.5\n2\n", "row 2 has 1 cells and the header 2"),
        ("a.csv", b"epoch,loss\n1,0.5\n2,low\n", "row 2: the history column 'loss' .*'low'"),
        ("a.csv", b"epoch,lost\n1,0.5\n", "row 1: unknown history column 'lost'"),
        ("a.csv", b"epoch,loss\n2,0.5\n2,0.5\n", "row 2: epoch 2 cannot follow epoch 2"),
        ("a.csv", b"\xff\xfe\x00", "is not a text file"),
        ("a.json", b"{", "is not JSON: .*line 1 column 2"),
        ("a.json", b"[1, 2]", "it must be an object of lists"),
        ("a.json", b'{"epoch": 3}', "it must be an object of lists"),
        ("a.json", b'{"loss": [0.5]}', "has no column 'epoch'"),
        ("a.json", b'{"epoch": [1, 2], "loss": [0.5]}', "differ in length: .*'loss': 1"),
        ("a.json", b'{"epoch": [1], "loss": [[0.5]]}', r"row 1: .*'loss' cannot hold \[0.5\]"),
    ],
)
def test_readers_name_the_file_and_the_row(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    read = History.from_csv if path.suffix == ".csv" else History.from_json
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_csv_of_other_programs(tmp_path):
    """A byte order mark, CRLF, fewer columns in another order, a blank line at the end."""
    path = tmp_path / "history.csv"
    path.write_bytes("\ufeffloss,epoch\r\n0.5,1\r\n,2\r\n\r\n".encode())
    history = History.from_csv(path)
    assert history["epoch"] == [1, 2]
    assert history["loss"][0] == 0.5
    assert math.isnan(history["loss"][1])


def test_missing_files(tmp_path):
    for read in (History.from_csv, History.from_json):
        with pytest.raises(MissingFileError, match="does not exist"):
            read(tmp_path / "history")
    with pytest.raises(MissingFileError, match="folder"):
        History().to_csv(Path(tmp_path) / "no" / "history.csv")


class TestExtend:
    def test_adds_epochs_after_the_last(self):
        history = History()
        history.append({"loss": 0.5})
        history.extend({"running_loss": [0.4, 0.3], "seconds": [1.0, 2.0]})
        wanted = History()
        wanted.append({"loss": 0.5})
        wanted.append({"running_loss": 0.4, "seconds": 1.0})
        wanted.append({"running_loss": 0.3, "seconds": 2.0})
        assert str(history) == str(wanted)
        assert history["epoch"] == [1, 2, 3]
        assert math.isnan(history["loss"][2])

    def test_by_nothing(self):
        history = History()
        history.extend({})
        history.extend({"loss": []})
        assert len(history) == 0
        assert all(column == [] for column in history.history.values())

    @pytest.mark.parametrize(
        ("columns", "match"),
        [
            ({"los": [1]}, "los"),
            ({"epoch": [1]}, "epoch"),
            ({"loss": [1], "seconds": []}, "differ"),
        ],
    )
    def test_refuses(self, columns, match):
        history = History()
        with pytest.raises(InputError, match=match):
            history.extend(columns)
        assert len(history) == 0
