from .model.losses import (
    Loss,
    __doc__,  # noqa: F401
    absolute_error,
    binary_cross_entropy,
    cross_entropy,
    huber,
    named,
    poisson,
    quantile,
    squared_error,
)

__all__ = [
    "Loss",
    "absolute_error",
    "binary_cross_entropy",
    "cross_entropy",
    "huber",
    "named",
    "poisson",
    "quantile",
    "squared_error",
]
