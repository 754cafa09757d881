"""Spirals, labels, standardisation and splits."""

import re

import numpy as np
import pytest

from fastbp import data
from fastbp.errors import DataError, InputError, ModelError
from fastbp.tables import Places, Table

# -- spirals -------------------------------------------------------------------------------------------


def test_spirals_have_the_promised_form():
    """x is (n, 2) in the dtype, y 0/1 labels in int64 that alternate."""
    x, y = data.spirals(1001, dtype=np.float32)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((1001, 2), np.float32, (1001,), np.int64)
    assert x.flags.c_contiguous
    np.testing.assert_array_equal(y, np.arange(1001) % 2)


@pytest.mark.parametrize("turns", [0.5, 1.0, 2.0])
def test_classes_are_mirror_images_in_the_origin(turns):
    """Without noise, class 0 lies on r = a / (2 pi turns), and class 1 lies on it once it is negated."""
    x, y = data.spirals(2000, noise=0, turns=turns, dtype=np.float64)
    x[y == 1] *= -1
    radius = np.hypot(x[:, 0], x[:, 1])
    angle = 2 * np.pi * turns * radius
    np.testing.assert_allclose(x, radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), atol=1e-12)
    assert radius.max() <= 1
    assert radius.max() > 0.99


def test_points_are_spread_evenly_along_the_arms():
    """Half of the points lie beyond r = sqrt(1/2): radii are square roots of uniform numbers."""
    x, _ = data.spirals(20_000, noise=0)
    assert abs((np.hypot(x[:, 0], x[:, 1]) > np.sqrt(0.5)).mean() - 0.5) < 0.02


def test_noise_has_the_given_deviation():
    """The noise is normal with the deviation asked for: the same seed without noise gives the curve below it."""
    clean, _ = data.spirals(20_000, noise=0, dtype=np.float64)
    noisy, _ = data.spirals(20_000, noise=0.01, dtype=np.float64)
    np.testing.assert_allclose((noisy - clean).std(axis=0), 0.01, rtol=0.03)
    np.testing.assert_allclose((noisy - clean).mean(axis=0), 0, atol=3e-4)


def test_a_seed_decides_the_points():
    """The same seed gives the same points in both dtypes; another seed gives others."""
    x64, _ = data.spirals(500, rng=7, dtype=np.float64)
    x32, _ = data.spirals(500, rng=7, dtype=np.float32)
    other, _ = data.spirals(500, rng=8, dtype=np.float32)
    np.testing.assert_array_equal(x32, x64.astype(np.float32))
    assert not np.isclose(other, x32).all(axis=1).any()


def test_spirals_refuse_no_points():
    """There must be points."""
    with pytest.raises(InputError, match=r"^n must be a positive number of points; got 0$"):
        data.spirals(0)


# -- labels --------------------------------------------------------------------------------------------

LABELS = {
    "text": (np.array(["dog", "cat", "dog", "Ärger"]), ["cat", "dog", "Ärger"], [1, 0, 1, 2]),
    "integers": (np.array([7, -1, 7, 3]), [-1, 3, 7], [2, 0, 2, 1]),
    "uint8": (np.array([7, 1, 7], np.uint8), [1, 7], [1, 0, 1]),
    "bools": (np.array([True, False, True]), [False, True], [1, 0, 1]),
    "whole floats": (np.array([2.0, 0.0, 2.0]), [0, 2], [1, 0, 1]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_become_codes_of_sorted_classes(kind):
    """Classes are sorted and distinct, codes are int64 and lead back to the labels."""
    target, wanted_classes, wanted_codes = LABELS[kind]
    classes, codes = data.encode_labels(target)
    assert classes.tolist() == wanted_classes
    assert codes.dtype == np.int64
    assert codes.tolist() == wanted_codes
    np.testing.assert_array_equal(classes[codes], target)


@pytest.mark.parametrize("kind", LABELS)
def test_known_classes_give_the_same_codes(kind):
    """Codes by known classes are those of the first encoding, for any choice of rows."""
    target, _, wanted = LABELS[kind]
    classes, _ = data.encode_labels(target)
    np.testing.assert_array_equal(data.encode_with(classes, target[::-1]), wanted[::-1])
    np.testing.assert_array_equal(data.encode_with(classes, target[:1]), wanted[:1])


def test_labels_are_compared_as_they_are_written():
    """A file where all labels are numbers still fits a model that also knows text."""
    classes = np.array(["1", "2", "other"])
    np.testing.assert_array_equal(data.encode_with(classes, np.array([2, 1, 2])), [1, 0, 1])
    np.testing.assert_array_equal(data.encode_with(np.array([1, 2]), np.array(["2", "1"])), [1, 0])


TABLE = Table(
    ("a",), np.zeros((3, 1)), np.array(["x", "y", "q"]), "kind", "new.csv", Places.in_file("new.csv", "line", [2, 3, 4])
)
REFUSED_LABELS = {
    "unknown": (
        lambda: data.encode_with(np.array(["x", "y"]), TABLE.target, TABLE),
        "new.csv, line 4: the label 'q' was never seen in training; known are 'x', 'y'. "
        "Correct or drop the row, or train again with such rows",
    ),
    "unknown number": (
        lambda: data.encode_with(np.arange(20), np.array([3, 20]), "new.npy"),
        "new.npy, row 1: the label 20 was never seen in training; known are 0, 1, 2, 3, 4, 5, 6, 7 and 12 more. "
        "Correct or drop the row, or train again with such rows",
    ),
    "fraction": (
        lambda: data.encode_labels(np.array([0, 1, 0.5, 0.25]), "y.npy"),
        "y.npy, row 2: a label must be text or a whole number; got 0.5. "
        "To predict numbers choose a loss such as squared_error",
    ),
    "infinity": (
        lambda: data.encode_labels(np.array([0, np.inf])),
        "the target, row 1: a label must be text or a whole number; got inf. "
        "To predict numbers choose a loss such as squared_error",
    ),
    "one class": (
        lambda: data.encode_labels(np.array(["x", "x"]), "y.csv"),
        "y.csv: at least two classes are needed; every row is 'x'. "
        "By default the last column is the target, in an .npz y; name another with --target",
    ),
    "two columns": (
        lambda: data.encode_labels(np.zeros((3, 2)), TABLE),
        "new.csv: one label a row is wanted; got shape (3, 2)",
    ),
}


@pytest.mark.parametrize("case", REFUSED_LABELS)
def test_refused_labels_name_the_row(case):
    """What is no label, or none that is known, is refused with this text."""
    call, message = REFUSED_LABELS[case]
    with pytest.raises(DataError) as caught:
        call()
    assert str(caught.value) == message


# -- standardisation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardised_columns_have_mean_0_and_deviation_1(dtype):
    """Each column of the data it was fitted on gets mean 0 and deviation 1, whatever its scale."""
    x = np.random.default_rng(0).normal([3, -1e6, 1e-9], [2, 10, 1e-10], (500, 3))
    z = data.Standardise.fit(x).apply(x, dtype)
    assert z.dtype == dtype
    np.testing.assert_allclose(z.mean(axis=0, dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(z.std(axis=0, dtype=np.float64), 1, rtol=1e-6)


def test_constant_columns_become_zero_and_are_not_blown_up():
    """A constant gets scale 1, also where rounding gives it a tiny deviation; later values keep their distance."""
    x = np.full((1001, 2), [0.1, 5.0])
    assert x[:, 0].std() > 0
    standardise = data.Standardise.fit(x)
    np.testing.assert_array_equal(standardise.scale, [1, 1])
    np.testing.assert_allclose(standardise.apply(np.array([[0.1, 6.0]]), np.float64), [[0, 1]], atol=1e-12)


def test_standardise_refuses_what_it_cannot_scale():
    """A deviation beyond float64, and data of another width, are refused by name."""
    with pytest.raises(DataError) as caught:
        data.Standardise.fit(np.array([[0, 1e200], [1, -1e200]]))
    assert str(caught.value) == (
        "features must have a finite standard deviation; column 1 has values up to 1e+200. Rescale it"
    )
    with pytest.raises(ModelError, match=re.escape("for 2 features; got x of shape (3, 5)")):
        data.Standardise.fit(np.eye(2)).apply(np.ones((3, 5)), np.float64)


# -- splitting -----------------------------------------------------------------------------------------

SPLITS = [(2, 0.5), (2, 0.01), (3, 0.99), (10, 0.25), (1000, 0.2), (1001, 0.333)]


@pytest.mark.parametrize(("n", "fraction"), SPLITS)
@pytest.mark.parametrize("n_classes", [None, 1, 2])
def test_a_split_shares_out_every_row_once(n, fraction, n_classes):
    """Train and test are sorted, disjoint, not empty, and together all rows; the test has its share."""
    codes = None if n_classes is None else (np.arange(n) // 2) % n_classes
    train, test = data.split(n, fraction, 0, codes)
    assert len(train) > 0
    assert len(test) > 0
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n))
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    assert abs(len(test) - fraction * n) <= (n_classes or 1)


def test_a_stratified_split_shares_out_every_class():
    """Each class gives its share to the test and keeps at least one row in train."""
    codes = np.repeat([0, 1, 2, 3], [700, 200, 99, 1])
    train, test = data.split(1000, 0.2, 3, np.random.default_rng(0).permutation(codes))
    assert len(test) == 200
    shuffled = np.random.default_rng(0).permutation(codes)
    assert np.bincount(shuffled[test], minlength=4).tolist() == [140, 40, 20, 0]
    assert np.bincount(shuffled[train], minlength=4).tolist() == [560, 160, 79, 1]


def test_a_seed_decides_the_split():
    """The same seed splits alike, another one otherwise."""
    first, again, other = (data.split(100, 0.3, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("n", "fraction", "codes", "message"),
    [
        (1, 0.5, None, "a split needs at least 2 rows and a fraction between 0 and 1; got 1 rows, 0.5"),
        (9, 0.0, None, "a split needs at least 2 rows and a fraction between 0 and 1; got 9 rows, 0.0"),
        (9, 1.0, None, "a split needs at least 2 rows and a fraction between 0 and 1; got 9 rows, 1.0"),
        (3, 0.5, [0, 1, 2], "a stratified split needs a class with at least 2 rows; got 3 classes of one row"),
    ],
)
def test_impossible_splits_are_refused(n, fraction, codes, message):
    """A split that would leave a part empty is refused with this text."""
    with pytest.raises(InputError) as caught:
        data.split(n, fraction, 0, codes)
    assert str(caught.value) == message
