"""The process's settings: its default number of threads, and a report of what fastbp runs on."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import numpy as np

from . import __version__


def set_num_threads(n_threads: int | None) -> None:
    """Set the default number of threads of this process; None goes back to FASTBP_NUM_THREADS or Numba's setting.

    InputError for what is no positive integer, ThreadError above the number of threads Numba has.
    Results have the same bits for every number of threads.

    >>> fastbp.set_num_threads(1)
    >>> fastbp.set_num_threads(None)
    """
    from .compiler import threads

    threads.set_num_threads(n_threads)


def show_config(*, as_dict: bool = False) -> dict[str, Any] | None:
    """Print versions, CPU, threads and the compile cache, as a bug report needs them; or return them as a dict.

    >>> fastbp.show_config(as_dict=True)["fastbp"] == fastbp.__version__
    True
    """
    config = {**_versions(), **_numba_config()}
    if as_dict:
        return config
    width = max(map(len, config))
    print("\n".join(f"{name:{width}}  {value}" for name, value in config.items()))
    return None


def _versions() -> dict[str, Any]:
    return {
        "fastbp": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "numpy": np.__version__,
    }


def _numba_config() -> dict[str, Any]:
    try:
        from .compiler import cache, jit, threads
    except ImportError as error:
        return {"numba": f"cannot be imported ({error}); only fastbp.reference works"}
    cpu = jit.cpu()
    return {
        "numba": importlib.metadata.version("numba") + ("" if jit.COMPILED else ", switched off by NUMBA_DISABLE_JIT"),
        "llvmlite": importlib.metadata.version("llvmlite"),
        "cpu": cpu.name,
        "vector_bytes": cpu.vector_bytes,
        "threads": threads.resolve_threads(),
        "max_threads": threads.max_threads(),
        "threading_layer": threads.threading_layer() or "not started",
        "cache": cache.state(),
    }
