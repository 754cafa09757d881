"""What the records of activations, links and losses are made of."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ..errors import InputError

Derivative = Callable[[], np.ndarray]
# What operators make of a value: "z" is the value, "p" the parameter, a number is itself, and (operator, *operands) is
# a tree, which may end in a dictionary of the operator's attributes.
Expression = str | float | tuple[Any, ...]
Record = TypeVar("Record")


@dataclass(frozen=True)
class Parameter:
    """The number that shapes a function: its name, its default, and which numbers it may be, in words and as a test."""

    name: str
    default: float
    wanted: str
    allows: Callable[[float], bool]

    def checked(self, of: str, given: Any) -> float:
        """`given` as a float, the default for None; InputError if it may not be that."""
        if given is None:
            return self.default
        is_number = isinstance(given, numbers.Real) and not isinstance(given, bool)
        if not is_number or not self.allows(float(given)):
            raise InputError(f"{self.name} of {of} {self.wanted}; got {float(given) if is_number else repr(given)}")
        return float(given)


@dataclass(frozen=True)
class NumpySource:
    """Python with NumPy: a call with {z} as an argument, and {p}; the function that it calls; what that imports."""

    expression: str
    definition: str = ""
    imports: tuple[str, ...] = ()


def by_name(*records: Record) -> dict[str, Record]:
    """Records by their names, in this order."""
    return {record.name: record for record in records}


def columns(rows: Iterable[Iterable[str]]) -> str:
    """Cells under each other, indented, as a docstring shows a table; a cell may have several lines."""
    lines = [line for row in rows for line in itertools.zip_longest(*(c.split("\n") for c in row), fillvalue="")]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = ("   ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join(f"    {text}" for text in texts).lstrip()
