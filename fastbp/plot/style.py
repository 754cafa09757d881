"""What all pictures share: colors told apart with every kind of color vision, new Axes, legends that hide no data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine import inputs
from ..errors import InputError

# Okabe and Ito (2008), Color Universal Design.
BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW, BLACK = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7"),
    *("#56B4E9", "#D55E00", "#F0E442", "#000000"),
)
COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW, BLACK)
MARKERS = "o^sDvP*X"
DASHES = ("-", "--", ":", "-.")
MAX_LEGEND = 10
MAX_NAME = 20  # characters of a class's name that are shown
_LETTERS, _HANDLE = 16, 9  # of a legend in an inch; as many as a handle and the gaps beside it take
_BELOW = 3.0  # sizes of the font, from the edge of Axes to below the name of the x axis


def has_matplotlib() -> bool:
    """Whether pictures can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def new_axes(width: float, height: float) -> Any:
    """Axes of a Figure of their own, in inches, that no window shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def ink() -> Any:
    """The color of lines and text, light in dark styles."""
    import matplotlib

    return matplotlib.rcParams["text.color"]


def paper() -> Any:
    """The background color."""
    import matplotlib

    return matplotlib.rcParams["axes.facecolor"]


def blue() -> str:
    """The first color of lines and text, lighter on a dark background."""
    from matplotlib.colors import to_rgba

    *rgb, alpha = to_rgba(paper())
    return SKY if alpha * (1 - np.mean(rgb)) > 0.5 else BLUE


def plain(text: Any) -> str:
    """A user's text as matplotlib is to draw it: what stands between two dollars is no mathematics."""
    return str(text).replace("$", r"\$")


def outlined() -> list[Any]:
    """Path effects of text over data: a white edge."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground="white")]


def marker(code: int) -> str:
    """The marker of a class; classes that share a color differ in it."""
    return MARKERS[(code + code // len(COLORS)) % len(MARKERS)]


def legend_below(ax: Any, handles: Sequence[Any], **options: Any) -> None:
    """A legend outside the axes, where it hides no data; in as many columns as fit below them."""
    import matplotlib
    from matplotlib.transforms import ScaledTranslation

    lengths = [_HANDLE + len(handle.get_label()) for handle in handles]
    width = _LETTERS * ax.get_window_extent().width / ax.figure.dpi
    columns = len(handles)
    while columns > 1 and sum(map(max, np.array_split(lengths, columns))) > width:
        columns -= 1
    below = ScaledTranslation(0, -_BELOW * matplotlib.rcParams["font.size"] / 72, ax.figure.dpi_scale_trans)
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": ax.transAxes + below}
    look = {"ncols": columns, "frameon": False, "fontsize": "small"}
    ax.legend(handles=handles, **place, **look, **options)


def names(what: str, given: Sequence[Any] | None, default: Sequence[Any]) -> Sequence[Any]:
    """The names given, by default others; InputError unless there are as many of them."""
    if given is not None and len(given) != len(default):
        raise InputError(f"{what} must hold a name for each of {len(default)}; got {len(given)}")
    return default if given is None else given


def class_names(names: Sequence[Any]) -> list[str]:
    """Names to draw; of more than MAX_NAME characters beginning and end, with the code where that is not enough."""
    whole = [str(name) for name in names]
    texts = [text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 9]}…{text[-8:]}" for text in whole]
    same = len(set(texts)) < len(set(whole))
    return [plain(f"{code}: {text}" if same else text) for code, text in enumerate(texts)]


def line_styles(n: int) -> list[dict[str, Any]]:
    """n lines that differ in color and in dashes; yellow, which is lost on white, in dark styles alone."""
    colors = (blue(), ORANGE, GREEN, PURPLE, SKY if blue() == BLUE else YELLOW, VERMILION, ink())
    return [{"color": colors[i % 7], "linestyle": DASHES[(i + i // 7) % 4]} for i in range(n)]


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
    x = inputs.as_inputs(x, n_inputs, x.dtype if x.dtype == np.float32 else np.dtype(np.float64))
    if inputs.first_bad_row(x) is not None:
        raise inputs.not_finite_error("x", x)
    return x


def class_codes(name: str, values: Any, n_classes: int) -> np.ndarray:
    """Class codes 0 to n_classes - 1 as int64 (N,); InputError for what is none. Whole floats and (N, 1) will do."""
    given = np.asarray(values)
    codes = given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given
    wanted = f"{name} must hold class codes 0 to {n_classes - 1}"
    if codes.ndim != 1 or codes.dtype.kind not in "biuf":
        raise InputError(f"{wanted}, shape (N,); got {given.dtype} {given.shape}")
    wrong = ~((codes >= 0) & (codes < n_classes) & (codes == np.floor(codes)))
    if wrong.any():
        raise InputError(f"{wanted}; got {codes[wrong][0]} at row {wrong.argmax()}")
    return codes.astype(np.int64)
