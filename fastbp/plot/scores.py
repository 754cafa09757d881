"""Pictures of how good a model is: which classes it mistakes, and whether its probabilities can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine import inputs
from ..errors import InputError
from . import style

_MAX_CLASSES = 1000
_MAX_NUMBERS = 20  # classes, up to which the counts are written into the cells


def confusion_matrix(
    y: Any, y_pred: Any, *, classes: Sequence[Any] | None = None, ax: Any = None, title: str | None = None
) -> Any:
    """How many rows of each class (down) were taken for each class (across), shaded by the share of the row.

    y, y_pred : (N,) class codes 0, 1, ..., such as `MLP.predict` gives. classes : their names, of
    which 20 characters are shown. At most 1,000 classes.

    >>> ax = fastbp.plot.confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2])
    """
    y, y_pred = (style.class_codes(name, codes, _MAX_CLASSES) for name, codes in (("y", y), ("y_pred", y_pred)))
    if y.shape != y_pred.shape or not y.size:
        raise InputError(f"y and y_pred must have the same length of at least 1; got {len(y)} and {len(y_pred)}")
    n = max(y.max(), y_pred.max()) + 1 if classes is None else len(classes)
    if max(y.max(), y_pred.max()) >= n:
        raise InputError(f"{n} classes were named, but codes go up to {max(y.max(), y_pred.max())}")
    counts = np.bincount(y * n + y_pred, minlength=n * n).reshape(n, n)
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    names = style.class_names(range(n) if classes is None else classes)
    longest = max(map(len, names))
    side = float(np.clip(0.55 * n + 2.0, 4.0, 9.0))
    ax = style.new_axes(side + 0.8 + 0.07 * longest, side + 0.05 * longest) if ax is None else ax
    shading = ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ax.figure.colorbar(shading, ax=ax, label="share of the class", fraction=0.046)
    if n <= _MAX_NUMBERS:
        for i, j in np.ndindex(n, n):
            color = "white" if share[i, j] > 0.5 else "black"
            ax.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=color, fontsize=8)
    turned = {"rotation": 45, "ha": "right"} if longest > 3 else {}
    ax.set_xticks(range(n), names, **turned)
    ax.set_yticks(range(n), names)
    ax.set(
        xlabel="predicted", ylabel="true", title=style.plain(title or f"{np.trace(counts) / counts.sum():.2%} right")
    )
    return ax


def calibration(
    y: Any, probability: Any, *, n_bins: int = 10, ax: Any = None, title: str | None = None, label: str = "model"
) -> Any:
    """How often what is said to be probable comes true: the share of right answers against the probability given.

    y : (N,) class codes. probability : (N,) of class 1, or (N, K) of all classes, of which the largest counts. On the
    diagonal probabilities are right; below it the model is too sure. Bars: the share of rows in each bin. ECE, the
    expected calibration error, is the mean distance from the diagonal (Guo et al. 2017, eq. 3).

    >>> x, y = fastbp.data.spirals(200)
    >>> net = fastbp.MLP((2, 20, 1), activation="tanh")
    >>> params = net.init(0)
    >>> ax = fastbp.plot.calibration(y, net.forward(params, x))
    """
    p, n_bins = inputs.as_numbers("probability", probability, np.dtype(np.float64)), inputs.count("n_bins", n_bins)
    p = p[:, 0] if p.ndim == 2 and p.shape[1] == 1 else p
    n = np.size(y)
    if p.ndim not in (1, 2) or len(p) != n or not p.size or not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"probability must be ({n},) or ({n}, K), from 0 to 1; got shape {p.shape}")
    y = style.class_codes("y", y, 2 if p.ndim == 1 else p.shape[1])
    sure, right = (p, y == 1) if p.ndim == 1 else (p.max(axis=1), p.argmax(axis=1) == y)
    bins = np.minimum((sure * n_bins).astype(np.int64), n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    taken = count > 0
    said = np.bincount(bins, sure, n_bins)[taken] / count[taken]
    true = np.bincount(bins, right, n_bins)[taken] / count[taken]
    error = float((np.abs(said - true) * count[taken]).sum() / len(y))
    ax = style.new_axes(5.4, 5.0) if ax is None else ax
    centers = (np.arange(n_bins) + 0.5) / n_bins
    ax.bar(centers, count / len(y), width=0.9 / n_bins, color=style.SKY, alpha=0.45, label="share of the rows")
    ax.plot([0, 1], [0, 1], color=style.ink(), linestyle=":", linewidth=1.2, label="as said")
    ax.plot(
        said, true, color=style.VERMILION, marker="o", linewidth=1.6, label=f"{style.plain(label)}, ECE {error:.3f}"
    )
    what = "probability of class 1" if p.ndim == 1 else "probability of the class predicted"
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=what, ylabel="came true", title=style.plain(title or ""), aspect="equal")
    ax.grid(alpha=0.3)
    style.legend_below(ax, ax.get_legend_handles_labels()[0])
    return ax
