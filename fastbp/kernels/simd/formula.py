"""Functions of vectors, lane by lane, each written once and callable in three places.

    in a kernel      they are its instructions, without a function of their own to compile
    on a `Symbol`    the same instructions, written at once: so formulas are made of operations, and of other formulas
    on NumPy arrays  their twin: what runs without the compiler, and what tests compare with

    @operation(twin=...)   from a writer of instructions: write(builder, vector_type, *vectors) -> vector
    @formula               from a function of vectors that returns one, or with @formula(n_results=2) a pair
    choice(functions)      f(code, ...) = functions[code](...), the code being known only at run time

Numbers among the operands are rounded to the vector's dtype and repeated in every lane.
"""

import operator

from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin

from ...compiler.jit import COMPILED, TWINS
from .vector import INDEX, Vector, as_vector, constant


class Symbol:
    """A vector whose instructions are being written; its operators write some more."""

    __slots__ = ("builder", "type", "value")

    def __init__(self, builder, vector, value):
        self.builder, self.type, self.value = builder, vector, value

    def __add__(self, other):
        return add(self, other)

    def __radd__(self, other):
        return add(other, self)

    def __sub__(self, other):
        return subtract(self, other)

    def __rsub__(self, other):
        return subtract(other, self)

    def __mul__(self, other):
        return multiply(self, other)

    def __rmul__(self, other):
        return multiply(other, self)

    def __truediv__(self, other):
        return divide(self, other)

    def __rtruediv__(self, other):
        return divide(other, self)

    def __neg__(self):
        return negate(self)


class Operation:
    """A function of vectors and numbers, lane by lane."""

    def __init__(self, write, twin, n_results=1, n_codes=0):
        self.write, self.twin, self.n_results, self.n_codes = write, twin, n_results, n_codes
        if COMPILED:
            register(self, write, n_results, n_codes)

    def __repr__(self):
        return f"<operation {getattr(self.twin, '__name__', '')}>"

    def __call__(self, *operands):
        symbol = next((o for o in operands if isinstance(o, Symbol)), None)
        if symbol is None:
            return self.twin(*operands)
        values = (o.value if isinstance(o, Symbol) else constant(symbol.type, o) for o in operands)
        results = self.write(symbol.builder, symbol.type, *values)
        if self.n_results == 1:
            return Symbol(symbol.builder, symbol.type, results)
        return tuple(Symbol(symbol.builder, symbol.type, value) for value in results)


def vector_among(operands):
    """The one vector type among operands that are vectors and numbers; None if they do not fit together."""
    vectors = {o for o in operands if isinstance(o, Vector)}
    numbers = all(isinstance(o, Vector | types.Float | types.Integer) for o in operands)
    return vectors.pop() if len(vectors) == 1 and numbers else None


_ANY = ((types.VarArg(types.Any),),)
_WITH_VECTORS = ((Vector,), (Vector, Vector), (Vector, types.Number), (types.Number, Vector))


def register(function, write, n_results=1, n_codes=0, operands=_ANY):
    """Let kernels call `function`, whose first n_codes operands are whole numbers, with each kind of `operands`."""

    class Template(AbstractTemplate):
        key = function

        def generic(self, given, keywords):
            vector = vector_among(given[n_codes:])
            if vector is None:
                return None
            result = vector if n_results == 1 else types.UniTuple(vector, n_results)
            return signature(result, *(types.int64,) * n_codes, *given[n_codes:])

    infer_global(function, types.Function(Template))

    def emit(context, builder, sig, arguments):
        vector = vector_among(sig.args[n_codes:])
        pairs = zip(arguments[n_codes:], sig.args[n_codes:], strict=True)
        vectors = [as_vector(context, builder, value, kind, vector) for value, kind in pairs]
        results = write(builder, vector, *arguments[:n_codes], *vectors)
        return results if n_results == 1 else context.make_tuple(builder, sig.return_type, results)

    for kind in operands:
        lower_builtin(function, *kind)(emit)


def operation(*, twin):
    """Decorate write(builder, vector_type, *vectors) -> vector; `twin` does the same to arrays."""

    def decorate(write):
        TWINS[write.__name__] = twin
        return Operation(write, twin)

    return decorate


def formula(function=None, *, n_results=1):
    """Decorate a function of vectors made of operations, formulas and + - * /; on arrays it runs as it stands."""
    if function is None:
        return lambda function: formula(function, n_results=n_results)

    def write(builder, vector, *values):
        results = function(*(Symbol(builder, vector, value) for value in values))
        return results.value if n_results == 1 else tuple(result.value for result in results)

    return Operation(write, function, n_results)


def choice(functions):
    """f(code, *operands) = functions[code](*operands), a jump at run time; codes out of range take the first."""
    n_results = functions[0].n_results

    def write(builder, vector, code, *values):
        end = builder.append_basic_block("chosen")
        blocks = [builder.append_basic_block("choice") for _ in functions]
        switch = builder.switch(code, blocks[0])
        ends = []
        for number, (function, block) in enumerate(zip(functions, blocks, strict=True)):
            if number:
                switch.add_case(INDEX(number), block)
            builder.position_at_end(block)
            results = function.write(builder, vector, *values)
            ends.append(((results,) if n_results == 1 else results, builder.block))
            builder.branch(end)
        builder.position_at_end(end)
        phis = [builder.phi(value.type) for value in ends[0][0]]
        for results, block in ends:
            for phi, value in zip(phis, results, strict=True):
                phi.add_incoming(value, block)
        return phis[0] if n_results == 1 else tuple(phis)

    return Operation(write, lambda code, *operands: functions[code](*operands), n_results, n_codes=1)


# -- operators -------------------------------------------------------------------------------------------------------


def _operator(method, twin, *same):
    """The operation of an operator of Python's, which kernels may write as the operator."""

    def write(builder, vector, *vectors):
        return getattr(builder, method)(*vectors)

    if COMPILED:
        for function in (twin, *same):
            register(function, write, operands=_WITH_VECTORS)
    return Operation(write, twin)


add = _operator("fadd", operator.add, operator.iadd)
subtract = _operator("fsub", operator.sub)
multiply = _operator("fmul", operator.mul)
divide = _operator("fdiv", operator.truediv)
negate = _operator("fneg", operator.neg)
