"""Data larger than memory: the bits of data in memory, whatever the files, the limit and the order; and errors."""

import os
import threading

import numpy as np
import pytest

import fastbp
from fastbp import data
from fastbp.data import Dataset, Joined, Npy, NpyRows
from fastbp.errors import DataError, InputError

NET = fastbp.MLP((20, 30, 4), activation="relu", loss="cross_entropy")
NUMBERS = fastbp.MLP((20, 30, 2), activation="tanh", loss="squared_error")
LANES = fastbp.MLP((3, 16, 1))
N = 5000
RNG = np.random.default_rng(0)


def make(net, n=N):
    x = RNG.standard_normal((n, net.n_inputs)).astype(np.float32)
    if net.loss_function.name == "squared_error":
        return x, RNG.standard_normal((n, net.n_outputs)).astype(np.float32)
    return x, RNG.integers(max(2, net.n_outputs), size=n)


def saved(folder, **arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return [folder / f"{name}.npy" for name in arrays]


def in_three(folder, x, y):
    """The rows in files of 7, 2,993 and 2,000."""
    parts = []
    for i, (start, stop) in enumerate(((0, 7), (7, 3000), (3000, N))):
        parts.append(Npy(*saved(folder, **{f"x{i}": x[start:stop], f"y{i}": y[start:stop]})))
    return Joined(parts)


class Own:
    """A data set of the user's own, in float64 and without labels of int64."""

    def __init__(self, x, y):
        self.x, self.y, self.n_rows, self.read_by = x.astype(np.float64), y.astype(np.int32), len(x), set()

    def read(self, start, stop):
        self.read_by.add(threading.current_thread().name)
        return self.x[start:stop].tolist(), self.y[start:stop]


RUNS = {
    "small batches": {"batch_size": 32},
    "large batches": {"batch_size": 1024},
    "all rows": {"batch_size": None},
    "validation": {"batch_size": 100, "validation": 0.2, "metrics": ["accuracy"]},
    "in order": {"batch_size": 100, "order": "sequential"},
    "own order": {"batch_size": 100, "order": RNG.permutation(N)},
    "rows more than once": {"batch_size": 100, "order": RNG.integers(N, size=2 * N)},
    "one row left": {"batch_size": N - 1},
    "dropout": {"batch_size": 64, "dropout": 0.3},
}


@pytest.mark.parametrize("source", ["files", "folders", "own"])
@pytest.mark.parametrize("name", RUNS)
def test_streamed_training_has_the_bits_of_training_in_memory(name, source, tmp_path):
    """Parameters and history, with as much memory as is left by default, and with little."""
    x, y = make(NET)
    options = {"epochs": 3, "seed": 4, **RUNS[name]}
    wanted = fastbp.train(NET, NET.init(0), x, y, **options)
    dataset = {"files": lambda: Npy(*saved(tmp_path, x=x, y=y)), "folders": lambda: in_three(tmp_path, x, y),
               "own": lambda: Own(x, y)}[source]()  # fmt: skip
    assert isinstance(dataset, Dataset)
    for memory_limit in (None, 5_000_000):
        result = fastbp.train(NET, NET.init(0), dataset, memory_limit=memory_limit, **options)
        np.testing.assert_array_equal(result.params.vector, wanted.params.vector)
        for column in set(wanted.history) - {"seconds"}:
            np.testing.assert_array_equal(result.history[column], wanted.history[column])


@pytest.mark.parametrize("net", [NUMBERS, LANES], ids=str)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_targets_and_weights_are_streamed_too(net, n_threads, tmp_path):
    """Numbers as targets, sample weights in a third file, both families of kernels, any number of threads."""
    x, y = make(net)
    weights = RNG.random(N).astype(np.float32)
    dataset = Npy(*saved(tmp_path, x=x, y=y, w=weights))
    runs = [
        fastbp.train(net, net.init(0), *given, epochs=2, batch_size=300, n_threads=n_threads, **options)
        for given, options in (((x, y), {"sample_weight": weights}), ((dataset,), {}))
    ]
    np.testing.assert_array_equal(runs[0].params.vector, runs[1].params.vector)


def test_the_target_can_be_a_column(tmp_path):
    """Of one file: the last, or another by its number."""
    x, y = make(fastbp.MLP((4, 3, 1), loss="squared_error")), None
    x = x[0]
    (path,) = saved(tmp_path, x=x)
    for target in (None, 1):
        inputs, targets = Npy(path, target=target).read(10, 20)
        column = 3 if target is None else target
        np.testing.assert_array_equal(targets, x[10:20, column])
        np.testing.assert_array_equal(inputs, np.delete(x[10:20], column, axis=1))
    assert y is None


def test_checkpoints_of_streamed_and_of_resident_data_are_the_same(tmp_path):
    """A run that began in memory goes on from files, and the other way round."""
    x, y = make(NET)
    dataset = Npy(*saved(tmp_path, x=x, y=y))
    wanted = fastbp.train(NET, NET.init(0), x, y, epochs=4, batch_size=100)
    for first, second in (((x, y), (dataset,)), ((dataset,), (x, y))):
        folder = tmp_path / str(len(first))
        fastbp.train(NET, NET.init(0), *first, epochs=2, batch_size=100, checkpoint=folder)
        result = fastbp.train(NET, NET.init(0), *second, epochs=4, batch_size=100, checkpoint=folder, resume=True)
        np.testing.assert_array_equal(result.params.vector, wanted.params.vector)


def test_order_is_kept_where_a_data_set_says_so():
    """shuffle = False stands for order="sequential"."""
    x, y = make(NET)
    dataset = Own(x, y)
    dataset.shuffle = False
    wanted = fastbp.train(NET, NET.init(0), x, y, epochs=1, batch_size=100, order="sequential")
    result = fastbp.train(NET, NET.init(0), dataset, epochs=1, batch_size=100)
    np.testing.assert_array_equal(result.params.vector, wanted.params.vector)
    assert any(name.startswith("fastbp-reader") for name in dataset.read_by)


def test_no_thread_is_left_behind():
    """The reader ends with the training, also with one that fails."""
    before = threading.active_count()
    x, y = make(NET)
    x[4000] = np.nan
    with pytest.raises(DataError):
        fastbp.train(NET, NET.init(0), Own(x, y), epochs=3, batch_size=100)
    assert threading.active_count() == before


# -- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "value"), [(0, np.nan), (4321, np.inf)])
def test_bad_rows_are_named(row, value, tmp_path):
    """By file and row, wherever they come in the order of training."""
    x, y = make(NET)
    x[row, 3] = value
    dataset = Npy(*saved(tmp_path, x=x, y=y))
    with pytest.raises(DataError) as error:
        fastbp.train(NET, NET.init(0), dataset, epochs=1, batch_size=64)
    assert str(error.value) == (
        f"{tmp_path / 'x.npy'}, row {row}: x must be finite; got {value:g} in column 3. Correct or drop the row"
    )


def test_bad_labels_are_told(tmp_path):
    """With the file."""
    x, y = make(NET)
    y[77] = 4
    with pytest.raises(DataError, match=r"x\.npy, row \d+ and others: y must hold labels 0 to 3"):
        fastbp.train(NET, NET.init(0), Npy(*saved(tmp_path, x=x, y=y)), epochs=1, batch_size=64)


@pytest.mark.parametrize("change", ["truncated", "written to"])
def test_a_file_that_changes_is_told(change, tmp_path):
    """Cut short or written to while it is read: an error that names it, no crash."""
    x, y = make(NET)
    x_path, y_path = saved(tmp_path, x=x, y=y)
    dataset = Npy(x_path, y_path)

    def spoil(run):
        if change == "truncated":
            os.truncate(x_path, 10_000)
        else:
            with open(x_path, "r+b") as file:
                file.seek(5000)
                file.write(b"?")
            os.utime(x_path, ns=(1, 1))

    with pytest.raises(DataError, match=r"x\.npy: the file has changed while it was read, at row \d+; let nothing"):
        fastbp.train(NET, NET.init(0), dataset, epochs=3, batch_size=64, memory_limit=4_000_000, callbacks=[spoil])


@pytest.mark.parametrize(("content", "message"), [
    (np.asfortranarray(np.ones((5, 3))), "rows of numbers in C order are wanted; got shape (5, 3), float64, in Fortran "
     "order. Save it again with np.save(path, np.ascontiguousarray(array))"),
    (np.array(["a"]), "rows of numbers in C order are wanted; got shape (1,), <U1. Save it again with np.save(path, "
     "np.ascontiguousarray(array))"),
    (b"\x93NUMPY\x01\x00\x02\x00..", None), (b"", None),
])  # fmt: skip
def test_files_that_cannot_be_used(content, message, tmp_path):
    """Each is a DataError that names the file."""
    path = tmp_path / "x.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(DataError) as error:
        NpyRows(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message is None or str(error.value) == f"{path}: {message}"


def test_other_mistakes_are_told(tmp_path):
    """Too little memory, rows that do not fit together, y given twice."""
    x, y = make(NET)
    dataset = Npy(*saved(tmp_path, x=x, y=y))
    params = NET.init(0)
    with pytest.raises(InputError, match=r"batches of 1000 rows needs .* MB; got a memory limit of 0\.1 MB\. Raise it"):
        fastbp.train(NET, params, dataset, epochs=1, batch_size=1000, memory_limit=100_000)
    with pytest.raises(InputError, match="a data set brings its own y and sample_weight; give x alone"):
        fastbp.train(NET, params, dataset, y, epochs=1)
    with pytest.raises(DataError, match=r"y\.npy: one row for each of 5000 in .*x\.npy is wanted; got 9"):
        Npy(*saved(tmp_path, x=x, y=y[:9]))
    with pytest.raises(InputError, match="metrics of a data set need validation data"):
        fastbp.train(NET, params, Own(x, y), epochs=1, metrics=["accuracy"])
    with pytest.raises(DataError, match=r"row 0 of Own and the rows after it: x must have shape \(N, 20\)"):
        fastbp.train(NET, params, Own(x[:, :3], y), epochs=1)
    with pytest.raises(InputError, match="Joined needs at least one data set; got none"):
        Joined([])


class Rows:
    """Rows by number, without an end, as data sets of other libraries are."""

    def __init__(self, x, ends=False):
        self.x, self.ends = x, ends

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        if self.ends and i >= len(self.x):
            raise IndexError(i)
        return self.x[i % len(self.x)]


def test_rows_without_an_end_are_refused():
    """NumPy would read them for ever; those that end are read, whoever made them."""
    x, y = make(NET, 50)
    params = NET.init(0)
    for call in (
        lambda: fastbp.train(NET, params, Rows(x), y, epochs=1),
        lambda: fastbp.train(NET, params, Rows(x), epochs=1),
        lambda: fastbp.train(NET, params, x, Rows(y), epochs=1),
        lambda: NET.forward(params, Rows(x)),
    ):
        with pytest.raises(
            InputError, match=r"must end: this Rows has 50 rows, and gives a row 50 too.*n_rows and read"
        ):
            call()
    np.testing.assert_array_equal(NET.forward(params, Rows(x, ends=True)), NET.forward(params, x))


# -- statistics ------------------------------------------------------------------------------------------


def test_standardization_is_the_same_for_any_blocks():
    """One pass over blocks of any sizes gives every bit of one pass over the whole; and it is right."""
    x = RNG.standard_normal((20_011, 5)) * [1, 1e-3, 1e6, 1, 0] + [0, 5, 1e8, -1e3, 0.1]
    whole = data.Standardize.fit(x)
    for sizes in ((1,), (4096,), (7, 5000), (20_011,), (4095, 1, 8192)):
        blocks, start, i = [], 0, 0
        while start < len(x):
            blocks.append(x[start : start + sizes[i % len(sizes)]])
            start, i = start + sizes[i % len(sizes)], i + 1
        other = data.Standardize.fit_blocks(blocks)
        np.testing.assert_array_equal(other.mean, whole.mean)
        np.testing.assert_array_equal(other.scale, whole.scale)
    np.testing.assert_allclose(whole.mean, x.mean(axis=0), rtol=1e-11)
    np.testing.assert_allclose(whole.scale[:4], x.std(axis=0)[:4], rtol=1e-11)
    assert whole.scale[4] == 1.0
