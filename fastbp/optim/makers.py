"""Optimisers: frozen values whose `init` makes a state and whose `update` writes parameters and state in place.

>>> optimizer = fastbp.optim.adam(learning_rate=fastbp.optim.cosine(1e-3, n_steps=10_000))
>>> state = optimizer.init(params)
>>> loss, grad = net.value_and_grad(params, x, y)
>>> optimizer.update(params.vector, grad.vector, state)

All take a number or a schedule as `learning_rate`, and in common, by keyword:

    clip_norm      g <- g min(1, clip_norm / |g|), the norm being that of the whole gradient
    weight_decay   p <- p - rate weight_decay p beside the step, decoupled from the gradient (Loshchilov and Hutter
                   2019); weights only, no biases. Penalties L1 and L2 belong to the objective instead.
    average        the state keeps a <- average a + (1 - average) p in `state.average`, from a = p at the start

t counts steps from 1. In the formulas p are the parameters, g the gradient, m and v averages of g and g^2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import InputError
from . import schedules
from .optimizer import COMMON, Optimizer, OptimizerState
from .schedules import (
    Schedule,
    constant,
    cosine,
    exponential,
    inverse_scaling,
    number,
    one_cycle,
    reduce_on_plateau,
    step,
    warmup_cosine,
)
from .scipy_objective import scipy_objective

__all__ = [
    "Optimizer",
    "OptimizerState",
    "Schedule",
    "adagrad",
    "adam",
    "adamw",
    "amsgrad",
    "as_optimizer",
    "constant",
    "cosine",
    "exponential",
    "inverse_scaling",
    "lion",
    "nadam",
    "one_cycle",
    "reduce_on_plateau",
    "rmsprop",
    "rprop",
    "scipy_objective",
    "sgd",
    "step",
    "warmup_cosine",
]


# -- the optimisers ----------------------------------------------------------------------------------------------------


def sgd(learning_rate: Any = 0.01, *, momentum: float = 0.0, nesterov: bool = False, **common: Any) -> Optimizer:
    """Stochastic gradient descent: m = momentum m + g, p -= rate m; with nesterov p -= rate (g + momentum m).

    Sutskever et al. 2013, in PyTorch's form: the rate multiplies the sum, not each of its terms.
    """
    momentum = number("momentum", momentum, 0, below=1)
    if nesterov and not momentum:
        raise InputError("nesterov=True needs a momentum above 0, such as 0.9; got 0")
    return _made("sgd", learning_rate, common, momentum=momentum, nesterov=bool(nesterov))


def adam(
    learning_rate: Any = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, **common: Any
) -> Optimizer:
    """p -= rate m' / (sqrt(v') + eps),   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2.

    m' = m / (1 - beta1^t), v' = v / (1 - beta2^t). Kingma and Ba 2015, algorithm 1.
    """
    return _made("adam", learning_rate, common, **_betas(beta1, beta2, eps))


def adamw(
    learning_rate: Any = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
    weight_decay: float = 0.01, **common: Any,
) -> Optimizer:  # fmt: skip
    """adam with weight_decay=0.01. Loshchilov and Hutter 2019, algorithm 2."""
    return adam(learning_rate, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, **common)


def nadam(
    learning_rate: Any = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, **common: Any
) -> Optimizer:
    """adam with m' = beta1 m / (1 - beta1^(t+1)) + (1 - beta1) g / (1 - beta1^t).

    Dozat 2016, with constant beta1, as in optax; PyTorch lets beta1 grow with t.
    """
    return _made("nadam", learning_rate, common, **_betas(beta1, beta2, eps))


def amsgrad(
    learning_rate: Any = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, **common: Any
) -> Optimizer:
    """adam with the largest v so far in place of v. Reddi et al. 2018, with adam's corrections as in PyTorch."""
    return _made("amsgrad", learning_rate, common, **_betas(beta1, beta2, eps))


def rmsprop(
    learning_rate: Any = 0.01, *, rho: float = 0.99, eps: float = 1e-8, momentum: float = 0.0, **common: Any
) -> Optimizer:
    """v = rho v + (1 - rho) g^2,   m = momentum m + g / (sqrt(v) + eps),   p -= rate m.

    Tieleman and Hinton 2012; eps outside of the root, as in PyTorch.
    """
    rho, momentum = number("rho", rho, 0, below=1), number("momentum", momentum, 0, below=1)
    return _made("rmsprop", learning_rate, common, rho=rho, eps=number("eps", eps, above=0), momentum=momentum)


def adagrad(learning_rate: Any = 0.01, *, eps: float = 1e-10, **common: Any) -> Optimizer:
    """v = v + g^2,   p -= rate g / (sqrt(v) + eps). Duchi et al. 2011."""
    return _made("adagrad", learning_rate, common, eps=number("eps", eps, above=0))


def rprop(
    learning_rate: float = 0.01, *, longer: float = 1.2, shorter: float = 0.5, smallest: float = 1e-6,
    largest: float = 50.0, **common: Any,
) -> Optimizer:  # fmt: skip
    """p -= sign(g) d, where each parameter's own d grows while the sign stays and shrinks where it changes.

    d = min(d longer, largest) if g g_last > 0; max(d shorter, smallest), without a step and with g_last = 0, if
    g g_last < 0. d starts at the learning rate, a number. For full batches. Riedmiller and Braun 1993, as iRprop-
    (Igel and Huesken 2000) and PyTorch.
    """
    longer, shorter = number("longer", longer, above=1), number("shorter", shorter, above=0, below=1)
    smallest = number("smallest", smallest, above=0)
    largest = number("largest", largest, smallest)
    start = number("learning_rate", learning_rate, above=0)
    return _made("rprop", start, common, longer=longer, shorter=shorter, smallest=smallest, largest=largest)


def lion(learning_rate: Any = 1e-4, *, beta1: float = 0.9, beta2: float = 0.99, **common: Any) -> Optimizer:
    """p -= rate sign(beta1 m + (1 - beta1) g), then m = beta2 m + (1 - beta2) g. Chen et al. 2023, algorithm 2."""
    beta1, beta2 = number("beta1", beta1, 0, below=1), number("beta2", beta2, 0, below=1)
    return _made("lion", learning_rate, common, beta1=beta1, beta2=beta2)


def as_optimizer(optimizer: Any) -> Optimizer:
    """An optimiser itself, or one with its defaults by its name."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str) or optimizer not in MAKERS:
        raise InputError(
            f"optimizer must be one of {', '.join(map(repr, MAKERS))}, or made by fastbp.optim; got {optimizer!r}"
        )
    return MAKERS[optimizer]()


# -- parts --------------------------------------------------------------------------------------------


MAKERS: dict[str, Callable[..., Optimizer]] = {
    maker.__name__: maker for maker in (sgd, adam, adamw, nadam, amsgrad, rmsprop, adagrad, rprop, lion)
}


def _made(name: str, learning_rate: Any, common: dict[str, Any], **options: Any) -> Optimizer:
    unknown = sorted(set(common) - set(COMMON))
    if unknown:
        known = ("learning_rate", *options, *COMMON)
        raise InputError(f"{name} has no option {unknown[0]!r}; it has {', '.join(known)}")
    clip, average = common.get("clip_norm"), common.get("average")
    return Optimizer(
        name=name,
        schedule=schedules.as_schedule(learning_rate),
        options=tuple(options.items()),
        clip_norm=None if clip is None else number("clip_norm", clip, above=0),
        weight_decay=number("weight_decay", common.get("weight_decay", 0.0), 0),
        average=None if average is None else number("average", average, 0, below=1),
    )


def _betas(beta1: float, beta2: float, eps: float) -> dict[str, float]:
    return {
        "beta1": number("beta1", beta1, 0, below=1),
        "beta2": number("beta2", beta2, 0, below=1),
        "eps": number("eps", eps, above=0),
    }
