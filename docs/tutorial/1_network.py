r"""
The network: mathematics, graph, code
=====================================

Two inputs, a hundred hidden units, one output, and no biases. Rows of :math:`x` are samples:

.. math::

   z_1 = x W_1 \qquad h = \sigma(z_1) \qquad z_2 = h W_2 \qquad \hat y = \sigma(z_2)
   \qquad L = -\sum_i \left[ y \ln \hat y + (1 - y) \ln (1 - \hat y) \right]

with :math:`\sigma(z) = 1 / (1 + e^{-z})`. Here with three hidden units, so that all numbers can be read.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbp

net = fastbp.MLP((2, 3, 1), activation="sigmoid", loss="binary_cross_entropy", bias=False)
params = net.init(rng=1, dtype=np.float64, scheme="lecture")
x, y = np.array([[0.5, -1.0], [1.0, 2.0]]), np.array([1.0, 0.0])

# %%
# The graph
# ---------
#
# Forward, each node is computed from those on its left. Backward, each receives the gradient of the loss from its
# right: the local derivative times what came from there. That is the chain rule, and all there is to it.

g = fastbp.graph.trace(net, params, x, y, reduction="sum")
_, ax = plt.subplots(figsize=(13.5, 4.6), layout="constrained")
fastbp.plot.computation_graph(g, ax=ax)
print(g.table())

# %%
# The code of the slides
# ----------------------
#
# A formula of the mathematics beside each line. Where the slides print ``h.T @ (p * (1 - p)) * grad``, a parenthesis
# has moved: the product with the gradient comes first.


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def slides(x, y, w1, w2):
    h = sigmoid(x @ w1)  # h = sigma(x W1)
    p = sigmoid(h @ w2)  # y_hat = sigma(h W2)
    grad_p = -(y / p - (1 - y) / (1 - p))  # dL/dy_hat
    grad_z2 = p * (1 - p) * grad_p  # dL/dz2 = y_hat (1 - y_hat) dL/dy_hat
    grad_w2 = h.T @ grad_z2  # dL/dW2 = h^T dL/dz2
    grad_h = grad_z2 @ w2.T  # dL/dh = dL/dz2 W2^T
    grad_w1 = x.T @ (h * (1 - h) * grad_h)  # dL/dW1 = x^T (h (1 - h) dL/dh)
    return grad_w1, grad_w2


grad_w1, grad_w2 = slides(x, y[:, None], *params.weights)

# %%
# The same numbers
# ----------------
#
# What the slides compute, what the graph shows and what the compiled kernel gives are the same, up to rounding.

_, gradient = net.value_and_grad(params, x, y, reduction="sum")
for name, by_slides, by_kernel in zip(("W1", "W2"), (grad_w1, grad_w2), gradient.weights, strict=True):
    print(name, np.abs(by_slides - g[name].grad).max(), np.abs(by_kernel - g[name].grad).max())
    np.testing.assert_allclose(g[name].grad, by_slides, rtol=1e-12)
    np.testing.assert_allclose(g[name].grad, by_kernel, rtol=1e-12)

# %%
# Why?
# ----
#
# A node can be asked how its gradient comes about, with the numbers of one sample put in.

print(g.explain("W1", sample=1))
