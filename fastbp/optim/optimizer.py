"""What an optimizer is: a frozen value with a rule, its constants for every step, and the state it keeps between steps.

The makers and their formulas are in `fastbp.optim`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..kernels import structures as k
from ..kernels.training import rules, update
from ..model.parameters import Parameters
from .schedules import Schedule
from .stored_names import renamed

COMMON = ("clip_norm", "weight_decay", "ema_decay")  # options of all


@dataclass(frozen=True)
class Optimizer:
    """An update rule with its options; makes states, and steps with them."""

    name: str
    schedule: Schedule
    options: tuple[tuple[str, Any], ...]
    clip_norm: float | None = None
    weight_decay: float = 0.0
    ema_decay: float | None = None

    def init(self, params: Any) -> OptimizerState:
        """The state before the first step, for Parameters or a flat vector (n,), float32 or float64.

        With Parameters, biases are left out of the weight decay; of a vector all elements decay.
        """
        vector, decayed = _runs_of(params)
        return OptimizerState(self, vector, decayed)

    def update(self, vector: np.ndarray, grad: np.ndarray, state: OptimizerState) -> None:
        """One step: writes `vector` (n,) and `state`, reads `grad` (n,) of the same dtype.

        Numbers that are not finite raise nothing here; `fastbp.train` finds them.
        """
        state.check(self, vector, grad)
        constants = self.constants(state.step, 1, state.scale)
        kernel_of(vector.dtype)(state.address, constants.ctypes.data, vector, grad)
        state.step += 1

    def constants(self, first: int, count: int, scale: float = 1.0) -> np.ndarray:
        """What kernels need of each of `count` steps after `first` ones: an UPDATE of `kernels.structures` each."""
        steps = np.arange(first, first + count)
        rates = self.schedule(steps) * scale
        rows = np.zeros(count, k.UPDATE)
        columns = _RULES[self.name].constants(dict(self.options), rates, steps + 1)
        for name, column in zip(k.RULE_CONSTANTS, columns, strict=False):
            rows[name] = column
        rows["shrink"] = 1 - rates * self.weight_decay
        rows["ema_decay"], rows["clip_norm"] = self.ema_decay or 0.0, self.clip_norm or 0.0
        return rows

    def __repr__(self) -> str:
        common = {name: getattr(self, name) for name in COMMON}
        rate = self.schedule.rate if self.schedule.name == "constant" else self.schedule
        options = {"learning_rate": rate, **dict(self.options), **{k: v for k, v in common.items() if v}}
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in options.items())})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values from which `from_dict` makes an equal one."""
        common = {name: getattr(self, name) for name in COMMON}
        return {
            "name": self.name, "learning_rate": self.schedule.to_dict(), "options": dict(self.options), **common,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Optimizer:
        """The optimizer of `to_dict`, also of one that fastbp 0.1 wrote."""
        values, options = renamed(values), tuple(renamed(values["options"]).items())
        common, schedule = {name: values[name] for name in COMMON}, Schedule.from_dict(values["learning_rate"])
        return cls(values["name"], schedule, options, **common)


class OptimizerState:
    """What an optimizer remembers: its moments, the average of the parameters if wanted, and the number of steps made.

    step : steps made. moments : (n_moments, n), such as m and v. ema : (n,), the exponential moving average, or None.
    scale : what the learning rate is multiplied by, set by reduce_on_plateau; best, waited : its memory.
    """

    def __init__(self, optimizer: Optimizer, vector: np.ndarray, decayed: np.ndarray) -> None:
        rule = _RULES[optimizer.name]
        self.optimizer, self.step, self.scale = optimizer, 0, 1.0
        self.best, self.waited = np.inf, 0
        n, n_moments = vector.size, rule.n_moments(dict(optimizer.options))
        has_ema = optimizer.ema_decay is not None
        self.memory = np.zeros((n_moments + has_ema) * n, vector.dtype)
        self.moments = self.memory[: n_moments * n].reshape(n_moments, n)
        self.ema = self.memory[n_moments * n :] if has_ema else None
        self.size, self.dtype = n, vector.dtype
        self._decayed = decayed
        if self.ema is not None:
            self.ema[...] = vector
        if optimizer.name == "rprop":
            self.moments[1] = optimizer.schedule.rate
        code = rules.NAMES.index(rule.code(dict(optimizer.options)))
        self._records = k.records(k.OPTIMIZER)
        self.record = record = self._records[0]
        record.rule, record.n_moments, record.n_parameters, record.has_ema = code, n_moments, n, has_ema
        record.moments_address, self.address = self.memory.ctypes.data, self._records.ctypes.data
        record.decayed_address, record.n_decayed = decayed.ctypes.data, len(decayed)

    def check(self, optimizer: Optimizer, vector: np.ndarray, grad: np.ndarray) -> None:
        """InputError unless optimizer, parameters and gradient are those of this state."""
        if optimizer != self.optimizer:
            raise InputError(f"the state is that of {self.optimizer}; got {optimizer}. Make one with optimizer.init")
        for name, array in (("vector", vector), ("grad", grad)):
            fits = isinstance(array, np.ndarray) and array.shape == (self.size,) and array.dtype == self.dtype
            if not (fits and array.flags.carray):
                came = f"{array.dtype}, shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
                raise InputError(
                    f"{name} must be a contiguous writable array like the one the state was made for, "
                    f"{self.dtype}, shape ({self.size},); got {came}"
                )
        if np.may_share_memory(vector, grad):
            raise InputError("vector and grad must not share memory; pass the gradient as an array of its own")

    def observe(self, value: float) -> None:
        """The watched value after an epoch: reduce_on_plateau may lower the rate."""
        schedule = self.optimizer.schedule
        if schedule.name != "reduce_on_plateau":
            return
        if value < self.best * (1 - schedule.min_delta) if self.best < np.inf else value < np.inf:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > schedule.patience:
            self.scale = min(self.scale, max(self.scale * schedule.factor, schedule.smallest / schedule.rate))
            self.waited = 0

    def copy(self) -> OptimizerState:
        """The same in memory of its own."""
        twin = OptimizerState(self.optimizer, np.zeros(self.size, self.dtype), self._decayed)
        twin.assign(self)
        return twin

    # Not field by field: the record holds addresses.
    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.optimizer, self.size, self._decayed, self.memory, self._counters)

    def __deepcopy__(self, memo: Any) -> OptimizerState:
        return self.copy()

    __copy__ = copy

    @property
    def _counters(self) -> tuple[Any, ...]:
        return self.step, self.scale, self.best, self.waited

    def assign(self, other: OptimizerState) -> None:
        """Become equal to the state of another run of the same optimizer on parameters alike."""
        self.memory[...] = other.memory
        self.step, self.scale, self.best, self.waited = other._counters

    def to_meta(self) -> dict[str, Any]:
        """Plain values and arrays from which `from_meta` makes an equal state."""
        values = {
            "n": self.size,
            "step": self.step,
            "scale": self.scale,
            "best": float(self.best),
            "waited": self.waited,
        }
        return {"optimizer": self.optimizer.to_dict(), "memory": self.memory, **values}

    @classmethod
    def from_meta(cls, params: Any, meta: dict[str, Any]) -> OptimizerState:
        """The state of `to_meta`, for the parameters it belongs to."""
        state = Optimizer.from_dict(meta["optimizer"]).init(params)
        if (meta["n"], meta["memory"].dtype) != (state.size, state.memory.dtype):
            raise InputError(f"the state is not that of {params!r}")
        state.memory[...] = meta["memory"]
        state.step, state.scale = int(meta["step"]), float(meta["scale"])
        state.best, state.waited = float(meta["best"]), int(meta["waited"])
        return state


def _rebuilt(
    optimizer: Optimizer, size: int, decayed: np.ndarray, memory: np.ndarray, counters: tuple[Any, ...]
) -> OptimizerState:  # fmt: skip
    state = OptimizerState(optimizer, np.zeros(size, memory.dtype), decayed)
    state.memory[...] = memory
    state.step, state.scale, state.best, state.waited = counters
    return state


def _runs_of(params: Any) -> tuple[np.ndarray, np.ndarray]:
    """(vector, where the runs of weights start and end, (k, 2))."""
    if isinstance(params, Parameters):
        return params.vector, np.array([(run.start, run.stop) for run in (x.weights for x in params.net.layers)])
    vector = np.asarray(params)
    if vector.ndim != 1 or vector.dtype not in (np.float32, np.float64):
        raise InputError(
            f"init needs fastbp.Parameters or a flat float32 or float64 vector; got {vector.dtype}, {vector.shape}"
        )
    return vector, np.array([(0, vector.size)])


@functools.cache
def kernel_of(dtype: np.dtype) -> Callable[..., int]:
    """The compiled step for float32 or float64."""
    return update.entry_of(dtype)


# -- rules --------------------------------------------------------------------------------------------


class _Rule(NamedTuple):
    """code : which of `kernels.rules`. constants(options, rates, t) : its constants, numbers or (count,) arrays."""

    code: Callable[[dict[str, Any]], str]
    n_moments: Callable[[dict[str, Any]], int]
    constants: Callable[[dict[str, Any], np.ndarray, np.ndarray], tuple[Any, ...]]


def _adam(o: dict[str, Any], rates: np.ndarray, t: np.ndarray) -> tuple[Any, ...]:
    # The corrections of v are multiplied into rate and eps.
    root = np.sqrt(1 - o["beta2"] ** t)
    return rates * root / (1 - o["beta1"] ** t), 0.0, *_averaging(o), o["eps"] * root


def _nadam(o: dict[str, Any], rates: np.ndarray, t: np.ndarray) -> tuple[Any, ...]:
    root, beta1 = np.sqrt(1 - o["beta2"] ** t), o["beta1"]
    ahead = rates * root * (1 - beta1) / (1 - beta1**t)
    return rates * root * beta1 / (1 - beta1 ** (t + 1)), ahead, *_averaging(o), o["eps"] * root


def _averaging(o: dict[str, Any]) -> tuple[float, ...]:
    return o["beta1"], 1 - o["beta1"], o["beta2"], 1 - o["beta2"]


def _sgd_code(o: dict[str, Any]) -> str:
    return "nesterov" if o["nesterov"] else "momentum" if o["momentum"] else "sgd"


_RULES = {
    "sgd": _Rule(_sgd_code, lambda o: int(o["momentum"] > 0), lambda o, rates, t: (rates, o["momentum"])),
    "adam": _Rule(lambda o: "adam", lambda o: 2, _adam),
    "nadam": _Rule(lambda o: "adam", lambda o: 2, _nadam),
    "amsgrad": _Rule(lambda o: "amsgrad", lambda o: 3, _adam),
    "rmsprop": _Rule(
        lambda o: "rmsprop", lambda o: 2, lambda o, rates, t: (rates, o["momentum"], o["rho"], 1 - o["rho"], o["eps"])
    ),
    "adagrad": _Rule(lambda o: "adagrad", lambda o: 1, lambda o, rates, t: (rates, o["eps"])),
    "rprop": _Rule(
        lambda o: "rprop",
        lambda o: 2,
        lambda o, rates, t: (o["eta_plus"], o["eta_minus"], o["step_min"], o["step_max"]),
    ),
    "lion": _Rule(lambda o: "lion", lambda o: 1, lambda o, rates, t: (rates, *_averaging(o))),
}
