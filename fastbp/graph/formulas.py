"""The formulas of backpropagation as text: one for each step of a graph, and what else they can be written as.

A formula is text such as "dL/dW2 = h^T dL/dz2". Names are those of nodes, and dL/d... their gradients; names side by
side are products of matrices; *, / and functions act on each number; [z > 0] is 1 where it holds, 0 elsewhere; s is the
weight of a sample in the objective. Functions that are not common knowledge are defined by `definitions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ..model.activations import Activation
from ..model.functions import ElementwiseFunction
from ..model.losses import Loss


class LossFormulas(NamedTuple):
    """Of one output: the loss and its derivative in y_hat, the link's derivative in z, and both together."""

    value: str
    derivative: str
    link: str
    link_derivative: str
    both: str


def of_activation(activation: Activation, z: str, a: str) -> tuple[str, str]:
    """a(z) and a'(z) for nodes of these names."""
    value, derivative = activation.record.text
    p = activation.parameter
    names = {"z": z, "a": a, "p": f"{p:g}" if p >= 0 else f"({p:g})"}
    return value.format(**names), derivative.format(**names)


def of_loss(loss: Loss, z: str) -> LossFormulas:
    """The formulas of a loss whose logits are called z."""
    record = loss.record
    value, derivative = (part.format(p=f"{loss.parameter:g}") for part in record.text)
    link, link_derivative = (part.format(z=z) for part in record.link.text)
    return LossFormulas(value, derivative, link, link_derivative, record.text_in_z or derivative)


def definitions(functions: Iterable[ElementwiseFunction]) -> list[str]:
    """What stands in the formulas of these activations and losses and has to be said: "u(z) = ...", "u'(z) = ..."."""
    return list(dict.fromkeys(line for function in functions for line in function.record.definitions))


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

    A name with an opening parenthesis after it is that of a function, and stays.
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
    # After a number, a root of numbers or s.
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
