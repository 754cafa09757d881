"""How inner kernels are compiled: to intermediate code only, which entries link and optimize once.

Numba optimises every function together with all that it calls and turns each into machine code. In a chain of a dozen
kernels the innermost one goes through that a dozen times: 40 s for what takes 8 s. So inner kernels get a library that
does neither.

Like the cache, this relies on what is private to Numba. Where a name that it relies on is missing there is one warning,
and kernels are compiled Numba's way: slower, and with the same bits in gradients and trained weights, since neither way
may reorder a sum. A name that is there and means something else is not noticed here; the tests, which run on the oldest
Numba that fastbp allows and on TESTED_NUMBA, are there for that.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

from numba.core import types
from numba.core.compiler import Compiler
from numba.core.registry import cpu_target

TESTED_NUMBA = "0.68.1"
"""The version of Numba whose private names this module and the cache were written for."""

try:
    from llvmlite.binding import create_pass_builder, create_pipeline_tuning_options
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler_machinery import PassManager
    from numba.core.typed_passes import IRLegalization, NativeLowering, NoPythonBackend, NopythonTypeInference
    from numba.core.untyped_passes import FixupArgs, IRProcessing, TranslateByteCode

    # What loops over numbers need; closures, comprehensions and with blocks would be looked for in vain.
    # IRLegalization writes where a function lets go of the arrays it was given.
    _PASSES = (
        *(TranslateByteCode, FixupArgs, IRProcessing),
        *(NopythonTypeInference, IRLegalization, NativeLowering, NoPythonBackend),
    )
except ImportError as error:
    MISSING = str(error)
else:
    _methods = ("_get_module_for_linking", "_optimize_functions", "_optimize_final_module", "_ensure_finalized")
    _codegen = cpu_target.target_context.codegen()
    _library = _codegen.create_library("fastbp")
    MISSING = ", ".join(
        f"{type(owner).__name__}.{name}"
        for owner, names in (
            (_library, (*_methods, "_linking_libraries", "_reload_init", "_final_module", "_codegen")),
            (_codegen, ("_tm", "_data_layout")),
        )
        for name in names
        if not hasattr(owner, name)
    )


class _Codegen:
    """The code generator as an inner library sees it: no machine code, so no place for an environment."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, environment: Any) -> None:
        """Nothing: the environment serves Python objects, which kernels do not touch."""


class _Typing:
    """The typing context, which remembers what operators and intrinsics make of given types.

    Kernels ask a few hundred different questions, each of them some twenty times; Numba looks through all it has.
    """

    _known: ClassVar[dict[Any, Any]] = {}

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def resolve_function_type(self, function: Any, arguments: Any, keywords: Any) -> Any:
        """The signature of a call; kernels, which are compiled when they are asked, are not remembered."""
        if keywords or type(function) is not types.Function:
            return self._context.resolve_function_type(function, arguments, keywords)
        question = function, arguments
        if question not in self._known:
            self._known[question] = self._context.resolve_function_type(function, arguments, keywords)
        return self._known[question]


# MISSING names what this Numba lacks; it is empty where inner kernels are linked as above.
if MISSING:
    warnings.warn(
        f"this version of Numba lacks what fastbp needs to compile fast ({MISSING}); kernels are compiled "
        f"Numba's way, which is slow. Install numba=={TESTED_NUMBA}, or wait longer for the first call",
        RuntimeWarning,
        stacklevel=2,
    )
    InnerCompiler = WholeCompiler = Compiler
else:

    class InnerLibrary(JITCodeLibrary):
        """Code to be linked into entries; never run on its own."""

        _whole = None

        def finalize(self) -> None:
            """Nothing is linked until an entry asks for the whole."""
            self._finalized = True

        def _get_module_for_linking(self) -> Any:
            """The function with all that it calls, directly and indirectly, each linked once."""
            if self._whole is None:
                whole = super()._get_module_for_linking().clone()
                for library in self._called({}):
                    self._reload_init.update(library._reload_init)
                    whole.link_in(JITCodeLibrary._get_module_for_linking(library), preserve=True)
                self._whole = whole
            return self._whole

        def _called(self, found: dict[Any, None]) -> dict[Any, None]:
            for library in self._linking_libraries:
                if library not in found:
                    found[library] = None
                    if isinstance(library, InnerLibrary):
                        library._called(found)
            return found

        def _optimize_functions(self, ll_module: Any) -> None:
            """Only the layout: the entry is optimized as a whole."""
            ll_module.data_layout = self._codegen._data_layout

        def get_pointer_to_function(self, name: str) -> int:
            """0: not executable."""
            self._ensure_finalized()
            return 0

    class WholeLibrary(JITCodeLibrary):
        """The code of a serial entry with all its kernels."""

        def _optimize_final_module(self) -> None:
            """All of LLVM's optimizations but unrolling, which made code large and short loops slow.

            What Numba adds, a round of pruning reference counts, has nothing to do here: kernels have none.
            """
            options = create_pipeline_tuning_options(speed_level=3)
            options.loop_unrolling = options.loop_interleaving = False
            builder = create_pass_builder(self._codegen._tm, options)
            builder.getModulePassManager().run(self._final_module, builder)

    class WholeCompiler(Compiler):
        """Numba's compiler for a serial entry."""

        def define_pipelines(self) -> Any:
            self.state.typingctx = _Typing(self.state.typingctx)
            self.state.library = self._library()
            self.state.library.enable_object_caching()
            passes = PassManager("kernel")
            for one in _PASSES:
                passes.add_pass(one, one.__name__)
            passes.finalize()
            return [passes]

        def _library(self) -> Any:
            """Where the code of the function goes."""
            return WholeLibrary(self.state.targetctx.codegen(), self.state.func_id.func_qualname)

    class InnerCompiler(WholeCompiler):
        """Numba's compiler for an inner kernel."""

        def _library(self) -> Any:
            return InnerLibrary(_Codegen(self.state.targetctx.codegen()), self.state.func_id.func_qualname)
