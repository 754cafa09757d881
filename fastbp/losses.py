"""Losses, as values: `losses.cross_entropy()`, `losses.quantile(0.9)`. Each names the link from output z to response.

    name                   link       l(y, z) of one output                      dl/dz
    binary_cross_entropy   sigmoid    max(z, 0) - y z + log(1 + exp(-|z|))       sigmoid(z) - y
    cross_entropy          softmax    logsumexp(z) - z_y  (over the row)         softmax(z) - onehot(y)
    squared_error          identity   (z - y)^2 / 2                              z - y
    absolute_error         identity   |z - y|                                    sign(z - y)
    huber                  identity   r^2/2 if |r| <= delta                      clip(r, -delta, delta),  r = z - y
                                      else delta (|r| - delta/2)
    quantile               identity   q (y - z) if y > z else (1-q)(z - y)       -q if y > z, 1-q if y < z, 0 if equal
    poisson                exp        exp(z) - y z                               exp(z) - y

Losses come from z, never from the response: the textbook form y/p - (1-y)/(1-p) divides by zero once p saturates.
A loss of your own: Loss(name, value, derivative), with functions of (y, z) and the identity as link, such as

    log_cosh = fastbp.Loss("log_cosh", lambda y, z: math.log(math.cosh(z - y)), lambda y, z: math.tanh(z - y))

Outputs are summed. For cross_entropy, y is integer labels (N,) or rows of probabilities (N, n_outputs).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import InputError
from .functions import Named

# A kernel sees the position of the name in this table.
NAMES = ("binary_cross_entropy", "cross_entropy", "squared_error", "absolute_error", "huber", "quantile", "poisson")
_LINKS = {"binary_cross_entropy": "sigmoid", "cross_entropy": "softmax", "poisson": "exp"}
_PARAMETER_DEFAULTS = {"huber": 1.0, "quantile": 0.5}
CUSTOM = len(NAMES) + 1  # len(NAMES) is the pullback's


@dataclass(frozen=True)
class Loss(Named):
    """A loss: a name of the table with its parameter (delta or q), or a function of your own.

    value, derivative : functions of two numbers, l(y, z) and dl/dz, for targets y and outputs z; see `Activation`.
    """

    names, with_parameter, custom_code, n_arguments = NAMES, _PARAMETER_DEFAULTS, CUSTOM, 2

    @property
    def link(self) -> str:
        """The function from the output z to the response: sigmoid, softmax, exp or identity."""
        return _LINKS.get(self.name, "identity")

    @property
    def is_classification(self) -> bool:
        """Whether `predict` gives labels."""
        return self.link in ("sigmoid", "softmax")


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
    """Quadratic within delta of y, linear beyond."""
    if not 0 < float(delta) < math.inf:
        raise InputError(f"delta of huber must be a positive number; got {delta}")
    return Loss("huber", parameter=float(delta))


def quantile(q: float = 0.5) -> Loss:
    """The pinball loss, minimised by the q-quantile of y; q = 0.5 is half the absolute error."""
    if not 0 < float(q) < 1:
        raise InputError(f"q of quantile must lie between 0 and 1; got {q}")
    return Loss("quantile", parameter=float(q))


def poisson() -> Loss:
    """exp(z) - y z, the negative Poisson log-likelihood without log(y!); y >= 0."""
    return Loss("poisson")


def named(loss: str | Loss) -> Loss:
    """The loss of that name with default parameters; a value passes through."""
    if isinstance(loss, Loss):
        if not loss.is_custom and loss.name not in NAMES:
            raise InputError(f"unknown loss {loss.name!r}; known are {', '.join(NAMES)}")
        return loss
    if isinstance(loss, str) and loss in NAMES:
        return Loss(loss, parameter=_PARAMETER_DEFAULTS.get(loss, 0.0))
    raise InputError(f"loss must be one of {', '.join(NAMES)} or a value from fastbp.losses; got {loss!r}")
