"""A network is a value: layer sizes, activations, loss, bias. It holds no arrays.

a_0 = x,   z_l = a_{l-1} W_l + b_l,   a_l = activation_l(z_l)  (hidden layers),   y_pred = link(z_L)
"""

from __future__ import annotations

import functools
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
from .parameters import Parameters, initialize

if TYPE_CHECKING:
    from ..engine.backprop import Pullback
    from ..engine.workspace import Workspace


class Layer(NamedTuple):
    """Where one layer's weights (n_in, n_out) and biases (n_out,) lie in the flat parameter vector."""

    n_in: int
    n_out: int
    weights: slice
    biases: slice


@functools.cache
def _engine() -> ModuleType:
    """The one upward import: a network's methods are calls of the engine, loaded on first use.

    So describing a network never loads Numba.
    """
    from ..engine import backprop

    return backprop


@dataclass(frozen=True, init=False)
class MLP:
    """A dense feed-forward network, frozen, hashable and equal by value; it holds no arrays.

    a_0 = x,   z_l = a_{l-1} W_l + b_l,   a_l = activation_l(z_l)  (hidden layers),   y_pred = link(z_L)

    Parameters
    ----------
    layer_sizes : (n_inputs, hidden..., n_outputs), at least two positive integers.
    activation : name or value from `fastbp.activations` for the hidden layers, or one for each of them.
    loss : name or value from `fastbp.losses`. It names the output link: binary_cross_entropy -> sigmoid,
        cross_entropy -> softmax, poisson -> exp, the others -> identity. Kept as `loss_function`.
    bias : whether every layer adds a bias b_l.

    InputError for sizes, functions and pairs of them that make no network.

    >>> net = fastbp.MLP((2, 100, 1), bias=False)
    >>> net.n_parameters, net == fastbp.MLP([2, 100, 1], bias=False)
    (300, True)
    >>> print(fastbp.MLP((784, 128, 10), activation="relu", loss="cross_entropy"))
    784-128-10 relu, cross_entropy
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
        """Features of a sample: columns of x."""
        return self.layer_sizes[0]

    @property
    def n_outputs(self) -> int:
        """Outputs of a sample: columns of y_pred."""
        return self.layer_sizes[-1]

    @property
    def n_parameters(self) -> int:
        """Length of the flat parameter vector: all weights and biases."""
        last = self.layers[-1]
        return last.biases.stop

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them, from which `from_dict` makes an equal network.

        InputError for functions of the user's own, which plain values cannot hold.

        >>> fastbp.MLP((2, 1)).to_dict()
        {'layer_sizes': [2, 1], 'activation': [], 'loss': ['binary_cross_entropy', 0.0], 'bias': True}
        """
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
        """The network that `to_dict` described; errors as of the class.

        >>> net = fastbp.MLP((2, 3, 1), activation=fastbp.activations.leaky_relu(0.1))
        >>> fastbp.MLP.from_dict(net.to_dict()) == net
        True
        """
        return cls(
            values["layer_sizes"],
            activation=[Activation(name, parameter=parameter) for name, parameter in values["activation"]],
            # No loss may have the parameter 0; fastbp 0.1 wrote it for huber and quantile without one.
            loss=Loss(values["loss"][0], parameter=values["loss"][1] or None),
            bias=values["bias"],
        )

    # -- calculations --

    def init(self, rng: Any = None, *, dtype: Any = np.float32, scheme: str | None = None) -> Parameters:
        """Random weights and zero biases.

        rng : None (fresh entropy), an integer seed, or a `numpy.random.Generator`.
        dtype : float32 or float64. Numbers are drawn in float64 and then cast, so both start alike.
        scheme : the distribution of W (n_in, n_out); by default by the layer's activation:
            "glorot_uniform"  U(-r, r), r = sqrt(6 / (n_in + n_out))     sigmoid, tanh and the like; the output
            "he_normal"       N(0, 2 / n_in)                             relu, gelu and the like
            "lecture"         N(0, 1), as the lecture's code draws it    only when asked for

        InputError for another dtype or scheme. Sources: Glorot and Bengio 2010, eq. 16; He et al. 2015, eq. 10.

        >>> params = fastbp.MLP((2, 100, 1)).init(rng=0)
        >>> [w.shape for w in params.weights], params.dtype
        ([(2, 100), (100, 1)], dtype('float32'))
        """
        return initialize(self, rng, dtype=dtype, scheme=scheme)

    def forward(
        self,
        params: Parameters,
        x: Any,
        *,
        out: np.ndarray | None = None,
        n_threads: int | None = None,
        workspace: Workspace | None = None,
    ) -> np.ndarray:
        """y_pred = link(z_L) of z_l = a_{l-1} W_l + b_l, a_l = activation_l(z_l), a_0 = x: probabilities or means.

        params : W_l and b_l of all layers. Their dtype, float32 or float64, is that of the calculation and the result.
        x : (N, n_inputs), N >= 1, in the units the network was trained in: anything NumPy reads as numbers, or sparse
            of any format of `scipy.sparse`. It is cast to the dtype of params, and never written to.
        out : (N, n_outputs) of that dtype, C-contiguous, apart from params and x in memory; is written and returned.
        n_threads : by default what `fastbp.set_num_threads`, FASTBP_NUM_THREADS or Numba's setting say. Results have
            the same bits for any number.
        workspace : a `fastbp.Workspace` keeps scratch memory between calls; by default each thread has one.

        Returns (N, n_outputs); row i has the bits of `forward(params, x[i : i + 1])[0]`. InputError, naming row and
        column, for a NaN or an infinity in x, for other shapes and kinds, and for params of another network;
        ThreadError for more threads than Numba has; StateError while another call uses the workspace.

        >>> net = fastbp.MLP((2, 1), loss="squared_error")  # y_pred = x W + b
        >>> params = fastbp.Parameters.from_vector(net, np.array([1.0, 2.0, 0.5]))
        >>> net.forward(params, [[1, 1], [0, 1]])
        array([[3.5],
               [2.5]])
        """
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
        """z_L = a_{L-1} W_L + b_L, the outputs before the link: log-odds for the cross entropies, (N, n_outputs).

        Arguments and errors as of `forward`, which is link(z_L).

        >>> net = fastbp.MLP((2, 1))
        >>> params = fastbp.Parameters.from_vector(net, np.array([1.0, 2.0, 0.5]))
        >>> net.logits(params, [[1, 1]])
        array([[3.5]])
        """
        return _engine().logits(self, params, x, out=out, n_threads=n_threads, workspace=workspace)

    def predict(
        self, params: Parameters, x: Any, *, n_threads: int | None = None, workspace: Workspace | None = None
    ) -> np.ndarray:
        """Labels for the cross entropies, means otherwise.

            cross_entropy            argmax_k z_ik, int64 (N,), the first of equals
            binary_cross_entropy     1 where z > 0, else 0, int64, (N,) for one output, (N, n_outputs) for several
            other losses             `forward`, (N, n_outputs) in the dtype of params

        Arguments and errors as of `forward`.

        >>> net = fastbp.MLP((2, 1))
        >>> params = fastbp.Parameters.from_vector(net, np.array([1.0, 2.0, 0.5]))
        >>> net.predict(params, [[1, 1], [-1, 0]])
        array([1, 0])
        """
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
    ) -> float | np.ndarray:
        """The objective L = sum_i w_i sum_k l(y_ik, z_ik) / sum_i w_i + l1 sum|W| + l2/2 sum W^2, a float.

        l is the network's loss, see `fastbp.losses`; z the outputs before the link, W all weights, without the biases.

        params, x, n_threads, workspace : as of `forward`.
        y : targets (N, n_outputs), or (N,) for one output, in [0, 1] for binary_cross_entropy and >= 0 for poisson.
            For cross_entropy whole numbers (N,) from 0 to n_outputs - 1, or probabilities (N, n_outputs).
        sample_weight : w (N,), >= 0, not all zero; by default 1 for each sample.
        reduction : "mean" as above; "sum" without the division; "none" the N terms w_i sum_k l, in the dtype of params.
        l1, l2 : penalties >= 0, whatever the reduction and N; refused for "none".

        InputError as of `forward`, and for y, weights and options of another kind, shape or range.

        >>> net = fastbp.MLP((2, 1), loss="squared_error")  # l = (z - y)^2 / 2
        >>> params = fastbp.Parameters.from_vector(net, np.array([1.0, 2.0, 0.5]))
        >>> net.loss(params, [[1, 1], [0, 1]], [3, 1])  # z is 3.5 and 2.5
        0.625
        >>> net.loss(params, [[1, 1], [0, 1]], [3, 1], reduction="none")
        array([0.125, 1.125])
        """
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
        """The objective L as in `loss`, and its gradient in all parameters, by backpropagation in one pass.

            d_L = dL/dz_L,   d_{l-1} = (d_l W_l^T) a'(z_{l-1}),   dL/dW_l = a_{l-1}^T d_l,   dL/db_l = sum_i d_l

        params, x, y, sample_weight, l1, l2, n_threads, workspace : as of `loss`.
        reduction : "mean" or "sum".
        out : Parameters of the same network and dtype, for the gradient; without it each call returns a fresh one.

        Returns (L, gradient): a float, and Parameters like `params`, with dL/dW_l in `gradient.weights`. Both have the
        same bits for any number of threads. Errors as of `loss`.

        >>> net = fastbp.MLP((2, 1), loss="squared_error")
        >>> params = fastbp.Parameters.from_vector(net, np.array([1.0, 2.0, 0.5]))
        >>> value, gradient = net.value_and_grad(params, [[1, 1]], [3])
        >>> value, gradient.vector
        (0.125, array([0.5, 0.5, 0.5]))
        """
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
        """dL/dx of the objective in `loss`, (N, n_inputs) in the dtype of params; penalties do not depend on x.

        Row i is w_i dl_i/dx_i, divided by sum(w) for a mean.

        params, x, y, sample_weight, n_threads, workspace : as of `loss`.
        reduction : "mean" or "sum".
        out : (N, n_inputs) of the dtype of params, C-contiguous; is written and returned.

        Errors as of `loss`.

        >>> net = fastbp.MLP((2, 1), loss="squared_error")
        >>> params = fastbp.Parameters.from_vector(net, np.array([1.0, 2.0, 0.5]))
        >>> net.input_grad(params, [[1, 1]], [3])
        array([[0.5, 1. ]])
        """
        return _engine().input_grad(
            self, params, x, y, sample_weight=sample_weight, reduction=reduction, out=out, n_threads=n_threads,
            workspace=workspace,
        )  # fmt: skip

    def vjp(
        self, params: Parameters, x: Any, *, n_threads: int | None = None, workspace: Workspace | None = None
    ) -> tuple[np.ndarray, Pullback]:
        """y_pred as of `forward`, and its pullback: vectors times the Jacobians of y_pred in parameters and inputs.

            pullback(d_y) -> gradient, d_x    gradient = sum_ik d_y_ik dy_ik/dparams,   d_x_i = sum_k d_y_ik dy_ik/dx_i

        params, x, n_threads, workspace : as of `forward`. d_y : dL/dy_pred of any L, (N, n_outputs), or (N,) for one
        output. gradient : Parameters. d_x : (N, n_inputs) in the dtype of params.

        So a network can be a part of a larger computation. The pullback may be called many times, and later: params
        are kept as they are now, x must not be changed until then. Errors as of `forward`; InputError for d_y of
        another shape.

        >>> net = fastbp.MLP((2, 1), loss="squared_error")
        >>> params = fastbp.Parameters.from_vector(net, np.array([1.0, 2.0, 0.5]))
        >>> y_pred, pullback = net.vjp(params, [[3, 1]])
        >>> gradient, d_x = pullback([1])
        >>> gradient.vector, d_x
        (array([3., 1., 1.]), array([[1., 2.]]))
        """
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
