r"""
From the slides' code to the fused kernel
=========================================

The same gradient, seven times, measured on the machine that built this page. The kernel computes the loss as well.
"""

import math
import statistics
import time

import matplotlib.pyplot as plt
import numba
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
# One line per formula. Every intermediate result of the hidden layer is an array of 100,000 x 100 numbers, which goes
# to memory and back.


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
# :math:`\partial L / \partial z_2 = \hat y - y`: no division by zero. There is little to gain: the time goes into the
# large arrays.


def cancelled():
    h = 1 / (1 + np.exp(-(x @ w1)))
    delta = 1 / (1 + np.exp(-(h @ w2))) - targets
    return x.T @ (h * (1 - h) * (delta @ w2.T)), h.T @ delta


# %%
# 3. In blocks
# ------------
# A thousand samples at a time, and in place where possible: intermediate results are small enough to stay in a cache.
# The price is a loop in Python, which costs little beside the work on a thousand samples.


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
# 4. Explicit loops
# -----------------
#
# One sample goes through the whole network, forward and backward, and is done: no array but the hundred numbers of
# :math:`h`. Numba compiles that to machine code. It runs on one core; the stages before could use all cores for their
# matrix products.

f32 = np.float32


def explicit(exp, **options):
    """The loops with an exponential, compiled."""

    @numba.njit(error_model="numpy", **options)
    def gradients(x, y, w1, w2, grad_w1, grad_w2):
        one, h = f32(1), np.empty(w1.shape[1], np.float32)
        for i in range(len(x)):
            z2 = f32(0)
            for j in range(len(h)):
                h[j] = one / (one + exp(-(x[i, 0] * w1[0, j] + x[i, 1] * w1[1, j])))
                z2 += h[j] * w2[j]
            delta = one / (one + exp(-z2)) - y[i]
            for j in range(len(h)):
                d_z1 = h[j] * (one - h[j]) * (delta * w2[j])
                grad_w2[j] += h[j] * delta
                grad_w1[0, j] += x[i, 0] * d_z1
                grad_w1[1, j] += x[i, 1] * d_z1

    def call():
        grad_w1, grad_w2 = np.zeros_like(w1), np.zeros_like(w2)
        gradients(x, targets[:, 0], w1, w2[:, 0], grad_w1, grad_w2[:, 0])
        return grad_w1, grad_w2

    return call


loops = explicit(math.exp)

# %%
# 5. An exponential without branches
# ----------------------------------
#
# ``math.exp`` is a call for each number, so the loop around it stays one number at a time. A formula has no call in it:
# :math:`e^v = 2^k \, 2^f`, where :math:`k + f = v / \ln 2`, :math:`k` is a whole number and :math:`f` lies between -1/2
# and 1/2. :math:`2^k` is put into the bits of the exponent, and :math:`2^f` is a polynomial. Now the compiler handles a
# whole vector register of numbers at once: sixteen with AVX-512, eight with AVX2. It must also be told that it may add
# up :math:`z_2` in another order.

fast = {"contract", "reassoc", "nsz", "arcp"}
powers = tuple(f32(math.log(2) ** k / math.factorial(k)) for k in range(6, -1, -1))


@numba.njit(error_model="numpy", fastmath=fast)
def exp(v):
    t = min(max(v * f32(1 / math.log(2)), f32(-126)), f32(126))
    whole = f32(math.floor(t + f32(0.5)))
    f, p = t - whole, f32(0)
    for c in powers:
        p = p * f + c
    return p * np.int32((np.int32(whole) + 127) << 23).view(np.float32)


vectorised = explicit(exp, fastmath=fast)

# %%
# 6. and 7. The fused kernel
# --------------------------
#
# In the loops above the weights are fetched and all gradients updated in memory for every sample. fastbp's kernel keeps
# several dozen samples side by side in registers, and takes one hidden unit after the other: its weights are fetched
# once for all of them, and its gradient is added up in registers before it is stored. Sums of many samples are merged
# in float64, in an order that does not depend on the number of threads: all cores give the same bits as one.

workspace = fastbp.Workspace()


def kernel(n_threads):
    _, gradient = net.value_and_grad(params, x, y, reduction="sum", n_threads=n_threads, workspace=workspace)
    return gradient.weights


# %%
# Side by side
# ------------
#
# First how far they are from the gradient in float64, relative to its norm. Then how long they take: the median of five
# calls each, taken in turn with pauses in between, because otherwise the threads of NumPy and of the kernel would get
# in each other's way. Loops that add up 100,000 numbers in float32, one after the other, lose four digits; blocks keep
# them.

stages = {
    "the slides": slides,
    "factors cancelled": cancelled,
    "in blocks": in_blocks,
    "explicit loops, one core": loops,
    "exponential without branches": vectorised,
    "fused kernel, one core": lambda: kernel(1),
    "fused kernel, all cores": lambda: kernel(None),
}
_, exact = net.value_and_grad(params.astype(np.float64), x, y, reduction="sum")


def error(gradient):
    """Of both layers together, relative."""
    parts = [np.linalg.norm(got - right) for got, right in zip(gradient, exact.weights, strict=True)]
    return np.hypot(*parts) / np.linalg.norm(exact.vector)


errors = {name: error(stage()) for name, stage in stages.items()}  # compiles, too
assert max(errors.values()) < 1e-3
for by_one, by_all in zip(kernel(1), kernel(None), strict=True):
    np.testing.assert_array_equal(by_one, by_all)

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
    speedup = medians["the slides"] / median
    print(f"{name:28s} {median:6.1f} ns a sample, {speedup:5.1f} x the slides' speed, error {errors[name]:.0e}")

figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
bars = ax.barh(list(medians), list(medians.values()), color="#0072B2")
ax.bar_label(bars, fmt="%.0f ns", padding=3)
ax.invert_yaxis()
ax.set(xscale="log", xlabel="ns a sample")
ax.margins(x=0.2)
