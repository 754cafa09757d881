"""The register tile: a small matrix that lives in vector registers, as a value that kernels carry through a loop.

    wide(a), narrow(a)                 the two shapes of tiles, in the dtype of `a`
    n_rows(shape), n_columns(shape)    of its tiles
    tile_row(shape, b, b_at)           every row = b[b_at : b_at + COLUMNS]          (a bias, say)
    tile_load(shape, c, c_at, c_step)  rows from memory, c_step elements apart
    tile_store(c, c_at, c_step, tile)  rows to memory
    tile_multiply(tile, other)         element by element
    tile_fma(tile, a, a_at, a_step, b, b_at)
                                       tile[m, :] += a[a_at + m a_step] b[b_at : b_at + COLUMNS]
    tile_rectify(tile)                 0 where an element <= 0
    tile_mask(tile, other)             0 where the other's element <= 0
    tile_zero(shape), tile_totals(tile)
                                       every number 0; the sum of each row of a narrow tile, as a vector
    tile_fma_rows(tile, a, a_at, a_step, b, b_at)
                                       tile[m, :] += a[a_at + m a_step + :] b[b_at + :], element by element

Wide tiles do most of the work: 8 rows x 2 registers fill 16 of the 32 AVX-512 registers with sums, and leave room for a
row of b and a broadcast; where there are 16 registers, 4 x 3 is the choice. Narrow tiles, one register wide and as many
sums high, take the columns behind the last whole wide tile. The caller owns every index.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import models, register_model

from .._jit import intrinsic
from .vector import INDEX, VECTOR_BYTES, Vector, call, joined, lanes, llvm_vector, load_at, splat_value, store_at

WIDE, NARROW = ((8, 2), (16, 1)) if VECTOR_BYTES == 64 else ((4, 3), (8, 1))  # rows and registers


class Tile(types.Type):
    """The numbers of a tile, in registers."""

    def __init__(self, dtype, rows, registers):
        self.dtype, self.rows, self.registers = dtype, rows, registers
        self.vector = Vector(dtype, lanes(dtype))
        super().__init__(name=f"Tile({dtype} {rows} x {registers})")


class Shape(types.Type):
    """A value that says only, by its type, what tiles to use."""

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
        for i in range(self.tile.rows * self.tile.registers):
            value = self.builder.insert_value(value, register_at(*divmod(i, self.tile.registers)), i)
        return value

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


@intrinsic(twin=lambda shape, c, at, step: np.stack([c[at + m * step :][: shape.columns] for m in range(shape.rows)]))
def tile_load(typing, shape, c, c_at, c_step):
    def emit(context, builder, sig, arguments):
        w = _Writer(builder, shape.tile)
        return w.value(lambda row, r: w.load(w.address(*arguments[1:], row=row, register=r)))

    return shape.tile(shape, c, types.intp, types.intp), emit


def _twin_store(c, c_at, c_step, tile):
    for m, row in enumerate(tile):
        c[c_at + m * c_step :][: row.size] = row


@intrinsic(twin=_twin_store)
def tile_store(typing, c, c_at, c_step, tile):
    def emit(context, builder, sig, arguments):
        *place, value = arguments
        w = _Writer(builder, tile)
        for row in range(tile.rows):
            for r in range(tile.registers):
                store_at(builder, w.part(value, row, r), w.address(*place, row=row, register=r), tile.dtype)
        return context.get_dummy_value()

    return types.void(c, types.intp, types.intp, tile), emit


@intrinsic(twin=lambda shape: np.zeros((shape.rows, shape.columns), shape.dtype))
def tile_zero(typing, shape):
    return shape.tile(shape), lambda context, *_: ir.Constant(_llvm_tile(shape.tile), None)


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


# Rows behind a block's last one hold whatever was left there; like the instructions, the twins say nothing about it.
_silent = np.errstate(all="ignore")


@intrinsic(twin=_silent(lambda tile, other: tile * other))
def tile_multiply(typing, tile, other):
    return tile(tile, other), _by_register(lambda builder, value, factor: builder.fmul(value, factor))


def _fma(tile, a, b, factors):
    """tile[m, :] + factors(m) b, where factors(writer, row of a) gives the registers of one row."""

    def emit(context, builder, sig, arguments):
        value, a_pointer, a_place, a_stride, b_pointer, b_place = arguments
        w = _Writer(builder, tile)
        b_row = [w.load(w.address(b_pointer, b_place, register=r)) for r in range(tile.registers)]
        rows = [factors(w, w.address(a_pointer, a_place, a_stride, row=row)) for row in range(tile.rows)]

        def sum_of(row, r):
            return call(builder, "llvm.fma", b_row[r].type, [rows[row][r], b_row[r], w.part(value, row, r)])

        return w.value(sum_of)

    return tile(tile, a, types.intp, types.intp, b, types.intp), emit


@_silent
def _twin_fma(tile, a, a_at, a_step, b, b_at):
    rows, n = tile.shape
    column = a[a_at + a_step * np.arange(rows)][:, None]
    return (np.multiply(column, b[b_at : b_at + n], dtype=np.float64) + tile).astype(tile.dtype)


@intrinsic(twin=_twin_fma)
def tile_fma(typing, tile, a, a_at, a_step, b, b_at):
    def number(w, place):
        return [splat_value(w.builder, w.builder.load(place), llvm_vector(tile.vector))] * tile.registers

    return _fma(tile, a, b, number)


@_silent
def _twin_fma_rows(tile, a, a_at, a_step, b, b_at):
    rows, n = tile.shape
    part = np.stack([a[a_at + m * a_step :][:n] for m in range(rows)])
    return (np.multiply(part, b[b_at : b_at + n], dtype=np.float64) + tile).astype(tile.dtype)


@intrinsic(twin=_twin_fma_rows)
def tile_fma_rows(typing, tile, a, a_at, a_step, b, b_at):
    def registers(w, place):
        return [w.load(w.address(place, INDEX(0), register=r)) for r in range(tile.registers)]

    return _fma(tile, a, b, registers)


@_silent
def _twin_totals(tile):
    while tile.shape[1] > 1:
        tile = tile[:, ::2] + tile[:, 1::2]
    return tile[:, 0]


@intrinsic(twin=_twin_totals)
def tile_totals(typing, tile):
    def emit(context, builder, sig, arguments):
        # Neighbouring lanes are added in two rows at once, until a register holds one number of each row.
        registers = [builder.extract_value(arguments[0], row) for row in range(tile.rows)]
        n = tile.vector.n
        picks = [ir.Constant(ir.VectorType(ir.IntType(32), n), list(range(start, 2 * n, 2))) for start in (0, 1)]
        while len(registers) > tile.rows // n:
            pairs = zip(registers[::2], registers[1::2], strict=True)
            registers = [builder.fadd(*(builder.shuffle_vector(*pair, pick) for pick in picks)) for pair in pairs]
        return joined(builder, registers)

    return Vector(tile.dtype, tile.rows)(tile), emit
