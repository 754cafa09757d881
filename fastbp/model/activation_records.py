"""One record per activation: everything that is known of it, in one place.

To add one: its record here; its formula for kernels, of the same name, in `kernels.math.scalar`; its maker in
`activations`; its exact formula in the table of `tests/kernels/test_elementary.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .elementary import Array, magnitude, normal_cdf, normal_pdf, positive_part, sigma
from .functions import analytic, apply
from .records import Derivative, Expression, NumpySource, Parameter, by_name

INVERSE_SQRT_2 = math.sqrt(0.5)
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


@dataclass(frozen=True, eq=False, kw_only=True)
class ActivationRecord:
    """What is known of an activation. Where it is used needs no name: formats, messages and checks read these fields.

    formula : a(z) and a'(z) for readers, where a is a(z) and the parameter stands by its name.
    evaluate : (z, parameter) -> a(z), and a function that gives a'(z): written in one breath, in NumPy, analytic.
    text : a(z) and a'(z) as `formulas` reads them, with {z}, {a} for a(z), and {p} for the parameter.
    definitions : of the functions in text that are not common knowledge.
    kinks : those z where a' or its slope may jump.
    bounds : between which a(z) lies, if it lies between two. is_rectifier : whether a(z) is 0 for every z < 0, else z.
    is_logistic : whether a(z) is 1 / (1 + exp(-z)), whose slope follows from a(z).
    scheme : how the weights of its layer are drawn by default; see `MLP.init`.
    onnx, onnx_float64 : the operators of opset 17; the second where float64 needs others, as onnxruntime has some for
        float32 alone. numpy : the calculation in an exported Python file.
    """

    name: str
    formula: tuple[str, str]
    evaluate: Callable[[Array, float], tuple[Array, Derivative]]
    text: tuple[str, str]
    definitions: tuple[str, ...] = ()
    parameter: Parameter | None = None
    kinks: tuple[float, ...] = ()
    bounds: tuple[float, float] | None = None
    is_rectifier: bool = False
    is_logistic: bool = False
    scheme: str = "glorot_uniform"
    onnx: Expression | None = None
    onnx_float64: Expression | None = None
    numpy: NumpySource | None = None


def of_user(name: str, value: Callable[..., object], derivative: Callable[..., object]) -> ActivationRecord:
    """The record of a user's own activation, which no file holds."""
    return ActivationRecord(
        name=name,
        formula=(f"{name}(z)", f"{name}'(z)"),
        evaluate=lambda z, p: (analytic(value, derivative, z), lambda: apply(derivative, z.real)),
        text=(f"{name}({{z}})", f"{name}'({{z}})"),
    )


def _half(s: Expression) -> Expression:
    """z (1 + s) / 2."""
    return ("Mul", "z", ("Mul", ("Add", s, 1.0), 0.5))


# -- records: value and derivative, p being slope or alpha, and what else is known -------------------------------------


def _identity(z: Array, p: float) -> tuple[Array, Derivative]:
    return z, lambda: np.ones_like(z)


IDENTITY = ActivationRecord(
    name="identity",
    formula=("z", "1"),
    evaluate=_identity,
    text=("{z}", "1"),
    onnx="z",
    numpy=NumpySource("{z}"),
)


def _sigmoid(z: Array, p: float) -> tuple[Array, Derivative]:
    a = sigma(z)
    return a, lambda: a * (1 - a)


SIGMOID = ActivationRecord(
    name="sigmoid",
    formula=("1 / (1 + exp(-z))", "a (1 - a)"),
    evaluate=_sigmoid,
    text=("sigmoid({z})", "{a} * (1 - {a})"),
    bounds=(0.0, 1.0),
    is_logistic=True,
    onnx=("Sigmoid", "z"),
    numpy=NumpySource(
        "sigmoid({z})",
        '''
def sigmoid(z):
    """1 / (1 + exp(-z)); an exp that overflows gives the right 0."""
    return 1 / (1 + np.exp(-z))
''',
    ),
)


def _tanh(z: Array, p: float) -> tuple[Array, Derivative]:
    a = np.tanh(z)
    return a, lambda: 1 - a * a


TANH = ActivationRecord(
    name="tanh",
    formula=("tanh(z)", "1 - a^2"),
    evaluate=_tanh,
    text=("tanh({z})", "1 - {a}^2"),
    bounds=(-1.0, 1.0),
    onnx=("Tanh", "z"),
    numpy=NumpySource("np.tanh({z})"),
)


def _relu(z: Array, p: float) -> tuple[Array, Derivative]:
    return positive_part(z), lambda: (z.real > 0).astype(z.dtype)


RELU = ActivationRecord(
    name="relu",
    formula=("max(z, 0)", "1 if z > 0 else 0"),
    evaluate=_relu,
    text=("max({z}, 0)", "[{z} > 0]"),
    kinks=(0.0,),
    is_rectifier=True,
    scheme="he_normal",
    onnx=("Relu", "z"),
    numpy=NumpySource("np.maximum({z}, 0)"),
)


def _leaky_relu(z: Array, p: float) -> tuple[Array, Derivative]:
    return np.where(z.real > 0, z, p * z), lambda: np.where(z.real > 0, 1, p).astype(z.dtype)


LEAKY_RELU = ActivationRecord(
    name="leaky_relu",
    formula=("z if z > 0 else slope z", "1 if z > 0 else slope"),
    evaluate=_leaky_relu,
    text=("max({z}, 0) + {p} * min({z}, 0)", "[{z} > 0] + {p} * [{z} <= 0]"),
    parameter=Parameter("slope", 0.01, "must be a finite number", math.isfinite),
    kinks=(0.0,),
    scheme="he_normal",
    onnx=("LeakyRelu", "z", {"alpha": "p"}),
    onnx_float64=("Where", ("Greater", "z", 0.0), "z", ("Mul", "z", "p")),
    numpy=NumpySource(
        "leaky_relu({z}, {p!r})",
        '''
def leaky_relu(z, slope):
    """z if z > 0 else slope z."""
    return np.where(z > 0, z, slope * z)
''',
    ),
)


def _elu(z: Array, p: float) -> tuple[Array, Derivative]:
    negative = z - positive_part(z)
    a = np.where(z.real > 0, z, p * np.expm1(negative))
    return a, lambda: np.where(z.real > 0, 1, p * np.exp(negative))


ELU = ActivationRecord(
    name="elu",
    formula=("z if z > 0 else alpha (exp(z) - 1)", "1 if z > 0 else alpha exp(z)"),
    evaluate=_elu,
    text=("max({z}, 0) + {p} * (exp(min({z}, 0)) - 1)", "[{z} > 0] + {p} * exp({z}) * [{z} <= 0]"),
    parameter=Parameter("alpha", 1.0, "must be a finite number", math.isfinite),
    kinks=(0.0,),
    scheme="he_normal",
    onnx=("Elu", "z", {"alpha": "p"}),
    onnx_float64=("Add", ("Relu", "z"), ("Mul", ("Sub", ("Exp", ("Min", "z", 0.0)), 1.0), "p")),
    numpy=NumpySource(
        "elu({z}, {p!r})",
        '''
def elu(z, alpha):
    """z if z > 0 else alpha (exp(z) - 1)."""
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))
''',
    ),
)


def _softplus(z: Array, p: float) -> tuple[Array, Derivative]:
    return positive_part(z) + np.log1p(np.exp(-magnitude(z))), lambda: sigma(z)


SOFTPLUS = ActivationRecord(
    name="softplus",
    formula=("log(1 + exp(z))", "sigmoid(z)"),
    evaluate=_softplus,
    text=("log(1 + exp({z}))", "sigmoid({z})"),
    # max(z, 0) + log(1 + exp(-|z|)): of the standard's own operator, exp would overflow.
    onnx=("Add", ("Relu", "z"), ("Log", ("Add", ("Exp", ("Neg", ("Abs", "z"))), 1.0))),
    numpy=NumpySource(
        "softplus({z})",
        '''
def softplus(z):
    """log(1 + exp(z)), without overflow."""
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
''',
    ),
)


def _silu(z: Array, p: float) -> tuple[Array, Derivative]:
    s = sigma(z)
    return z * s, lambda: s * (1 + z * (1 - s))


SILU = ActivationRecord(
    name="silu",
    formula=("z sigmoid(z)", "s (1 + z (1 - s)),  s = sigmoid(z)"),
    evaluate=_silu,
    text=("{z} * sigmoid({z})", "sigmoid({z}) * (1 + {z} * (1 - sigmoid({z})))"),
    scheme="he_normal",
    onnx=("Mul", "z", ("Sigmoid", "z")),
    # Older versions of onnxruntime make one operation of this product, and have it for float32 alone.
    onnx_float64=("Div", "z", ("Add", ("Exp", ("Neg", "z")), 1.0)),
    numpy=NumpySource(
        "silu({z})",
        '''
def silu(z):
    """z / (1 + exp(-z)); an exp that overflows gives the right 0."""
    return z / (1 + np.exp(-z))
''',
    ),
)


def _gelu(z: Array, p: float) -> tuple[Array, Derivative]:
    cdf = normal_cdf(z)
    return z * cdf, lambda: cdf + z * normal_pdf(z)


GELU = ActivationRecord(
    name="gelu",
    formula=("z Phi(z), Phi the normal distribution", "Phi(z) + z phi(z)"),
    evaluate=_gelu,
    text=("{z} * Phi({z})", "Phi({z}) + {z} * phi({z})"),
    definitions=("Phi(z) = (1 + erf(z / sqrt(2))) / 2", "phi(z) = exp(-z^2 / 2) / sqrt(2 * pi)"),
    scheme="he_normal",
    onnx=_half(("Erf", ("Mul", "z", INVERSE_SQRT_2))),
    # onnxruntime has no other erf than float32's.
    onnx_float64=_half(
        ("Cast", ("Erf", ("Cast", ("Mul", "z", INVERSE_SQRT_2), {"to": np.float32})), {"to": np.float64})
    ),
    numpy=NumpySource(
        "gelu({z})",
        '''
def gelu(z):
    """z Phi(z), Phi the normal distribution: z erfc(-z / sqrt 2) / 2."""
    u = z.astype(np.float64) * -math.sqrt(0.5)
    erfc = np.array([math.erfc(value) for value in u.ravel()]).reshape(z.shape)
    return (z * erfc / 2).astype(z.dtype)
''',
        imports=("math",),
    ),
)


def _gelu_tanh(z: Array, p: float) -> tuple[Array, Derivative]:
    t = np.tanh(SQRT_2_OVER_PI * (z + 0.044715 * z * z * z))
    return z * (1 + t) / 2, lambda: (1 + t) / 2 + z * (1 - t * t) / 2 * SQRT_2_OVER_PI * (1 + 3 * 0.044715 * z * z)


GELU_TANH = ActivationRecord(
    name="gelu_tanh",
    formula=(
        "z (1 + tanh(u)) / 2,\nu = sqrt(2/pi) (z + 0.044715 z^3)",
        "(1 + t)/2 + z (1 - t^2)/2 du/dz,  t = tanh(u)",
    ),
    evaluate=_gelu_tanh,
    text=(
        "{z} * (1 + tanh(sqrt(2 / pi) * ({z} + 0.044715 * {z}^3))) / 2",
        "(1 + tanh(u({z}))) / 2 + {z} * (1 - tanh(u({z}))^2) / 2 * u'({z})",
    ),
    definitions=(
        "u(z) = sqrt(2 / pi) * (z + 0.044715 * z^3)",
        "u'(z) = sqrt(2 / pi) * (1 + 0.134145 * z^2)",
    ),
    scheme="he_normal",
    onnx=_half(
        ("Tanh", ("Mul", ("Add", "z", ("Mul", ("Mul", ("Mul", "z", "z"), "z"), 0.044715)), SQRT_2_OVER_PI)),
    ),
    numpy=NumpySource(
        "gelu_tanh({z})",
        f'''
def gelu_tanh(z):
    """z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2."""
    return z * ((1 + np.tanh({SQRT_2_OVER_PI!r} * (z + 0.044715 * z * z * z))) / 2)
''',
    ),
)

# A kernel knows an activation by its place here.
ACTIVATIONS = MappingProxyType(by_name(IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SOFTPLUS, SILU, GELU, GELU_TANH))
