"""Learning rates over time: a schedule is a frozen value, called with steps counted from 0, alone or as an array.

Public as `fastbp.optim.cosine(...)` and so on; an optimizer takes one in place of its learning rate. Lengths are in
steps: one batch each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine.inputs import count, number
from ..errors import InputError
from .stored_names import SCHEDULES_OF_0_1


@dataclass(frozen=True)
class Schedule:
    """The rate after a number of steps, by a named formula with options."""

    name: str
    options: tuple[tuple[str, Any], ...]

    def __call__(self, steps: Any) -> np.ndarray:
        """The rate of each step, float64 of the shape of `steps`, which are counted from 0."""
        steps = np.asarray(steps, np.float64)
        # As an array also where it is one number, for which NumPy computes powers otherwise.
        return _FORMULAS[self.name](steps.reshape(-1), **dict(self.options)).reshape(steps.shape)

    def __getattr__(self, name: str) -> Any:
        for option, value in object.__getattribute__(self, "options"):
            if option == name:
                return value
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.options)})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values from which `from_dict` makes an equal one."""
        return {"schedule": self.name, **dict(self.options)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schedule:
        """The schedule of `to_dict`, also of one that fastbp 0.1 wrote."""
        name = SCHEDULES_OF_0_1.get(values["schedule"], values["schedule"])
        options = {name: value for name, value in values.items() if name != "schedule"}
        return MAKERS[name](**options)


def constant(rate: float) -> Schedule:
    """rate."""
    return _made("constant", rate=_positive("rate", rate))


def step_decay(rate: float, every: int, factor: float = 0.1) -> Schedule:
    """rate factor^floor(t / every)."""
    rate, factor = _positive("rate", rate), _positive("factor", factor)
    return _made("step_decay", rate=rate, every=count("every", every), factor=factor)


def exponential(rate: float, factor: float, every: int = 1) -> Schedule:
    """rate factor^(t / every)."""
    rate, factor = _positive("rate", rate), _positive("factor", factor)
    return _made("exponential", rate=rate, factor=factor, every=count("every", every))


def cosine(rate: float, n_steps: int, final: float = 0.0) -> Schedule:
    """final + (rate - final) (1 + cos(pi t / n_steps)) / 2, then final. Loshchilov and Hutter 2017, eq. 5."""
    rate, n_steps = _positive("rate", rate), count("n_steps", n_steps)
    return _made("cosine", rate=rate, n_steps=n_steps, final=_natural("final", final))


def warmup_cosine(rate: float, n_warmup: int, n_steps: int, start: float = 0.0, final: float = 0.0) -> Schedule:
    """From `start` to `rate` in a straight line over n_warmup steps, then down the cosine to `final` at n_steps."""
    rate, n_warmup, n_steps = _positive("rate", rate), count("n_warmup", n_warmup, 0), count("n_steps", n_steps)
    if n_warmup >= n_steps:
        raise InputError(f"n_warmup must be below n_steps = {n_steps}; got {n_warmup}")
    start, final = _natural("start", start), _natural("final", final)
    return _made("warmup_cosine", rate=rate, n_warmup=n_warmup, n_steps=n_steps, start=start, final=final)


def one_cycle(
    rate: float, n_steps: int, warmup: float = 0.3, start_factor: float = 25.0, final_factor: float = 1e4
) -> Schedule:
    """Up from rate / start_factor to `rate` over a share `warmup` of the steps, down to the start / final_factor.

    Both ways along a cosine, t / (n_steps - 1) of the whole. Smith and Topin 2018; as PyTorch's OneCycleLR.
    """
    n_steps, rate = count("n_steps", n_steps, 2), _positive("rate", rate)
    warmup = number("warmup", warmup, above=0, below=1)
    start_factor, final_factor = _positive("start_factor", start_factor), _positive("final_factor", final_factor)
    return _made(
        "one_cycle", rate=rate, n_steps=n_steps, warmup=warmup, start_factor=start_factor,
        final_factor=final_factor,
    )  # fmt: skip


def inverse_scaling(rate: float, power: float = 0.5, every: int = 1) -> Schedule:
    """rate / (1 + t / every)^power."""
    return _made(
        "inverse_scaling", rate=_positive("rate", rate), power=_positive("power", power), every=count("every", every)
    )


def reduce_on_plateau(
    rate: float, factor: float = 0.1, patience: int = 10, min_delta: float = 1e-4, smallest: float = 0.0
) -> Schedule:
    """rate, times `factor` whenever the watched value has not improved for more than `patience` epochs.

    The value is the validation loss, or the training loss where there is no validation; it improves when it falls below
    (1 - min_delta) times the best so far. The rate never falls below `smallest`. As PyTorch's ReduceLROnPlateau.
    """
    rate, patience = _positive("rate", rate), count("patience", patience, 0)
    factor = number("factor", factor, above=0, below=1)
    min_delta, smallest = _natural("min_delta", min_delta), _natural("smallest", smallest)
    return _made(
        "reduce_on_plateau", rate=rate, factor=factor, patience=patience, min_delta=min_delta, smallest=smallest
    )


def as_schedule(rate: Any) -> Schedule:
    """A schedule itself, or a number as a constant one."""
    return rate if isinstance(rate, Schedule) else constant(number("learning_rate", rate, above=0))


# -- formulas ----------------------------------------------------------------------------------------------------------


def _falling(t: np.ndarray, high: float, low: float) -> np.ndarray:
    """From high at t = 0 along a cosine to low at t = 1."""
    return low + (high - low) * (1 + np.cos(np.pi * np.clip(t, 0, 1))) / 2


def _warmup_cosine(t: np.ndarray, rate: float, n_warmup: int, n_steps: int, start: float, final: float) -> np.ndarray:
    rising = start + (rate - start) * t / max(1, n_warmup)
    return np.where(t < n_warmup, rising, _falling((t - n_warmup) / (n_steps - n_warmup), rate, final))


def _one_cycle(
    t: np.ndarray, rate: float, n_steps: int, warmup: float, start_factor: float, final_factor: float
) -> np.ndarray:
    start, peak = rate / start_factor, warmup * n_steps - 1
    rising = _falling(t / peak if peak > 0 else np.ones_like(t), start, rate)
    falling = _falling((t - peak) / (n_steps - 1 - peak), rate, start / final_factor)
    return np.where(t <= peak, rising, falling)


_FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    "constant": lambda t, rate: np.full_like(t, rate),
    "step_decay": lambda t, rate, every, factor: rate * factor ** np.floor(t / every),
    "exponential": lambda t, rate, every, factor: rate * factor ** (t / every),
    "cosine": lambda t, rate, n_steps, final: _falling(t / n_steps, rate, final),
    "warmup_cosine": _warmup_cosine,
    "one_cycle": _one_cycle,
    "inverse_scaling": lambda t, rate, power, every: rate / (1 + t / every) ** power,
    "reduce_on_plateau": lambda t, rate, **_: np.full_like(t, rate),
}
MAKERS: dict[str, Callable[..., Schedule]] = {
    maker.__name__: maker
    for maker in (
        *(constant, step_decay, exponential, cosine, warmup_cosine),
        *(one_cycle, inverse_scaling, reduce_on_plateau),
    )
}


def _made(name: str, **options: Any) -> Schedule:
    return Schedule(name, tuple(options.items()))


# -- options -----------------------------------------------------------------------------------------------------------


def _positive(name: str, value: Any) -> float:
    return number(name, value, above=0)


def _natural(name: str, value: Any) -> float:
    return number(name, value, 0)
