r"""
The training run
================

Start at random, then take a small step against the gradient, again and again:

.. math:: W \leftarrow W - \alpha \frac{\partial L}{\partial W}

The lecture makes 10,000 steps on all the data, and draws the boundary at steps 5, 20, 100 and every thousand. It sums
the gradient over the samples and steps by 0.0001. fastbp's training takes the mean, so that the step does not depend on
the number of samples: 10 on the mean of 400 samples is 0.025 on their sum, 250 times the lecture's step.
"""

import matplotlib.pyplot as plt

import fastbp

x, y = fastbp.data.spirals(400)
net = fastbp.MLP((2, 100, 1), bias=False)
steps = [5, 20, 100, 1000, 3000, 10_000]
result = fastbp.train(
    net, net.init(rng=0, scheme="lecture"), x, y, optimizer=fastbp.optim.sgd(10.0), batch_size=None, steps=10_000,
    snapshots=steps,
)  # fmt: skip

# %%
# The boundary as it moves
# ------------------------
# Two spirals, one of which is the other turned by 180 degrees about the origin (-x for x): data that a network without
# biases can learn. The black line is where the network finds both classes equally probable.

figure, axes = plt.subplots(2, 3, figsize=(13, 8), layout="constrained")
for ax, (step, params) in zip(axes.flat, result.snapshots.items(), strict=True):
    loss = net.loss(params, x, y)
    fastbp.plot.decision_boundary(net, params, x, y, ax=ax, title=f"step {step:,}, loss {loss:.4f}")

# %%
# The loss
# --------
#
# A step of 10 is large: for a hundred steps or so the weights are thrown back and forth. Then the loss falls, ever more
# slowly. The curve shows the loss with which each step began; the titles above show the loss after it.

figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
for ax, first in zip(axes, (200, 10_000), strict=True):
    curve = {name: result.history[name][:first] for name in ("step", "loss")}
    fastbp.plot.learning_curve(curve, ax=ax, title=f"the first {first:,} steps")

# %%
# What the hidden units do
# ------------------------
#
# Each is a soft step across a line in the plane, through the origin as there are no biases. The thicker the line, the
# larger the unit's weight in the second layer. Training turns the lines and makes some of them matter more. Beside it
# is how the values of :math:`h` are spread. Where a value is close to 0 or 1 the unit is saturated, and that sample
# teaches it almost nothing.

figure, axes = plt.subplots(2, 2, figsize=(11, 9.6), layout="constrained")
for row, step in zip(axes, (5, 10_000), strict=True):
    params = result.snapshots[step]
    fastbp.plot.weights(net, params, x=x, ax=row[0], title=f"step {step:,}: where the hidden units switch")
    fastbp.plot.activation_histograms(net, params, x, ax=row[1], title=f"step {step:,}: how the values of h are spread")

# %%
# The gradients as they flow
# --------------------------
# The root mean square of each layer's gradient. In a deep network of sigmoids the gradients near the inputs are tiny
# from the first step: on the way back each layer multiplies by its weights and by a derivative of at most 1/4. Here the
# last layer soon settles on answering 1/2 everywhere, after which all gradients are tiny and nothing more is learned.
# The derivative of a relu is 0 or 1, so gradients reach the first layer.

deep = {name: fastbp.MLP((2, *[20] * 6, 1), activation=name) for name in ("sigmoid", "relu")}
figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
for ax, (name, deep_net) in zip(axes, deep.items(), strict=True):
    trained = fastbp.train(
        deep_net, deep_net.init(rng=0), x, y, optimizer=fastbp.optim.sgd(0.1), batch_size=None, steps=300,
        snapshots=[1, 10, 30, 100, 300],
    )  # fmt: skip
    fastbp.plot.gradient_flow(deep_net, trained.snapshots, x, y, ax=ax, title=f"seven layers, {name}")

# %%
# The lecture's own object
# ------------------------
#
# ``fastbp.Classifier`` has the lecture's methods, its sum over the samples and its step, and runs on the same kernels.

classifier = fastbp.Classifier(rng=0)
classifier.fit(x, y, n_steps=10_000)
y_pred = classifier.forward(x)
right = ((y_pred[:, 0] > 0.5) == y).mean()
print(f"loss {fastbp.cross_entropy(y_pred[:, 0], y):.4f}, {right:.1%} right after 10,000 steps of 0.0001")

# %%
# All of it as a film: ``fastbp.plot.animate(net, result, x, y, path="training.gif")``, or ``fastbp train --animate`` on
# the command line; and while it trains, in a web page: ``fastbp train --live``.
