"""The public calls around the kernels: what is used, what is left alone, what is refused and how it is said."""

import sys
import threading

import numpy as np
import pytest

import fastbp
from fastbp.errors import InputError, StateError
from fastbp.model.parameters import Parameters
from fastbp.optim import sgd
from fastbp.training.batches import BatchSource
from fastbp.training.steps import Descent
from tests.cases import LECTURE, SMALL, make_data
from tests.says import assert_says

NET = fastbp.MLP((2, 5, 1))
DEEP = fastbp.MLP((3, 4, 4, 3), activation="relu", loss="cross_entropy")


def some(net=NET, n=10, dtype=np.float32):
    rng = np.random.default_rng(0)
    y = rng.integers(0, net.n_outputs, n) if net.n_outputs > 1 else rng.random((n, 1)).astype(dtype)
    return net.init(0, dtype=dtype), rng.standard_normal((n, net.n_inputs)).astype(dtype), y


@pytest.mark.parametrize("net", [NET, DEEP])
def test_out_is_really_used(net):
    """The arrays given as `out` are filled and returned; without it each call returns memory of its own."""
    params, x, y = some(net)
    gradient = params.copy()
    _, returned = net.value_and_grad(params, x, y, out=gradient)
    assert returned is gradient
    outputs = np.full((10, net.n_outputs), np.nan, np.float32)
    assert np.shares_memory(net.forward(params, x, out=outputs), outputs)
    _, fresh = net.value_and_grad(params, x, y)
    _, other = net.value_and_grad(params, x, y)
    assert not np.shares_memory(fresh.vector, other.vector)
    np.testing.assert_array_equal(fresh.vector, gradient.vector)
    np.testing.assert_array_equal(outputs, net.forward(params, x))


@pytest.mark.parametrize("case", [LECTURE[0], *SMALL[::9]], ids=lambda case: case.id)
def test_inputs_are_never_written(case):
    """Parameters, x, y and weights are the same bits afterwards; read-only ones serve, too."""
    data = make_data(case)
    kept = [array.copy() for array in (data.params.vector, data.x, data.y, data.sample_weight)]
    for array in (data.x, data.y, data.sample_weight):
        array.setflags(write=False)
    case.net.value_and_grad(data.params, data.x, data.y, sample_weight=data.sample_weight, l1=0.1, l2=0.1)
    case.net.predict(data.params, data.x)
    for before, after in zip(kept, (data.params.vector, data.x, data.y, data.sample_weight), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_workspace_keeps_its_memory():
    """The second call with the same shapes allocates no scratch; many shapes do not pile up."""
    workspace = fastbp.Workspace()
    params, x, y = some()
    NET.value_and_grad(params, x, y, workspace=workspace)
    (first,) = workspace._batches.values()
    NET.value_and_grad(params, x, y, workspace=workspace)
    assert [id(batch) for batch in workspace._batches.values()] == [id(first)]
    for n in range(1, 30):
        NET.forward(params, np.ones((n, 2), np.float32), workspace=workspace)
    assert len(workspace._batches) <= 8


def test_a_workspace_serves_one_call_at_a_time():
    """A second call while one is running is refused; afterwards the workspace is free again, also after an error."""
    workspace = fastbp.Workspace()
    params, x, y = some()
    with (
        workspace.acquire(NET, 10, np.dtype(np.float32), 1),
        pytest.raises(
            StateError, match="this Workspace is in use by another call; give each thread a Workspace of its own"
        ),
    ):
        NET.value_and_grad(params, x, y, workspace=workspace)
    with pytest.raises(InputError):
        NET.value_and_grad(params, np.full_like(x, np.nan), y, workspace=workspace)
    NET.value_and_grad(params, x, y, workspace=workspace)


def test_threads_have_scratch_of_their_own():
    """Many Python threads calling without a workspace get the bits of one."""
    params, x, y = some(n=2000)
    wanted = NET.value_and_grad(params, x, y)[1].vector
    wrong = []

    def work():
        for _ in range(30):
            if (NET.value_and_grad(params, x, y)[1].vector != wanted).any():
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def nan_at(array, row):
    array = array.copy()
    array[row] = np.nan
    return array


@pytest.mark.parametrize("n_inputs", [2, 20])
def test_a_bad_target_of_any_output_is_found(n_inputs):
    """With samples in the lanes and with tiles: a NaN in each column, and labels on either side of the range."""
    x = np.ones((70, n_inputs), np.float32)
    net = fastbp.MLP((n_inputs, 5, 3), loss="squared_error")
    for column in range(3):
        y = np.zeros((70, 3), np.float32)
        y[66, column] = np.nan
        with pytest.raises(InputError, match=f"^y must be finite; got nan at row 66, column {column}."):
            net.value_and_grad(net.init(0), x, y)
    net = fastbp.MLP((n_inputs, 5, 3), loss="cross_entropy")
    for label in (-1, 3):
        y = np.zeros(70, np.int64)
        y[66] = label
        with pytest.raises(InputError, match=f"^y must hold labels 0 to 2, .*; got {label} at row 66."):
            net.value_and_grad(net.init(0), x, y)


REFUSED = {
    "NaN in x": (
        lambda p, x, y: NET.value_and_grad(p, nan_at(x, (7, 1)), y),
        "x must be finite; got nan at row 7, column 1. Drop such rows or fill in the values",
    ),
    "NaN in y": (lambda p, x, y: NET.value_and_grad(p, x, nan_at(y, 3)), "row 3"),
    **{
        f"no y for {call}": (
            lambda p, x, y, call=call: getattr(NET, call)(p, x, None),
            "y must be an array of numbers; got NoneType",
        )
        for call in ("loss", "value_and_grad", "input_grad")
    },
    "y out of range": (lambda p, x, y: NET.value_and_grad(p, x, y * 0 + 2), "row 0"),
    "parameters of another network": (
        lambda p, x, y: NET.value_and_grad(DEEP.init(0), x, y),
        "params belong to another network: wanted those of 2-5-1 sigmoid, binary_cross_entropy; "
        "got those of 3-4-4-3 relu, cross_entropy",
    ),
    "a bare vector": (
        lambda p, x, y: NET.forward(p.vector, x),
        "params must be fastbp.Parameters, as net.init() returns; got ndarray",
    ),
    "out is a vector": (
        lambda p, x, y: NET.value_and_grad(p, x, y, out=p.vector.copy()),
        "out must be fastbp.Parameters, such as params.copy(); got ndarray",
    ),
    "out is params": (
        lambda p, x, y: NET.value_and_grad(p, x, y, out=p),
        "out must not share memory with an input, which would be overwritten; pass another array",
    ),
    "reduction none": (lambda p, x, y: NET.value_and_grad(p, x, y, reduction="none"), "reduction"),
    "penalty of single losses": (
        lambda p, x, y: NET.loss(p, x, y, reduction="none", l2=0.1),
        "penalties belong to the whole objective; reduction='none' needs l1=0 and l2=0",
    ),
    "negative penalty": (lambda p, x, y: NET.value_and_grad(p, x, y, l2=-1.0), "l2"),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_honored_is_refused(call, message):
    """With what was wanted and what came."""
    with pytest.raises(InputError) as error:
        call(*some())
    assert_says(error, message)


@pytest.mark.parametrize(("label", "row"), [(-1, 4), (3, 9)])
def test_labels_out_of_range_are_found(label, row):
    """Label -1 must not wrap around to the last class."""
    params, x, y = some(DEEP)
    y[row] = label
    with pytest.raises(InputError, match=f"row {row}"):
        DEEP.value_and_grad(params, x, y)


def test_pullback_of_the_loss_s_own_derivative_is_the_gradient():
    """The pullback of dL/dz is dL/dW, for a given dL/dz of any sign."""
    for case in (LECTURE[0], LECTURE[7], SMALL[3]):
        data = make_data(case)
        net = fastbp.MLP(
            case.net.layer_sizes, activation=case.net.activations, loss="squared_error", bias=case.net.bias
        )
        params = Parameters(net, data.params.vector)
        y = np.random.default_rng(0).standard_normal((case.n_rows, net.n_outputs))
        _, wanted = net.value_and_grad(params, data.x, y, reduction="sum")
        from fastbp.engine.backprop import pullback

        got = pullback(net, params, data.x, net.logits(params, data.x) - y)
        np.testing.assert_allclose(got.vector, wanted.vector, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("net", [fastbp.MLP((2, 10, 1)), DEEP], ids=str)
def test_no_call_keeps_an_array(net):
    """Every entry lets go of what it was given: a reference held for ever is memory lost for ever."""
    params, x, y = some(net)
    rng = np.random.default_rng(0)
    x, labels = np.concatenate([x] * 500), np.concatenate([y] * 500)
    grad, out, d_x, weight = (
        params.copy(),
        np.empty((len(x), net.n_outputs), x.dtype),
        np.empty_like(x),
        rng.random(len(x)).astype(x.dtype),
    )
    own = fastbp.Activation("own", lambda z: z * z, lambda z: 2 * z)
    arrays = (params.vector, x, labels, grad.vector, out, d_x, weight)
    custom = fastbp.MLP(net.layer_sizes, activation=own, loss=net.loss_function)

    def calls():
        for n_threads in (1, 2):
            net.value_and_grad(params, x, labels, sample_weight=weight, out=grad, n_threads=n_threads)
            net.loss(params, x, labels, n_threads=n_threads)
            net.forward(params, x, out=out, n_threads=n_threads)
            net.input_grad(params, x, labels, out=d_x, n_threads=n_threads)
            custom.value_and_grad(Parameters(custom, params.vector), x, labels, n_threads=n_threads)
        for batch_size in (99, None):
            Descent(net, params, BatchSource(x, labels, weight), state=sgd().init(params), batch_size=batch_size).run(
                0, 2
            )

    calls()
    before = [sys.getrefcount(array) for array in arrays]
    for _ in range(3):
        calls()
    assert [sys.getrefcount(array) for array in arrays] == before
