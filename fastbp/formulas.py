"""The formulas of backpropagation as text: one for each step of a graph, and what else they can be written as.

A formula is text such as "dL/dW2 = h^T dL/dz2". Names are those of nodes, and dL/d... their gradients; names side by
side are products of matrices; *, / and functions act on each number; [z > 0] is 1 where it holds, 0 elsewhere; s is the
weight of a sample in the objective. Functions that are not common knowledge are defined by `definitions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from .activations import Activation
from .functions import Named
from .losses import Loss

# a(z), and a'(z) with a for a(z) and p for its parameter.
_ACTIVATIONS = {
    "identity": ("{z}", "1"),
    "sigmoid": ("sigmoid({z})", "{a} * (1 - {a})"),
    "tanh": ("tanh({z})", "1 - {a}^2"),
    "relu": ("max({z}, 0)", "[{z} > 0]"),
    "leaky_relu": ("max({z}, 0) + {p} * min({z}, 0)", "[{z} > 0] + {p} * [{z} <= 0]"),
    "elu": ("max({z}, 0) + {p} * (exp(min({z}, 0)) - 1)", "[{z} > 0] + {p} * exp({z}) * [{z} <= 0]"),
    "softplus": ("log(1 + exp({z}))", "sigmoid({z})"),
    "silu": ("{z} * sigmoid({z})", "sigmoid({z}) * (1 + {z} * (1 - sigmoid({z})))"),
    "gelu": ("{z} * Phi({z})", "Phi({z}) + {z} * phi({z})"),
    "gelu_tanh": (
        "{z} * (1 + tanh(sqrt(2 / pi) * ({z} + 0.044715 * {z}^3))) / 2",
        "(1 + tanh(u({z}))) / 2 + {z} * (1 - tanh(u({z}))^2) / 2 * u'({z})",
    ),
}
# Of the functions in the formulas of an activation or loss.
_DEFINITIONS = {
    "gelu": ("Phi(z) = (1 + erf(z / sqrt(2))) / 2", "phi(z) = exp(-z^2 / 2) / sqrt(2 * pi)"),
    "gelu_tanh": (
        "u(z) = sqrt(2 / pi) * (z + 0.044715 * z^3)",
        "u'(z) = sqrt(2 / pi) * (1 + 0.134145 * z^2)",
    ),
    "huber": (
        "huber(r, d) = [|r| <= d] * r^2 / 2 + [|r| > d] * d * (|r| - d / 2)",
        "clip(r, a, b) = min(max(r, a), b)",
    ),
}


class LossFormulas(NamedTuple):
    """Of one output: the loss and its derivative in y_hat, the link's derivative in z, and both together."""

    value: str
    derivative: str
    link: str
    link_derivative: str
    both: str


_RESIDUAL = "y_hat - y"
_LOSSES = {
    "binary_cross_entropy": LossFormulas(
        "-(y * log(y_hat) + (1 - y) * log(1 - y_hat))",
        "-(y / y_hat - (1 - y) / (1 - y_hat))",
        "sigmoid({z})",
        "y_hat * (1 - y_hat)",
        _RESIDUAL,
    ),
    "cross_entropy": LossFormulas(
        "-y * log(y_hat)", "-y / y_hat", "softmax({z})", "(diag(y_hat) - y_hat^T y_hat)", _RESIDUAL
    ),
    "poisson": LossFormulas("y_hat - y * log(y_hat)", "1 - y / y_hat", "exp({z})", "y_hat", _RESIDUAL),
}
# Those whose response is z itself: the loss, and its derivative.
_OF_OUTPUTS = {
    "squared_error": ("(y_hat - y)^2 / 2", "y_hat - y"),
    "absolute_error": ("|y_hat - y|", "sign(y_hat - y)"),
    "huber": ("huber(y_hat - y, {p})", "clip(y_hat - y, -{p}, {p})"),
    "quantile": (
        "(1 - {p}) * max(y_hat - y, 0) + {p} * max(y - y_hat, 0)",
        "(1 - {p}) * [y_hat > y] - {p} * [y > y_hat]",
    ),
}


def of_activation(activation: Activation, z: str, a: str) -> tuple[str, str]:
    """a(z) and a'(z) for nodes of these names."""
    if activation.is_custom:
        return f"{activation.name}({z})", f"{activation.name}'({z})"
    value, derivative = _ACTIVATIONS[activation.name]
    p = activation.parameter
    names = {"z": z, "a": a, "p": f"{p:g}" if p >= 0 else f"({p:g})"}
    return value.format(**names), derivative.format(**names)


def of_loss(loss: Loss, z: str) -> LossFormulas:
    """The formulas of a loss whose logits are called z."""
    if loss.is_custom:
        value, derivative = f"{loss.name}(y, y_hat)", f"{loss.name}'(y, y_hat)"
    elif loss.name in _LOSSES:
        return LossFormulas(*(part.format(z=z) for part in _LOSSES[loss.name]))
    else:
        value, derivative = (part.format(p=f"{loss.parameter:g}") for part in _OF_OUTPUTS[loss.name])
    return LossFormulas(value, derivative, z, "1", derivative)


def definitions(functions: Iterable[Named]) -> list[str]:
    """What stands in the formulas of these activations and losses and has to be said: "u(z) = ...", "u'(z) = ..."."""
    names = dict.fromkeys(function.name for function in functions if not function.is_custom)
    return [line for name in names for line in _DEFINITIONS.get(name, ())]


def factor(formula: str) -> str:
    """The formula as it stands in a product: a sum in parentheses."""
    outside, inner = formula, ""
    while outside != inner:
        inner, outside = outside, re.sub(r"\([^()]*\)|\[[^][]*\]|\|[^|]*\|", "", outside)
    return f"({formula})" if " + " in outside or " - " in outside else formula


def scaled(formula: str, by: str) -> str:
    """The product of a factor, which may be empty, and a formula; a minus comes first."""
    if not by:
        return formula
    return f"-{by} * {factor(formula[1:])}" if formula.startswith("-") else f"{by} * {factor(formula)}"


# -- written otherwise -------------------------------------------------------------------------------------------------

_GRADIENT_OR_NAME = re.compile(r"dL/d(?P<gradient>\w+)|(?P<name>[A-Za-z_]\w*'?)")
# Between these a negative number needs no parentheses, as in tanh(-2), max(-2, 0), [-2 > 0] and (-2 - y).
_BEFORE, _AFTER = re.compile(r"(^|[(\[|]|, |> |<= )$"), re.compile(r"$|[)\]|,]| [<>+*/-]")


def replaced(formula: str, names: Mapping[str, str], gradients: Mapping[str, str]) -> str:
    """The formula with names and dL/d... replaced where they are known, negative numbers in parentheses where needed.

    A name with an opening parenthesis behind it is that of a function, and stays.
    """

    def of(match: re.Match[str]) -> str:
        if formula.startswith("(", match.end()):
            return match[0]
        known, name = (gradients, match["gradient"]) if match["gradient"] else (names, match["name"])
        text = known.get(name, match[0])
        is_clear = _BEFORE.search(formula[: match.start()]) and _AFTER.match(formula, match.end())
        return f"({text})" if text.startswith("-") and not is_clear else text

    return _GRADIENT_OR_NAME.sub(of, formula)


_SYMBOLS = {
    "y_hat": r"\hat{y}", "sigmoid": r"\sigma", "exp": r"\exp", "log": r"\log", "tanh": r"\tanh", "max": r"\max",
    "min": r"\min", "Phi": r"\Phi", "phi": r"\phi", "pi": r"\pi", "sum_i": r"\sum_i", "sum_ik": r"\sum_{ik}",
}  # fmt: skip
_SIGNS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"(?<![\w.])1e([+-]\d+)", lambda match: f"10^{{{int(match[1])}}}"),
    (r"(\d)e([+-]\d+)", lambda match: rf"{match[1]} \cdot 10^{{{int(match[2])}}}"),
    (r"sqrt\(([^()]*)\)", r"\\sqrt{\1}"),
    # Behind a number, a root of numbers or s.
    (r"((?:(?<![\w.^])(?<!/ )(?:\d[\d.]*|s)|\})\)?) \* ", r"\1 \\cdot "),
    (r"\^T", r"^\\top"),
    (r" \* ", r" \\odot "),
    (r"<=", r"\\leq"),
)


def latex(formula: str) -> str:
    r"""The formula in LaTeX: "dL/dW2 = h^T dL/dz2" is \frac{\partial L}{\partial W_2} = h^\top \frac{...}{...}."""
    for pattern, sign in _SIGNS:
        formula = re.sub(pattern, sign, formula)

    def of(match: re.Match[str]) -> str:
        if formula[match.start() - 1 : match.start()] == "\\":
            return match[0]
        if match["gradient"]:
            return rf"\frac{{\partial L}}{{\partial {symbol(match['gradient'])}}}"
        return symbol(match["name"])

    return _GRADIENT_OR_NAME.sub(of, formula)


def symbol(name: str) -> str:
    """The name of a node or function in LaTeX."""
    if name in _SYMBOLS:
        return _SYMBOLS[name]
    numbered = re.fullmatch(r"([A-Za-z])(\d+)", name)
    if numbered:
        return f"{numbered[1]}_{{{numbered[2]}}}"
    prime = name.endswith("'")
    word = name.rstrip("'").replace("_", r"\_")
    return (word if len(word) == 1 else rf"\mathrm{{{word}}}") + ("'" if prime else "")
