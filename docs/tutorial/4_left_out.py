r"""
What the slides leave out
=========================

What goes wrong when their formulas are typed in as printed, and what a network without biases cannot do.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbp

# %%
# Saturation
# ----------
#
# The textbook gradient divides by :math:`\hat y` and by :math:`1 - \hat y`, then multiplies by both. In exact
# arithmetic they cancel to :math:`\hat y - y`. In floating point :math:`\hat y` rounds to 1 once :math:`z_2` is beyond
# 17 in float32, 37 in float64: a sure and wrong answer, from which there is most to learn, then has the gradient 0
# times infinity. Even a sure and right one becomes NaN, from 0 / 0 in the term that should drop out. fastbp computes
# :math:`\hat y - y`, and the loss from :math:`z_2` itself.

z = np.linspace(0, 60, 601)
with np.errstate(divide="ignore", invalid="ignore"):
    p = 1 / (1 + np.exp(-z))
    textbook = p * (1 - p) * (1 / (1 - p))  # y = 0
    textbook_loss = -np.log(1 - p)
line = fastbp.MLP((1, 1), bias=False)
one = fastbp.Parameters.from_vector(line, np.ones(1))
exact = line.input_grad(one, z[:, None], np.zeros(len(z)), reduction="sum")[:, 0]
exact_loss = line.loss(one, z[:, None], np.zeros(len(z)), reduction="none")
print(f"at z = 40: textbook {textbook[400]}, fastbp {exact[400]}; loss {textbook_loss[400]}, fastbp {exact_loss[400]}")

figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for ax, good, bad, label in zip(axes, (exact, exact_loss), (textbook, textbook_loss), ("dL/dz", "L"), strict=True):
    ax.plot(z, good, color="#0072B2", linewidth=4, alpha=0.4, label="fastbp")
    ax.plot(z, bad, color="#D55E00", linestyle="--", label="textbook, until it is inf or NaN")
    ax.set(xlabel="z, where the right answer is 0", ylabel=label)
    ax.legend()

# %%
# The missing minus
# -----------------
#
# One slide prints the update as :math:`\theta := \alpha \nabla J`, without :math:`\theta -`. It throws the weights away
# at each step, and the loss stays above that of the random weights. With a plus in place of the minus the loss climbs
# without end.

x, y = fastbp.data.spirals(400)
net = fastbp.MLP((2, 100, 1), bias=False)
updates = {
    "W - a grad": lambda w, grad: w - grad,
    "a grad, as printed": lambda w, grad: grad,
    "W + a grad": lambda w, grad: w + grad,
}
curves = {}
for name, update in updates.items():
    params, losses = net.init(rng=0, dtype=np.float64), []
    for _ in range(500):
        loss, gradient = net.value_and_grad(params, x, y)
        params.vector[...] = update(params.vector, 0.3 * gradient.vector)
        losses.append(loss)
    curves[name] = losses

figure, ax = plt.subplots(layout="constrained")
for (name, losses), dash in zip(curves.items(), ("-", ":", "--"), strict=True):
    ax.plot(range(1, 501), losses, dash, label=name)
ax.set(xlabel="step", ylabel="loss", yscale="log")
ax.legend()
assert curves["W - a grad"][-1] < curves["a grad, as printed"][-1] < curves["W + a grad"][-1]

# %%
# A parenthesis that moves
# ------------------------
#
# Some slides have ``h.T @ (p * (1 - p)) * grad`` where ``h.T @ (p * (1 - p) * grad)`` is meant. The product of matrices
# then comes first, and has the shape of :math:`W_2`, the gradient that of :math:`\hat y`: with most batch sizes this is
# an error. With one sample the shapes fit and the result is even right, so a test on one sample does not find the slip.
# With as many samples as hidden units the shapes fit too, and the result has the shape of the gradient but is not the
# gradient. Shapes alone do not show that a formula is right; a comparison with differences, as ``fastbp.check_grad``
# makes it, does.

for n in (400, 100):
    rows, targets = x[:n].astype(np.float64), y[:n, None]
    params = net.init(rng=0, dtype=np.float64)
    h = fastbp.sigmoid(rows @ params.weights[0])
    p = fastbp.sigmoid(h @ params.weights[1])
    grad = -(targets / p - (1 - targets) / (1 - p))
    right = h.T @ (p * (1 - p) * grad)
    try:
        wrong = h.T @ (p * (1 - p)) * grad
        cosine = (right * wrong).sum() / (np.linalg.norm(right) * np.linalg.norm(wrong))
        length = np.linalg.norm(wrong) / np.linalg.norm(right)
        print(f"{n} samples: {length:.1f} times as long as the gradient, cosine of the angle between them {cosine:.2f}")
    except ValueError as error:
        print(f"{n} samples: {error}")

# %%
# Two more slips are easy to see: :math:`W_2` is printed as 2 x 100 but is 100 x 1, and at step 0 the loss is printed
# before it has been computed. Not given at all are the data, the initial weights and the drawing functions. Here they
# are ``fastbp.data.spirals``, ``net.init(scheme="lecture")`` and ``fastbp.plot.decision_boundary``, which draws the
# data as well.

# %%
# No bias, and the symmetry that comes with it
# --------------------------------------------
#
# Since :math:`\sigma(-z) = 1 - \sigma(z)`, a network without biases has :math:`z_2(-x) = \sum W_2 - z_2(x)`: its answer
# at a point fixes its answer at the opposite point, -x. Two spirals that are each other turned by 180 degrees suit it.
# A disc around the origin it can never learn: :math:`z_2(x) + z_2(-x)` would have to be positive inside and negative
# outside, but is the same number everywhere. The 73 % in the title are what one gets by always answering "outside";
# with biases the network learns the disc.

rng = np.random.default_rng(0)
points = rng.uniform(-1, 1, (1500, 2)).astype(np.float32)
inside = (np.hypot(*points.T) < 0.6).astype(np.int64)
figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
for ax, bias in zip(axes, (False, True), strict=True):
    disc = fastbp.MLP((2, 100, 1), bias=bias)
    result = fastbp.train(disc, disc.init(rng=0), points, inside, optimizer=fastbp.optim.adam(0.03), epochs=100)
    accuracy = np.mean(disc.predict(result.params, points) == inside)
    title = f"{'with' if bias else 'without'} biases: {accuracy:.1%} right"
    fastbp.plot.decision_boundary(disc, result.params, points, inside, ax=ax, title=title)
    if not bias:
        z = disc.logits(result.params.astype(np.float64), points)
        mirrored = disc.logits(result.params.astype(np.float64), -points)
        np.testing.assert_allclose(z + mirrored, result.params.weights[1].sum(), atol=1e-3)
