"""Spirals, labels, standardization and splits."""

import re

import numpy as np
import pytest

from fastbp import data
from fastbp.data.splitting import n_held_out
from fastbp.data.tables import Places, Table
from fastbp.errors import DataError, InputError, ModelError
from fastbp.training.arguments import split_rows

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


# -- standardization -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardized_columns_have_mean_0_and_deviation_1(dtype):
    """Each column of the data it was fitted on gets mean 0 and deviation 1, whatever its scale."""
    x = np.random.default_rng(0).normal([3, -1e6, 1e-9], [2, 10, 1e-10], (500, 3))
    z = data.Standardize.fit(x).apply(x, dtype)
    assert z.dtype == dtype
    np.testing.assert_allclose(z.mean(axis=0, dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(z.std(axis=0, dtype=np.float64), 1, rtol=1e-6)


def test_constant_columns_become_zero_and_are_not_blown_up():
    """A constant gets scale 1, also where rounding gives it a tiny deviation; later values keep their distance."""
    x = np.full((1001, 2), [0.1, 5.0])
    assert x[:, 0].std() > 0
    standardize = data.Standardize.fit(x)
    np.testing.assert_array_equal(standardize.scale, [1, 1])
    np.testing.assert_allclose(standardize.apply(np.array([[0.1, 6.0]]), np.float64), [[0, 1]], atol=1e-12)


ROUNDED = np.array([0.3, 0.30000000000000004] * 2)
CONSTANT = {  # column, whether it is constant up to rounding
    "a case people have": (ROUNDED, True),
    "0.1 + 0.2 beside 0.3": (np.array([0.3, 0.1 + 0.2] * 5000), True),
    "a mean that rounds": (np.full(100_003, 0.1), True),
    "large and constant": (np.full(1000, 1e300), True),
    "zero": (np.zeros(5), True),
    "two far values": (np.array([0.3, 0.3 + 1e-9]), False),
    "seconds since 1970": (1.7e9 + np.arange(10_000), False),
    "small steps about a large mean": (1e3 + 1e-6 * (np.arange(3_000_000) % 2), False),
    "small, but no constant": (1e-9 * np.arange(3.0), False),
    "one value of many differs": (np.append(np.full(99_999, 5.0), 6.0), False),
}


@pytest.mark.parametrize("case", CONSTANT)
def test_what_is_constant_up_to_rounding_has_scale_1(case):
    """The scale is 1 for a constant, the standard deviation for all else; in whole and in blocks, of any size."""
    column, is_constant = CONSTANT[case]
    x = column[:, None]
    whole = data.Standardize.fit(x)
    np.testing.assert_allclose(whole.scale, 1.0 if is_constant else x.std(), rtol=1e-3)
    for size in (7, 8192):
        blocks = data.Standardize.fit_blocks(x[start : start + size] for start in range(0, min(len(x), 50_000), size))
        if len(x) <= 50_000:
            np.testing.assert_array_equal(blocks.scale, whole.scale)
    if is_constant:
        assert np.isfinite(whole.apply(x, np.float32)).all()


def test_a_value_beside_a_constant_is_not_blown_up():
    """After 0.3 and 0.1 + 0.2 in training, 0.301 is 0.001 away."""
    standardize = data.Standardize.fit(ROUNDED[:, None])
    np.testing.assert_allclose(standardize.apply(np.array([[0.301]]), np.float64), 0.001, rtol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_constants_are_those_of_scikit_learn(seed):
    """Up to the rows of one piece, what StandardScaler takes for constant."""
    StandardScaler = pytest.importorskip("sklearn.preprocessing").StandardScaler
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 4096))
    mean, deviation = 10.0 ** rng.integers(-8, 9, 40), 10.0 ** rng.integers(-18, 3, 40)
    x = mean + deviation * rng.choice([-1.0, 1.0], (n, 40))
    wanted = StandardScaler().fit(x).scale_ == 1
    assert 0 < wanted.sum() < 40
    np.testing.assert_array_equal(data.Standardize.fit(x).scale == 1, wanted)


def test_standardize_refuses_what_it_cannot_scale():
    """A deviation beyond float64, and data of another width, are refused by name."""
    with pytest.raises(DataError) as caught:
        data.Standardize.fit(np.array([[0, 1e200], [1, -1e200]]))
    assert str(caught.value) == (
        "features must have a finite standard deviation; column 1 has values up to 1e+200. Rescale it"
    )
    with pytest.raises(ModelError, match=re.escape("for 2 features; got x of shape (3, 5)")):
        data.Standardize.fit(np.eye(2)).apply(np.ones((3, 5)), np.float64)


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


UNEVEN = [[1, 1, 1, 2], [7, 7, 7], [3] * 33, [2] * 50, [100, 1, 1, 1], [5, 5, 5, 5, 1], [997, 2, 1], [13, 14, 15, 58]]


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.2, 1 / 3, 0.5, 0.7])
@pytest.mark.parametrize("counts", UNEVEN, ids=str)
def test_a_split_holds_out_its_share_to_a_row(counts, fraction):
    """The whole is round(fraction n), each class within a row of its own share, unless its last row must stay."""
    n = sum(counts)
    codes = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    wanted = max(1, round(fraction * n))
    assert n_held_out(n, fraction) == wanted
    train, test = split_rows(codes, n, fraction, seed=3)
    assert (len(train), len(test)) == (n - wanted, wanted)
    _, test = data.split(n, fraction, 0, codes)
    assert len(test) == min(wanted, n - len(counts))
    held_out = np.bincount(codes[test], minlength=len(counts))
    assert (held_out < counts).all()
    if wanted <= n - len(counts) and 1 not in counts:
        assert (abs(held_out - wanted / n * np.array(counts)) < 1).all()


def test_the_largest_remainders_get_the_rows_that_are_left():
    """Of 10 rows from 13, 14, 15 and 58: 1.3, 1.4, 1.5 and 5.8 become 1, 1, 2 and 6."""
    codes = np.repeat([0, 1, 2, 3], [13, 14, 15, 58])
    assert np.bincount(codes[data.split(100, 0.1, 0, codes)[1]]).tolist() == [1, 1, 2, 6]


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
