"""Microtiles: small matrices that live in vector registers, as values that kernels carry through a loop.

    wide(a), narrow(a)                 the two shapes of microtiles, in the dtype of `a`
    n_rows(shape), n_columns(shape)    of its tiles
    tile_row(shape, b, b_at)           every row = b[b_at : b_at + COLUMNS]          (a bias, say)
    tile_load(shape, c, c_at, c_stride)  rows from memory, c_stride elements from one to the next
    tile_store(c, c_at, c_stride, tile)  rows to memory
    tile_multiply(tile, other)         element by element
    tile_fma(tile, a, a_at, a_stride, b, b_at)
                                       tile[m, :] += a[a_at + m a_stride] b[b_at : b_at + COLUMNS]
    tile_rectify(tile)                 0 where an element <= 0
    tile_mask(tile, other)             0 where the other's element <= 0
    tile_transpose(tile)               of a narrow tile: a tile with as many rows as a register has lanes
    tile_fma_rows(z, z_at, tile, a, a_at)
                                       z[z_at + n] += sum_m tile[m, n] a[a_at + m], m ascending

Wide ones do most of the work: 8 rows x 2 registers fill 16 of the 32 AVX-512 registers with sums, and leave enough for
a row of b and a number in all lanes; where there are 16 registers, 4 x 3 is the choice. Narrow ones, one register wide
and up to twice as high, take the columns after the last whole wide one. The caller owns every index.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import models, register_model

from ...compiler.jit import intrinsic
from .vector import INDEX, VECTOR_BYTES, Vector, call, lanes, llvm_vector, load_at, splat_value, store_at, transposed

WIDE, NARROW = ((8, 2), (16, 1)) if VECTOR_BYTES == 64 else ((4, 3), (8, 1))  # rows and registers


class Tile(types.Type):
    """The numbers of a microtile, in registers."""

    def __init__(self, dtype, rows, registers):
        self.dtype, self.rows, self.registers = dtype, rows, registers
        self.vector = Vector(dtype, lanes(dtype))
        super().__init__(name=f"Tile({dtype} {rows} x {registers})")


class Shape(types.Type):
    """A value that says only, by its type, what microtiles to use."""

    def __init__(self, dtype, rows, registers):
        self.tile = Tile(dtype, rows, registers)
        super().__init__(name=f"Shape({self.tile})")


class ShapeTwin(NamedTuple):
    """The same for the twins."""

    dtype: np.dtype
    rows: int
    columns: int


register_model(Shape)(models.OpaqueModel)


@register_model(Tile)
class TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        super().__init__(manager, tile, _llvm_tile(tile))


def _llvm_tile(tile):
    return ir.ArrayType(llvm_vector(tile.vector), tile.rows * tile.registers)


class _Writer:
    """Writes the instructions of one intrinsic, register by register."""

    def __init__(self, builder, tile):
        self.builder, self.tile = builder, tile

    def address(self, pointer, at, stride=None, row=0, register=0):
        """Pointer to element at + row stride + register lanes."""
        b = self.builder
        at = b.add(at, INDEX(register * self.tile.vector.n))
        if stride is not None:
            at = b.add(at, b.mul(stride, INDEX(row)))
        return b.gep(pointer, [at])

    def load(self, pointer):
        return load_at(self.builder, pointer, self.tile.vector)

    def value(self, register_at):
        """The tile whose register (row, r) is register_at(row, r)."""
        value = ir.Constant(_llvm_tile(self.tile), ir.Undefined)
        for i in range(self.tile.rows * self.tile.registers):
            value = self.builder.insert_value(value, register_at(*divmod(i, self.tile.registers)), i)
        return value

    def number(self, pointer):
        """A number from memory in every lane."""
        return splat_value(self.builder, self.builder.load(pointer), llvm_vector(self.tile.vector))

    def fma(self, a, b, c):
        return call(self.builder, "llvm.fma", c.type, [a, b, c])

    def part(self, value, row, register):
        return self.builder.extract_value(value, row * self.tile.registers + register)


# -- shapes ----------------------------------------------------------------------------------------------------------


def columns(dtype, shape):
    """Columns of the tiles (rows, registers) of a dtype."""
    return shape[1] * lanes(dtype)


@intrinsic(twin=lambda a: ShapeTwin(a.dtype, WIDE[0], columns(a.dtype, WIDE)))
def wide(typing, a):
    return Shape(a.dtype, *WIDE)(a), lambda context, *_: context.get_dummy_value()


@intrinsic(twin=lambda a: ShapeTwin(a.dtype, NARROW[0], columns(a.dtype, NARROW)))
def narrow(typing, a):
    return Shape(a.dtype, *NARROW)(a), lambda context, *_: context.get_dummy_value()


@intrinsic(twin=lambda shape: shape.rows)
def n_rows(typing, shape):
    return types.intp(shape), lambda *_: INDEX(shape.tile.rows)


@intrinsic(twin=lambda shape: shape.columns)
def n_columns(typing, shape):
    return types.intp(shape), lambda *_: INDEX(shape.tile.registers * shape.tile.vector.n)


# -- tiles -----------------------------------------------------------------------------------------------------------


@intrinsic(twin=lambda shape, b, b_at: np.tile(b[b_at : b_at + shape.columns], (shape.rows, 1)))
def tile_row(typing, shape, b, b_at):
    def emit(context, builder, sig, arguments):
        w = _Writer(builder, shape.tile)
        row = [w.load(w.address(*arguments[1:], register=r)) for r in range(shape.tile.registers)]
        return w.value(lambda _, r: row[r])

    return shape.tile(shape, b, types.intp), emit


@intrinsic(
    twin=lambda shape, c, at, stride: np.stack([c[at + m * stride :][: shape.columns] for m in range(shape.rows)])
)
def tile_load(typing, shape, c, c_at, c_stride):
    def emit(context, builder, sig, arguments):
        w = _Writer(builder, shape.tile)
        return w.value(lambda row, r: w.load(w.address(*arguments[1:], row=row, register=r)))

    return shape.tile(shape, c, types.intp, types.intp), emit


def _twin_store(c, c_at, c_stride, tile):
    for m, row in enumerate(tile):
        c[c_at + m * c_stride :][: row.size] = row


@intrinsic(twin=_twin_store)
def tile_store(typing, c, c_at, c_stride, tile):
    def emit(context, builder, sig, arguments):
        *place, value = arguments
        w = _Writer(builder, tile)
        for row in range(tile.rows):
            for r in range(tile.registers):
                store_at(builder, w.part(value, row, r), w.address(*place, row=row, register=r), tile.dtype)
        return context.get_dummy_value()

    return types.void(c, types.intp, types.intp, tile), emit


def _by_register(write):
    """Writer of a tile from the registers of others in the same place."""

    def emit(context, builder, sig, arguments):
        w = _Writer(builder, sig.return_type)
        return w.value(lambda row, r: write(builder, *(w.part(value, row, r) for value in arguments)))

    return emit


def _zero_below(builder, value, sign):
    """0 where sign <= 0, else the value."""
    zero = ir.Constant(value.type, None)
    return builder.select(builder.fcmp_ordered("<=", sign, zero), zero, value)


@intrinsic(twin=lambda tile: np.where(tile <= 0, 0, tile).astype(tile.dtype))
def tile_rectify(typing, tile):
    return tile(tile), _by_register(lambda builder, value: _zero_below(builder, value, value))


@intrinsic(twin=lambda tile, other: np.where(other <= 0, 0, tile).astype(tile.dtype))
def tile_mask(typing, tile, other):
    return tile(tile, other), _by_register(_zero_below)


# Rows after a block's last one hold whatever was left there; like the instructions, the twins say nothing about it.
_silent = np.errstate(all="ignore")


@intrinsic(twin=_silent(lambda tile, other: tile * other))
def tile_multiply(typing, tile, other):
    return tile(tile, other), _by_register(lambda builder, value, factor: builder.fmul(value, factor))


@_silent
def _twin_fma(tile, a, a_at, a_stride, b, b_at):
    rows, n = tile.shape
    column = a[a_at + a_stride * np.arange(rows)][:, None]
    return (np.multiply(column, b[b_at : b_at + n], dtype=np.float64) + tile).astype(tile.dtype)


@intrinsic(twin=_twin_fma)
def tile_fma(typing, tile, a, a_at, a_stride, b, b_at):
    def emit(context, builder, sig, arguments):
        value, a_pointer, a_place, a_stride, b_pointer, b_place = arguments
        w = _Writer(builder, tile)
        b_row = [w.load(w.address(b_pointer, b_place, register=r)) for r in range(tile.registers)]
        scales = [w.number(w.address(a_pointer, a_place, a_stride, row=row)) for row in range(tile.rows)]

        def sum_of(row, r):
            return w.fma(scales[row], b_row[r], w.part(value, row, r))

        return w.value(sum_of)

    return tile(tile, a, types.intp, types.intp, b, types.intp), emit


@intrinsic(twin=np.transpose)
def tile_transpose(typing, tile):
    n = tile.vector.n

    def emit(context, builder, sig, arguments):
        rows = [builder.extract_value(arguments[0], row) for row in range(tile.rows)]
        squares = [transposed(builder, rows[first : first + n]) for first in range(0, tile.rows, n)]
        return _Writer(builder, sig.return_type).value(lambda row, r: squares[r][row])

    return Tile(tile.dtype, n, tile.rows // n)(tile), emit


@_silent
def _twin_fma_rows(z, z_at, tile, a, a_at):
    part = z[z_at : z_at + tile.shape[1]]
    for k, row in enumerate(tile):
        part[:] = np.multiply(row, a[a_at + k], dtype=np.float64) + part


@intrinsic(twin=_twin_fma_rows)
def tile_fma_rows(typing, z, z_at, tile, a, a_at):
    def emit(context, builder, sig, arguments):
        z_pointer, z_place, value, a_pointer, a_place = arguments
        w = _Writer(builder, tile)
        places = [w.address(z_pointer, z_place, register=r) for r in range(tile.registers)]
        sums = [w.load(place) for place in places]
        for row in range(tile.rows):
            scale = w.number(w.address(a_pointer, builder.add(a_place, INDEX(row))))
            sums = [w.fma(scale, w.part(value, row, r), sums[r]) for r in range(tile.registers)]
        for place, total in zip(places, sums, strict=True):
            store_at(builder, total, place, tile.dtype)
        return context.get_dummy_value()

    return types.void(z, types.intp, tile, a, types.intp), emit
