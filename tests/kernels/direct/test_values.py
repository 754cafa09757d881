"""Activations, losses, softmax and links of rows in memory, and rows on their way in, against NumPy."""

import numpy as np
import pytest

from fastbp.engine.plan import layout
from fastbp.engine.workspace import machine
from fastbp.kernels.math import elementwise
from fastbp.kernels.simd.registers import pointer
from fastbp.kernels.simd.vector import GROUP_REGISTERS, lanes
from fastbp.kernels.structures import Rows, plan_at
from fastbp.model import activations, losses
from fastbp.model.network import MLP
from tests.kernel_calls import DTYPES, GUARD, assert_sums, compiled, matrix_in, poisoned, put, unchanged

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

FAR_BELOW = -1e30


@compiled
def activate(code, a, rows, slopes_at, has_slopes):
    elementwise.activate(code, 0.3, pointer(a), rows, slopes_at, has_slopes != 0)


@compiled
def loss_of_rows(code, a, rows, targets_at, losses_at):
    elementwise.loss_of_rows(code, 0.3, pointer(a), rows, targets_at, losses_at)


@compiled
def cross_entropy(a, rows, labels, targets_at, losses_at, status):
    if labels.size:
        status[0] = 1 if elementwise.cross_entropy_of_labels(pointer(a), rows, pointer(labels), 0, losses_at) else 0
    else:
        elementwise.cross_entropy_of_targets(pointer(a), rows, targets_at, losses_at)


@compiled
def apply_link(plan_address, a, rows):
    elementwise.apply_link(plan_at(plan_address, 0), pointer(a), rows)


@compiled
def load_rows(a, rows, source, source_at, status):
    status[0] = 1 if elementwise.load_rows(pointer(a), rows, pointer(source), source_at) else 0


def sizes(dtype):
    """(rows, numbers in each): parts of a register, whole ones and both; parts of a group of rows."""
    size = lanes(dtype)
    return ((1, 1), (3, size - 1), (4, size), (5, size + 1), (9, 2 * size), (2, 3 * size + 2))


PARAMETERS = [pytest.param(*shape, d, id=f"{shape}, {d.__name__}") for d in DTYPES for shape in sizes(d)]


def padded(n, dtype):
    return -(-n // lanes(dtype)) * lanes(dtype)


class Values:
    """Rows of z, of targets and of losses in memory that is NaN; what follows z in its registers is `padding`."""

    def __init__(self, n_rows, n, dtype, y=None, padding=0.0):
        rng, width = np.random.default_rng(n), padded(n, dtype)
        self.rows, self.groups = Rows(5, width + 3, n_rows, n), -(-n_rows // GROUP_REGISTERS) * GROUP_REGISTERS
        size = self.groups * self.rows.stride
        self.second_at, self.losses_at = 5 + size + GUARD, 5 + 2 * (size + GUARD)
        self.memory = poisoned(self.losses_at + self.groups + GUARD, dtype)
        self.z = rng.uniform(-3, 3, (n_rows, n)).astype(dtype)
        put(self.memory, self.rows, np.full((n_rows, width), padding))
        put(self.memory, self.rows, self.z)
        self.y = rng.random((n_rows, n)).astype(dtype) if y is None else y
        self.exact = self.z.astype(np.float64), self.y.astype(np.float64)
        self.second = self.rows._replace(offset=self.second_at)
        self.width, self.before = width, self.memory.copy()

    def put_targets(self):
        put(self.memory, self.second, np.zeros((len(self.y), self.width)))
        put(self.memory, self.second, self.y)
        self.before = self.memory.copy()

    def got(self):
        """z's place and the losses, as the kernel left them."""
        return matrix_in(self.memory, self.rows), self.memory[self.losses_at : self.losses_at + self.rows.n_rows]

    def places(self, rows, n_rows):
        """Whole registers of n_rows rows."""
        return rows.offset + rows.stride * np.arange(n_rows)[:, None] + np.arange(self.width)


def respond(loss, values):
    """The link that goes with a loss."""
    headers = layout(MLP((3, 2), loss=loss), 1, values.memory.dtype, machine()).header
    apply_link(headers.ctypes.data, values.memory, values.rows)


def softmax(z):
    power = np.exp(z - z.max(axis=1, keepdims=True))
    return power / power.sum(axis=1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


ACTIVATIONS = {  # value and slope, 0.3 for the parameter
    "sigmoid": lambda z: (sigmoid(z), sigmoid(z) * (1 - sigmoid(z))),
    "tanh": lambda z: (np.tanh(z), 1 - np.tanh(z) ** 2),
    "relu": lambda z: (np.maximum(z, 0), (z > 0) * 1.0),
    "leaky_relu": lambda z: (np.where(z > 0, z, 0.3 * z), np.where(z > 0, 1, 0.3)),
    "softplus": lambda z: (np.log1p(np.exp(z)), sigmoid(z)),
}
LOSSES = {
    "binary_cross_entropy": lambda z, y: (np.log1p(np.exp(z)) - y * z, sigmoid(z) - y),
    "squared_error": lambda z, y: ((z - y) ** 2 / 2, z - y),
    "absolute_error": lambda z, y: (np.abs(z - y), np.sign(z - y)),
    "huber": lambda z, y: (
        np.where(np.abs(z - y) < 0.3, (z - y) ** 2 / 2, 0.3 * (np.abs(z - y) - 0.15)), np.clip(z - y, -0.3, 0.3),
    ),
    "poisson": lambda z, y: (np.exp(z) - y * z, np.exp(z) - y),
}  # fmt: skip
# Exponentials and quotients have some more roundings than their one operation.
ROUNDINGS = 16


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(("n_rows", "n", "dtype"), PARAMETERS)
@pytest.mark.parametrize("has_slopes", [1, 0])
def test_activations_of_rows(name, n_rows, n, dtype, has_slopes):
    """a(z) in place and a'(z) beside it, if wanted; no more is written than groups of rows of whole registers."""
    values = Values(n_rows, n, dtype)
    activate(activations.NAMES.index(name), values.memory, values.rows, values.second_at, has_slopes)
    a, slopes = ACTIVATIONS[name](values.exact[0])
    size = 1 + np.abs(values.exact[0])
    assert_sums(values.got()[0], a, ROUNDINGS, size)
    written = [values.places(values.rows, values.groups)]
    if has_slopes:
        assert_sums(matrix_in(values.memory, values.second), slopes, ROUNDINGS, size)
        written.append(values.places(values.second, values.groups))
    assert unchanged(values.before, values.memory, *written)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("n_rows", "n", "dtype"), PARAMETERS)
def test_losses_of_rows(name, n_rows, n, dtype):
    """dl/dz in place of z, and each row's sum of losses; what follows in the last register counts for nothing."""
    values = Values(n_rows, n, dtype, padding=7.0)
    values.put_targets()
    loss_of_rows(losses.NAMES.index(name), values.memory, values.rows, values.second_at, values.losses_at)
    value, d_z = LOSSES[name](*values.exact)
    got_d_z, got = values.got()
    size = np.exp(np.abs(values.exact[0])) + 9
    assert_sums(got_d_z, d_z, ROUNDINGS, size)
    assert_sums(got, value.sum(axis=1), n + ROUNDINGS, size.sum(axis=1))
    losses_written = np.arange(values.losses_at, values.losses_at + values.groups)
    assert unchanged(values.before, values.memory, values.places(values.rows, values.groups), losses_written)


@pytest.mark.parametrize("has_labels", [True, False])
@pytest.mark.parametrize(("n_rows", "n", "dtype"), PARAMETERS)
def test_cross_entropy_of_rows(n_rows, n, dtype, has_labels):
    """softmax(z) - y in place of z, and logsumexp(z) - y z; only these rows are written."""
    labels = np.random.default_rng(0).integers(0, n, n_rows)
    shares = softmax(np.random.default_rng(1).standard_normal((n_rows, n)))
    y = np.eye(n, dtype=dtype)[labels] if has_labels else shares.astype(dtype)
    values, status = Values(n_rows, n, dtype, y, FAR_BELOW), np.zeros(1, np.int64)
    values.put_targets()
    given = labels if has_labels else labels[:0]
    cross_entropy(values.memory, values.rows, given, values.second_at, values.losses_at, status)
    assert status[0] == has_labels
    z, y = values.exact
    got_d_z, got = values.got()
    assert_sums(got_d_z, softmax(z) - y, n + ROUNDINGS, np.ones_like(z))
    assert_sums(got, -(y * np.log(softmax(z))).sum(axis=1), n + ROUNDINGS, np.full(n_rows, 3.0 + np.log(n)))
    losses_written = np.arange(values.losses_at, values.losses_at + n_rows)
    assert unchanged(values.before, values.memory, values.places(values.rows, n_rows), losses_written)
    for bad in (-1, n):
        if has_labels:
            labels[-1] = bad
            cross_entropy(values.memory, values.rows, labels, values.second_at, values.losses_at, status)
            assert status[0] == 0


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("cross_entropy", softmax),
        ("binary_cross_entropy", sigmoid),
        ("poisson", np.exp),
        ("squared_error", lambda z: z),
    ],
)
@pytest.mark.parametrize(("n_rows", "n", "dtype"), PARAMETERS)
def test_links_of_rows(name, link, n_rows, n, dtype):
    """The responses in place of z; only these rows are written."""
    values = Values(n_rows, n, dtype, padding=FAR_BELOW)
    respond(name, values)
    wanted = link(values.exact[0])
    assert_sums(values.got()[0], wanted, n + ROUNDINGS, np.maximum(np.abs(wanted), np.abs(values.exact[0]) * wanted))
    assert unchanged(values.before, values.memory, values.places(values.rows, n_rows))


@pytest.mark.parametrize(("n_rows", "n", "dtype"), PARAMETERS)
def test_softmax_of_outputs_whose_powers_overflow(n_rows, n, dtype):
    """Any output may be the largest by far: no power is infinite."""
    for far in range(n):
        values = Values(n_rows, n, dtype, padding=FAR_BELOW)
        values.z[:, far] = 2000
        put(values.memory, values.rows, values.z)
        respond("cross_entropy", values)
        np.testing.assert_array_equal(values.got()[0], np.tile(np.arange(n) == far, (n_rows, 1)))


@pytest.mark.parametrize(("n_rows", "n", "dtype"), PARAMETERS)
def test_rows_are_loaded_as_they_are(n_rows, n, dtype):
    """With zeros up to a whole register; what stands after the source is not read; a number not finite is said."""
    values, status = Values(n_rows, n, dtype), np.zeros(1, np.int64)
    source = np.concatenate([poisoned(3, dtype), values.z.ravel(), poisoned(GUARD, dtype)])
    values.memory[:] = poisoned(values.memory.size, dtype)
    before = values.memory.copy()
    load_rows(values.memory, values.rows, source, 3, status)
    assert status[0] == 1
    got = values.memory[values.places(values.rows, n_rows)]
    np.testing.assert_array_equal(got, np.pad(values.z, ((0, 0), (0, values.width - n))))
    assert unchanged(before, values.memory, values.places(values.rows, n_rows))
    for i in range(values.z.size):
        for bad in (np.nan, np.inf, -np.inf):
            wrong = source.copy()
            wrong[3 + i] = bad
            load_rows(values.memory, values.rows, wrong, 3, status)
            assert status[0] == 0
