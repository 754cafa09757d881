r"""
The training run
================

Start at random, then take a small step against the gradient, again and again:

.. math:: W \leftarrow W - \alpha \frac{\partial L}{\partial W}

The lecture makes 10,000 steps on all the data, and draws the boundary at steps 5, 20, 100 and every thousand.
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
#
# Two spirals, each the mirror image of the other: data that a network without biases can learn. The black line is where
# the network finds both classes as probable.

figure, axes = plt.subplots(2, 3, figsize=(13, 8), layout="constrained")
for ax, (step, params) in zip(axes.flat, result.snapshots.items(), strict=True):
    loss = net.loss(params, x, y)
    fastbp.plot.decision_boundary(net, params, x, y, ax=ax, title=f"step {step:,}, loss {loss:.4f}")

# %%
# The loss
# --------
#
# A step of 10 is large: for a hundred steps or so the weights are thrown to and fro. Then the loss falls, ever more
# slowly.

figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
for ax, first in zip(axes, (200, 10_000), strict=True):
    curve = {name: result.history[name][:first] for name in ("step", "loss")}
    fastbp.plot.learning_curve(curve, ax=ax, title=f"the first {first:,} steps")

# %%
# What the hidden units do
# ------------------------
#
# Each is a soft step across a line in the plane, through the origin as there are no biases. Thick lines have most to
# say in the second layer. Training turns them, and lets some speak up. Beside it, how the values of :math:`h` are
# spread: units that always answer 0 or 1 are saturated, and learn no more.

figure, axes = plt.subplots(2, 2, figsize=(11, 9.6), layout="constrained")
for row, step in zip(axes, (5, 10_000), strict=True):
    params = result.snapshots[step]
    fastbp.plot.weights(net, params, x=x, ax=row[0], title=f"step {step:,}: where the hidden units switch")
    fastbp.plot.activation_histograms(net, params, x, ax=row[1], title=f"step {step:,}: how the values of h are spread")

# %%
# The gradients as they flow
# --------------------------
#
# The root mean square of each layer's gradient. In a network of many sigmoid layers those near the inputs vanish, as
# each layer multiplies by a derivative of at most 1/4; a relu, whose derivative is 0 or 1, lets them pass.

deep = {name: fastbp.MLP((2, *[20] * 6, 1), activation=name) for name in ("sigmoid", "relu")}
figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
for ax, (name, deep_net) in zip(axes, deep.items(), strict=True):
    trained = fastbp.train(
        deep_net, deep_net.init(rng=0), x, y, optimizer=fastbp.optim.sgd(0.1), batch_size=None, steps=300,
        snapshots=[1, 10, 30, 100, 300],
    )  # fmt: skip
    fastbp.plot.gradient_flow(deep_net, trained.snapshots, x, y, ax=ax, title=f"seven layers, {name}")

# %%
# All of it as a film: ``fastbp.plot.animate(net, result, x, y, path="training.gif")``, or ``fastbp train --animate`` on
# the command line; and while it trains, in a web page: ``fastbp train --live``.
