from .model.activations import (
    Activation,
    __doc__,  # noqa: F401
    elu,
    gelu,
    gelu_tanh,
    identity,
    leaky_relu,
    named,
    relu,
    sigmoid,
    silu,
    softplus,
    tanh,
)

__all__ = [
    "Activation",
    "elu",
    "gelu",
    "gelu_tanh",
    "identity",
    "leaky_relu",
    "named",
    "relu",
    "sigmoid",
    "silu",
    "softplus",
    "tanh",
]
