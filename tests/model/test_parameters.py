"""One flat vector with views, and how it is drawn at first."""

from __future__ import annotations

import copy
import pickle
import tempfile

import numpy as np
import pytest

import fastbp
from fastbp import optim
from fastbp.errors import InputError
from fastbp.formats.safetensors import load_safetensors
from fastbp.model.network import MLP
from fastbp.model.parameters import SCHEMES, Parameters, check_dtype, initialize
from fastbp.plot.layers import gradient_sizes

NET = MLP((3, 5, 2), activation="tanh", loss="squared_error")
NETS = [NET, MLP((3, 5, 2), loss="squared_error", bias=False), MLP((1, 1)), MLP((2, 7, 1, 4, 3), loss="cross_entropy")]
nets = pytest.mark.parametrize("net", NETS, ids=str)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def message_of(call, *arguments, **options):
    """The text of the InputError that a call must raise."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    return str(caught.value)


# -- the vector and its views ---------------------------------------------------------------------------


@nets
@both_dtypes
def test_views_tile_the_vector_layer_after_layer(net, dtype):
    """W1, b1, W2, b2, ... in C order, without gap, overlap or padding."""
    params = Parameters.from_vector(net, np.arange(net.n_parameters, dtype=dtype))
    parts = []
    for layer, weights in enumerate(params.weights):
        assert weights.shape == net.layer_sizes[layer : layer + 2]
        parts.append(weights.ravel())
        if net.bias:
            assert params.biases[layer].shape == net.layer_sizes[layer + 1 : layer + 2]
            parts.append(params.biases[layer])
    assert (np.concatenate(parts) == params.vector).all()
    assert params.dtype == dtype
    assert net.bias or params.biases == ()


@nets
def test_writing_to_a_view_writes_to_the_vector_and_back(net):
    """Views share memory with the vector, for parameters however they were made."""
    made = [Parameters.zeros(net), net.init(0), Parameters.from_vector(net, np.zeros(net.n_parameters))]
    assert made[0].weights[0].base is made[0].vector  # views that exist already must not be copied beside the vector
    made += [made[0].copy(), made[0].astype(np.float64), copy.copy(made[0]), copy.deepcopy(made[0])]
    made.append(pickle.loads(pickle.dumps(made[0])))
    for params in made:
        for view in (*params.weights, *params.biases):
            view[...] = 7.0
        assert (params.vector == 7.0).all()
        params.vector[...] = -1.0
        assert all((view == -1.0).all() for view in (*params.weights, *params.biases))


def test_from_vector_is_a_view_unless_a_copy_is_asked_for():
    """copy=False keeps the very array, copy=True one of its own."""
    vector = np.arange(NET.n_parameters, dtype=np.float32)
    assert Parameters.from_vector(NET, vector).vector is vector
    copied = Parameters.from_vector(NET, vector, copy=True)
    assert (copied.vector == vector).all()
    assert copied.dtype == np.float32
    assert not np.shares_memory(copied.vector, vector)


@pytest.mark.parametrize(
    "vector", [list(range(32)), np.arange(32), np.arange(32, dtype=np.float16), np.arange(64.0)[::2] / 2], ids=str
)
def test_from_vector_copies_what_cannot_be_a_view(vector):
    """Lists, integers, half precision and strided arrays become a contiguous float64 vector with copy=True."""
    params = Parameters.from_vector(NET, vector, copy=True)
    assert params.dtype == np.float64
    assert params.vector.flags.c_contiguous
    assert params.vector.tolist() == list(range(32))


def test_copies_share_nothing():
    """copy, astype, deepcopy and a pickle have memory of their own, and the same values."""
    params = NET.init(0)
    for other in (params.copy(), params.astype(np.float32), copy.deepcopy(params), pickle.loads(pickle.dumps(params))):
        assert (other.vector == params.vector).all()
        assert other.net == params.net
        assert not np.shares_memory(other.vector, params.vector)
    assert params.astype(np.float64).dtype == np.float64


def test_a_gradient_or_vector_of_another_length_is_refused():
    """The message names the network, the shape it needs and the one that came."""
    assert message_of(Parameters.from_vector, NET, np.zeros(31)) == (
        "the parameter vector of 3-5-2 tanh, squared_error has shape (32,); got (31,)"
    )
    assert message_of(Parameters.from_vector, NET, np.zeros((32, 1)), copy=True) == (
        "the parameter vector of 3-5-2 tanh, squared_error has shape (32,); got (32, 1)"
    )


@pytest.mark.parametrize(
    ("vector", "came"),
    [
        (np.zeros(32, np.int64), "int64, strides (8,)"),
        (np.zeros(32, np.float16), "float16, strides (2,)"),
        (np.zeros(64, np.float32)[::2], "float32, strides (8,)"),
        (np.zeros(32, ">f8"), ">f8, strides (8,)"),
    ],
    ids=["int64", "float16", "strided", "big-endian"],
)
def test_from_vector_refuses_what_cannot_be_a_view(vector, came):
    """Without copy=True the message says what came and what to pass."""
    assert message_of(Parameters.from_vector, NET, vector) == (
        "from_vector needs a contiguous float32 or float64 array to make a view of; "
        f"got {came.replace('>f8', str(np.dtype('>f8')))}. Pass copy=True for a float64 copy"
    )


def test_repr_names_the_network_the_size_and_the_precision():
    """No numbers are printed."""
    assert repr(Parameters.zeros(NET)) == "Parameters(3-5-2 tanh, squared_error, 32 float32)"


# -- initialization -------------------------------------------------------------------------------------

BIG = MLP((300, 200, 100, 50), activation=("tanh", "relu"), loss="squared_error")


@pytest.mark.parametrize("scheme", [None, *SCHEMES])
def test_float32_starts_as_float64_does_cast(scheme):
    """The numbers are drawn in float64 and then rounded."""
    wide, narrow = (BIG.init(3, dtype=dtype, scheme=scheme) for dtype in (np.float64, np.float32))
    assert narrow.dtype == np.float32
    assert (narrow.vector == wide.vector.astype(np.float32)).all()


def test_a_seed_decides_and_a_generator_goes_on():
    """An equal seed gives equal bits, another seed others; a Generator is advanced; None is fresh every time."""
    assert (BIG.init(1).vector == BIG.init(1).vector).all()
    assert (BIG.init(1).vector == BIG.init(np.random.default_rng(1)).vector).all()
    assert (BIG.init(1).weights[0] != BIG.init(2).weights[0]).mean() > 0.99
    rng = np.random.default_rng(1)
    assert (BIG.init(rng).weights[0] != BIG.init(rng).weights[0]).mean() > 0.99
    assert (BIG.init().weights[0] != BIG.init().weights[0]).mean() > 0.99


def test_biases_start_at_zero_and_the_dtype_is_float32():
    """Zero biases in every scheme; float32 unless asked otherwise."""
    for scheme in (None, *SCHEMES):
        assert all((biases == 0).all() for biases in BIG.init(0, scheme=scheme).biases)
    assert BIG.init(0).dtype == np.float32


def is_glorot_uniform(weights):
    """Uniform within sqrt(6 / (n_in + n_out)): close to the limit, never beyond, standard deviation limit / sqrt 3."""
    limit = np.sqrt(6 / sum(weights.shape))
    close_to_limit = 0.99 * limit < np.abs(weights).max() <= limit
    return close_to_limit and weights.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)


def is_normal(weights, scale):
    """Mean 0, that standard deviation, and the fourth moment of a normal distribution, 3 scale^4."""
    fourth = (weights**4).mean() == pytest.approx(3 * scale**4, rel=0.1)
    return fourth and weights.std() == pytest.approx(scale, rel=0.03) and abs(weights.mean()) < 0.03 * scale


def test_each_layer_starts_as_its_activation_wants():
    """tanh and the output: glorot_uniform; relu: he_normal."""
    into_tanh, into_relu, output = BIG.init(0, dtype=np.float64).weights
    assert is_glorot_uniform(into_tanh)
    assert is_normal(into_relu, np.sqrt(2 / 200))
    assert not is_glorot_uniform(into_relu)
    assert is_glorot_uniform(output)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "silu", "gelu", "gelu_tanh"])
def test_the_relu_family_starts_by_he(activation):
    """he_normal for every activation that is about z on the right and about 0 on the left."""
    net = MLP((200, 200, 1), activation=activation)
    assert is_normal(net.init(0, dtype=np.float64).weights[0], 0.1)


@pytest.mark.parametrize("activation", ["identity", "sigmoid", "tanh", "softplus"])
def test_the_others_start_by_glorot(activation):
    """glorot_uniform for the rest."""
    net = MLP((200, 200, 1), activation=activation)
    assert is_glorot_uniform(net.init(0, dtype=np.float64).weights[0])


def test_a_scheme_is_for_all_layers():
    """Asked for by name, a scheme overrides what activations want; "lecture" is the standard normal."""
    for weights in BIG.init(0, dtype=np.float64, scheme="lecture").weights:
        assert is_normal(weights, 1.0)
    for weights in BIG.init(0, dtype=np.float64, scheme="he_normal").weights:
        assert is_normal(weights, np.sqrt(2 / weights.shape[0]))
    for weights in BIG.init(0, dtype=np.float64, scheme="glorot_uniform").weights:
        assert is_glorot_uniform(weights)


def test_the_lecture_scheme_draws_what_the_slides_draw():
    """w1 and w2 are `randn` of (2, 100) and (100, 1), one after the other from one generator."""
    params = MLP((2, 100, 1), bias=False).init(7, dtype=np.float64, scheme="lecture")
    rng = np.random.default_rng(7)
    assert (params.weights[0] == rng.standard_normal((2, 100))).all()
    assert (params.weights[1] == rng.standard_normal((100, 1))).all()


def test_an_unknown_scheme_or_dtype_is_refused():
    """The message names the known ones."""
    assert message_of(initialize, NET, 0, scheme="xavier") == (
        "scheme must be one of glorot_uniform, he_normal, lecture or None; got 'xavier'"
    )
    for call in (lambda: NET.init(0, dtype="float16"), lambda: Parameters.zeros(NET, "float16")):
        assert message_of(call) == "dtype must be float32 or float64; got 'float16'"
    for wrong in (np.int64, np.complex128, "no such type", None, ">f8"):
        assert message_of(check_dtype, wrong) == f"dtype must be float32 or float64; got {wrong!r}"


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("f4"), "<f4"], ids=str)
def test_a_dtype_may_be_spelled_in_any_way(dtype):
    """Whatever NumPy takes for float32."""
    assert check_dtype(dtype) == np.float32


# -- read-only vectors ------------------------------------------------------------------------------------


def locked(vector, folder):
    vector = vector.copy()
    vector.flags.writeable = False
    return vector


def mapped(vector, folder):
    np.save(folder / "vector.npy", vector)
    return np.load(folder / "vector.npy", mmap_mode="r")


def copied_on_write(vector, folder):
    np.save(folder / "vector.npy", vector)
    return np.load(folder / "vector.npy", mmap_mode="c")


READ_ONLY = {
    "locked": lambda *a: Parameters.from_vector(NET, locked(*a)),
    "a view of what is locked": lambda *a: Parameters.from_vector(NET, locked(*a)[:]),
    "mapped": lambda *a: Parameters.from_vector(NET, mapped(*a)),
    "mapped, as joblib unpickles it": lambda *a: Parameters(NET, mapped(*a)),
    "mapped, copied on write": lambda *a: Parameters(NET, copied_on_write(*a)),
}
READERS = {
    "forward": lambda p, x, y: NET.forward(p, x),
    "logits": lambda p, x, y: NET.logits(p, x),
    "predict": lambda p, x, y: NET.predict(p, x),
    "loss": lambda p, x, y: NET.loss(p, x, y, l1=0.1, l2=0.2),
    "loss of each row": lambda p, x, y: NET.loss(p, x, y, reduction="none"),
    "value_and_grad": lambda p, x, y: NET.value_and_grad(p, x, y, l1=0.1, l2=0.2)[1].vector,
    "input_grad": lambda p, x, y: NET.input_grad(p, x, y),
    "vjp, parameters": lambda p, x, y: NET.vjp(p, x)[1](y)[0].vector,
    "vjp, inputs": lambda p, x, y: NET.vjp(p, x)[1](y)[1],
    "check_grad": lambda p, x, y: fastbp.check_grad(NET, p, x, y, rng=0).ok,
    "train": lambda p, x, y: fastbp.train(NET, p, x, y, epochs=2, seed=0).params.vector,
    "graph": lambda p, x, y: fastbp.graph.trace(NET, p, x, y).to_json(),
    "gradients of a picture": lambda p, x, y: gradient_sizes(NET, p, x, y),
    "weights": lambda p, x, y: p.weights[0],
    "copy": lambda p, x, y: p.copy().vector,
    "astype": lambda p, x, y: p.astype(np.float32).vector,
    "save": lambda p, x, y: saved(p),
    "export": lambda p, x, y: exported(p),
    "objective": lambda p, x, y: optim.scipy_objective(NET, x, y)(p.vector)[1],
}


def saved(params):
    with tempfile.TemporaryDirectory() as folder:
        fastbp.save(f"{folder}/m.npz", NET, params)
        return fastbp.load(f"{folder}/m.npz")[1].vector


def exported(params):
    with tempfile.TemporaryDirectory() as folder:
        fastbp.export(f"{folder}/m.safetensors", NET, params)
        return load_safetensors(f"{folder}/m.safetensors")[1].vector


@both_dtypes
@pytest.mark.parametrize("how", READ_ONLY)
@pytest.mark.parametrize("reader", READERS)
def test_reading_needs_no_writable_parameters(reader, how, dtype, tmp_path):
    """Parameters over read-only memory give the bits of their copy, and are as they were afterwards."""
    rng = np.random.default_rng(0)
    params = NET.init(1, dtype=dtype)
    x, y = rng.standard_normal((7, 3)).astype(dtype), rng.standard_normal((7, 2)).astype(dtype)
    read_only = READ_ONLY[how](params.vector, tmp_path)
    before = params.vector.copy()
    np.testing.assert_array_equal(READERS[reader](read_only, x, y), READERS[reader](params, x, y))
    np.testing.assert_array_equal(read_only.vector, before)


def test_read_only_parameters_are_not_written(tmp_path):
    """What would write to them says so: they take no gradient, and a view of them stays read-only."""
    params = READ_ONLY["locked"](NET.init(0, dtype=np.float64).vector, tmp_path)
    text = message_of(NET.value_and_grad, NET.init(0, dtype=np.float64), np.ones((1, 3)), np.ones((1, 2)), out=params)
    assert "read-only" in text
    assert not params.weights[0].flags.writeable
