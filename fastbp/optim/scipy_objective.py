"""A network's objective as `scipy.optimize` wants it: functions of the flat parameter vector. SciPy is not imported."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import reference
from ..engine import csr, inputs
from ..engine.csr import CSR
from ..errors import InputError
from ..model.activations import Activation
from ..model.network import MLP
from ..model.parameters import Parameters

# Parameters are moved by so much of their size: truncation grows with its square, rounding with its inverse.
_STEP = float(np.finfo(np.float64).eps) ** (1 / 3)


def scipy_objective(
    net: MLP, x: Any, y: Any, *, sample_weight: Any = None, reduction: str = "mean", l1: float = 0.0, l2: float = 0.0,
    n_threads: int | None = None,
) -> Objective:  # fmt: skip
    """The objective of `MLP.value_and_grad` on these data: objective(vector) -> (value, gradient), in float64.

    x, y, sample_weight, reduction, l1, l2, n_threads : as of `MLP.value_and_grad`. They are checked and converted here,
    once; what is float64 already is not copied, and must not be changed.

    >>> from scipy import optimize
    >>> x, y = fastbp.data.spirals(100)
    >>> net = fastbp.MLP((2, 10, 1))
    >>> objective, start = fastbp.optim.scipy_objective(net, x, y, l2=1e-4), net.init(rng=0).vector
    >>> found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 20})
    >>> bool(found.fun < objective(start)[0])
    True
    >>> params = fastbp.Parameters.from_vector(net, found.x)

    Methods that want second derivatives take the Hessian's products:

    >>> found = optimize.minimize(
    ...     objective, start, jac=True, hessp=objective.hessp, method="trust-krylov", options={"maxiter": 5}
    ... )

    For squared_error, whose sum is 1/2 |residuals|^2, there are the residuals and their Jacobian:

    >>> net = fastbp.MLP((2, 3, 1), loss="squared_error")
    >>> objective, start = fastbp.optim.scipy_objective(net, x, y), net.init(rng=0, dtype=np.float64).vector
    >>> found = optimize.least_squares(objective.residuals, start, jac=objective.jacobian, max_nfev=5)
    """
    return Objective(net, x, y, sample_weight=sample_weight, reduction=reduction, l1=l1, l2=l2, n_threads=n_threads)


class Objective:
    """objective(vector) -> (value, gradient (n,)), and `hessp`; for squared_error `residuals` and `jacobian`.

    vector : (n,), n = net.n_parameters, laid out like `Parameters.vector`. Calls may run in several threads at once.
    """

    def __init__(
        self, net: MLP, x: Any, y: Any, *, sample_weight: Any = None, reduction: str = "mean", l1: float = 0.0,
        l2: float = 0.0, n_threads: int | None = None,
    ) -> None:  # fmt: skip
        dtype = np.dtype(np.float64)
        self.net = net
        self._x = csr.as_inputs(x, net.n_inputs, dtype)
        self._y = inputs.as_targets(y, net, len(self._x), dtype)
        weight = None if sample_weight is None else inputs.as_sample_weight(sample_weight, len(self._x), dtype)
        self._options = {
            "sample_weight": weight,
            "reduction": inputs.check_reduction(reduction, ("mean", "sum")),
            "l1": inputs.check_penalty("l1", l1),
            "l2": inputs.check_penalty("l2", l2),
            "n_threads": n_threads,
        }
        # Whatever is wrong with a value is found by the kernels, and said now.
        net.loss(Parameters.zeros(net, dtype), self._x, self._y, **self._options)

    def __call__(self, vector: Any) -> tuple[float, np.ndarray]:
        """The objective and its gradient, float64 (n,), an array of its own."""
        value, grad = self.net.value_and_grad(self._params(vector), self._x, self._y, **self._options)
        return value, grad.vector

    def hessp(self, vector: Any, p: Any) -> np.ndarray:
        """The Hessian times p (n,), by central differences of the exact gradient g; takes two of them.

            H p = (g(v + h p) - g(v - h p)) / 2h,   h = 6e-6 max(1, max |v|) / max |p|

        h is the cube root of the rounding of numbers, where the error from h^2 and that from the rounding of g are
        alike: together about 1e-10 of the result. Across a kink (relu, leaky_relu, elu, absolute_error, quantile,
        huber; a weight of 0 under l1) the jump of g is divided by 2h.
        """
        vector, p = self._params(vector).vector, self._direction(p)
        largest = np.abs(p).max()
        if largest == 0:
            return np.zeros_like(p)
        h = _STEP * max(1.0, np.abs(vector).max()) / largest
        (_, above), (_, below) = self(vector + h * p), self(vector - h * p)
        return (above - below) / (2 * h)

    # -- least squares -----------------------------------------------------------------------------------

    def residuals(self, vector: Any) -> np.ndarray:
        """sqrt(w_i) (z_ik - y_ik), (N n_outputs,), row after row; of a complex vector complex.

        Half the sum of their squares is the objective with reduction="sum"; for a mean it is sum(w) times as large,
        which moves no minimum.
        """
        self._check_squares()
        z = reference.logits(self.net, self._params(vector, allow_complex=True), self._dense)
        return (self._roots[:, None] * (z - self._y)).reshape(-1)

    def jacobian(self, vector: Any) -> np.ndarray:
        """The derivatives of the residuals, (N n_outputs, n) float64; takes 8 n bytes for each of them."""
        self._check_squares()
        net, params, x = self.net, self._params(vector), self._dense
        n_rows, n_outputs = len(x), net.n_outputs
        layer_inputs, slopes = [x], []
        for z, activation in zip(reference.pre_activations(net, params, x), net.activations, strict=False):
            a, slope = _activated(activation, z)
            layer_inputs.append(a)
            slopes.append(slope)
        jacobian = np.empty((n_rows, n_outputs, net.n_parameters))
        # dr_ik/dz of each layer, (N, n_outputs, n_out), from the last one down.
        delta = self._roots[:, None, None] * np.eye(n_outputs)
        for k, layer in reversed(list(enumerate(net.layers))):
            of_weights = jacobian[..., layer.weights].reshape(n_rows, n_outputs, layer.n_in, layer.n_out)
            np.multiply(layer_inputs[k][:, None, :, None], delta[:, :, None, :], out=of_weights)
            if net.bias:
                jacobian[..., layer.biases] = delta
            if k > 0:
                delta = (delta @ params.weights[k].T) * slopes[k - 1][:, None, :]
        return jacobian.reshape(n_rows * n_outputs, net.n_parameters)

    # -- parts -------------------------------------------------------------------------------------------

    @property
    def _dense(self) -> np.ndarray:
        return self._x.toarray() if isinstance(self._x, CSR) else self._x

    @property
    def _roots(self) -> np.ndarray:
        """sqrt(w), (N,)."""
        weight = self._options["sample_weight"]
        return np.ones(len(self._x)) if weight is None else np.sqrt(weight)

    def _params(self, vector: Any, *, allow_complex: bool = False) -> Parameters:
        """Parameters over the vector, or over a float64 copy."""
        array = np.asarray(vector)
        if array.shape != (self.net.n_parameters,) or array.dtype.kind not in ("fiuc" if allow_complex else "fiu"):
            raise self._vector_error("vector", array)
        # Kernels take writable arrays only, and write to none of these.
        return Parameters(self.net, np.require(array, complex if array.dtype.kind == "c" else np.float64, "CAW"))

    def _direction(self, p: Any) -> np.ndarray:
        array = np.asarray(p)
        if array.shape != (self.net.n_parameters,) or array.dtype.kind not in "fiu":
            raise self._vector_error("p", array)
        return array.astype(np.float64)

    def _vector_error(self, name: str, array: np.ndarray) -> InputError:
        return InputError(
            f"{name} must hold {self.net.n_parameters} real numbers, shape ({self.net.n_parameters},), one for each "
            f"parameter of {self.net}; got shape {array.shape}, {array.dtype}"
        )

    def _check_squares(self) -> None:
        loss = self.net.loss_function
        if not loss.record.is_squares:
            raise InputError(
                f"residuals and jacobian are those of squared_error; the network has {loss}. Use minimize with the "
                "objective itself, or MLP(..., loss='squared_error')"
            )
        l1, l2 = self._options["l1"], self._options["l2"]
        if l1 or l2:
            raise InputError(
                f"residuals and jacobian hold no penalties; got l1={l1:g}, l2={l2:g}. Leave them out, or use minimize "
                "with the objective itself"
            )


def _activated(activation: Activation, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a(z) and a'(z)."""
    a, slope = activation.evaluate(z)
    return a, slope()
