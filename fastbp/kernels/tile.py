"""The register tile: a small matrix that lives in vector registers, as a value that kernels carry through a loop.

    tile_columns(a)                    columns of a tile in the dtype of `a`
    tile_zero(like)                    all zeros, in the dtype of `like`
    tile_row(b, b_at)                  every row = b[b_at : b_at + COLUMNS]          (a bias, say)
    tile_load(c, c_at, c_step)         rows from memory, c_step elements apart
    tile_store(c, c_at, c_step, tile)  rows to memory
    tile_fma(tile, a, a_at, a_step, b, b_at)
                                       tile[m, :] += a[a_at + m a_step] b[b_at : b_at + COLUMNS]

A tile has ROWS rows and columns(dtype) columns. 8 x 2 registers fill 16 of the 32 AVX-512 registers with sums and leave
room for a row of b and a broadcast; where there are 16 registers, 4 x 3 is the choice. The caller owns every index.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import models, register_model

from .._jit import intrinsic
from .vector import (
    INDEX,
    VECTOR_BYTES,
    Vector,
    call,
    lanes,
    llvm_vector,
    load_at,
    splat_value,
    store_at,
)

ROWS, REGISTERS = (8, 2) if VECTOR_BYTES == 64 else (4, 3)


def columns(dtype):
    """Columns of a tile of this dtype."""
    return REGISTERS * lanes(dtype)


class Tile(types.Type):
    """ROWS x columns(dtype) sums of one dtype, in registers."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.vector = Vector(dtype, lanes(dtype))
        super().__init__(name=f"Tile({dtype})")


@register_model(Tile)
class TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        super().__init__(manager, tile, _llvm_tile(tile))


def _llvm_tile(tile):
    return ir.ArrayType(llvm_vector(tile.vector), ROWS * REGISTERS)


class _Writer:
    """Writes the instructions of one intrinsic, register by register."""

    def __init__(self, builder, dtype):
        self.builder, self.tile = builder, Tile(dtype)

    def address(self, pointer, at, step=None, row=0, register=0):
        """Pointer to element at + row step + register lanes."""
        b = self.builder
        at = b.add(at, INDEX(register * self.tile.vector.n))
        if step is not None:
            at = b.add(at, b.mul(step, INDEX(row)))
        return b.gep(pointer, [at])

    def load(self, pointer):
        return load_at(self.builder, pointer, self.tile.vector)

    def value(self, register_at):
        """The tile whose register (row, r) is register_at(row, r)."""
        value = ir.Constant(_llvm_tile(self.tile), ir.Undefined)
        for i in range(ROWS * REGISTERS):
            value = self.builder.insert_value(value, register_at(*divmod(i, REGISTERS)), i)
        return value

    def part(self, value, row, register):
        return self.builder.extract_value(value, row * REGISTERS + register)


@intrinsic(twin=lambda a: columns(a.dtype))
def tile_columns(typing, a):
    return types.intp(a), lambda context, builder, sig, arguments: INDEX(columns(a.dtype))


@intrinsic(twin=lambda like: np.zeros((ROWS, columns(like.dtype)), like.dtype))
def tile_zero(typing, like):
    tile = Tile(like.dtype)
    return tile(like), lambda context, builder, sig, arguments: ir.Constant(_llvm_tile(tile), None)


@intrinsic(twin=lambda b, b_at: np.tile(b[b_at : b_at + columns(b.dtype)], (ROWS, 1)))
def tile_row(typing, b, b_at):
    def emit(context, builder, sig, arguments):
        w = _Writer(builder, b.dtype)
        row = [w.load(w.address(*arguments, register=r)) for r in range(REGISTERS)]
        return w.value(lambda _, r: row[r])

    return Tile(b.dtype)(b, types.intp), emit


@intrinsic(twin=lambda c, at, step: np.stack([c[at + m * step :][: columns(c.dtype)] for m in range(ROWS)]))
def tile_load(typing, c, c_at, c_step):
    def emit(context, builder, sig, arguments):
        w = _Writer(builder, c.dtype)
        return w.value(lambda row, r: w.load(w.address(*arguments, row=row, register=r)))

    return Tile(c.dtype)(c, types.intp, types.intp), emit


def _twin_store(c, c_at, c_step, tile):
    for m in range(ROWS):
        c[c_at + m * c_step :][: columns(c.dtype)] = tile[m]


@intrinsic(twin=_twin_store)
def tile_store(typing, c, c_at, c_step, tile):
    def emit(context, builder, sig, arguments):
        *place, value = arguments
        w = _Writer(builder, c.dtype)
        for row in range(ROWS):
            for r in range(REGISTERS):
                store_at(builder, w.part(value, row, r), w.address(*place, row=row, register=r), c.dtype)
        return context.get_dummy_value()

    return types.void(c, types.intp, types.intp, tile), emit


def _twin_fma(tile, a, a_at, a_step, b, b_at):
    column = a[a_at + a_step * np.arange(ROWS)][:, None]
    return (np.multiply(column, b[b_at : b_at + columns(b.dtype)], dtype=np.float64) + tile).astype(tile.dtype)


@intrinsic(twin=_twin_fma)
def tile_fma(typing, tile, a, a_at, a_step, b, b_at):
    def emit(context, builder, sig, arguments):
        value, a_pointer, a_place, a_stride, b_pointer, b_place = arguments
        w = _Writer(builder, tile.dtype)
        b_row = [w.load(w.address(b_pointer, b_place, register=r)) for r in range(REGISTERS)]
        numbers = [builder.load(w.address(a_pointer, a_place, a_stride, row=row)) for row in range(ROWS)]
        scales = [splat_value(builder, number, b_row[0].type) for number in numbers]

        def sum_of(row, r):
            operands = [scales[row], b_row[r], w.part(value, row, r)]
            return call(builder, "llvm.fma", b_row[0].type, operands)

        return w.value(sum_of)

    return tile(tile, a, types.intp, types.intp, b, types.intp), emit
