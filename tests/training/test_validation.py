"""Validation data and weights: what val_loss and metrics are of, and what is found before the run."""

import numpy as np
import pytest
import scipy.sparse as sp

import fastbp
from fastbp import reference
from fastbp.data import Npy
from fastbp.errors import DataError, FastbpError, InputError
from fastbp.metrics import accuracy
from tests.says import assert_says

NET = fastbp.MLP((3, 8, 4), activation="tanh", loss="cross_entropy")
TWO = fastbp.MLP((3, 8, 1))
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((200, 3)), RNG.integers(4, size=200)
WEIGHTS = RNG.random(200)
OF_CLASS = {0: 5.0, 2: 0.25}


def rows_of_share(share, seed=0, y=Y):
    return fastbp.data.split(len(y), share, np.random.default_rng((seed, 2)), y)


def train(net=NET, x=X, y=Y, **options):
    return fastbp.train(net, net.init(0, dtype=np.float64), x, y, **{"epochs": 2, "batch_size": 32, **options})


# -- what val_loss and metrics are of --------------------------------------------------------------------


@pytest.mark.parametrize("class_weight", [None, OF_CLASS, "balanced"])
@pytest.mark.parametrize("sample_weight", [None, WEIGHTS])
def test_val_loss_is_the_weighted_data_loss_of_the_validation_rows(class_weight, sample_weight):
    """For a share and for the same rows given, sample weight times class weight; metrics count each row once."""
    rows, held = rows_of_share(0.25)
    weights = np.ones(200) if sample_weight is None else sample_weight
    parts = [None if sample_weight is None else sample_weight[part] for part in (rows, held)]
    common = {"class_weight": class_weight, "metrics": "accuracy", "l2": 0.1, "snapshots": [10]}
    share = train(validation=0.25, sample_weight=sample_weight, **common)
    given = train(
        x=X[rows], y=Y[rows], sample_weight=parts[0], validation=(X[held], Y[held], parts[1]), **common
    )  # fmt: skip
    np.testing.assert_array_equal(share.params.vector, given.params.vector)
    for column in set(share.history) - {"seconds"}:
        np.testing.assert_array_equal(share.history[column], given.history[column], err_msg=column)

    of_class = np.ones(4)
    if class_weight == "balanced":
        of_class = len(rows) / (4 * np.bincount(Y[rows]))
    elif class_weight:
        of_class[[0, 2]] = OF_CLASS[0], OF_CLASS[2]
    params = share.snapshots[10]
    wanted = reference.loss(NET, params, X[held], Y[held], sample_weight=weights[held] * of_class[Y[held]])
    assert share.history["val_loss"][-1] == pytest.approx(wanted, rel=1e-12)
    assert share.history["val_accuracy"][-1] == accuracy(Y[held], NET.predict(params, X[held]))


def test_a_label_that_a_fold_does_not_have_is_accepted():
    """In class_weight and in the validation data; "balanced" takes 1 for it."""
    y = np.where(Y == 3, 0, Y)
    few = train(y=y, class_weight={0: 1.0, 3: 7.0}, validation=(X, Y))
    plain = train(y=y, validation=(X, Y))
    np.testing.assert_array_equal(few.params.vector, plain.params.vector)
    assert few.history["val_loss"][-1] != plain.history["val_loss"][-1]
    of_class = np.array([*(200 / (3 * np.bincount(y))), 1.0])
    balanced = train(y=y, class_weight="balanced", validation=(X, Y), snapshots=[14])
    wanted = reference.loss(NET, balanced.snapshots[14], X, Y, sample_weight=of_class[Y])
    assert balanced.history["val_loss"][-1] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(("options", "facts"), [
    ({"sample_weight": (rows_of_share(0.25)[0], 0)}, ["rows to train on", "150 rows"]),
    ({"sample_weight": (rows_of_share(0.25)[1], 0)}, ["validation rows", "50 rows"]),
    ({"class_weight": dict.fromkeys(range(4), 0.0)}, ["rows to train on", "150 rows"]),
    ({"y": np.where(Y == 3, 3, 1), "class_weight": {1: 0.0}, "validation": (X[Y == 1], Y[Y == 1])},
     ["validation rows", f"{np.sum(Y == 1)} rows"]),
    ({"validation": (X, Y, np.zeros(200))}, ["validation", "sample_weight", "200 rows"]),
    ({"sample_weight": (np.arange(200), 0), "validation": None}, ["sample_weight", "200 rows"]),
])  # fmt: skip
def test_weights_that_are_all_zero_in_a_part_are_refused(options, facts):
    """The error says which part has no weight, that a positive sum is wanted, and over how many rows it is 0."""
    if "sample_weight" in options:
        rows, value = options["sample_weight"]
        weights = np.ones(200)
        weights[rows] = value
        options = {**options, "sample_weight": weights}
    with pytest.raises(InputError) as error:
        train(**{"validation": 0.25, **options})
    assert_says(error, *facts, "positive", "got 0")


def test_weights_in_files_that_are_all_zero_in_the_validation_rows_are_refused(tmp_path):
    """The same for rows that are read from files."""
    weights = np.ones(200)
    weights[rows_of_share(0.25)[1]] = 0
    for name, array in {"x": X, "y": Y, "w": weights}.items():
        np.save(tmp_path / f"{name}.npy", array)
    rows = Npy(*(tmp_path / f"{name}.npy" for name in "xyw"))
    with pytest.raises(InputError, match=r"validation rows .* positive.* got 0 over 50 rows"):
        train(x=rows, y=None, validation=0.25)


# -- what is found before the run ------------------------------------------------------------------------


def spoiled(name, row, value):
    """x and y with one bad value."""
    x, y = X.copy(), Y.copy()
    if name == "x":
        x[row, 1] = value
    else:
        y[row] = value
    return x, y


BAD = [("x", np.nan), ("x", -np.inf), ("y", 4), ("y", -1)]
STEPS = []


class Hears(fastbp.callbacks.Callback):
    """Notes every step."""

    def on_step(self, run):
        STEPS.append(run.step)


def refused(row, value, *facts, net=NET, error_type=InputError, **options):
    """The error, which names row and value; no step has been made."""
    STEPS.clear()
    with pytest.raises(FastbpError) as error:
        train(net, callbacks=Hears(), **options)
    assert isinstance(error.value, error_type)
    assert_says(error, f"row {row}", f"{value:g}", *facts)
    assert not STEPS
    return str(error.value)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_validation_data_are_refused_before_the_run(name, value, make):
    """The error says that it is in the validation data, and where."""
    x, y = spoiled(name, 7, value)
    refused(7, value, "validation", f"{name} must", validation=(make(x), y))


@pytest.mark.parametrize(("given", "facts"), [
    ((X[:, :2], Y), ["x must have shape (N, 3)", "(200, 2)"]),
    ((X, Y[:-1]), ["y must have shape", "(199,)"]),
    ((X, Y, WEIGHTS[1:]), ["sample_weight must have shape (200,)", "(199,)"]),
    ((X, Y, -WEIGHTS), ["sample_weight must be finite and >= 0", "row 0"]),
    ((X.astype(str), Y), ["x must hold real numbers", "text"]),
    ((X, None), ["y"]),
])  # fmt: skip
def test_validation_data_that_do_not_fit_are_told_as_such(given, facts):
    """What is wrong with x, y or weights, and that they are those of the validation."""
    with pytest.raises(InputError) as error:
        train(validation=given)
    assert_says(error, "validation: ", *facts)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize(("name", "value"), BAD)
@pytest.mark.parametrize("part", [0, 1], ids=["trained on", "held out"])
def test_a_bad_row_of_a_share_is_named_by_its_row_in_the_data_given(part, name, value, make):
    """Whichever part it falls into."""
    row = int(rows_of_share(0.25)[part][9])
    x, y = spoiled(name, row, value)
    refused(row, value, f"{name} must", x=make(x), y=y, validation=0.25)


@pytest.mark.parametrize(("name", "value"), BAD[:2])
def test_a_bad_row_of_a_share_of_files_is_named_by_its_row_in_the_file(name, value, tmp_path):
    """Before the run, too: rows that are held out are read at its start."""
    row = int(rows_of_share(0.25)[1][9])
    x, y = spoiled(name, row, value)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    rows = Npy(tmp_path / "x.npy", tmp_path / "y.npy")
    refused(row, value, "x.npy", "column 1", x=rows, y=None, validation=0.25, error_type=DataError)


@pytest.mark.parametrize(("name", "value"), BAD)
@pytest.mark.parametrize("options", [
    {"epochs": None, "steps": 1, "order": "sequential"},
    {"order": np.resize(np.arange(150), 200)},
])  # fmt: skip
def test_rows_that_no_step_takes_are_validated(options, name, value):
    """A run that is too short to see the row, and an order that leaves it out."""
    x, y = spoiled(name, 170, value)
    refused(170, value, f"{name} must", x=x, y=y, **options)


@pytest.mark.parametrize(("net", "value"), [(TWO, 1.5), (fastbp.MLP((3, 4, 1), loss="poisson"), -2.0)])
def test_targets_outside_of_the_domain_are_found_in_every_row(net, value):
    """Of the losses that have one."""
    y = np.ones(200)
    y[170] = value
    refused(170, value, "y of", net=net, y=y, epochs=None, steps=1, order="sequential")


@pytest.mark.parametrize("batch_size", [None, 16])
@pytest.mark.parametrize(("name", "value"), BAD)
def test_values_that_turn_bad_while_it_trains_are_found(name, value, batch_size):
    """By the kernels, which take arrays that need no conversion as they are."""
    x, y = X.copy(), Y.astype(np.int64)

    def spoil(run):
        (x if name == "x" else y)[63] = value

    with pytest.raises(InputError, match=f"{name} must .*got {value:g} at row 63"):
        train(x=x, y=y, epochs=5, batch_size=batch_size, callbacks=spoil)


@pytest.mark.parametrize("value", [1e300, 3e38])
def test_large_numbers_are_finite(value):
    """Rows whose sum is none are looked at one by one."""
    x = np.full((5, 3), value)
    dtype = np.float64 if value > 1e39 else np.float32
    assert fastbp.engine.inputs.first_bad_row(x.astype(dtype)) is None
    x[3, 2] = np.nan
    assert fastbp.engine.inputs.first_bad_row(x.astype(dtype))[:2] == (3, 2)
