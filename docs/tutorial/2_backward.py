r"""
The backward pass: mathematics, graph, code
===========================================

A network is a chain of simple functions, so its derivative is a product of simple derivatives. Backpropagation
multiplies them from the loss backwards: each step takes what has come from the right, and multiplies it by one local
derivative. Here it is done three times, by formulas, as a graph, and in code, on a network so small that all its
numbers can be read.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbp
from fastbp import sigmoid

net = fastbp.MLP((2, 3, 1), activation="sigmoid", loss="binary_cross_entropy", bias=False)
params = net.init(rng=1, dtype=np.float64, scheme="lecture")
w1, w2 = params.weights
x, y = np.array([[0.5, -1.0]]), np.array([[1.0]])  # one sample; rows are samples

# %%
# The graph
# ---------
#
# A node for each value, an arrow to each value that is computed from it. Above an arrow stands the value that goes
# forward, below it the gradient of the loss with respect to that value, which comes back.

g = fastbp.graph.trace(net, params, x, y, reduction="sum")
_, ax = plt.subplots(figsize=(13.6, 4.9), layout="constrained")
fastbp.plot.computation_graph(g, ax=ax)

# %%
# Forward
# -------
#
# .. math:: z_1 = x W_1 \qquad h = \sigma(z_1) \qquad z_2 = h W_2 \qquad \hat y = \sigma(z_2)

z1 = x @ w1
h = sigmoid(z1)
z2 = h @ w2
y_hat = sigmoid(z2)

# %%
# .. math:: L = -\left[ y \ln \hat y + (1 - y) \ln (1 - \hat y) \right]

loss = -(y * np.log(y_hat) + (1 - y) * np.log(1 - y_hat)).sum()
print(f"y_hat = {y_hat[0, 0]:.4f}, L = {loss:.4f}")


# %%
# Backward
# --------
#
# From :math:`L` to the left, a formula and its line of code at a time. Each result is compared with that node of the
# graph.


def same(name, grad):
    """The number, and that the graph has it, too."""
    np.testing.assert_allclose(g.nodes[name].grad, grad, rtol=1e-12)
    print(f"dL/d{name} =", np.array2string(grad, precision=4, suppress_small=True))


# %%
# **1. The loss.** :math:`y` is 1 or 0, so only one of the two fractions remains; for a wrong answer its denominator is
# small and the gradient large.
#
# .. math:: \frac{\partial L}{\partial \hat y} = -\left( \frac{y}{\hat y} - \frac{1 - y}{1 - \hat y} \right)

d_y_hat = -(y / y_hat - (1 - y) / (1 - y_hat))
same("y_hat", d_y_hat)

# %%
# **2. The last sigmoid.** The local derivative :math:`\hat y (1 - \hat y)` times what came from the right.
#
# .. math:: \frac{\partial L}{\partial z_2} = \hat y (1 - \hat y) \, \frac{\partial L}{\partial \hat y}

d_z2 = y_hat * (1 - y_hat) * d_y_hat
same("z2", d_z2)

# %%
# The factor :math:`\hat y (1 - \hat y)` cancels both denominators, and :math:`\hat y - y` remains: how far off the
# answer is. Libraries compute it this way, which also works where :math:`\hat y` is rounded to 0 or 1.

same("z2", y_hat - y)

# %%
# **3. The last weights.** :math:`z_2 = h W_2` is linear in :math:`W_2`, so its derivative is :math:`h`. With matrices
# one has to ask where it stands and whether it is transposed; the shapes leave one possibility. :math:`\partial L /
# \partial W_2` has the shape of :math:`W_2`, 3 x 1, and only the product of (3 x N) and (N x 1) gives that. It sums
# over the N samples.
#
# .. math:: \frac{\partial L}{\partial W_2} = h^\top \frac{\partial L}{\partial z_2}

d_w2 = h.T @ d_z2
same("W2", d_w2)

# %%
# **4. What the hidden layer gets.** The same product, now seen from :math:`h`: only (N x 1) times (1 x 3) gives N x 3.
# Each hidden unit receives the error times the weight with which it contributed.
#
# .. math:: \frac{\partial L}{\partial h} = \frac{\partial L}{\partial z_2} W_2^\top

d_h = d_z2 @ w2.T
same("h", d_h)

# %%
# **5. The first sigmoid.** As in step 2, element by element.
#
# .. math:: \frac{\partial L}{\partial z_1} = h (1 - h) \, \frac{\partial L}{\partial h}

d_z1 = h * (1 - h) * d_h
same("z1", d_z1)

# %%
# **6. The first weights.** As in step 3, with :math:`x` in place of :math:`h`: (2 x N) times (N x 3).
#
# .. math:: \frac{\partial L}{\partial W_1} = x^\top \frac{\partial L}{\partial z_1}

d_w1 = x.T @ d_z1
same("W1", d_w1)

# %%
# The same for any network
# ------------------------
# Every network has such a graph. It knows the rule of each node: the local derivative, and what came from the right.
# With more layers steps 3 to 5 are repeated. A bias is added to every sample, so its gradient is the sum of
# :math:`\partial L / \partial z` over the samples. The ``s`` in the table is 1/N, as the loss is a mean here.

deep = fastbp.MLP((2, 4, 3, 1), activation=("tanh", "relu"), loss="squared_error")
print(fastbp.graph.trace(deep, deep.init(0, dtype=np.float64), [[0.5, -1.0], [1.0, 2.0]], [0.3, -1.2]).table())

# %%
# Why?
# ----
#
# Any node can explain how its gradient is computed, with the actual numbers.

print(g.explain("W1"))

# %%
# Is it right?
# ------------
#
# The picture, the code above and the compiled kernel compute the same numbers, up to rounding. And the gradient is what
# a gradient should be: how much the loss changes with each weight, tested here by moving one weight up and down by a
# millionth. (For one sample the mean, fastbp's default, and the sum are the same.)

_, gradient = net.value_and_grad(params, x, y, reduction="sum")
for name, by_hand, by_kernel in zip(("W1", "W2"), (d_w1, d_w2), gradient.weights, strict=True):
    print(f"{name}: kernel and code differ by {np.abs(by_kernel - by_hand).max():.1e}")
    np.testing.assert_allclose(by_kernel, by_hand, rtol=1e-12)

nudge = np.zeros(net.n_parameters)
nudge[0] = 1e-6
up, down = (net.loss(params.from_vector(net, params.vector + sign * nudge), x, y) for sign in (1, -1))
print(f"dL/dW1[0, 0]: {d_w1[0, 0]:.8f}, by differences {(up - down) / 2e-6:.8f}")

# %%
# ``fastbp.check_grad`` does this for all weights, and more accurately.

print(fastbp.check_grad(net, params, x, y))
