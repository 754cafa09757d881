"""What all pictures share: colours told apart with every kind of colour vision, new Axes, legends that hide no data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import arrays
from ..errors import InputError

# Okabe and Ito (2008), Color Universal Design.
BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW, BLACK = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7"),
    *("#56B4E9", "#D55E00", "#F0E442", "#000000"),
)
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW, BLACK)
MARKERS = "o^sDvP*X"
DASHES = ("-", "--", ":", "-.")
MAX_LEGEND = 10
MAX_NAME = 20  # characters of a class's name that are shown
_LINE = 72  # characters that a legend has room for in a line


def new_axes(width: float, height: float) -> Any:
    """Axes of a Figure of their own, in inches, that no window shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def ink() -> Any:
    """The colour of lines and text, light in dark styles."""
    import matplotlib

    return matplotlib.rcParams["text.color"]


def paper() -> Any:
    """The colour behind them."""
    import matplotlib

    return matplotlib.rcParams["axes.facecolor"]


def marker(code: int) -> str:
    """The marker of a class; classes that share a colour differ in it."""
    return MARKERS[(code + code // len(COLOURS)) % len(MARKERS)]


def legend_below(ax: Any, handles: Sequence[Any], **options: Any) -> None:
    """A legend outside the axes, where it hides no data."""
    longest = max(len(handle.get_label()) for handle in handles) + 6  # the handle and the gap
    columns = min(len(handles), max(2, min(4, _LINE // longest)))
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": columns, "frameon": False}
    ax.legend(handles=handles, fontsize="small", **place, **options)


def class_names(names: Sequence[Any]) -> list[str]:
    """Names as text; of more than MAX_NAME characters beginning and end, with the code where these are not enough."""
    whole = [str(name) for name in names]
    texts = [text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 9]}…{text[-8:]}" for text in whole]
    same = len(set(texts)) < len(set(whole))
    return [f"{code}: {text}" for code, text in enumerate(texts)] if same else texts


def line_styles(n: int) -> list[dict[str, Any]]:
    """n lines that differ in colour and in dashes; without yellow, which is lost on white."""
    colours = (*COLOURS[:6], ink())
    return [{"color": colours[i % 7], "linestyle": DASHES[(i + i // 7) % 4]} for i in range(n)]


def diverging() -> Any:
    """Blue below, white at the middle, orange above."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(
        "blue-white-orange", ["#08519C", "#6BAED6", "#F7F7F7", "#FDAE4B", "#A63603"]
    )


def extent(values: np.ndarray) -> float:
    """The largest magnitude, 1 where all are zero: the end of a symmetric scale."""
    return float(np.abs(values).max(initial=0.0)) or 1.0


def points(x: Any, n_inputs: int) -> np.ndarray:
    """Rows of inputs as a dense floating-point array (N, n_inputs), finite and at least one; InputError for others."""
    x = np.asarray(x.toarray() if hasattr(x, "toarray") else x)
    x = arrays.as_inputs(x, n_inputs, x.dtype if x.dtype == np.float32 else np.dtype(np.float64))
    if arrays.first_bad_row(x) is not None:
        raise arrays.not_finite_error("x", x)
    return x


def class_codes(name: str, values: Any) -> np.ndarray:
    """Class codes as int64 (N,); InputError for what is none. Whole floats and (N, 1) will do."""
    codes = np.asarray(values)
    codes = codes[:, 0] if codes.ndim == 2 and codes.shape[1] == 1 else codes
    fits = codes.ndim == 1 and codes.dtype.kind in "biuf"
    if fits and codes.dtype.kind == "f":
        fits = bool((codes == np.floor(codes)).all())
    if not fits or (codes.size and codes.min() < 0):
        kind = np.asarray(values)
        raise InputError(f"{name} must hold class codes 0, 1, ..., shape (N,); got {kind.dtype} {kind.shape}")
    return codes.astype(np.int64)
