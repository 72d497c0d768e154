"""How many threads there are: what was asked for, the environment, the processors, the quota."""

import os
import subprocess
import sys

import numpy as np
import pytest

import mlcore
from mlcore import InputError, system
from mlcore.kernels import threads

V2, V1 = "0::{}\n", "3:memory:/elsewhere\n2:cpuset:/\n1:cpu,cpuacct:{}\n0::/not/for/cpu\n"


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine of eight processors without control groups or environment variables."""
    for name in ("MLCORE_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(threads, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(threads, "_chosen", None)
    return tmp_path


def write(machine, path, text):
    file = machine / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_processors_that_the_process_may_use():
    assert threads.chosen() == (8, "processors usable")


def test_without_affinity_all_processors_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert mlcore.get_num_threads() == 5
    mlcore.set_num_threads(None)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert mlcore.get_num_threads() == 1


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("300000 100000\n", 3),
        ("399999 100000\n", 3),
        ("50000 100000\n", 1),
        ("max 100000\n", 8),
        ("900000 100000\n", 8),
        ("", 8),
        ("nonsense\n", 8),
        ("100000 0\n", 8),
    ],
)
def test_the_quota_of_the_second_version(machine, text, count):
    write(machine, "membership", V2.format("/a/b"))
    write(machine, "groups/a/b/cpu.max", text)
    assert mlcore.get_num_threads() == count
    assert (threads.chosen().source == "control group's quota") == (count < 8)


@pytest.mark.parametrize("group", ["a/b", "a", ""])
def test_every_group_above_counts(machine, group):
    write(machine, "membership", V2.format("/a/b"))
    for folder in ("a/b", "a", ""):
        quota = 2 if folder == group else 6
        write(machine, f"groups/{folder}/cpu.max", f"{quota}00000 100000\n")
    assert mlcore.get_num_threads() == 2


@pytest.mark.parametrize("path", ["/", "/docker/0123", "/../..", "/user:slice/x"])
def test_in_a_container_the_root_is_the_own_group(machine, path):
    write(machine, "membership", V2.format(path))
    write(machine, "groups/cpu.max", "200000 100000\n")
    assert mlcore.get_num_threads() == 2


@pytest.mark.parametrize("root", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "count"), [("250000", 2), ("-1", 8), ("1000", 1)])
def test_the_quota_of_the_first_version(machine, root, quota, count):
    write(machine, "membership", V1.format("/a"))
    write(machine, f"groups/{root}/a/cpu.cfs_quota_us", f"{quota}\n")
    write(machine, f"groups/{root}/a/cpu.cfs_period_us", "100000\n")
    assert mlcore.get_num_threads() == count


@pytest.mark.parametrize("text", ["", "\n", "nonsense\n"])
def test_a_membership_that_says_nothing(machine, text):
    write(machine, "membership", text)
    assert mlcore.get_num_threads() == 8


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"OMP_NUM_THREADS": "3"}, (3, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": " 4 , 2"}, (4, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "3,"}, (3, "OMP_NUM_THREADS")),
        ({"MLCORE_NUM_THREADS": "16", "OMP_NUM_THREADS": "3"}, (16, "MLCORE_NUM_THREADS")),
        ({"MLCORE_NUM_THREADS": " ", "OMP_NUM_THREADS": ""}, (8, "processors usable")),
    ],
)
def test_the_environment(monkeypatch, given, expected):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert threads.chosen() == expected


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "1_0", "²", "9" * 5000, ",3"])
@pytest.mark.parametrize("name", ["MLCORE_NUM_THREADS", "OMP_NUM_THREADS"])
def test_a_malformed_variable_is_named(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    for _ in range(2):
        with pytest.raises(InputError, match=f"variable {name} is .*whole number, 1 or more"):
            mlcore.get_num_threads()
    assert name in system.report()["threads"]
    mlcore.set_num_threads(2)
    assert mlcore.get_num_threads() == 2


def test_only_openmp_takes_a_list(monkeypatch):
    monkeypatch.setenv("MLCORE_NUM_THREADS", "4,2")
    with pytest.raises(InputError, match="MLCORE_NUM_THREADS is '4,2'"):
        mlcore.get_num_threads()


def test_environment_and_system_are_looked_at_once(monkeypatch):
    assert mlcore.get_num_threads() == 8
    monkeypatch.setenv("MLCORE_NUM_THREADS", "3")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert mlcore.get_num_threads() == 8
    mlcore.set_num_threads(None)
    assert mlcore.get_num_threads() == 3


@pytest.mark.parametrize("n", [1, 2, 300, np.int64(4), np.uint8(5)])
def test_a_number_that_is_asked_for(monkeypatch, n):
    monkeypatch.setenv("MLCORE_NUM_THREADS", "7")
    mlcore.set_num_threads(n)
    assert threads.chosen() == (n, "set_num_threads")
    assert type(mlcore.get_num_threads()) is int
    mlcore.set_num_threads(None)
    assert threads.chosen() == (7, "MLCORE_NUM_THREADS")


@pytest.mark.parametrize("n", [0, -1, 1.0, "2", True, np.float64(2), [2], np.array([2]), 2 + 0j])
def test_what_is_no_number_of_threads(n):
    mlcore.set_num_threads(3)
    with pytest.raises(InputError, match="number of threads must be a whole number, 1 or more"):
        mlcore.set_num_threads(n)
    assert mlcore.get_num_threads() == 3


def test_info_says_how_many_and_why():
    assert "native engine 8 (processors usable), " in system.report()["threads"]
    mlcore.set_num_threads(3)
    assert "native engine 3 (set_num_threads), " in system.report()["threads"]


def test_in_a_process_of_its_own(tmp_path):
    code = "import mlcore; print(mlcore.get_num_threads())"
    settings = {**os.environ, "MLCORE_NUM_THREADS": "5"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=settings, cwd=tmp_path, capture_output=True, check=True
    )
    assert int(result.stdout) == 5


def test_on_this_machine(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(threads, "_chosen", None)
    assert mlcore.get_num_threads() >= 1
