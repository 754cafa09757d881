"""How fastbp's functions are compiled and kept.

    kernel       an inner function: called from other compiled code only
    inlined      the same, copied into its callers
    intrinsic    an inner function written as instructions, with a NumPy twin for runs without the compiler
    entry        a compiled function that Python calls, with one signature, compiled or loaded on its first call

With NUMBA_DISABLE_JIT=1 all of them are plain Python (an intrinsic is its NumPy twin), whose lines coverage sees.

For readers new to Numba: `njit` makes a dispatcher from a Python function. A dispatcher compiles the function for a
signature, which is the types of its arguments, and keeps the result. Each option given to one has its reason below.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import llvmlite
import numba
import numba.extending
import numpy as np
from numba import prange, types
from numba.core import event
from numba.core.registry import cpu_target

from . import cache, linking, threads
from .cpu import CPU, cpu

__all__ = [
    "COMPILED",
    "CPU",
    "TWINS",
    "Entry",
    "cpu",
    "entry",
    "foreign",
    "inlined",
    "intrinsic",
    "kernel",
    "n_compilations",
    "prange",
    "signatures_compiled",
]

COMPILED: bool = not numba.config.DISABLE_JIT

TWINS: dict[str, Callable] = {}
"""The NumPy twin of every intrinsic, by name."""
UNCOMPILED: list[Callable] = []  # without the compiler, what addresses stand for

_OPTIONS = {
    # Division by zero gives inf or nan as in NumPy; Python's check for it stops vectorization (10x).
    "error_model": "numpy",
    # Other Python threads run while a kernel does.
    "nogil": True,
    # fastmath stays off: it would let the compiler reorder sums (other bits in other tiles) and drop tests for nan.
    # boundscheck stays off, its default: validation has checked every shape. NUMBA_BOUNDSCHECK=1 finds a wrong index.
}

_INNER = {
    # Python calls entries only; a wrapper for each inner function would cost compile time.
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    # No machine code: an inner function is optimized as a part of the entries that call it, once in each.
    "pipeline_class": linking.InnerCompiler,
}

_dispatchers: list[Any] = []


def _dispatcher(function: Callable, **options: Any) -> Any:
    _dispatchers.append(numba.njit(function, **_OPTIONS, **options))
    return _dispatchers[-1]


def kernel(function: Callable) -> Callable:
    """Compile an inner function: serial, without a Python wrapper, for whatever types its callers use."""
    return _for_types_only(_dispatcher(function, **_INNER)) if COMPILED else function


def _for_types_only(dispatcher: Any) -> Any:
    """The dispatcher, which would compile another version for each constant among its arguments."""
    template = dispatcher.get_call_template
    dispatcher.get_call_template = lambda args, keywords: template(tuple(map(types.unliteral, args)), keywords)
    return dispatcher


def inlined(function: Callable) -> Callable:
    """A kernel that is copied into each caller, so that a constant argument unrolls its loops there."""
    return _dispatcher(function, forceinline=True, **_INNER) if COMPILED else function


def foreign(function: Callable) -> Callable:
    """A user's function, to be called from a kernel: compiled Numba's own way, which knows all of the language."""
    return numba.njit(function, **_OPTIONS) if COMPILED and not hasattr(function, "py_func") else function


def intrinsic(*, twin: Callable) -> Callable[[Callable], Callable]:
    """Decorate a definition `name(typing, *argument_types) -> (signature, emit)`; `twin` takes the same arguments.

    The result is the instructions when compiled, the twin otherwise. `TWINS[name]` is always the twin.
    """

    def decorate(definition: Callable) -> Callable:
        TWINS[definition.__name__] = twin
        return numba.extending.intrinsic(definition) if COMPILED else twin

    return decorate


class Entry:
    """A compiled function that Python calls: exactly one signature, compiled or loaded on the first call."""

    def __init__(self, function: Callable, signature: Any, parallel: bool, by_address: bool, cached: bool):
        function = getattr(function, "py_func", function)
        functools.update_wrapper(self, function)
        self.function = function
        self._signature = signature
        self._call = function
        self._address: int | None = None
        if COMPILED:
            # Parallel code needs the passes of Numba's own compiler, which finds the loops to share out.
            options = {} if parallel else {"pipeline_class": linking.WholeCompiler}
            # Other entries call by address what the C wrapper starts.
            self._dispatcher = _dispatcher(function, parallel=parallel, no_cfunc_wrapper=not by_address, **options)
            self._call = self._first_call
            self._disk_cache = _DiskCache(self._dispatcher) if cached else None

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def _first_call(self, *args: Any) -> Any:
        return self.compile()(*args)

    def compile(self) -> Callable:
        """Compile now, or load from the cache, unless that is done; returns the compiled function."""
        if not COMPILED or self._call is self._dispatcher:
            return self._call
        with threads.locks.compiling:
            # There already: compiled by another Python thread, or a warning about the cache was turned into an error.
            if not self._dispatcher.signatures:
                if self._disk_cache:
                    self._disk_cache.install(self._dispatcher)
                with _without_garbage_collection():
                    self._dispatcher.compile(self._signature)
                if self._disk_cache:
                    self._disk_cache.check_use()
            # Arguments of other types are a mistake of ours: an error, not a second signature in silence.
            self._dispatcher.disable_compile()
            self._call = self._dispatcher
        return self._call

    def address(self) -> int:
        """Where its machine code starts, for `call_at`; without the compiler, its number among `UNCOMPILED`."""
        if self._address is None:
            self._address = self._find_address()
        return self._address

    def _find_address(self) -> int:
        if not COMPILED:
            UNCOMPILED.append(self.function)
            return len(UNCOMPILED) - 1
        self.compile()
        (result,) = self._dispatcher.overloads.values()
        return result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)

    @property
    def _numba_type_(self) -> Any:
        """Lets other compiled code call an entry by its name."""
        self.compile()
        return self._dispatcher._numba_type_


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """The compiler makes millions of objects that live until it is done; a sixth of its time went into collecting."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def entry(signature: Any, *, parallel=False, by_address=False, cached=True) -> Callable[[Callable], Entry]:
    """Decorate a function that Python calls. `signature` is a Numba signature.

    by_address : other entries call it, too, by `call_at(entry.address(), ...)`: what is compiled into several entries
    would be optimized several times.

    cached : False for what is made of functions that are not fastbp's, which the cache could not tell apart.

    The same function can be made into several entries, one per dtype. Parallel code compiles slowly, so the body of a
    parallel entry is only

        for i in prange(n_workers):
            worker(intp(i), ...)

    with a serial kernel; without the `intp` the worker is compiled a second time, for an unsigned i.
    """
    return lambda function: Entry(function, signature, parallel, by_address, cached)


def signatures_compiled() -> dict[str, int]:
    """How many signatures every kernel and entry holds: equal before and after a call that compiles nothing."""
    counts: dict[str, int] = {}
    for dispatcher in _dispatchers:
        name = f"{dispatcher.__module__}.{dispatcher.__qualname__}"
        counts[name] = counts.get(name, 0) + len(dispatcher.signatures)
    return counts


class _CompileCounter(event.Listener):
    """Counts compilations of our functions; loading from the cache is none."""

    n = 0

    def on_start(self, event: Any) -> None:
        self.n += event.data["dispatcher"] in _dispatchers

    def on_end(self, event: Any) -> None:
        pass


_compilations = _CompileCounter()
event.register("numba:compile", _compilations)


def n_compilations() -> int:
    """How many functions this process has compiled, inner ones included."""
    return _compilations.n


# -- the compile cache ------------------------------------------------------------------------------------------------

# Settings of Numba that no machine code depends on.
_NEUTRAL_SETTINGS = {
    "CACHE_DIR",
    "DEBUG_CACHE",
    "NUMBA_DEFAULT_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "THREADING_LAYER",
    "THREADING_LAYER_PRIORITY",
}


class _DiskCache:
    """Where a dispatcher looks before it compiles, and what it hands its result to; `cache` reads and writes the files.

    This uses what is private to Numba: `dispatcher._cache` with the two methods below, `CompileResult._reduce` and
    `_rebuild`, `serialize.dumps`, and a few attributes of a result. Where one is missing, or Numba no longer uses
    `dispatcher._cache`, there is one warning, and kernels are compiled in every process.
    """

    def __init__(self, dispatcher: Any):
        self._function, self._options = dispatcher.py_func, dispatcher.targetoptions
        self._was_used = False

    def install(self, dispatcher: Any) -> None:
        """Put this in the place of Numba's own cache, which is off."""
        with cache.guarded():
            if cache.folder() is not None:
                dispatcher._cache = self

    def check_use(self) -> None:
        """Called after `compile`: if this gave nothing from its files and was handed nothing new, Numba ignores it."""
        with cache.guarded():
            if not self._was_used and cache.folder() is not None:
                raise cache.CacheError(f"Numba {numba.__version__} does not use dispatcher._cache")

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """The compiled function from the cache, or None."""
        with cache.guarded():
            if cache.folder() is None:
                return None
            from numba.core.compiler import CompileResult

            target_context.refresh()
            payload = cache.load(self._key(signature))
            # The one pickle fastbp reads: owner, mode and digest have been checked.
            if payload is not None:
                result = CompileResult._rebuild(target_context, *pickle.loads(payload))
                self._was_used = True
                return result
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep what was compiled, if it means the same in every process."""
        self._was_used = True
        with cache.guarded():
            if cache.folder() is None:
                return
            from numba.core.serialize import dumps

            if result.lifted or result.library.has_dynamic_globals:
                raise cache.CacheError(f"{self._function.__qualname__} has addresses of this process in its code")
            cache.save(self._key(signature), dumps(result._reduce()))

    def _key(self, signature: Any) -> str:
        settings = {(name, str(v)) for name, v in vars(numba.config).items() if name.isupper()}
        return cache.key(
            self._function,
            str(signature),
            sorted(self._options.items()),
            linking.MISSING,  # kernels compiled Numba's own way are other machine code
            (sys.version, numba.__version__, llvmlite.__version__, np.__version__),
            cpu_target.target_context.codegen().magic_tuple(),
            sorted(setting for setting in settings if setting[0] not in _NEUTRAL_SETTINGS),
        )
