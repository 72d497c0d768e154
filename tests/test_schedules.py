"""Schedules: the factors epoch by epoch, the ways to name one, and what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mlcore.kernels.errors import InputError
from mlcore.schedules import Constant, Cosine, Exponential, Function, Schedule, Step, get


def factors(schedule: Schedule, epochs: int) -> list[float]:
    return [schedule.factor(epoch, epochs) for epoch in range(epochs)]


def test_constant_is_one_throughout():
    assert factors(Constant(), 7) == [1.0] * 7


def test_step_halves_at_epoch_25_and_39_of_50():
    assert factors(Step(), 50) == [1.0] * 25 + [0.5] * 14 + [0.25] * 11


def test_step_takes_any_fractions_and_factor():
    assert factors(Step([0.25, 0.5, 0.75], factor=0.1), 4) == [1.0, 0.1, 0.1**2, 0.1**3]
    assert factors(Step(0.5, factor=2), 3) == [1.0, 1.0, 2.0]


@pytest.mark.parametrize("percent", range(1, 100))
def test_step_falls_on_the_decimal_epoch(percent):
    """0.07 * 100 and 0.56 * 100 are above 7 and 56 in floating point."""
    assert factors(Step(percent / 100), 100).index(0.5) == percent


def test_exponential_is_a_power_of_the_epoch():
    assert factors(Exponential(), 30) == pytest.approx([0.95**epoch for epoch in range(30)])
    assert factors(Exponential(1), 3) == [1.0, 1.0, 1.0]


def test_cosine_follows_sgdr():
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * t / 40)) / 2 for t in range(40)]
    assert factors(Cosine(minimum=0.1), 40) == pytest.approx(expected, rel=1e-14)
    assert Cosine().factor(0, 40) == 1.0
    assert Cosine().factor(20, 40) == pytest.approx(0.5)


def test_cosine_restarts_at_one():
    once = factors(Cosine(), 10)
    assert factors(Cosine(cycles=3), 30) == once * 3


@pytest.mark.parametrize(("cycles", "epochs"), [(3, 10), (4, 11), (7, 50), (5, 5), (1, 1)])
def test_uneven_cycles_differ_by_one_epoch(cycles, epochs):
    values = factors(Cosine(cycles=cycles), epochs)
    starts = [epoch for epoch, value in enumerate(values) if value == 1.0] + [epochs]
    lengths = np.diff(starts)
    assert len(lengths) == cycles
    assert lengths.max() - lengths.min() <= 1
    for start, length in zip(starts, lengths, strict=False):
        assert values[start : start + length] == factors(Cosine(), int(length))


def test_cosine_warmup_rises_linearly_to_one():
    values = factors(Cosine(warmup=0.2, minimum=0.1), 20)
    assert values[:5] == pytest.approx([0.1 + 0.9 * i / 5 for i in (1, 2, 3, 4, 5)])
    assert values[4:] == factors(Cosine(minimum=0.1), 16)


def test_cosine_warmup_leaves_an_epoch_for_the_cosine():
    assert factors(Cosine(warmup=0.99), 3) == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert factors(Cosine(warmup=0.99), 1) == [1.0]


def test_a_function_gets_the_epoch():
    assert factors(get(lambda epoch: 1 / (1 + epoch)), 3) == [1.0, 1 / 2, 1 / 3]
    assert factors(get(lambda _: np.float32(0.5)), 1) == [0.5]


@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf, "0.5", None, 1j])
def test_a_bad_factor_of_a_function_names_the_epoch(value):
    schedule = get(lambda epoch: 1.0 if epoch < 3 else value)
    assert schedule.factor(2, 5) == 1.0
    with pytest.raises(InputError, match=r"for epoch 3 \(zero-based\)"):
        schedule.factor(3, 5)


@pytest.mark.parametrize("schedule", [Constant(), Step(), Exponential(), Cosine(), get(abs)])
def test_an_epoch_outside_the_run_is_refused(schedule):
    for epoch in (-1, 5):
        with pytest.raises(InputError, match=f"epoch {epoch} is not one of a run's 5 epochs"):
            schedule.factor(epoch, 5)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("constant", Constant()),
        ("step", Step()),
        ("exponential", Exponential()),
        ("cosine", Cosine()),
        ("step:0.5,0.78", Step((0.5, 0.78))),
        ("step:0.3,0.6,0.9,factor=0.1", Step((0.3, 0.6, 0.9), 0.1)),
        ("step:fractions=0.5", Step(0.5)),
        ("step:factor=0.1", Step(factor=0.1)),
        ("exponential:0.9", Exponential(0.9)),
        ("exponential:decay=9e-1", Exponential(0.9)),
        ("cosine:0.1,2", Cosine(0.1, 2)),
        (" cosine : warmup = 0.1 , cycles=2 ", Cosine(warmup=0.1, cycles=2)),
    ],
)
def test_specs_of_the_command_line(spec, expected):
    assert get(spec) == expected
    assert repr(get(spec)) == repr(expected)


def test_none_objects_and_functions():
    assert get(None) == Constant()
    schedule = Step()
    assert get(schedule) is schedule
    assert isinstance(get(lambda _: 1.0), Function)


@pytest.mark.parametrize(
    "schedule", [Constant(), Step((0.2, 0.9), 0.3), Exponential(0.8), Cosine(0.25, 3, 0.01)]
)
def test_config_survives_json(schedule):
    again = get(json.loads(json.dumps(schedule.config())))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert factors(again, 40) == factors(schedule, 40)


def test_different_schedules_are_unequal():
    assert Step() != Step(factor=0.1)
    assert Constant() != Exponential()


def test_repr_shows_every_argument():
    assert repr(Step()) == "Step(fractions=(0.5, 0.78), factor=0.5)"
    assert repr(Cosine(warmup=0.1)) == "Cosine(warmup=0.1, cycles=1, minimum=0.0)"
    assert repr(get(math.sqrt)) == "Function(sqrt)"


def test_a_saved_function_must_be_given_again():
    with pytest.raises(InputError, match=r"was the function 'sqrt'.*give the function again"):
        get(get(math.sqrt).config())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Step(()), "at least one fraction"),
        (lambda: Step((0.7, 0.5)), r"increase, not \[0.7, 0.5\]"),
        (lambda: Step((0.5, 0.5)), "increase"),
        (lambda: Step((25, 39)), "fractions has the value 25; .* above 0 and below 1"),
        (lambda: Step(0.0), "above 0"),
        (lambda: Step("0.5"), "fractions has the value '0.5'"),
        (lambda: Step(factor=0), "factor has the value 0; it must be a number above 0"),
        (lambda: Step(factor=math.inf), "factor has the value inf"),
        (lambda: Exponential(0), "decay has the value 0; .* above 0 and at most 1"),
        (lambda: Exponential(1.5), "decay has the value 1.5"),
        (lambda: Exponential(math.nan), "decay has the value nan"),
        (lambda: Exponential(True), "decay has the value True"),
        (lambda: Cosine(warmup=1), "warmup has the value 1; .* at least 0 and below 1"),
        (lambda: Cosine(cycles=0), "cycles has the value 0; .* at least 1"),
        (lambda: Cosine(cycles=1.5), "cycles has the value 1.5; it must be whole"),
        (lambda: Cosine(minimum=-0.1), "minimum has the value -0.1"),
        (lambda: Cosine(cycles=4).factor(0, 3), "3 epochs among 4 cycles; .* at least 4 epochs"),
        (lambda: get("cosin"), "unknown schedule 'cosin'. Did you mean 'cosine'?"),
        (lambda: get("cosine:warm=0.1"), "unknown argument .*'warm'. Did you mean 'warmup'?"),
        (lambda: get("constant:factor=2"), "'constant' takes no arguments"),
        (lambda: get("constant:2"), "gives 1 values; constant takes at most 0"),
        (lambda: get("step:half"), "'half' is not a number"),
        (lambda: get("step:"), "'' is not a number"),
        (lambda: get("step:0.5,"), "'' is not a number"),
        (lambda: get("step:factor=0.5,0.5"), "'0.5' comes after a key=value"),
        (lambda: get("cosine:0.1,warmup=0.2"), "gives warmup twice"),
        (lambda: get("cosine:cycles=1,cycles=2"), "gives cycles twice"),
        (lambda: get("exponential:0.5,0.5"), "gives 2 values; exponential takes at most 1"),
        (lambda: get({"name": "sine"}), "unknown schedule 'sine'"),
        (lambda: get({"decay": 0.5}), "unknown schedule None"),
        (lambda: get({"name": "step", "gamma": 0.5}), "unknown argument .*'gamma'"),
        (lambda: get(0.5), "a schedule cannot be 0.5"),
        (lambda: get(Step), r"is the class Step; give an object: Step\(\)"),
    ],
)
def test_bad_input_is_one_clear_sentence(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
