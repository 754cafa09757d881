"""Early stopping: which way a column is to go, when it is judged, and what cannot be watched."""

import math

import numpy as np
import pytest
from sklearn import metrics as of_sklearn

import fastbp
from fastbp.callbacks import EarlyStopping
from fastbp.errors import InputError
from fastbp.metrics import METRICS, direction
from tests.says import assert_says

NET = fastbp.MLP((2, 3, 1), loss="squared_error")
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((20, 2)), RNG.standard_normal(20)


def train(values, early_stopping, **options):
    """A run in which the metric `own` has the given value after each epoch."""
    left = iter(values)

    def own(y, y_pred):
        return next(left)

    options = {"epochs": len(values), "validation": (X, Y), "metrics": [own], "batch_size": None, **options}
    return fastbp.train(NET, NET.init(0), X, Y, early_stopping=early_stopping, **options)


# -- which way -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", of_sklearn.get_scorer_names())
def test_scorers_of_scikit_learn_rise(name):
    """A scorer is, by its definition, the better, the larger."""
    assert direction(name) == direction("val_" + name) == "max"


@pytest.mark.parametrize(("name", "wanted"), [
    *((name, "min" if name in ("rmse", "mae") else "max") for name in METRICS),
    *((name, "max") for name in ("accuracy_score", "f1_score", "r2_score", "roc_auc_score", "cohen_kappa_score",
      "matthews_corrcoef", "average_precision_score", "d2_absolute_error_score", "d2_log_loss_score", "ndcg_score")),
    *((name, "min") for name in ("loss", "data_loss", "log_loss", "hinge_loss", "brier", "brier_score",
      "brier_score_loss", "zero_one_loss", "hamming_loss", "max_error", "coverage_error", "mean_squared_error",
      "root_mean_squared_log_error", "mean_poisson_deviance", "mean_pinball_loss")),
    *((name, None) for name in ("own", "davies_bouldin_score", "profit", "seconds", "scores", "error", "")),
])  # fmt: skip
def test_names_say_the_direction(name, wanted):
    """Ours, those of scikit-learn's functions, and others, which say nothing; with val_ or without."""
    assert direction(name) == direction("val_" + name) == wanted


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 4)])
def test_a_score_of_one_s_own_goes_the_way_of_its_mode(mode, best):
    """The result is the parameters after the best epoch, and the run ends `patience` epochs after it."""
    values = [3.0, 1.0, 2.0, 5.0, 4.0, 4.0, 4.0, 4.0]
    result = train(values, EarlyStopping(3, monitor="val_own", mode=mode))
    assert f"the best was epoch {best}" in result.stopped
    assert len(result.history["epoch"]) == best + 3
    again = train(values[:best], None)
    np.testing.assert_array_equal(result.params.vector, again.params.vector)


@pytest.mark.parametrize(("name", "best"), [("f1_macro", 4), ("max_error", 2)])
def test_a_name_stands_for_its_mode(name, best):
    """As if the mode were given: the better of a score is the larger, of an error the smaller."""
    left = iter([3.0, 1.0, 2.0, 5.0, 4.0, 4.0, 4.0])

    def metric(y, y_pred):
        return next(left)

    metric.__name__ = name
    stopping = EarlyStopping(3, monitor="val_" + name)
    result = fastbp.train(
        NET, NET.init(0), X, Y, epochs=best + 3, validation=(X, Y), metrics=[metric], early_stopping=stopping
    )
    assert f"the best was epoch {best}" in result.stopped


@pytest.mark.parametrize(("values", "best"), [
    ([1.0, -math.inf, 0.0, 0.0, 0.0], 2),
    ([math.inf, math.inf, 1.0, 2.0, 2.0, 2.0], 3),
    ([math.nan, math.nan, 1.0, math.nan, 2.0, math.nan], 3),
])  # fmt: skip
def test_infinity_and_nan_are_compared_as_numbers_are(values, best):
    """No number is better than -inf, each is better than inf and NaN."""
    result = train(values, EarlyStopping(3, monitor="val_own", mode="min"))
    assert f"the best was epoch {best}" in result.stopped


# -- what cannot be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "facts"), [
    ({"monitor": "val_own"}, ["mode", "'min' or 'max'", "'val_own'", "None"]),
    ({"monitor": "epoch"}, ["mode", "'epoch'"]),
    ({"monitor": "val_own", "mode": "up"}, ["mode", "'min'", "'max'", "'up'"]),
    ({"monitor": "val_loss", "mode": "max"}, ["mode", "val_loss", "'min'", "'max'"]),
    ({"mode": "max"}, ["mode", "val_loss", "'min'", "'max'"]),
    ({"monitor": ""}, ["monitor", "''"]),
    ({"monitor": 3}, ["monitor", "got 3"]),
    ({"patience": 0}, ["patience", "at least 1", "got 0"]),
    ({"patience": 2.5}, ["patience", "whole number", "got 2.5"]),
    ({"patience": "5"}, ["patience", "'5'"]),
    ({"patience": None}, ["patience", "None"]),
    ({"min_delta": -0.1}, ["min_delta", "at least 0", "got -0.1"]),
    ({"min_delta": math.nan}, ["min_delta", "finite", "got nan"]),
    ({"min_delta": "0.1"}, ["min_delta", "'0.1'"]),
    ({"restore_best": "yes"}, ["restore_best", "True or False", "'yes'"]),
])  # fmt: skip
def test_arguments_are_checked_when_it_is_made(options, facts):
    """Each by its name, with what was wanted and what came."""
    with pytest.raises(InputError) as error:
        EarlyStopping(**options)
    assert_says(error, *facts)


def test_a_column_that_will_not_be_there_is_refused_before_the_run():
    """No step is made; the columns that will be there are named."""
    seen = []
    with pytest.raises(InputError, match=r"'val_r2'.* no column .*val_loss, val_own, learning_rate") as error:
        train([1.0], EarlyStopping(monitor="val_r2"), callbacks=[seen.append])
    assert not seen
    columns = str(error.value).split(": ")[1].split(", ")
    assert columns == list(train([1.0], None).history)


def test_a_column_of_nan_is_an_error():
    """Once `patience` epochs have passed without a number, and not that nothing has improved."""
    nan = [math.nan] * 9
    with pytest.raises(InputError, match="val_own was NaN in all of 4 epochs"):
        train(nan, EarlyStopping(4, monitor="val_own", mode="max"))
    with pytest.raises(InputError, match="val_r2 was NaN in all of 2 epochs"):
        fastbp.train(
            NET, NET.init(0), X, Y, epochs=5, validation=(X[:1], Y[:1]), metrics="r2",
            early_stopping=EarlyStopping(2, monitor="val_r2"),
        )  # fmt: skip
