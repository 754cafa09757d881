"""Optimizers: frozen values whose `init` makes a state and whose `update` writes parameters and state in place.

>>> import numpy as np, fastbp
>>> net = fastbp.MLP((2, 4, 1))
>>> params, x, y = net.init(rng=0), np.eye(2), np.array([0, 1])
>>> optimizer = fastbp.optim.adam(learning_rate=fastbp.optim.cosine(1e-3, n_steps=10_000))
>>> state = optimizer.init(params)
>>> loss, grad = net.value_and_grad(params, x, y)
>>> optimizer.update(params.vector, grad.vector, state)
>>> state.step
1

All take a number or a schedule as `learning_rate` (rprop a number), and by keyword:

    clip_norm      g <- g min(1, clip_norm / |g|), the norm being that of the whole gradient; None for any norm
    weight_decay   p <- p - rate weight_decay p beside the step, decoupled from the gradient (Loshchilov and Hutter
                   2019); weights only, no biases. Penalties L1 and L2 belong to the objective instead.
    ema_decay      the state keeps an exponential moving average of the parameters in `state.ema`:
                   a <- ema_decay a + (1 - ema_decay) p, from a = p at the start; None for no average

t counts steps from 1. In the formulas p are the parameters, g the gradient, m and v its first and second moments,
averages of g and g^2; `rate` is the learning rate of the step. InputError for options outside their range.
"""

from .makers import adagrad, adam, adamw, amsgrad, as_optimizer, lion, nadam, rmsprop, rprop, sgd
from .optimizer import Optimizer, OptimizerState
from .schedules import (
    Schedule,
    constant,
    cosine,
    exponential,
    inverse_scaling,
    one_cycle,
    reduce_on_plateau,
    step_decay,
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
    "step_decay",
    "warmup_cosine",
]
