"""Activations and losses as values: a name of a table with its parameter, or a function of the user's own.

A user's value and derivative are written for numbers: arithmetic, `math`, NumPy's functions of one number, and
branches. Kernels compile them; here they are called as they are, on arrays where they take arrays, else number by
number.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError

Function = Callable[..., Any]

_POINTS = 64
_STEP = 1e-4
_TOLERANCE = 1e-6


# -- values ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ElementwiseFunction:
    """A function by its name in a table, with its parameter where it has one; or of the user's own, with a derivative.

    name : of a table; of the user's own an identifier of ASCII letters, digits and _, as it stands in formulas.
    value, derivative : functions of n_arguments numbers. InputError if they are not elementwise or the derivative is
        not that of the value in its last argument; check=False leaves that test out.
    parameter : slope, alpha, delta or q; by default that of the table. 0 for functions that have none.
    """

    name: str
    value: Function | None = field(default=None, repr=False)
    derivative: Function | None = field(default=None, repr=False)
    _: KW_ONLY
    parameter: float | None = None
    check: InitVar[bool] = True

    records: ClassVar[Mapping[str, Any]]
    names: ClassVar[tuple[str, ...]]  # kernels see the position
    of_user: ClassVar[Callable[[str, Function, Function], Any]]
    custom_code: ClassVar[int]
    n_arguments: ClassVar[int]

    def __post_init__(self, check: bool) -> None:
        kind = type(self).__name__
        if self.is_custom:
            self._check_name(kind)
            if check:
                check_derivative(kind, self.name, self.value, self.derivative, n_arguments=self.n_arguments)
        elif not isinstance(self.name, str) or self.name not in self.records:
            raise InputError(f"unknown {kind.lower()} {self.name!r}; known are {', '.join(self.records)}")
        object.__setattr__(self, "parameter", self._checked_parameter())

    def _check_name(self, kind: str) -> None:
        if not (isinstance(self.name, str) and self.name.isascii() and self.name.isidentifier()):
            raise InputError(
                f"{kind}(name, ...) needs a name of ASCII letters, digits and _ that begins with no digit; "
                f"got {self.name!r}"
            )
        if self.name in self.records:
            raise InputError(f"{self.name} is the name of a built-in {kind.lower()}; give yours another")

    def _checked_parameter(self) -> float:
        wanted = None if self.is_custom else self.record.parameter
        if wanted is not None:
            return wanted.checked(self.name, self.parameter)
        if self.parameter is not None and not (isinstance(self.parameter, numbers.Real) and self.parameter == 0):
            raise InputError(f"{self.name} has no parameter; got {self.parameter!r}. Leave it out")
        return 0.0

    @property
    def is_custom(self) -> bool:
        """Whether it is a function of the user's own."""
        return self.value is not None or self.derivative is not None

    @property
    def record(self) -> Any:
        """All that is known of it."""
        return self.of_user(self.name, self.value, self.derivative) if self.is_custom else self.records[self.name]

    @property
    def code(self) -> int:
        """The integer by which kernels know this function."""
        return self.custom_code if self.is_custom else self.names.index(self.name)

    def __str__(self) -> str:
        return self.name if self.record.parameter is None else f"{self.name}({self.parameter:g})"


def named(kind: type[ElementwiseFunction], function: Any) -> Any:
    """The function of that name with its default parameter; a value passes through."""
    if isinstance(function, kind):
        return function
    if isinstance(function, str) and function in kind.records:
        return kind(function)
    what, face = kind.__name__.lower(), f"fastbp.{kind.__module__.rpartition('.')[2]}"
    raise InputError(f"{what} must be one of {', '.join(kind.records)} or a value from {face}; got {function!r}")


# -- functions of the user's own ---------------------------------------------------------------------------------------


def check_derivative(what: str, name: str, value: Any, derivative: Any, *, n_arguments: int) -> None:
    """InputError if they are no functions of n_arguments numbers, or the derivative in the last one is wrong."""
    if not (callable(value) and callable(derivative)):
        raise InputError(
            f"{what}({name!r}, value, derivative) needs two functions; got {_kind(value)} and {_kind(derivative)}"
        )
    rng = np.random.default_rng(0)
    *others, z = 1.5 * rng.standard_normal((n_arguments, _POINTS))
    others = [np.abs(other) % 1 for other in others]  # targets that every loss takes
    got = on_numbers(f"derivative of {name}", derivative, *others, z)
    values = [on_numbers(f"value of {name}", value, *others, z + k * _STEP) for k in (-2, -1, 1, 2)]
    wanted = (8 * (values[2] - values[1]) - (values[3] - values[0])) / (12 * _STEP)
    error = np.abs(got - wanted) / np.maximum(1, np.abs(wanted))
    if not (error <= _TOLERANCE).all():
        worst = int(np.nanargmax(np.where(np.isnan(error), np.inf, error)))
        raise InputError(
            f"the derivative of {name} is not that of its value: at z = {z[worst]:.4g} it is {got[worst]:.6g}, "
            f"differences give {wanted[worst]:.6g}. Mend it, or pass check=False if that is what you want"
        )


def on_numbers(what: str, function: Function, *arguments: np.ndarray) -> np.ndarray:
    """The function of every number of arrays of one shape; InputError if numbers depend on their neighbors."""
    try:
        single = np.array([float(function(*numbers)) for numbers in zip(*(a.ravel() for a in arguments), strict=True)])
    except Exception as error:
        raise InputError(
            f"{what} must take a number and return one; for {arguments[-1].flat[0]:.4g} it raised "
            f"{type(error).__name__}: {error}"
        ) from error
    single = single.reshape(arguments[0].shape)
    try:
        together = np.asarray(function(*arguments), np.float64)
    except Exception:
        return single  # written with branches
    if together.ndim == 0:
        together = np.broadcast_to(together, single.shape)  # a constant
    if together.shape != single.shape or not np.allclose(together, single, rtol=1e-9, atol=1e-12, equal_nan=True):
        raise InputError(f"{what} must be elementwise: of an array it gives other numbers than of each number alone")
    return single


def apply(function: Function, *arguments: np.ndarray) -> np.ndarray:
    """The function of arrays, in their dtype; number by number if it is written with branches."""
    try:
        result = np.asarray(function(*arguments))
        if result.shape == arguments[-1].shape:
            return result.astype(arguments[-1].dtype)
    except Exception:  # whatever a function of numbers raises when it is given an array
        pass
    return np.vectorize(function, otypes=[arguments[-1].dtype])(*arguments)


def analytic(value: Function, derivative: Function, z: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """value(*others, z); of a complex z its first-order continuation, which is all that the complex step asks for."""
    if not np.iscomplexobj(z):
        return apply(value, *others, z)
    return apply(value, *others, z.real) + 1j * z.imag * apply(derivative, *others, z.real)


def _kind(value: Any) -> str:
    return getattr(value, "__name__", type(value).__name__)
