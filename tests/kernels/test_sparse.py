"""Sparse inputs: the dense calculation's values and bits, every format, and errors that name the row."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import fastbp
from fastbp import reference
from fastbp.engine.csr import CSR
from fastbp.errors import InputError

DTYPES = (np.float64, np.float32)
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}

# (network, rows, density): one layer, a register or several strips of outputs, parts of each, empty rows, one column.
CASES = [
    (fastbp.MLP((40, 2), loss="cross_entropy"), 65, 0.1),
    (fastbp.MLP((1, 3), loss="squared_error"), 7, 0.5),
    (fastbp.MLP((300, 1), loss="poisson", bias=False), 200, 0.02),
    (fastbp.MLP((50, 16, 3), activation="tanh", loss="cross_entropy"), 1, 0.3),
    (fastbp.MLP((70, 33, 2), activation="gelu", loss="squared_error"), 500, 0.05),
    (fastbp.MLP((90, 64, 1), activation="silu"), 64, 0.0),
    (fastbp.MLP((200, 100, 17, 5), activation="softplus", loss="cross_entropy"), 1003, 0.02),
    (fastbp.MLP((60, 129, 1), activation="sigmoid", bias=False), 300, 0.2),
    (fastbp.MLP((80, 200, 4), activation="elu", loss="huber"), 130, 1.0),
    (fastbp.MLP((500, 65, 3), activation="tanh", loss="squared_error"), 9_000, 0.004),
    (fastbp.MLP((2_300, 100, 10), activation="relu", loss="cross_entropy"), 4_096, 0.002),
]
# Settings that change no bit, one after the other.
SETTINGS = (("SERIAL_BELOW", 0), ("SLICE_BYTES", 2**12), ("WAVE_BYTES", 1), ("LAUNCH", 1.0))
by_case = pytest.mark.parametrize(("net", "n_rows", "density"), CASES, ids=lambda value: str(value))
by_dtype = pytest.mark.parametrize("dtype", DTYPES)


def some(net, n_rows, density, dtype=np.float64):
    """params, x as csr_array and y."""
    rng = np.random.default_rng(0)
    params = net.init(1, dtype=dtype)
    params.vector[:] += (rng.standard_normal(params.vector.size) * 0.1).astype(dtype)
    x = sp.random_array((n_rows, net.n_inputs), density=density, format="csr", rng=rng).astype(dtype)
    if net.loss_function.name == "cross_entropy":
        return params, x, rng.integers(net.n_outputs, size=n_rows)
    return params, x, rng.random((n_rows, net.n_outputs)).astype(dtype)


def distance(got, wanted):
    return np.linalg.norm(np.asarray(got, np.float64) - wanted) / max(np.linalg.norm(wanted), 1e-300)


@by_dtype
@by_case
def test_sparse_inputs_are_the_reference_s(net, n_rows, density, dtype):
    """Loss, gradient, outputs, gradient in the inputs."""
    params, x, y = some(net, n_rows, density, dtype)
    weights = np.random.default_rng(1).random(n_rows).astype(dtype)
    exact = params.astype(np.float64), x.astype(np.float64), y if y.dtype == np.int64 else y.astype(np.float64)
    value, grad = net.value_and_grad(params, x, y, sample_weight=weights, l2=0.1)
    wanted, wanted_grad = reference.value_and_grad(net, *exact, sample_weight=weights.astype(np.float64), l2=0.1)
    assert value == pytest.approx(wanted, rel=10 * TOLERANCE[dtype])
    assert distance(grad.vector, wanted_grad.vector) < TOLERANCE[dtype]
    assert distance(net.forward(params, x), reference.forward(net, *exact[:2])) < TOLERANCE[dtype]
    assert distance(net.input_grad(params, x, y), reference.input_grad(net, *exact)) < TOLERANCE[dtype]


@by_dtype
@by_case
def test_sparse_inputs_have_the_bits_of_dense_ones(net, n_rows, density, dtype, monkeypatch):
    """On any number of threads, with slices and units of any size, in launches of any length; rows alone, too."""
    params, x, y = some(net, n_rows, density, dtype)
    value, grad = net.value_and_grad(params, x.toarray(), y)
    outputs, losses = net.forward(params, x.toarray()), net.loss(params, x.toarray(), y, reduction="none")
    for name, setting in SETTINGS:
        monkeypatch.setattr(f"fastbp.engine.plan.{name}", setting)
        fastbp.engine.plan.layout.cache_clear()
        for n_threads in (1, 2):
            space = fastbp.Workspace()
            got, got_grad = net.value_and_grad(params, x, y, n_threads=n_threads, workspace=space)
            assert got == value, name
            np.testing.assert_array_equal(got_grad.vector, grad.vector)
            np.testing.assert_array_equal(net.forward(params, x, n_threads=n_threads, workspace=space), outputs)
    space = fastbp.Workspace()
    np.testing.assert_array_equal(net.loss(params, x, y, reduction="none", workspace=space), losses)
    np.testing.assert_array_equal(net.forward(params, x[-1:], workspace=space), outputs[-1:])
    fastbp.engine.plan.layout.cache_clear()


FORMATS = {
    "csr_matrix": sp.csr_matrix,
    "csc_array": sp.csc_array,
    "coo_array": sp.coo_array,
    "lil_array": sp.lil_array,
    "float32": lambda x: x.astype(np.float32),
    "unsorted": lambda x: _unsorted(x),
    "int64 indices": lambda x: _with_indices(x, np.int64),
    "twice the same column": lambda x: _halves(x),
    "more stored than used": lambda x: sp.csr_array((np.append(x.data, 7), np.append(x.indices, 3), x.indptr), x.shape),
}


def _with_indices(x, dtype):
    same = x.copy()
    same.indices, same.indptr = x.indices.astype(dtype), x.indptr.astype(dtype)
    return same


def _unsorted(x):
    reversed_rows = [np.arange(a, b)[::-1] for a, b in zip(x.indptr, x.indptr[1:], strict=False)]
    order = np.concatenate(reversed_rows)
    return sp.csr_array((x.data[order], x.indices[order], x.indptr), x.shape)


def _halves(x):
    return sp.csr_array((np.repeat(x.data / 2, 2), np.repeat(x.indices, 2), 2 * x.indptr), x.shape)


def _repeats(x):
    """Whether a row names a column twice."""
    rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
    return len(set(zip(rows, x.indices, strict=True))) < x.nnz


@st.composite
def matrices(draw):
    """CSR with rows of any length, columns in any order and more than once; sums of entries are exact."""
    n_columns = draw(st.integers(1, 40))
    entries = st.tuples(st.integers(0, n_columns - 1), st.integers(-80, 80).map(lambda n: n / 8))
    rows = draw(st.lists(st.lists(entries, max_size=12), min_size=1, max_size=70))
    indptr = np.cumsum([0, *map(len, rows)])
    index = draw(st.sampled_from((np.int32, np.int64)))
    columns = np.array([column for row in rows for column, _ in row], index)
    values = np.array([value for row in rows for _, value in row], draw(st.sampled_from(DTYPES)))
    return sp.csr_array((values, columns, indptr.astype(index)), (len(rows), n_columns))


@given(matrices(), st.sampled_from(((), (33, 17))), st.integers(1, 2))
def test_any_csr_is_the_dense_array(x, hidden, n_threads):
    """Empty rows and unordered columns: the same bits. A column twice in a row adds up in the kernels: close."""
    net = fastbp.MLP((x.shape[1], *hidden, 3), activation="tanh", loss="squared_error")
    params, y = net.init(0, dtype=np.float64), np.ones((x.shape[0], 3))
    before = x.copy()
    value, grad = net.value_and_grad(params, x, y, n_threads=n_threads)
    wanted, wanted_grad = net.value_and_grad(params, before.toarray(), y)
    tolerance = 1e-11 if _repeats(before) else 0
    assert value == pytest.approx(wanted, rel=tolerance, abs=0)
    np.testing.assert_allclose(grad.vector, wanted_grad.vector, rtol=tolerance, atol=tolerance)
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(x, name), getattr(before, name))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_taken(name):
    """As it is, where it is CSR; the user's array is left alone."""
    net = CASES[4][0]
    params, x, y = some(*CASES[4])
    x.data[:] = np.round(x.data * 8) / 8  # the same in float32
    wanted, wanted_grad = net.value_and_grad(params, x, y)
    other = FORMATS[name](x)
    before = other.copy()
    value, grad = net.value_and_grad(params, other, y)
    assert value == pytest.approx(wanted, rel=1e-13)
    np.testing.assert_allclose(grad.vector, wanted_grad.vector, rtol=1e-10, atol=1e-15)
    assert (before != other).nnz == 0


def test_counts_and_flags_are_taken_as_numbers():
    """Integers and booleans, as text vectorisers and one-hot encoders give them."""
    net = CASES[4][0]
    params, x, _ = some(*CASES[4])
    for dtype in (np.int64, np.int8, bool):
        counts = (x > 0).astype(dtype)
        np.testing.assert_array_equal(net.forward(params, counts), net.forward(params, counts.toarray()))


def test_work_and_memory_follow_the_numbers_stored():
    """A million columns, of which the dense array would take 8 GB; the row index alone is long."""
    net = fastbp.MLP((1_000_000, 2), loss="squared_error", bias=False)
    x = sp.random_array((1_000, 1_000_000), density=1e-5, format="csr", rng=np.random.default_rng(0))
    params = net.init(0, dtype=np.float64)
    assert np.allclose(net.forward(params, x), x @ params.weights[0])


def test_rows_of_the_canonical_form():
    """What mini-batches are made of: rows by slices, numbers and masks."""
    x = sp.random_array((30, 9), density=0.3, format="csr", rng=np.random.default_rng(0))
    canonical, dense = fastbp.engine.csr.as_inputs(x, 9, np.dtype(np.float64)), x.toarray()
    assert isinstance(canonical, CSR)
    for rows in (slice(None), slice(3, 20, 2), np.array([5, 1, 1, 29]), dense[:, 0] > 0, np.array([], int)):
        np.testing.assert_array_equal(canonical[rows].toarray(), dense[rows])


@pytest.mark.parametrize("batch_size", [300, None])
def test_training_is_that_of_dense_inputs(batch_size):
    """The same loss at every step, and the same parameters."""
    net, n_rows, density = CASES[6]
    params, x, y = some(net, n_rows, density)
    runs = [fastbp.train(net, params, form, y, steps=12, batch_size=batch_size) for form in (x, x.toarray())]
    np.testing.assert_array_equal(runs[0].params.vector, runs[1].params.vector)
    np.testing.assert_array_equal(runs[0].history["loss"], runs[1].history["loss"])


def test_sparse_training_goes_on_over_many_calls():
    """A callback after each epoch; dropout of inputs is refused."""
    net, n_rows, density = CASES[6]
    params, x, y = some(net, n_rows, density)
    options = {"epochs": 5, "batch_size": 300, "callbacks": [lambda run: None]}
    runs = [fastbp.train(net, params, form, y, **options).params.vector for form in (x, x.toarray())]
    np.testing.assert_array_equal(*runs)
    with pytest.raises(fastbp.errors.InputError, match="input_dropout needs dense inputs; got sparse x"):
        fastbp.train(net, params, x, y, input_dropout=0.1, **options)


def test_gradient_checks():
    """A sparse gradient can be held against the reference."""
    net = CASES[3][0]
    params, x, y = some(net, 20, 0.3)
    assert fastbp.check_grad(net, params, x, y).ok


def test_pullbacks():
    """The gradients of `vjp`, dense in the inputs."""
    net = CASES[4][0]
    params, x, _ = some(*CASES[4])
    y_pred, pullback = net.vjp(params, x)
    d_y = np.random.default_rng(0).standard_normal(y_pred.shape)
    grad, d_x = pullback(d_y)
    wanted_grad, wanted_d_x = net.vjp(params, x.toarray())[1](d_y)
    np.testing.assert_array_equal(grad.vector, wanted_grad.vector)
    np.testing.assert_array_equal(d_x, wanted_d_x)


def _broken(change):
    x = sp.random_array((20, 70), density=0.2, format="csr", rng=np.random.default_rng(0))
    assert x.has_sorted_indices
    change(x)
    return x


def _set(array, at, value):
    array[at] = value


BROKEN = [
    (lambda x: _set(x.data, 5, np.nan), r"x must be finite; got nan at row 0, column \d+\. Drop such rows"),
    (lambda x: _set(x.data, -1, -np.inf), r"got -inf at row 19, column \d+"),
    (lambda x: _set(x.data, 0, 1e300), r"x\.data must fit float32"),
    (lambda x: _set(x.indices, -1, 70), r"columns of x must lie from 0 to 69; got 70 in row 19"),
    (lambda x: _set(x.indices, 0, -1), r"columns of x must lie from 0 to 69; got -1 in row 0"),
    (lambda x: _set(x.indices, slice(0, 2), [9, 8]), r"must ascend, .* got 8 after 9 in row 0\. Set x\.has_sorted"),
    (lambda x: _set(x.indptr, 3, 1000), r"x\.indptr must hold 21 numbers that ascend from 0"),
    (
        lambda x: _set(x.indptr, -1, 1000),
        r"numbers that ascend from 0 to the 280 numbers stored; got 21 from 0 to 1000",
    ),
]


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[message[:40] for _, message in BROKEN])
def test_broken_inputs_are_named(change, message):
    """By row and column, with what to do."""
    net = fastbp.MLP((70, 5, 1))
    with pytest.raises(InputError, match=message):
        net.forward(net.init(0), _broken(change))


@pytest.mark.parametrize("n_threads", [1, 2])
def test_nothing_follows_what_is_not_sound(n_threads, monkeypatch):
    """A gradient ends with the step that found it: later ones would trust what was not written."""
    monkeypatch.setattr("fastbp.engine.plan.SERIAL_BELOW", 0)
    monkeypatch.setattr("fastbp.engine.plan.LAUNCH", 1.0)
    net, space = fastbp.MLP((70, 5, 1)), fastbp.Workspace()
    params, y = net.init(0), np.ones(600)
    x = sp.random_array((600, 70), density=0.2, format="csr", rng=np.random.default_rng(0), dtype=np.float32)
    assert x.has_sorted_indices
    net.value_and_grad(params, x, y, n_threads=n_threads, workspace=space)
    batch = space.batch(net, 600, np.dtype(np.float32), n_threads, 16)
    batch.memory.view(np.uint8)[:] = 0x7F
    x.indices[0], before = 2**30, params.copy()
    out = params.copy()
    with pytest.raises(InputError, match="must lie from 0 to 69"):
        net.value_and_grad(params, x, y, out=out, n_threads=n_threads, workspace=space)
    np.testing.assert_array_equal(out.vector, before.vector)


def test_rows_that_start_nowhere_are_refused_before_anyone_follows_them():
    """Also where nobody has asked yet whether columns ascend."""
    x = sp.random_array((20, 70), density=0.2, format="csr", rng=np.random.default_rng(0))
    x.indptr[3] = 10**9
    net = fastbp.MLP((70, 5, 1))
    with pytest.raises(InputError, match="numbers that ascend from 0"):
        net.forward(net.init(0), x)


def test_int64_columns_out_of_range_do_not_wrap():
    """2^32 is not column 0."""
    x = _with_indices(_broken(lambda x: None), np.int64)
    x.indices[0] = 2**32
    net = fastbp.MLP((70, 5, 1))
    with pytest.raises(InputError, match="must lie from 0 to 69"):
        net.forward(net.init(0), x)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((20, 69), r"shape \(N, 70\), .* got shape \(20, 69\)"), ((70, 20), "pass x.T"), ((0, 70), "At least one row")],
)
def test_shapes_are_refused(shape, message):
    """With the words of dense inputs."""
    net = fastbp.MLP((70, 5, 1))
    with pytest.raises(InputError, match=message):
        net.forward(net.init(0), sp.csr_array(shape))


def test_other_kinds_are_refused():
    """Complex numbers; a sparse array as targets, weights or `out`."""
    net = CASES[4][0]
    params, x, y = some(*CASES[4])
    with pytest.raises(InputError, match=r"x\.data must hold real numbers"):
        net.forward(params, x.astype(complex))
    with pytest.raises(InputError, match=r"y must be dense"):
        net.loss(params, x, sp.csr_array(y))
    with pytest.raises(InputError, match="out must be"):
        net.input_grad(params, x, y, out=x)
