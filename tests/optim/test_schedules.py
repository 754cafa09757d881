"""Learning rates over time: PyTorch's values, the written-out formulas, and what no schedule can be made of."""

import copy
import json
import math
import pickle

import numpy as np
import pytest

from fastbp import optim
from fastbp.errors import InputError
from fastbp.optim import schedules
from tests.optim.record_optimizers import FILE, N_RATES, PLATEAUS, SCHEDULES, WATCHED

RATES = json.loads(FILE.read_text())["PyTorch"]["rates"]
STEPS = np.arange(120)


def line(a, b, share):
    return a + (b - a) * share


def half_cosine(a, b, share):
    """From a at 0 to b at 1."""
    return b + (a - b) * (1 + math.cos(math.pi * share)) / 2


# name: schedule, the rate after t steps, written out once more for one t
FORMULAS = {
    "constant": (optim.constant(0.3), lambda t: 0.3),
    "step_decay": (optim.step_decay(0.3, 10), lambda t: 0.3 * 0.1 ** (t // 10)),
    "step_decay that grows": (optim.step_decay(0.3, 7, 1.5), lambda t: 0.3 * 1.5 ** (t // 7)),
    "exponential": (optim.exponential(0.3, 0.9), lambda t: 0.3 * 0.9**t),
    "exponential, every": (optim.exponential(0.3, 0.5, 10), lambda t: 0.3 * 0.5 ** (t / 10)),
    "cosine": (optim.cosine(0.3, 80), lambda t: half_cosine(0.3, 0.0, min(t / 80, 1))),
    "cosine, final": (optim.cosine(0.3, 40, 0.1), lambda t: half_cosine(0.3, 0.1, min(t / 40, 1))),
    "cosine of one step": (optim.cosine(0.3, 1, 0.1), lambda t: 0.3 if t == 0 else 0.1),
    "warmup_cosine": (
        optim.warmup_cosine(0.3, 20, 100),
        lambda t: 0.3 * t / 20 if t < 20 else half_cosine(0.3, 0, min((t - 20) / 80, 1)),
    ),
    "warmup_cosine, all options": (
        optim.warmup_cosine(0.3, 5, 50, start=0.1, final=0.01),
        lambda t: line(0.1, 0.3, t / 5) if t < 5 else half_cosine(0.3, 0.01, min((t - 5) / 45, 1)),
    ),
    "warmup_cosine without warm-up": (
        optim.warmup_cosine(0.3, 0, 50),
        lambda t: half_cosine(0.3, 0.0, min(t / 50, 1)),
    ),
    "one_cycle": (
        optim.one_cycle(0.3, 100),
        lambda t: half_cosine(0.012, 0.3, t / 29) if t <= 29 else half_cosine(0.3, 1.2e-6, min((t - 29) / 70, 1)),
    ),
    "one_cycle of two steps": (
        optim.one_cycle(0.3, 2, final_factor=10.0),
        lambda t: half_cosine(0.3, 0.0012, min((t + 0.4) / 1.4, 1)),
    ),
    "inverse_scaling": (optim.inverse_scaling(0.3), lambda t: 0.3 / math.sqrt(1 + t)),
    "inverse_scaling, all options": (optim.inverse_scaling(0.3, 2.0, 10), lambda t: 0.3 / (1 + t / 10) ** 2),
    "reduce_on_plateau": (optim.reduce_on_plateau(0.3), lambda t: 0.3),
}


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS.values(), ids=FORMULAS)
def test_rates_are_the_formula(schedule, formula):
    """Also after the last step; the table has every schedule."""
    np.testing.assert_allclose(schedule(STEPS), [formula(int(t)) for t in STEPS], rtol=1e-13, atol=1e-17)
    assert {made.name for made, _ in FORMULAS.values()} == set(schedules.MAKERS)


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_are_pytorch_s(name):
    """StepLR, ExponentialLR, CosineAnnealingLR and OneCycleLR; the last of the cosine is a small difference there."""
    ours, _ = SCHEDULES[name]
    np.testing.assert_allclose(ours(optim)(np.arange(N_RATES)), RATES[name], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("name", PLATEAUS)
def test_reduce_on_plateau_is_pytorch_s(name):
    """The rate after each of the watched values, which fall, stay, rise and fall again by too little."""
    optimizer = optim.sgd(PLATEAUS[name][0](optim))
    state, rates = optimizer.init(np.zeros(1)), []
    for value in WATCHED:
        state.observe(value)
        rates.append(optimizer.schedule.rate * state.scale)
    np.testing.assert_allclose(rates, RATES[name], rtol=1e-12)
    assert len(set(RATES[name])) >= 3


def test_reduce_on_plateau_lowers_the_steps():
    """The next step is made with the lower rate; other schedules do not look at what is observed."""
    for schedule, wanted in ((optim.reduce_on_plateau(0.5, 0.25, patience=0), 0.125), (optim.constant(0.5), 0.5)):
        optimizer, vector = optim.sgd(schedule), np.zeros(1)
        state = optimizer.init(vector)
        for value in (1.0, math.nan):
            state.observe(value)
        optimizer.update(vector, np.ones(1), state)
        assert vector[0] == -wanted


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS.values(), ids=FORMULAS)
def test_arrays_are_single_calls(schedule, formula):
    """float64 of the shape of the steps, whatever their dtype; bits do not depend on how many are asked for at once.

    A step that is no array may differ in the last bit, as NumPy's powers of numbers and of arrays do.
    """
    rates = schedule(STEPS.reshape(2, 60))
    assert rates.shape == (2, 60)
    assert rates.dtype == np.float64
    np.testing.assert_array_equal(rates.reshape(-1), [schedule([t])[0] for t in STEPS])
    np.testing.assert_array_equal(rates.reshape(-1)[50::3], schedule(STEPS[50::3]))
    np.testing.assert_array_equal(rates.reshape(-1), [schedule(t) for t in STEPS])
    np.testing.assert_array_equal(rates.reshape(-1), schedule(STEPS.astype(np.int32)))
    assert schedule(7).shape == ()
    assert schedule([]).shape == (0,)


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS.values(), ids=FORMULAS)
def test_schedules_are_values(schedule, formula):
    """Equal to what their dictionary through JSON, pickle, copy and the call that they are written as make again."""
    others = (
        optim.Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))),
        pickle.loads(pickle.dumps(schedule)),
        copy.deepcopy(schedule),
        eval(repr(schedule), vars(optim)),
    )
    for other in others:
        assert other == schedule
        assert hash(other) == hash(schedule)
        np.testing.assert_array_equal(other(STEPS), schedule(STEPS))
    assert schedule.rate == 0.3
    assert schedules.as_schedule(schedule) is schedule
    with pytest.raises(AttributeError, match=r"^Schedule has no attribute 'speed'$"):
        _ = schedule.speed


def test_a_number_is_a_constant_schedule():
    """Of any kind of number."""
    for number in (1, 1.0, np.float32(1), np.int64(1)):
        assert schedules.as_schedule(number) == optim.constant(1.0)


REFUSED = {
    "rate": (lambda: optim.constant(0.0), "rate must be a finite number above 0; got 0.0"),
    "rate True": (lambda: optim.constant(True), "rate must be a finite number above 0; got True"),
    "rate None": (lambda: optim.cosine(None, 10), "rate must be a finite number above 0; got None"),
    "rate nan": (lambda: optim.step_decay(math.nan, 10), "rate must be a finite number above 0; got nan"),
    "rate inf": (lambda: optim.inverse_scaling(math.inf), "rate must be a finite number above 0; got inf"),
    "every": (lambda: optim.step_decay(0.1, 0), "every must be a whole number of at least 1; got 0"),
    "every 1.5": (lambda: optim.exponential(0.1, 0.5, 1.5), "every must be a whole number of at least 1; got 1.5"),
    "every True": (lambda: optim.step_decay(0.1, True), "every must be a whole number of at least 1; got True"),
    "factor": (lambda: optim.exponential(0.1, -0.5), "factor must be a finite number above 0; got -0.5"),
    "n_steps": (lambda: optim.cosine(0.1, 10.0), "n_steps must be a whole number of at least 1; got 10.0"),
    "final": (lambda: optim.cosine(0.1, 10, -1e-9), "final must be a finite number of at least 0; got -1e-09"),
    "n_warmup": (lambda: optim.warmup_cosine(0.1, 10, 10), "n_warmup must be below n_steps = 10; got 10"),
    "n_warmup -1": (
        lambda: optim.warmup_cosine(0.1, -1, 10),
        "n_warmup must be a whole number of at least 0; got -1",
    ),
    "start": (lambda: optim.warmup_cosine(0.1, 1, 10, -1), "start must be a finite number of at least 0; got -1"),
    "one step": (lambda: optim.one_cycle(0.1, 1), "n_steps must be a whole number of at least 2; got 1"),
    "warmup 1": (
        lambda: optim.one_cycle(0.1, 9, 1.0),
        "warmup must be a finite number above 0 and below 1; got 1.0",
    ),
    "start_factor": (
        lambda: optim.one_cycle(0.1, 9, start_factor=0),
        "start_factor must be a finite number above 0; got 0",
    ),
    "final_factor": (
        lambda: optim.one_cycle(0.1, 9, final_factor="big"),
        "final_factor must be a finite number above 0; got 'big'",
    ),
    "power": (lambda: optim.inverse_scaling(0.1, 0.0), "power must be a finite number above 0; got 0.0"),
    "factor 1": (
        lambda: optim.reduce_on_plateau(0.1, 1.0),
        "factor must be a finite number above 0 and below 1; got 1.0",
    ),
    "patience": (
        lambda: optim.reduce_on_plateau(0.1, patience=-1),
        "patience must be a whole number of at least 0; got -1",
    ),
    "min_delta": (
        lambda: optim.reduce_on_plateau(0.1, min_delta=-1),
        "min_delta must be a finite number of at least 0; got -1",
    ),
    "smallest": (
        lambda: optim.reduce_on_plateau(0.1, smallest=math.nan),
        "smallest must be a finite number of at least 0; got nan",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_schedule_is_refused(call, message):
    """With what was wanted and what came."""
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == message
