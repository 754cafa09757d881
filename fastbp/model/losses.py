"""Losses, as values: `losses.cross_entropy()`, `losses.quantile(0.9)`. Each names the link from output z to response.

    {table}

Losses come from z, never from the response: the textbook form y/p - (1-y)/(1-p) divides by zero once p saturates.
`Loss` makes one of your own from functions of (y, z), with the identity as link.

Outputs are summed. For cross_entropy, y is integer labels (N,) or rows of probabilities (N, n_outputs).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from . import functions
from .elementary import Array
from .functions import ElementwiseFunction
from .link_records import LINKS
from .loss_records import LOSSES, of_user
from .records import Derivative, columns

# The table of formulas is made of the records.
__doc__ = (__doc__ or "").format(
    table=columns(
        [
            ("name", "link", "l(y, z) of one output", "dl/dz"),
            *((name, record.link.name, *record.formula) for name, record in LOSSES.items()),
        ]
    )
)

NAMES = tuple(LOSSES)
PULLBACK, CUSTOM = len(NAMES), len(NAMES) + 1  # of the pullback, the "targets" are dl/dz


@dataclass(frozen=True)
class Loss(ElementwiseFunction):
    """A loss: a name of the table with its parameter (delta or q), or a function of your own.

    value, derivative : functions of two numbers, l(y, z) and dl/dz, for targets y and outputs z; see `Activation`.
    parameter : by default 1 for huber and 0.5 for quantile; the others have none.

    >>> import math
    >>> log_cosh = fastbp.Loss(
    ...     "log_cosh", lambda y, z: math.log(math.cosh(z - y)), lambda y, z: math.tanh(z - y)
    ... )
    >>> print(fastbp.MLP((2, 1), loss=log_cosh))
    2-1 linear, log_cosh
    """

    records, names, custom_code, n_arguments = LOSSES, NAMES, CUSTOM, 2
    of_user = staticmethod(of_user)

    @property
    def link(self) -> str:
        """The function from the output z to the response: sigmoid, softmax, exp or identity."""
        return self.record.link.name

    @functools.cached_property
    def link_code(self) -> int:
        """The integer by which kernels know the link."""
        return list(LINKS).index(self.link)

    @property
    def is_classification(self) -> bool:
        """Whether `predict` gives labels."""
        return self.record.link.labels is not None

    @functools.cached_property
    def couples_outputs(self) -> bool:
        """Whether the outputs are classes, of which a sample has one: then y may be labels (N,)."""
        return self.record.link.couples_outputs

    def evaluate(self, y: Array, z: Array) -> tuple[Array, Derivative]:
        """l(y, z) of each output, and a function that gives dl/dz: in NumPy, for real and complex z."""
        return self.record.evaluate(y, z, self.parameter)

    def response(self, z: Array) -> Array:
        """link(z): probabilities or means."""
        return self.record.link.evaluate(z)


def binary_cross_entropy() -> Loss:
    """max(z, 0) - y z + log(1 + exp(-|z|)), y in [0, 1]."""
    return Loss("binary_cross_entropy")


def cross_entropy() -> Loss:
    """logsumexp(z) - z_y over the classes."""
    return Loss("cross_entropy")


def squared_error() -> Loss:
    """(z - y)^2 / 2."""
    return Loss("squared_error")


def absolute_error() -> Loss:
    """|z - y|."""
    return Loss("absolute_error")


def huber(delta: float = 1.0) -> Loss:
    """(z - y)^2 / 2 where |z - y| <= delta, else delta (|z - y| - delta / 2): quadratic near y, linear beyond."""
    return Loss("huber", parameter=delta)


def quantile(q: float = 0.5) -> Loss:
    """q (y - z) where z < y, else (1 - q) (z - y): the pinball loss, minimized by the q-quantile of y."""
    return Loss("quantile", parameter=q)


def poisson() -> Loss:
    """exp(z) - y z, the negative Poisson log-likelihood without log(y!); y >= 0."""
    return Loss("poisson")


def named(loss: str | Loss) -> Loss:
    """The loss of that name with its default parameter; a value passes through."""
    return functions.named(Loss, loss)
