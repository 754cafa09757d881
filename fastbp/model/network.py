"""A network is a value: layer sizes, activations, loss, bias. It holds no arrays.

a_0 = x,   z_l = a_{l-1} W_l + b_l,   a_l = activation_l(z_l)  (hidden layers),   y_pred = link(z_L)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InputError
from . import activations, losses
from .activations import Activation
from .losses import Loss

if TYPE_CHECKING:
    from ..engine.backprop import Pullback
    from ..engine.workspace import Workspace
    from .parameters import Parameters


class Layer(NamedTuple):
    """Where one layer's weights (n_in, n_out) and biases (n_out,) lie in the flat parameter vector."""

    n_in: int
    n_out: int
    weights: slice
    biases: slice


def _engine() -> ModuleType:
    """The one upward import: a network's methods are calls of the engine, loaded on first use.

    So describing a network never loads Numba.
    """
    from ..engine import backprop

    return backprop


@dataclass(frozen=True, init=False)
class MLP:
    """A dense feed-forward network, frozen, hashable and equal by value.

    Parameters
    ----------
    layer_sizes : (n_inputs, hidden..., n_outputs), at least two positive integers.
    activation : name or value from `fastbp.activations` for the hidden layers, or one for each of them.
    loss : name or value from `fastbp.losses`. It names the output link: binary_cross_entropy -> sigmoid,
        cross_entropy -> softmax, poisson -> exp, the others -> identity. Kept as `loss_function`.
    bias : whether every layer adds a bias.

    >>> MLP((2, 100, 1), bias=False).n_parameters
    300
    """

    layer_sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    loss_function: Loss
    bias: bool
    layers: tuple[Layer, ...] = field(repr=False, compare=False)
    _hash: int = field(repr=False, compare=False)

    def __init__(
        self,
        layer_sizes: Sequence[int],
        *,
        activation: str | Activation | Sequence[str | Activation] = "sigmoid",
        loss: str | Loss = "binary_cross_entropy",
        bias: bool = True,
    ) -> None:
        sizes = _sizes(layer_sizes)
        identity = (sizes, _one_per_hidden_layer(activation, len(sizes) - 2), losses.named(loss), bool(bias))
        derived = (_layers(sizes, bool(bias)), hash(identity))
        names = ("layer_sizes", "activations", "loss_function", "bias", "layers", "_hash")
        for name, value in zip(names, identity + derived, strict=True):
            object.__setattr__(self, name, value)
        if self.loss_function.couples_outputs and sizes[-1] == 1:
            raise InputError(
                f"{self.loss_function} needs at least two outputs, one per class; got layer_sizes ending in 1. "
                "For a binary problem with one output use loss='binary_cross_entropy'"
            )

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        # Built anew, as the hash of a string differs from process to process.
        return type(self).from_dict, (self.to_dict(),)

    def __str__(self) -> str:
        hidden = ", ".join(dict.fromkeys(map(str, self.activations))) or "linear"
        return (
            f"{'-'.join(map(str, self.layer_sizes))} {hidden}, {self.loss_function}{'' if self.bias else ', no bias'}"
        )

    @property
    def n_inputs(self) -> int:
        """Features of a sample."""
        return self.layer_sizes[0]

    @property
    def n_outputs(self) -> int:
        """Outputs of a sample."""
        return self.layer_sizes[-1]

    @property
    def n_parameters(self) -> int:
        """Length of the flat parameter vector."""
        last = self.layers[-1]
        return last.biases.stop

    def to_dict(self) -> dict[str, Any]:
        """Plain values from which `from_dict` makes an equal network."""
        for function in (*self.activations, self.loss_function):
            if function.is_custom:
                raise InputError(
                    f"{function.name} is a function of your own, which a file cannot hold: keep it in your code, save "
                    "the parameters with np.save(file, params.vector); Parameters.from_vector puts both together again"
                )
        return {
            "layer_sizes": list(self.layer_sizes),
            "activation": [[a.name, a.parameter] for a in self.activations],
            "loss": [self.loss_function.name, self.loss_function.parameter],
            "bias": self.bias,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MLP:
        """The network that `to_dict` described."""
        return cls(
            values["layer_sizes"],
            activation=[Activation(name, parameter=parameter) for name, parameter in values["activation"]],
            # No loss may have the parameter 0; fastbp 0.1 wrote it for huber and quantile without one.
            loss=Loss(values["loss"][0], parameter=values["loss"][1] or None),
            bias=values["bias"],
        )

    # -- calculations: the documentation of each is in `parameters` and `backprop` --

    def init(self, rng: Any = None, *, dtype: Any = np.float32, scheme: str | None = None) -> Parameters:
        """Random weights and zero biases; see `fastbp.model.parameters.initialise`."""
        from .parameters import initialise

        return initialise(self, rng, dtype=dtype, scheme=scheme)

    def forward(
        self,
        params: Parameters,
        x: Any,
        *,
        out: np.ndarray | None = None,
        n_threads: int | None = None,
        workspace: Workspace | None = None,
    ) -> np.ndarray:
        """y_pred = link(z_L), shape (N, n_outputs): probabilities or means; see `fastbp.engine.backprop.forward`."""
        return _engine().forward(self, params, x, out=out, n_threads=n_threads, workspace=workspace)

    def logits(
        self,
        params: Parameters,
        x: Any,
        *,
        out: np.ndarray | None = None,
        n_threads: int | None = None,
        workspace: Workspace | None = None,
    ) -> np.ndarray:
        """z_L, the outputs before the link, shape (N, n_outputs); see `fastbp.engine.backprop.logits`."""
        return _engine().logits(self, params, x, out=out, n_threads=n_threads, workspace=workspace)

    def predict(
        self, params: Parameters, x: Any, *, n_threads: int | None = None, workspace: Workspace | None = None
    ) -> np.ndarray:
        """Labels for the cross entropies, means otherwise; see `fastbp.engine.backprop.predict`."""
        return _engine().predict(self, params, x, n_threads=n_threads, workspace=workspace)

    def loss(
        self,
        params: Parameters,
        x: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        reduction: str = "mean",
        l1: float = 0.0,
        l2: float = 0.0,
        n_threads: int | None = None,
        workspace: Workspace | None = None,
    ) -> Any:
        """The objective, a float, or with reduction="none" one loss a sample; see `fastbp.engine.backprop.loss`."""
        return _engine().loss(
            self, params, x, y, sample_weight=sample_weight, reduction=reduction, l1=l1, l2=l2,
            n_threads=n_threads, workspace=workspace,
        )  # fmt: skip

    def value_and_grad(
        self,
        params: Parameters,
        x: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        reduction: str = "mean",
        l1: float = 0.0,
        l2: float = 0.0,
        out: Parameters | None = None,
        n_threads: int | None = None,
        workspace: Workspace | None = None,
    ) -> tuple[float, Parameters]:
        """The objective and its gradient in all parameters; see `fastbp.engine.backprop.value_and_grad`."""
        return _engine().value_and_grad(
            self, params, x, y, sample_weight=sample_weight, reduction=reduction, l1=l1, l2=l2, out=out,
            n_threads=n_threads, workspace=workspace,
        )  # fmt: skip

    def input_grad(
        self,
        params: Parameters,
        x: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        reduction: str = "mean",
        out: np.ndarray | None = None,
        n_threads: int | None = None,
        workspace: Workspace | None = None,
    ) -> np.ndarray:
        """The gradient of the objective in the inputs, (N, n_inputs); see `fastbp.engine.backprop.input_grad`."""
        return _engine().input_grad(
            self, params, x, y, sample_weight=sample_weight, reduction=reduction, out=out, n_threads=n_threads,
            workspace=workspace,
        )  # fmt: skip

    def vjp(
        self, params: Parameters, x: Any, *, n_threads: int | None = None, workspace: Workspace | None = None
    ) -> tuple[np.ndarray, Pullback]:
        """y_pred and a function from dL/dy_pred to the gradients in params and x; see `fastbp.engine.backprop.vjp`."""
        return _engine().vjp(self, params, x, n_threads=n_threads, workspace=workspace)


def _sizes(layer_sizes: Sequence[int]) -> tuple[int, ...]:
    try:
        sizes = tuple(layer_sizes)
        whole = tuple(int(n) for n in sizes)
    except (TypeError, ValueError):
        sizes = whole = ()
    if len(whole) < 2 or whole != sizes or min(whole) < 1:
        raise InputError(
            f"layer_sizes must be at least two positive integers, such as (2, 100, 1); got {layer_sizes!r}"
        )
    return whole


def _one_per_hidden_layer(activation: Any, n_hidden: int) -> tuple[Activation, ...]:
    if isinstance(activation, str | Activation):
        return (activations.named(activation),) * n_hidden
    values = tuple(activations.named(a) for a in (activation if isinstance(activation, Iterable) else [activation]))
    if len(values) != n_hidden:
        raise InputError(
            f"activation must be one value or one for each of the {n_hidden} hidden layers; got {len(values)}. "
            "The output needs none: the loss names its link"
        )
    return values


def _layers(sizes: tuple[int, ...], bias: bool) -> tuple[Layer, ...]:
    layers, at = [], 0
    for n_in, n_out in itertools.pairwise(sizes):
        weights = slice(at, at + n_in * n_out)
        biases = slice(weights.stop, weights.stop + (n_out if bias else 0))
        layers.append(Layer(n_in, n_out, weights, biases))
        at = biases.stop
    return tuple(layers)
