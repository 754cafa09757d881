r"""
A neuron, a layer, a network
============================

A neuron multiplies its inputs by weights, adds up the products and a bias, and passes the sum through a sigmoid. What
comes out lies between 0 and 1: how strongly it fires.

.. math:: f(x) = \sigma(w_1 x_1 + w_2 x_2 + \dots + b) \qquad \sigma(z) = \frac{1}{1 + e^{-z}}
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbp
from fastbp import sigmoid

x, w, b = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.1, -0.4]), 0.2
print(f"the sum is {x @ w + b:.2f}, the neuron fires at {sigmoid(x @ w + b):.4f}")

# %%
# The derivative of the sigmoid is the sigmoid times its distance from 1. The backward pass uses this twice, and it
# explains why sigmoids learn slowly at their ends: where the curve is flat, nothing comes back.
#
# .. math:: \sigma'(z) = \sigma(z) \, (1 - \sigma(z)) \leq \frac{1}{4}

z = np.linspace(-6, 6, 241)
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.plot(z, sigmoid(z), color="#0072B2", label="the sigmoid")
ax.plot(z, sigmoid(z) * (1 - sigmoid(z)), color="#D55E00", linestyle="--", label="its derivative")
ax.set(xlabel="z")
ax.grid(alpha=0.3)
ax.legend()
np.testing.assert_allclose(np.gradient(sigmoid(z), z)[1:-1], (sigmoid(z) * (1 - sigmoid(z)))[1:-1], atol=1e-3)

# %%
# A layer
# -------
#
# In practice a whole layer of neurons is computed at once. The lecture writes it for one input, a column, here with
# three inputs and two neurons. Code has samples in rows, many at a time, and the product the other way round; the
# numbers are the same.
#
# .. math::
#
#    f(W^\top x + b), \quad x \in \mathbb{R}^3, \; W \in \mathbb{R}^{3 \times 2}, \; b \in \mathbb{R}^2
#    \qquad \text{or} \qquad f(x W + b), \quad x \in \mathbb{R}^{N \times 3}

weights, biases = np.array([[0.3, -0.6], [0.1, 0.8], [-0.4, 0.5]]), np.array([0.2, -0.1])
rows = np.array([[1.0, -2.0, 0.5], [0.0, 1.0, 1.0]])
print(sigmoid(weights.T @ x + biases))
print(sigmoid(rows @ weights + biases))

# %%
# A network
# ---------
#
# The lecture's model separates two classes of points in the plane. It has two layers and no biases:
#
# .. math::
#
#    z_1 = x W_1 \qquad h = \sigma(z_1) \qquad z_2 = h W_2 \qquad \hat y = \sigma(z_2),
#    \qquad W_1 \in \mathbb{R}^{2 \times 100}, \quad W_2 \in \mathbb{R}^{100 \times 1}
#
# :math:`\hat y` is the probability of class 1. The cross entropy measures how wrong it is: the lower the probability
# that the network gave to the true class, the larger the loss.
#
# .. math:: L = -\left[ y \ln \hat y + (1 - y) \ln (1 - \hat y) \right]
#
# In fastbp a network is a description without weights; its parameters are one vector with a view per layer.

net = fastbp.MLP((2, 100, 1), activation="sigmoid", loss="binary_cross_entropy", bias=False)
params = net.init(rng=0, scheme="lecture")  # from the standard normal distribution
print(net, params.vector.shape, [w.shape for w in params.weights])

points, y = fastbp.data.spirals(400)
y_hat = net.forward(params, points)[:, 0]
by_formula = -np.mean(y * np.log(y_hat) + (1 - y) * np.log(1 - y_hat))
print(f"mean loss of untrained weights: {net.loss(params, points, y):.4f}, by the formula {by_formula:.4f}")

# %%
# Training
# --------
#
# 1. Draw the weights at random.
# 2. Compute the gradient of the loss with respect to :math:`W_1` and :math:`W_2`.
# 3. Take a step against it: :math:`W \leftarrow W - \alpha \, \partial L / \partial W`.
# 4. Repeat from 2.
#
# The second step is backpropagation. It comes next.

for step in range(1, 2001):
    loss, gradient = net.value_and_grad(params, points, y)  # 2
    params.vector -= 3.0 * gradient.vector  # 3
    if step in (1, 10, 100, 1000, 2000):
        print(f"step {step:5,}: loss {loss:.4f}")
