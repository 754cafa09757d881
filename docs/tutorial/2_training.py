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
# Two spirals, each the mirror image of the other: data that a network without biases can learn.

figure, axes = plt.subplots(2, 3, figsize=(13, 8), layout="constrained")
for ax, (step, params) in zip(axes.flat, result.snapshots.items(), strict=True):
    loss = net.loss(params, x, y)
    fastbp.plot.decision_boundary(net, params, x, y, ax=ax, title=f"step {step:,}, loss {loss:.4f}")

# %%
# The loss
# --------

fastbp.plot.learning_curve({name: result.history[name] for name in ("step", "loss")}, ax=plt.subplots()[1])

# %%
# The gradients as they flow
# --------------------------
#
# The root mean square of each layer's gradient. In a network of many sigmoid layers those near the inputs vanish, as
# each layer multiplies by a derivative of at most 1/4; a relu lets them pass.

deep = {name: fastbp.MLP((2, *[20] * 6, 1), activation=name) for name in ("sigmoid", "relu")}
figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
for ax, (name, deep_net) in zip(axes, deep.items(), strict=True):
    trained = fastbp.train(
        deep_net, deep_net.init(rng=0), x, y, optimizer=fastbp.optim.sgd(0.1), batch_size=None, steps=300,
        snapshots=[1, 10, 30, 100, 300],
    )  # fmt: skip
    fastbp.plot.gradient_flow(deep_net, trained.snapshots, x, y, ax=ax, title=f"seven layers, {name}")
