"""The CPU that kernels are compiled for: its name, its features, and how wide its vectors are."""

from __future__ import annotations

import functools
from typing import NamedTuple

from numba.core.registry import cpu_target


class CPU(NamedTuple):
    """What code is compiled for; NUMBA_CPU_NAME and NUMBA_CPU_FEATURES are honoured."""

    name: str
    features: frozenset[str]
    vector_bytes: int


# What LLVM switches on for a CPU given by name without features (NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=).
_AVX2 = {"avx2", "fma"}
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
_NAMED = {
    **dict.fromkeys(("x86-64-v3", "haswell", "broadwell", "skylake", "alderlake", "raptorlake"), _AVX2),
    **dict.fromkeys(("znver1", "znver2", "znver3"), _AVX2),
    **dict.fromkeys(("x86-64-v4", "skylake-avx512", "cascadelake", "icelake-client", "icelake-server"), _AVX512),
    **dict.fromkeys(("tigerlake", "sapphirerapids", "emeraldrapids", "graniterapids", "znver4", "znver5"), _AVX512),
}


@functools.cache
def cpu() -> CPU:
    """The CPU that kernels are compiled for, and the width of the vectors to use on it."""
    _, name, flags = cpu_target.target_context.codegen().magic_tuple()
    return _cpu(name, flags)


def _cpu(name: str, flags: str) -> CPU:
    """From LLVM's name of a CPU and its "+feature,-feature" list."""
    features = set(_NAMED.get(name, ()))
    for flag in filter(None, flags.split(",")):
        (features.discard if flag.startswith("-") else features.add)(flag.lstrip("+-"))
    vector_bytes = 64 if "avx512f" in features else 32 if features >= _AVX2 else 16
    return CPU(name, frozenset(features), vector_bytes)
