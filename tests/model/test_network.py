"""A network is a value: how it is described, compared, copied and refused."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from fastbp.errors import InputError
from fastbp.model import activations, losses
from fastbp.model.network import MLP, Layer

NETS = [
    MLP((2, 100, 1), bias=False),
    MLP((784, 256, 128, 10), activation="relu", loss="cross_entropy"),
    MLP((3, 4, 5, 2), activation=("tanh", activations.leaky_relu(0.2)), loss=losses.quantile(0.9)),
    MLP((4, 1), loss="poisson"),
    MLP((1, 2, 3), activation=activations.elu(0.5), loss=losses.huber(2.0), bias=False),
]
nets = pytest.mark.parametrize("net", NETS, ids=str)


# -- a value --------------------------------------------------------------------------------------------


@nets
def test_every_way_to_copy_gives_an_equal_network(net):
    """to_dict / from_dict (through JSON too), pickle, copy: equal, of equal hash, with equal layers."""
    as_json = json.loads(json.dumps(net.to_dict()))
    for other in (MLP.from_dict(as_json), pickle.loads(pickle.dumps(net)), copy.copy(net), copy.deepcopy(net)):
        assert other == net
        assert hash(other) == hash(net)
        assert other.layers == net.layers
        assert (repr(other), str(other)) == (repr(net), str(net))


def test_networks_differ_in_any_part():
    """Sizes, activation and its parameter, loss and its parameter, bias: each makes another network."""
    others = [
        MLP((2, 101, 1)),
        MLP((2, 100, 1), activation="relu"),
        MLP((2, 100, 1), activation=activations.leaky_relu(0.01)),
        MLP((2, 100, 1), activation=activations.leaky_relu(0.02)),
        MLP((2, 100, 1), loss="huber"),
        MLP((2, 100, 1), loss=losses.huber(2.0)),
        MLP((2, 100, 1), bias=False),
        MLP((2, 100, 100, 1)),
        MLP((2, 100, 1)),
    ]
    assert len(set(others)) == len(others)
    assert others[0] != "2-101-1 sigmoid, binary_cross_entropy"


def test_spellings_of_one_network_are_equal():
    """Lists and NumPy integers, names and values, one activation for all or one for each."""
    net = MLP((2, 4, 4, 1), activation="relu", loss="huber")
    spelled = MLP(
        np.array([2, 4, 4, 1]), activation=[activations.relu(), "relu"], loss=losses.huber(1.0), bias=np.True_
    )
    assert net == spelled
    assert hash(net) == hash(spelled)
    assert net.to_dict() == spelled.to_dict()
    assert json.dumps(spelled.to_dict())


def test_hash_is_the_same_in_another_process():
    """A pickle from a process with other string hashes finds its equal in a dictionary here."""
    program = "import sys, pickle; from fastbp import MLP; sys.stdout.buffer.write(pickle.dumps(MLP((2, 3, 1))))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env={"PYTHONHASHSEED": "1"})
    assert pickle.loads(done.stdout) in {MLP((2, 3, 1))}


@nets
def test_a_network_is_frozen(net):
    """No part can be set or deleted."""
    for field in dataclasses.fields(net):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(net, field.name, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        del net.bias


def test_text_and_dictionary():
    """str for people, repr for programmers, to_dict for files."""
    net = NETS[2]
    assert str(net) == "3-4-5-2 tanh, leaky_relu(0.2), quantile(0.9)"
    assert str(NETS[0]) == "2-100-1 sigmoid, binary_cross_entropy, no bias"
    assert str(NETS[3]) == "4-1 linear, poisson"
    assert net.to_dict() == {
        "layer_sizes": [3, 4, 5, 2],
        "activation": [["tanh", 0.0], ["leaky_relu", 0.2]],
        "loss": ["quantile", 0.9],
        "bias": True,
    }
    assert repr(MLP((2, 3, 1))) == (
        "MLP(layer_sizes=(2, 3, 1), activations=(Activation(name='sigmoid', parameter=0.0),), "
        "loss_function=Loss(name='binary_cross_entropy', parameter=0.0), bias=True)"
    )


def test_sizes_and_layers():
    """Layers lie one after the other in the flat vector, weights before biases."""
    net = MLP((3, 5, 2), loss="squared_error")
    assert (net.n_inputs, net.n_outputs, net.n_parameters) == (3, 2, 3 * 5 + 5 + 5 * 2 + 2)
    assert net.layers == (
        Layer(3, 5, slice(0, 15), slice(15, 20)),
        Layer(5, 2, slice(20, 30), slice(30, 32)),
    )
    without = MLP((3, 5, 2), loss="squared_error", bias=False)
    assert without.n_parameters == 25
    assert without.layers[0].biases == slice(15, 15)


@pytest.mark.parametrize("name", losses.NAMES)
def test_the_loss_names_the_link(name):
    """sigmoid, softmax and exp for the likelihoods, identity for the others; labels for the cross entropies."""
    loss = MLP((2, 3), loss=name).loss_function
    links = {"binary_cross_entropy": "sigmoid", "cross_entropy": "softmax", "poisson": "exp"}
    assert loss.link == links.get(name, "identity")
    assert loss.is_classification == name.endswith("cross_entropy")


@pytest.mark.parametrize("module", [activations, losses], ids=["activations", "losses"])
def test_every_name_has_a_value_and_a_code(module):
    """`activations.relu()` is what the name "relu" means, and codes count from 0."""
    for code, name in enumerate(module.NAMES):
        value = getattr(module, name)()
        assert module.named(name) == value
        assert module.named(value) is value
        assert value.code == code


def test_a_network_is_described_without_numba():
    """Importing the network module, describing a network and drawing parameters load NumPy alone."""
    program = (
        "import sys; from fastbp.model.network import MLP; MLP((2, 3, 1)).init(0);"
        "print([m for m in ('numba', 'matplotlib', 'scipy', 'sklearn', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# -- refusals -------------------------------------------------------------------------------------------

ACTIVATION_NAMES, LOSS_NAMES = ", ".join(activations.NAMES), ", ".join(losses.NAMES)


@pytest.mark.parametrize(
    "layer_sizes", [(), (2,), (2, 0, 1), (2, -3, 1), (2, 2.5, 1), 5, None, "21", ("a", 1), (2, None), (True, 1.5)]
)
def test_layer_sizes_must_be_positive_integers(layer_sizes):
    """At least two of them."""
    assert refusal(layer_sizes) == (
        f"layer_sizes must be at least two positive integers, such as (2, 100, 1); got {layer_sizes!r}"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"activation": "swish"},
            f"activation must be one of {ACTIVATION_NAMES} or a value from fastbp.activations; got 'swish'",
        ),
        (
            {"activation": ["relu", None]},
            f"activation must be one of {ACTIVATION_NAMES} or a value from fastbp.activations; got None",
        ),
        (
            {"activation": None},
            f"activation must be one of {ACTIVATION_NAMES} or a value from fastbp.activations; got None",
        ),
        (
            {"activation": ["relu"] * 3},
            "activation must be one value or one for each of the 2 hidden layers; got 3. "
            "The output needs none: the loss names its link",
        ),
        ({"loss": "mse"}, f"loss must be one of {LOSS_NAMES} or a value from fastbp.losses; got 'mse'"),
        ({"loss": None}, f"loss must be one of {LOSS_NAMES} or a value from fastbp.losses; got None"),
        (
            {"loss": "cross_entropy"},
            "cross_entropy needs at least two outputs, one per class; got layer_sizes ending in 1. "
            "For a binary problem with one output use loss='binary_cross_entropy'",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_options_that_cannot_be_honored_are_refused(options, message):
    """The message says what was wanted, what came and what to do."""
    assert refusal((2, 3, 3, 1), **options) == message


@pytest.mark.parametrize(
    ("make", "value", "message"),
    [
        (losses.huber, 0.0, "delta of huber must be a positive number; got 0.0"),
        (losses.huber, np.inf, "delta of huber must be a positive number; got inf"),
        (losses.quantile, 1.0, "q of quantile must lie between 0 and 1; got 1.0"),
        (losses.quantile, np.nan, "q of quantile must lie between 0 and 1; got nan"),
        (activations.leaky_relu, np.nan, "slope of leaky_relu must be a finite number; got nan"),
        (activations.elu, -np.inf, "alpha of elu must be a finite number; got -inf"),
    ],
)
def test_parameters_of_losses_and_activations_are_checked(make, value, message):
    """huber's delta, quantile's q, leaky_relu's slope, elu's alpha."""
    with pytest.raises(InputError) as caught:
        make(value)
    assert str(caught.value) == message


def test_an_input_error_is_a_value_error():
    """Callers who know nothing of fastbp's errors catch ValueError."""
    with pytest.raises(ValueError, match="layer_sizes"):
        MLP((1,))


def refusal(layer_sizes, **options):
    """The text of the InputError that such a network must raise."""
    with pytest.raises(InputError) as caught:
        MLP(layer_sizes, **options)
    return str(caught.value)
