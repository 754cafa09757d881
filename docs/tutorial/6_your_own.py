r"""
Look into a network of your own
===============================

The lecture's pictures work for any network. Here is one that reads digits: 1,797 images of 8 x 8 grey values, which
come with scikit-learn, in ten classes.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import fastbp

images, labels = load_digits(return_X_y=True)
images = images / 16
held_out = np.arange(len(images)) % 5 == 0
x, y = images[~held_out], labels[~held_out]

net = fastbp.MLP((64, 32, 10), activation="relu", loss="cross_entropy")
result = fastbp.train(
    net, net.init(rng=0), x, y, optimizer=fastbp.optim.adam(0.01), epochs=40, batch_size=128,
    validation=(images[held_out], labels[held_out]), metrics=["accuracy"], snapshots=[1, 5, 20, 100, 400],
)  # fmt: skip
params = result.params
print(f"{result.history['val_accuracy'][-1]:.1%} of the images held out are read correctly")

# %%
# How it learned, and whether gradients reached both layers
# ---------------------------------------------------------

figure, axes = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
curves = {name: result.history[name] for name in ("step", "loss", "val_loss", "val_accuracy")}
fastbp.plot.learning_curve(curves, ax=axes[0])
fastbp.plot.gradient_flow(net, result.snapshots, x, y, ax=axes[1])

# %%
# What the hidden units look at
# -----------------------------
#
# The weights of each as an image, orange where ink excites the unit, blue where it holds it back. Beside them the
# values of the hidden layer: a relu leaves many at zero.

figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
fastbp.plot.weights(net, params, image_shape=(8, 8), ax=axes[0])
fastbp.plot.activation_histograms(net, params, x, ax=axes[1])

# %%
# What it mistakes, and whether its probabilities can be believed
# ---------------------------------------------------------------
#
# On the images held out.

figure, axes = plt.subplots(1, 2, figsize=(12, 5.2), layout="constrained")
fastbp.plot.confusion_matrix(labels[held_out], net.predict(params, images[held_out]), ax=axes[0])
fastbp.plot.calibration(labels[held_out], net.forward(params, images[held_out]), ax=axes[1])

# %%
# Where it decides
# ----------------
#
# In the plane of the two directions in which the images vary most, through their mean. The points are projected onto
# the plane, so many appear in the region of a class other than the one the network gives them.

figure, ax = plt.subplots(figsize=(8, 6.4), layout="constrained")
fastbp.plot.decision_boundary(net, params, x, y, plane="pca", ax=ax)

# %%
# One image, step by step
# -----------------------
#
# The graph of one image that is read wrongly: where the gradient is large, and what a step against it would change.

wrong = np.flatnonzero(held_out)[net.predict(params, images[held_out]) != labels[held_out]][0]
g = fastbp.graph.trace(net, params.astype(np.float64), images[wrong][None], [labels[wrong]])
_, ax = plt.subplots(figsize=(13.6, 4.9), layout="constrained")
fastbp.plot.computation_graph(g, ax=ax)
y_hat = g.nodes["y_hat"].value[0]
print(f"a {labels[wrong]}, which is taken for a {y_hat.argmax()} with probability {y_hat.max():.2f}")

# %%
# The gradient with respect to the image itself tells which pixels matter: with a little more ink where it is blue, or a
# little less where it is red, the loss would fall.

figure, axes = plt.subplots(1, 2, figsize=(7, 3.6), layout="constrained")
axes[0].imshow(images[wrong].reshape(8, 8), cmap="gray_r")
axes[0].set_title("the image")
by_pixel = g.nodes["x"].grad.reshape(8, 8)
axes[1].imshow(by_pixel, cmap="RdBu_r", vmin=-np.abs(by_pixel).max(), vmax=np.abs(by_pixel).max())
axes[1].set_title("dL/dx")
for ax in axes:
    ax.set_axis_off()
