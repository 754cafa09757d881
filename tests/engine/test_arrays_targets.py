"""Validation of targets: what each loss takes, in which form, and what every refusal says."""

import numpy as np
import pandas as pd
import pytest

from fastbp.engine import inputs
from fastbp.errors import InputError
from fastbp.model.network import MLP

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
BINARY, PAIR = MLP((2, 1)), MLP((2, 2))
CLASSES, POISSON = MLP((2, 3), loss="cross_entropy"), MLP((2, 1), loss="poisson")
COLUMN = np.array([[0.0], [1.0], [1.0]])
ONE_HOT = np.eye(3)[[2, 0, 1]]

ACCEPTED_TARGETS = {
    "(N,) for one output": (BINARY, [0, 1, 1], COLUMN, F32),
    "(N, 1) for one output": (BINARY, [[0], [1], [1]], COLUMN, F32),
    "bool": (BINARY, np.array([False, True, True]), COLUMN, F32),
    "series": (BINARY, pd.Series([0, 1, 1]), COLUMN, F32),
    "canonical (N,)": (BINARY, np.array([0, 1, 1], F32), COLUMN, F32),
    "F order": (PAIR, np.asfortranarray(COLUMN[:, [0, 0]], F32), COLUMN[:, [0, 0]], F32),
    "strided": (BINARY, np.repeat(COLUMN.astype(F32), 2)[::2], COLUMN, F32),
    "integer columns": (PAIR, np.array([[0, 1], [1, 1], [0, 0]]), np.array([[0, 1], [1, 1], [0, 0]]), F32),
    "counts": (POISSON, np.array([0, 5, 9]), np.array([[0], [5], [9]]), F64),
    "labels": (CLASSES, [2, 0, 1], np.array([2, 0, 1]), F32),
    "uint8 labels": (CLASSES, np.array([2, 0, 1], np.uint8), np.array([2, 0, 1]), F32),
    "bool labels": (CLASSES, np.array([True, False, True]), np.array([1, 0, 1]), F32),
    "big-endian labels": (CLASSES, np.array([2, 0, 1], ">i4"), np.array([2, 0, 1]), F32),
    "strided labels": (CLASSES, np.array([2, 7, 0, 7, 1])[::2], np.array([2, 0, 1]), F32),
    "probabilities": (CLASSES, ONE_HOT * 0.7 + 0.1, ONE_HOT * 0.7 + 0.1, F64),
    "one-hot integers": (CLASSES, ONE_HOT.astype(int), ONE_HOT, F32),
}


@pytest.mark.parametrize("case", ACCEPTED_TARGETS)
def test_targets_become_labels_or_columns(case):
    """Labels become canonical int64 (N,), other targets canonical (N, n_outputs) in the parameters' dtype."""
    net, given, wanted, dtype = ACCEPTED_TARGETS[case]
    y = inputs.as_targets(given, net, 3, dtype)
    assert type(y) is np.ndarray
    assert y.flags.carray
    assert y.dtype == (np.int64 if wanted.ndim == 1 else dtype)
    assert y.shape == wanted.shape
    np.testing.assert_array_equal(y, wanted.astype(y.dtype))


REFUSED_TARGETS = {
    "rows": (BINARY, [0, 1], "y must have shape (3,) or (3, 1); got shape (2,), int64. x has 3 rows, y has 2"),
    "scalar": (
        BINARY,
        1.0,
        "y must have shape (3,) or (3, 1); got shape (), float64. Columns of y and outputs of the network must agree",
    ),
    "row instead of column": (
        BINARY,
        np.ones((1, 3)),
        "y must have shape (3,) or (3, 1); got shape (1, 3), float64. x has 3 rows, y has 1",
    ),
    "columns": (
        PAIR,
        np.ones((3, 3)),
        "y must have shape (3, 2); got shape (3, 3), float64. Columns of y and outputs of the network must agree",
    ),
    "labels for outputs": (
        PAIR,
        [0, 1, 1],
        "binary_cross_entropy with 2 outputs wants y of shape (N, 2), one column an output; got integer labels, "
        "shape (3,), int64. For one label a sample, did you mean loss='cross_entropy'?",
    ),
    "text": (
        CLASSES,
        ["cat", "dog", "cat"],
        "y must hold real numbers; got text, shape (3,), <U3. "
        "Encode it as numbers first: values, codes = np.unique(y, return_inverse=True)",
    ),
    "overflow": (
        BINARY,
        [0, 1e39, 1],
        "y must fit float32, the dtype of the parameters; got 1e+39 at row 1, column 0. "
        "Rescale it, or use float64 parameters",
    ),
    "float labels": (
        CLASSES,
        [2.0, 0.0, 1.0],
        "cross_entropy wants integer labels (N,) or probabilities (N, 3); got shape (3,), float64. "
        "If these are labels, pass y.astype(np.int64)",
    ),
    "column of labels": (
        CLASSES,
        [[2], [0], [1]],
        "y must have shape (3,) or (3, 3); got shape (3, 1), int64. Pass y.ravel()",
    ),
    "rows of labels": (
        CLASSES,
        [0, 1],
        "y must have shape (3,) or (3, 3); got shape (2,), int64. x has 3 rows, y has 2",
    ),
    "rows of probabilities": (
        CLASSES,
        ONE_HOT[:2],
        "y must have shape (3,) or (3, 3); got shape (2, 3), float64. x has 3 rows, y has 2",
    ),
    "too many classes": (
        CLASSES,
        np.eye(4)[:3],
        "y must have shape (3,) or (3, 3); got shape (3, 4), float64. "
        "Columns of y and outputs of the network must agree",
    ),
    "sum": (
        CLASSES,
        ONE_HOT * [[1], [1.001], [1]],
        "y of cross_entropy must be integer labels (N,) or rows of probabilities, none negative, that sum to 1 within "
        "1e-6; got row 1 with smallest value 0 and sum 1.001. Normalize the rows",
    ),
    "negative": (
        CLASSES,
        [[0, 0, 1], [1, 0, 0], [1.5, -0.5, 0]],
        "y of cross_entropy must be integer labels (N,) or rows of probabilities, none negative, that sum to 1 within "
        "1e-6; got row 2 with smallest value -0.5 and sum 1. Normalize the rows",
    ),
    "NaN": (
        CLASSES,
        [[0, 0, 1], [1, np.nan, 0], [1, 0, 0]],
        "y must be finite; got nan at row 1, column 1. Drop such rows or fill in the values",
    ),
}


@pytest.mark.parametrize("case", REFUSED_TARGETS)
def test_refused_targets_name_the_way_out(case):
    """Targets that the loss cannot take are refused, with this text."""
    net, given, message = REFUSED_TARGETS[case]
    with pytest.raises(InputError) as caught:
        inputs.as_targets(given, net, 3, F32)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 2**63, 1], np.uint64),
        np.array([0, 2**64 - 1, 1], np.uint64),
        np.array([0, 3, 1]),
        np.array([0, -1, 1]),
    ],
)
def test_labels_never_wrap_into_range(labels):
    """A label that is out of range stays out of range in int64."""
    y = inputs.as_targets(labels, CLASSES, 3, F32)
    assert isinstance(inputs.bad_label_error(y, 3), InputError)


DOMAIN_ERRORS = {
    "label above": (
        CLASSES,
        np.array([0, 3, 1, 9]),
        "y must hold labels 0 to 2, one for each of the 3 outputs; got 3 at row 1. Renumber them with "
        "np.unique(y, return_inverse=True), or give the network as many outputs as there are classes",
    ),
    "label below": (
        CLASSES,
        np.array([-1, 3]),
        "y must hold labels 0 to 2, one for each of the 3 outputs; got -1 at row 0. Renumber them with "
        "np.unique(y, return_inverse=True), or give the network as many outputs as there are classes",
    ),
    "right labels": (CLASSES, np.array([0, 2, 1]), None),
    "right probabilities": (CLASSES, ONE_HOT, None),
    "binary above": (
        PAIR,
        np.array([[0, 1], [0.5, 1.5]]),
        "y of binary_cross_entropy must lie between 0 and 1; got 1.5 at row 1, column 1. Rescale it",
    ),
    "binary below": (
        BINARY,
        np.array([[0], [-1.0]]),
        "y of binary_cross_entropy must lie between 0 and 1; got -1 at row 1, column 0. Rescale it",
    ),
    "right binary": (BINARY, COLUMN, None),
    "count below": (
        POISSON,
        np.array([[0], [3], [-2.0]]),
        "y of poisson must not be negative; got -2 at row 2, column 0. Counts start at 0",
    ),
    "right counts": (POISSON, np.array([[0.0], [1e9]]), None),
    "NaN": (
        BINARY,
        np.array([[0], [np.nan]]),
        "y must be finite; got nan at row 1, column 0. Drop such rows or fill in the values",
    ),
    "any number": (MLP((2, 1), loss="huber"), np.array([[-1e9], [1e9]]), None),
}


@pytest.mark.parametrize("case", DOMAIN_ERRORS)
def test_target_value_error_names_the_first_bad_row(case):
    """After the fact, the first target outside the loss's domain is named, or None is said."""
    net, y, message = DOMAIN_ERRORS[case]
    error = inputs.target_value_error(y, net)
    assert (None if error is None else str(error)) == message
