"""Activations of hidden layers, as values: `activations.relu()`, `activations.leaky_relu(0.01)`.

    {table}

A name alone means the default parameter. `Activation` makes one of your own from a function and its derivative.

Sources: Goodfellow, Bengio, Courville, Deep Learning (2016), 6.3; Clevert et al. 2015 (elu);
Hendrycks, Gimpel 2016 (gelu, silu).
"""

from __future__ import annotations

from dataclasses import dataclass

from . import functions
from .activation_records import ACTIVATIONS, of_user
from .elementary import Array
from .functions import ElementwiseFunction
from .records import Derivative, columns

# The table of formulas is made of the records.
__doc__ = (__doc__ or "").format(
    table=columns([("name", "a(z)", "a'(z)"), *((name, *r.formula) for name, r in ACTIVATIONS.items())])
)

NAMES = tuple(ACTIVATIONS)
CUSTOM = len(NAMES)


@dataclass(frozen=True)
class Activation(ElementwiseFunction):
    """An activation: a name of the table with its parameter (slope or alpha), or a function of your own.

    value, derivative : functions of one number, a(z) and a'(z): arithmetic, `math`, NumPy's functions of one number,
    and branches. They are compiled on first use; the engine is not. InputError if they are not elementwise or the
    derivative is not that of the value; check=False leaves that test out.
    parameter : by default 0.01 for leaky_relu and 1 for elu; the others have none.

    >>> softsign = fastbp.Activation("softsign", lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2)
    >>> print(fastbp.MLP((2, 8, 1), activation=softsign))
    2-8-1 softsign, binary_cross_entropy
    """

    records, names, custom_code, n_arguments = ACTIVATIONS, NAMES, CUSTOM, 1
    of_user = staticmethod(of_user)

    def evaluate(self, z: Array) -> tuple[Array, Derivative]:
        """a(z), and a function that gives a'(z): in NumPy, for real and complex z."""
        return self.record.evaluate(z, self.parameter)


def identity() -> Activation:
    """a(z) = z."""
    return Activation("identity")


def sigmoid() -> Activation:
    """a(z) = 1 / (1 + exp(-z))."""
    return Activation("sigmoid")


def tanh() -> Activation:
    """a(z) = tanh(z)."""
    return Activation("tanh")


def relu() -> Activation:
    """a(z) = max(z, 0), with a'(0) = 0."""
    return Activation("relu")


def leaky_relu(slope: float = 0.01) -> Activation:
    """a(z) = z if z > 0 else slope z, with a'(0) = slope."""
    return Activation("leaky_relu", parameter=slope)


def elu(alpha: float = 1.0) -> Activation:
    """a(z) = z if z > 0 else alpha (exp(z) - 1)."""
    return Activation("elu", parameter=alpha)


def softplus() -> Activation:
    """a(z) = log(1 + exp(z))."""
    return Activation("softplus")


def silu() -> Activation:
    """a(z) = z sigmoid(z), also known as swish."""
    return Activation("silu")


def gelu() -> Activation:
    """a(z) = z Phi(z) with the exact normal distribution function (by erf)."""
    return Activation("gelu")


def gelu_tanh() -> Activation:
    """a(z) = z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) / 2, the approximation by tanh."""
    return Activation("gelu_tanh")


def named(activation: str | Activation) -> Activation:
    """The activation of that name with its default parameter; a value passes through."""
    return functions.named(Activation, activation)
