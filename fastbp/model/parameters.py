"""Parameters: one flat vector with a view per layer; a gradient is one, too. And how they are drawn at first.

The vector holds layer after layer, weights (n_in, n_out) in C order and then biases (n_out,), unpadded.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from .network import MLP

SCHEMES = ("glorot_uniform", "he_normal", "lecture")


class Parameters:
    """Weights and biases of one network, views of one flat vector; `net.init()` makes random ones. A gradient is one.

    net : the `fastbp.MLP` they belong to.
    vector : (n_parameters,) float32 or float64; what an optimizer, SciPy or a checkpoint sees.
    weights[l] : (n_in, n_out) views; biases[l] : (n_out,) views, or () for a network without biases.

    Writing to a view writes to the vector, and the other way round.

    >>> params = fastbp.Parameters.zeros(fastbp.MLP((2, 1)))
    >>> params.weights[0][...] = 3
    >>> params.biases[0][...] = -1
    >>> params.vector
    array([ 3.,  3., -1.], dtype=float32)
    """

    def __init__(self, net: MLP, vector: np.ndarray) -> None:
        self.net = net
        self.vector = vector

    # The views are made when first asked for: a training step never looks at them.
    @functools.cached_property
    def weights(self) -> tuple[np.ndarray, ...]:
        """Views of the weights W_l, (n_in, n_out), layer by layer."""
        return tuple(self.vector[layer.weights].reshape(layer.n_in, layer.n_out) for layer in self.net.layers)

    @functools.cached_property
    def biases(self) -> tuple[np.ndarray, ...]:
        """Views of the biases b_l, (n_out,), layer by layer; () for a network without biases."""
        return tuple(self.vector[layer.biases] for layer in self.net.layers) if self.net.bias else ()

    @classmethod
    def from_vector(cls, net: MLP, vector: Any, copy: bool = False) -> Parameters:
        """Parameters over `vector` (n_parameters,), contiguous, float32 or float64: a view of it unless copy=True.

        With copy=True any array of numbers, which becomes float64 unless it is float32. InputError for another shape,
        and for what a view cannot be made of.

        >>> net, vector = fastbp.MLP((2, 1)), np.zeros(3)
        >>> params = fastbp.Parameters.from_vector(net, vector)
        >>> vector[2] = 7
        >>> params.biases[0]
        array([7.])
        """
        array = np.array(vector, copy=True) if copy else np.asarray(vector)
        if array.shape != (net.n_parameters,):
            raise InputError(f"the parameter vector of {net} has shape ({net.n_parameters},); got {array.shape}")
        if array.dtype not in (np.float32, np.float64) or not array.flags.c_contiguous or not array.flags.aligned:
            if not copy:
                raise InputError(
                    "from_vector needs a contiguous float32 or float64 array to make a view of; "
                    f"got {array.dtype}, strides {array.strides}. Pass copy=True for a float64 copy"
                )
            array = np.ascontiguousarray(array, dtype=np.float64)
        return cls(net, array)

    @classmethod
    def zeros(cls, net: MLP, dtype: Any = np.float32) -> Parameters:
        """All parameters zero, float32 or float64; InputError for another dtype.

        >>> fastbp.Parameters.zeros(fastbp.MLP((2, 1)), np.float64).vector
        array([0., 0., 0.])
        """
        return cls(net, np.zeros(net.n_parameters, check_dtype(dtype)))

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64; it decides in which precision a network is computed."""
        return self.vector.dtype

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the views: pickled beside the vector they would come back as arrays of their own.
        return type(self), (self.net, self.vector)

    def copy(self) -> Parameters:
        """The same values in memory of their own.

        >>> params = fastbp.MLP((2, 1)).init(rng=0)
        >>> np.shares_memory(params.copy().vector, params.vector)
        False
        """
        return Parameters(self.net, self.vector.copy())

    def astype(self, dtype: Any) -> Parameters:
        """The same values as float32 or float64, in memory of their own; InputError for another dtype.

        >>> fastbp.MLP((2, 1)).init(rng=0).astype(np.float64).dtype
        dtype('float64')
        """
        return Parameters(self.net, self.vector.astype(check_dtype(dtype)))

    def __repr__(self) -> str:
        return f"Parameters({self.net}, {self.vector.size} {self.dtype})"


def check_params(net: MLP, params: Any) -> None:
    """InputError for what is no Parameters, and for those of another network."""
    if not isinstance(params, Parameters) or params.net.layers != net.layers:
        got = repr(params) if isinstance(params, Parameters) else type(params).__name__
        raise InputError(f"params must be those of {net}, as net.init() returns; got {got}")


def initialize(net: MLP, rng: Any = None, *, dtype: Any = np.float32, scheme: str | None = None) -> Parameters:
    """What `MLP.init` does."""
    if scheme is not None and scheme not in SCHEMES:
        raise InputError(f"scheme must be one of {', '.join(SCHEMES)} or None; got {scheme!r}")
    rng = np.random.default_rng(rng)
    params = Parameters.zeros(net, dtype)
    of_layers = [activation.record.scheme for activation in net.activations] + ["glorot_uniform"]
    for weights, of_layer in zip(params.weights, of_layers, strict=True):
        n_in, n_out = weights.shape
        chosen = scheme or of_layer
        if chosen == "glorot_uniform":
            limit = math.sqrt(6.0 / (n_in + n_out))
            weights[...] = rng.uniform(-limit, limit, weights.shape)
        else:
            weights[...] = rng.standard_normal(weights.shape) * (
                math.sqrt(2.0 / n_in) if chosen == "he_normal" else 1.0
            )
    return params


def check_dtype(dtype: Any) -> np.dtype:
    """float32 or float64 as a `numpy.dtype`; anything else is refused."""
    try:
        wanted = str(np.dtype(dtype))
    except TypeError:
        wanted = "no dtype"
    # As text, and None apart: NumPy takes None for float64, in np.dtype(None) and in a comparison.
    if dtype is None or wanted not in ("float32", "float64"):
        raise InputError(f"dtype must be float32 or float64; got {dtype!r}")
    return np.dtype(wanted)
