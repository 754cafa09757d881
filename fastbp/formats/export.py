"""A model in the form that another program reads. The ending of the file names the form:

    .npz           all of it, whole or refused; read by `fastbp.load`
    .safetensors   all of it, as named tensors; read by `load_safetensors`, and by every safetensors library
    .onnx          the calculation, from x to answers; read by onnxruntime. Needs pip install "fastbp[onnx]"
    .py            the calculation as a Python file of its own, which needs NumPy alone

Of what goes with a model, the last two hold the task that `fastbp train` wrote, if there is one: they take features in
their own units and give classes, or numbers in the units of the target.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..data.scaling import Standardize
from ..data.task import Task
from ..errors import InputError, ModelError
from ..model.network import MLP
from ..model.parameters import Parameters
from . import npz, onnx, python_source, safetensors
from .safetensors import load_safetensors

__all__ = ["FORMATS", "export", "load_safetensors"]

FORMATS = ("npz", "safetensors", "onnx", "py")


def export(
    path: str | os.PathLike[str],
    net: MLP,
    params: Parameters,
    meta: Mapping[str, Any] | None = None,
    *,
    format: str | None = None,
) -> None:
    """Write network, parameters and what goes with them. Whatever goes wrong, the old file stays as it was.

    meta : as `fastbp.save` takes it. format : one of FORMATS; by default the ending of `path`.
    InputError for a format, functions, parameters or `meta` that cannot be exported, or a folder that is not there.
    OSError if the disk refuses.

    >>> net = fastbp.MLP((2, 3, 1))
    >>> fastbp.export("model.py", net, net.init(0))
    """
    chosen = _format(path, format)
    if chosen == "npz":
        npz.save(path, net, params, meta)
        return
    if params.net != net:
        raise InputError(f"params must be those of {net}; got parameters of {params.net}")
    net.to_dict()  # refuses functions of the user's own, which no file can hold
    meta = dict(meta or {})
    if chosen == "safetensors":
        parts = safetensors.parts(net, params, meta)
    else:
        writer = onnx if chosen == "onnx" else python_source
        parts = [writer.content(net, params, _task(net, meta.get("task")))]
    with files.replacing(path) as file:
        for part in parts:
            file.write(part)


def _format(path: str | os.PathLike[str], format: str | None) -> str:
    if format is not None:
        if format not in FORMATS:
            raise InputError(f"format must be one of {', '.join(FORMATS)}, or None for the ending; got {format!r}")
        return format
    ending = Path(path).suffix
    if ending.lower().removeprefix(".") not in FORMATS:
        wanted = ", ".join(f".{name}" for name in FORMATS[:-1])
        raise InputError(
            f"{os.fspath(path)}: a model is exported to a file that ends in {wanted} or .{FORMATS[-1]}; "
            f"got {ending or 'no ending'}"
        )
    return ending.lower().removeprefix(".")


def _task(net: MLP, meta: Any) -> Task | None:
    """The task that goes with a model, if any; InputError if it is none that `fastbp train` writes for its network."""
    if meta is None:
        return None
    try:
        task = Task.from_meta("meta", net, meta)
        task = dataclasses.replace(task, inputs=_scale(task.inputs), outputs=_scale(task.outputs))
        is_text = all(isinstance(name, str) for name in (*task.features, task.target))
        if is_text and _has_answers_of(task, net):
            return task
    except (ModelError, AttributeError, TypeError, ValueError):
        pass
    raise InputError(
        f"meta['task'] must be that of a model by `fastbp train`: features, target, mean, scale, and classes or "
        f"target_mean and target_scale, for {net}; got {meta!r:.200}. Leave it out to export the network alone"
    )


def _scale(scale: Standardize | None) -> Standardize | None:
    """In float64; ValueError for what is no standardization."""
    if scale is None:
        return None
    mean, deviation = scale.mean.astype(np.float64, casting="same_kind"), scale.scale.astype(np.float64)
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and deviation.all()):
        raise ValueError("a mean or scale that is not finite, or a scale of zero")
    return Standardize(mean, deviation)


def _has_answers_of(task: Task, net: MLP) -> bool:
    """Classes for outputs that are those of classes, numbers for others."""
    if task.classes is None:
        return not net.loss_function.is_classification and task.outputs.scale.shape == task.outputs.mean.shape
    return task.classes.dtype.kind in "biuU" and (net.loss_function.couples_outputs or net.n_outputs == 1)
