r"""
From the slides' code to the fused kernel
=========================================

The same gradient, five times, each faster than the one before; measured on the machine that built this page.
"""

import statistics
import time

import matplotlib.pyplot as plt
import numpy as np

import fastbp

n = 100_000
x, y = fastbp.data.spirals(n)
net = fastbp.MLP((2, 100, 1), bias=False)
params = net.init(rng=0, scheme="lecture")
w1, w2 = params.weights
targets = y[:, None].astype(np.float32)

# %%
# 1. The slides
# -------------
#
# A line a formula; every intermediate result is an array of 100,000 x 100 numbers, which goes to memory and back.


def slides():
    h = 1 / (1 + np.exp(-(x @ w1)))
    p = 1 / (1 + np.exp(-(h @ w2)))
    grad_p = -(targets / p - (1 - targets) / (1 - p))
    grad_z2 = p * (1 - p) * grad_p
    return x.T @ (h * (1 - h) * (grad_z2 @ w2.T)), h.T @ grad_z2


# %%
# 2. The two factors that cancel
# ------------------------------
#
# :math:`\partial L / \partial z_2 = \hat y - y`: fewer operations, and no division by zero.


def cancelled():
    h = 1 / (1 + np.exp(-(x @ w1)))
    delta = 1 / (1 + np.exp(-(h @ w2))) - targets
    return x.T @ (h * (1 - h) * (delta @ w2.T)), h.T @ delta


# %%
# 3. In blocks
# ------------
#
# A thousand samples at a time: all intermediate results stay in the core's cache. The price is a loop in Python, and
# each function of NumPy runs long enough to pay it.


def in_blocks(block=1000):
    grad_w1, grad_w2 = np.zeros_like(w1), np.zeros_like(w2)
    for start in range(0, n, block):
        rows = slice(start, start + block)
        h = x[rows] @ w1
        np.negative(h, out=h)
        np.exp(h, out=h)
        h += 1
        np.reciprocal(h, out=h)
        delta = 1 / (1 + np.exp(-(h @ w2))) - targets[rows]
        grad_w2 += h.T @ delta
        h *= (1 - h) * (delta @ w2.T)
        grad_w1 += x[rows].T @ h
    return grad_w1, grad_w2


# %%
# 4. and 5. The fused kernel
# --------------------------
#
# A block of samples goes through the whole network while it is in registers and in the nearest cache: products,
# sigmoids, loss and backward pass, vectorised by hand; then the same on all cores, to the same bits.

workspace = fastbp.Workspace()


def kernel(n_threads):
    _, gradient = net.value_and_grad(params, x, y, reduction="sum", n_threads=n_threads, workspace=workspace)
    return gradient.weights


# %%
# Side by side
# ------------
#
# First that they agree, then how long they take: medians of calls by turns, with pauses between, as the threads of
# NumPy's products and those of the kernel would else be in each other's way.

stages = {
    "the slides": slides,
    "factors cancelled": cancelled,
    "in blocks": in_blocks,
    "fused, one thread": lambda: kernel(1),
    "fused, all cores": lambda: kernel(None),
}
wanted = kernel(1)
for stage in stages.values():
    for got, right in zip(stage(), wanted, strict=True):
        assert np.linalg.norm(got - right) < 1e-4 * np.linalg.norm(right)

times = {name: [] for name in stages}
for _ in range(5):
    for name, stage in stages.items():
        time.sleep(0.2)
        stage()  # wakes the threads
        start = time.perf_counter()
        stage()
        times[name].append(time.perf_counter() - start)
medians = {name: statistics.median(samples) / n * 1e9 for name, samples in times.items()}
for name, median in medians.items():
    print(f"{name:20s} {median:8.1f} ns a sample, {medians['the slides'] / median:6.1f} times as fast as the slides")

figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
bars = ax.barh(list(medians), list(medians.values()), color="#0072B2")
ax.bar_label(bars, fmt="%.0f ns", padding=3)
ax.invert_yaxis()
ax.set(xscale="log", xlabel="ns a sample, loss and gradient")
ax.margins(x=0.2)
