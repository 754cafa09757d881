"""The folder that `fastbp train` writes: model, history and pictures, each file whole or not there."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import files
from ..errors import InputError
from ..formats import npz
from ..model.network import MLP
from ..model.parameters import Parameters

_OURS = r"(model\.npz|history\.csv|config\.toml|learning-curve\.png|boundary-step-\d+\.png|training\.gif)"
# Temporary files of a killed run count as its own.
_OF_A_RUN = re.compile(rf"{_OURS}|\.{_OURS}\.[0-9a-f]+\.tmp")


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """OSErrors name the file that is wanted, not a temporary one beside it, or none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error


class RunFolder:
    """A folder for one run: a new or empty one, or that of an earlier run, which `begin` empties.

    InputError for anything else, so that no file of another origin is ever touched.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: --out must be a folder; there is a file of that name")
        foreign = sorted(entry.name for entry in self._entries() if not _OF_A_RUN.fullmatch(entry.name))
        if foreign:
            raise InputError(
                f"{self.path}: --out must be a new or empty folder or that of an earlier run; it holds {foreign[0]!r}. "
                "Choose another with --out"
            )

    def begin(self) -> None:
        """Make the folder, or remove what an earlier run left in it. OSError if the disk refuses."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise InputError(f"{self.path}: --out must be a folder that can be written to; permission is denied")
        for entry in self._entries():
            entry.unlink()

    def save_model(self, net: MLP, params: Parameters, meta: dict[str, Any]) -> None:
        """model.npz, as `fastbp.load` and `fastbp predict` read it."""
        path = self.path / "model.npz"
        with naming(path):
            npz.save(path, net, params, meta)

    def save_history(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """history.csv: a row for each entry; None becomes an empty cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        self._write("history.csv", text.getvalue().encode())

    def save_text(self, name: str, text: str) -> None:
        """A text file, UTF-8."""
        self._write(name, text.encode())

    def save_picture(self, name: str, axes: Any) -> None:
        """A PNG of the figure that the matplotlib Axes belong to."""
        picture = io.BytesIO()
        axes.figure.savefig(picture, format="png", dpi=110)
        self._write(name, picture.getvalue())

    def save_film(self, animate: Callable[..., Path]) -> None:
        """training.gif, which `animate` writes to the path it is given."""
        path = self.path / "training.gif"
        with naming(path):
            animate(path=path)

    def written(self) -> list[str]:
        """What is there now, for a message: pictures of boundaries as a number."""
        names = sorted(entry.name for entry in self._entries())
        boundaries = [name for name in names if name.startswith("boundary-")]
        others = [name for name in names if name not in boundaries and not name.startswith(".")]
        count = f"{len(boundaries)} {'picture' if len(boundaries) == 1 else 'pictures'} of the boundary"
        return others + ([count] if boundaries else [])

    def _write(self, name: str, content: bytes) -> None:
        with naming(self.path / name), files.replacing(self.path / name) as file:
            file.write(content)

    def _entries(self) -> list[Path]:
        return list(self.path.iterdir()) if self.path.is_dir() else []
