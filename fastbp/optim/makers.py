"""Optimizers by name: the functions that make them, each with its formula, its options and its source.

What they have in common, and the symbols of the formulas, are in `fastbp.optim`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import InputError
from . import schedules
from .optimizer import Optimizer
from .schedules import Schedule, number

# -- the optimizers ----------------------------------------------------------------------------------------------------


def sgd(
    learning_rate: float | Schedule = 0.01, *, momentum: float = 0.0, nesterov: bool = False,
    clip_norm: float | None = None, weight_decay: float = 0.0, ema_decay: float | None = None,
) -> Optimizer:  # fmt: skip
    """Stochastic gradient descent: m = momentum m + g, p -= rate m; with nesterov p -= rate (g + momentum m).

    Sutskever et al. 2013, in PyTorch's form: the rate multiplies the sum, not each of its terms.
    """
    momentum = number("momentum", momentum, 0, below=1)
    if nesterov and not momentum:
        raise InputError("nesterov=True needs a momentum above 0, such as 0.9; got 0")
    return _made("sgd", learning_rate, (clip_norm, weight_decay, ema_decay), momentum=momentum, nesterov=bool(nesterov))


def adam(
    learning_rate: float | Schedule = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
    clip_norm: float | None = None, weight_decay: float = 0.0, ema_decay: float | None = None,
) -> Optimizer:  # fmt: skip
    """p -= rate m' / (sqrt(v') + eps),   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2.

    m' = m / (1 - beta1^t), v' = v / (1 - beta2^t). Kingma and Ba 2015, algorithm 1.
    """
    return _made("adam", learning_rate, (clip_norm, weight_decay, ema_decay), **_betas(beta1, beta2, eps))


def adamw(
    learning_rate: float | Schedule = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
    clip_norm: float | None = None, weight_decay: float = 0.01, ema_decay: float | None = None,
) -> Optimizer:  # fmt: skip
    """adam with weight_decay=0.01. Loshchilov and Hutter 2019, algorithm 2."""
    return adam(
        learning_rate, beta1=beta1, beta2=beta2, eps=eps, clip_norm=clip_norm, weight_decay=weight_decay,
        ema_decay=ema_decay,
    )  # fmt: skip


def nadam(
    learning_rate: float | Schedule = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
    clip_norm: float | None = None, weight_decay: float = 0.0, ema_decay: float | None = None,
) -> Optimizer:  # fmt: skip
    """adam with m' = beta1 m / (1 - beta1^(t+1)) + (1 - beta1) g / (1 - beta1^t).

    Dozat 2016, with constant beta1, as in optax; PyTorch lets beta1 grow with t.
    """
    return _made("nadam", learning_rate, (clip_norm, weight_decay, ema_decay), **_betas(beta1, beta2, eps))


def amsgrad(
    learning_rate: float | Schedule = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
    clip_norm: float | None = None, weight_decay: float = 0.0, ema_decay: float | None = None,
) -> Optimizer:  # fmt: skip
    """adam with the largest v so far in place of v. Reddi et al. 2018, with adam's corrections as in PyTorch."""
    return _made("amsgrad", learning_rate, (clip_norm, weight_decay, ema_decay), **_betas(beta1, beta2, eps))


def rmsprop(
    learning_rate: float | Schedule = 0.01, *, rho: float = 0.99, eps: float = 1e-8, momentum: float = 0.0,
    clip_norm: float | None = None, weight_decay: float = 0.0, ema_decay: float | None = None,
) -> Optimizer:  # fmt: skip
    """v = rho v + (1 - rho) g^2,   m = momentum m + g / (sqrt(v) + eps),   p -= rate m.

    Tieleman and Hinton 2012; eps outside of the root, as in PyTorch.
    """
    rho, momentum = number("rho", rho, 0, below=1), number("momentum", momentum, 0, below=1)
    return _made(
        "rmsprop", learning_rate, (clip_norm, weight_decay, ema_decay), rho=rho, eps=number("eps", eps, above=0),
        momentum=momentum,
    )  # fmt: skip


def adagrad(
    learning_rate: float | Schedule = 0.01, *, eps: float = 1e-10,
    clip_norm: float | None = None, weight_decay: float = 0.0, ema_decay: float | None = None,
) -> Optimizer:  # fmt: skip
    """v = v + g^2,   p -= rate g / (sqrt(v) + eps). Duchi et al. 2011."""
    return _made("adagrad", learning_rate, (clip_norm, weight_decay, ema_decay), eps=number("eps", eps, above=0))


def rprop(
    learning_rate: float = 0.01, *, eta_plus: float = 1.2, eta_minus: float = 0.5, step_min: float = 1e-6,
    step_max: float = 50.0, clip_norm: float | None = None, weight_decay: float = 0.0, ema_decay: float | None = None,
) -> Optimizer:  # fmt: skip
    """p -= sign(g) d, where each parameter's own d grows while the sign stays and shrinks where it changes.

    d = min(d eta_plus, step_max) if g g_last > 0; max(d eta_minus, step_min), without a step and with g_last = 0, if
    g g_last < 0. d starts at the learning rate, a number. For full batches. Riedmiller and Braun 1993, as iRprop-
    (Igel and Huesken 2000) and PyTorch.
    """
    eta_plus, eta_minus = number("eta_plus", eta_plus, above=1), number("eta_minus", eta_minus, above=0, below=1)
    step_min = number("step_min", step_min, above=0)
    step_max = number("step_max", step_max, step_min)
    start = number("learning_rate", learning_rate, above=0)
    return _made(
        "rprop", start, (clip_norm, weight_decay, ema_decay), eta_plus=eta_plus, eta_minus=eta_minus,
        step_min=step_min, step_max=step_max,
    )  # fmt: skip


def lion(
    learning_rate: float | Schedule = 1e-4, *, beta1: float = 0.9, beta2: float = 0.99,
    clip_norm: float | None = None, weight_decay: float = 0.0, ema_decay: float | None = None,
) -> Optimizer:  # fmt: skip
    """p -= rate sign(beta1 m + (1 - beta1) g), then m = beta2 m + (1 - beta2) g. Chen et al. 2023, algorithm 2."""
    beta1, beta2 = number("beta1", beta1, 0, below=1), number("beta2", beta2, 0, below=1)
    return _made("lion", learning_rate, (clip_norm, weight_decay, ema_decay), beta1=beta1, beta2=beta2)


def as_optimizer(optimizer: Any) -> Optimizer:
    """An optimizer itself, or one with its defaults by its name."""
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


def _made(
    name: str, learning_rate: Any, common: tuple[float | None, float, float | None], **options: Any
) -> Optimizer:  # fmt: skip
    """common : clip_norm, weight_decay, ema_decay."""
    clip_norm, weight_decay, ema_decay = common
    return Optimizer(
        name=name,
        schedule=schedules.as_schedule(learning_rate),
        options=tuple(options.items()),
        clip_norm=None if clip_norm is None else number("clip_norm", clip_norm, above=0),
        weight_decay=number("weight_decay", weight_decay, 0),
        ema_decay=None if ema_decay is None else number("ema_decay", ema_decay, 0, below=1),
    )


def _betas(beta1: float, beta2: float, eps: float) -> dict[str, float]:
    return {
        "beta1": number("beta1", beta1, 0, below=1),
        "beta2": number("beta2", beta2, 0, below=1),
        "eps": number("eps", eps, above=0),
    }
