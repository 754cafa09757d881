"""Saved models: what comes back, and what happens to damaged, foreign and half-written files."""

import errno
import hashlib
import io
import json
import os
import zipfile

import numpy as np
import pytest

from fastbp import activations, losses
from fastbp.errors import InputError, ModelError
from fastbp.formats import npz
from fastbp.model.network import MLP
from fastbp.model.parameters import initialize

NETWORKS = {
    "lecture": MLP((2, 100, 1), bias=False),
    "classes": MLP((64, 32, 16, 10), activation=["relu", activations.elu(0.5)], loss="cross_entropy"),
    "regression": MLP((3, 7, 2), activation=activations.leaky_relu(0.2), loss=losses.quantile(0.9)),
    "linear": MLP((5, 1), loss=losses.huber(2.5)),
}
META = {
    "mean": np.array([0.1, 1e300, -0.0]),
    "classes": np.array(["Katze", "猫", ""]),
    "codes": np.arange(6, dtype=np.int64).reshape(2, 3),
    "empty": np.empty((0, 3), np.float32),
    "names": ["a", "b, c", 'd"'],
    "nested": {"numbers": [1, 2.5, None, True, [np.array([True])]], "text": "ü"},
    "scalar": np.float32(0.5),
}


@pytest.fixture
def model(tmp_path):
    """A saved model: (path, its bytes)."""
    path = tmp_path / "model.npz"
    net = MLP((3, 4, 1))
    npz.save(path, net, initialize(net, 0), META)
    return path, path.read_bytes()


def assert_same(actual, wanted):
    """Equal in value, type, dtype and shape, all the way down."""
    if isinstance(wanted, dict):
        assert list(actual) == list(wanted)
        for key in wanted:
            assert_same(actual[key], wanted[key])
    elif isinstance(wanted, list):
        assert len(actual) == len(wanted)
        for a, w in zip(actual, wanted, strict=True):
            assert_same(a, w)
    elif isinstance(wanted, np.ndarray):
        assert actual.dtype == wanted.dtype
        assert actual.shape == wanted.shape
        assert actual.tobytes() == wanted.tobytes()
    else:
        assert actual == wanted
        assert isinstance(actual, type(wanted)) or isinstance(wanted, np.generic)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", NETWORKS)
def test_what_was_saved_comes_back(case, dtype, tmp_path):
    """Network, parameters and meta come back equal in every bit, and can be written to."""
    net = NETWORKS[case]
    params = initialize(net, 1, dtype=dtype)
    npz.save(tmp_path / "m", net, params, META)
    loaded_net, loaded, meta = npz.load(tmp_path / "m")
    assert loaded_net == net
    assert_same(loaded.vector, params.vector)
    assert_same(meta, META)
    loaded.vector[0] = 7
    assert loaded.weights[0][0, 0] == 7


def test_meta_may_be_left_out(tmp_path):
    """Without meta, an empty dict comes back."""
    net = MLP((1, 1))
    npz.save(tmp_path / "m", net, initialize(net, 0))
    assert npz.load(tmp_path / "m")[2] == {}


def test_equal_models_make_equal_files(model, tmp_path, monkeypatch):
    """The file is a function of the model alone, not of the time."""
    monkeypatch.setattr("time.time", lambda: 2e9)
    net = MLP((3, 4, 1))
    npz.save(tmp_path / "again.npz", net, initialize(net, 0), META)
    assert (tmp_path / "again.npz").read_bytes() == model[1]


def test_numpy_can_open_the_file(model):
    """The file is an npz archive without pickles."""
    with np.load(model[0], allow_pickle=False) as archive:
        assert archive["vector"].shape == (21,)
        assert archive["meta/1"].tolist() == META["classes"].tolist()


REFUSED_META = {
    "object": ({"f": {"g": [1, object]}}, "meta['f']['g'][1]", "<class 'object'>"),
    "object array": ({"a": np.array([None])}, "meta['a']", "an array of object"),
    "complex array": ({"a": np.array([1j])}, "meta['a']", "an array of complex128"),
    "keys": ({"a": {1: 2}}, "meta['a']", "{1: 2}"),
    "reserved": ({"a": {"__array__": "vector"}}, "meta['a']", "{'__array__': 'vector'}"),
}


@pytest.mark.parametrize("case", REFUSED_META)
def test_meta_that_would_need_pickle_is_refused(case, tmp_path):
    """What is neither JSON nor a plain array is refused by its place, and no file appears."""
    meta, where, came = REFUSED_META[case]
    net = MLP((1, 1))
    with pytest.raises(InputError) as caught:
        npz.save(tmp_path / "m", net, initialize(net, 0), meta)
    assert str(caught.value) == (
        f"{where} must be None, a bool, number or text, a list, a dict with text as keys, or an array of bools, "
        f"numbers or text; got {came}"
    )
    assert list(tmp_path.iterdir()) == []


def test_parameters_of_another_network_are_refused(tmp_path):
    """Network and parameters must belong together."""
    net, other = MLP((1, 1)), MLP((1, 2, 1))
    with pytest.raises(InputError) as caught:
        npz.save(tmp_path / "m", net, initialize(other, 0))
    assert str(caught.value) == (
        "params must be those of 1-1 linear, binary_cross_entropy; "
        "got parameters of 1-2-1 sigmoid, binary_cross_entropy"
    )


# -- damage --------------------------------------------------------------------------------------------


def assert_refused(path, content):
    """load refuses a file of this content with a ModelError that names it."""
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        npz.load(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def test_every_flipped_bit_is_noticed(model):
    """Any one bit, in whatever part of the file, cannot change unnoticed."""
    path, content = model
    places = np.random.default_rng(0).integers(0, 8 * len(content), 500)
    for place in [*places, *range(8 * len(content) - 8 * 80, 8 * len(content), 3)]:
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        assert_refused(path, bytes(damaged))


def test_every_truncation_is_noticed(model):
    """A file cut short anywhere, or with something after its end, is refused."""
    path, content = model
    for length in [*np.random.default_rng(0).integers(0, len(content), 200), 0, 1, 4, 64, 78, len(content) - 1]:
        assert_refused(path, content[:length])
    assert_refused(path, content + b"\0")
    assert_refused(path, content + content)


def test_refusals_say_what_came(model):
    """Damaged and foreign files are told apart."""
    path, content = model
    assert assert_refused(path, content[:-1]) == (
        f"{path}: every byte of a saved model must be as it was written; got {len(content) - 1} bytes that are not. "
        "It is damaged, cut short or not from fastbp; save or copy it again"
    )
    assert assert_refused(path, b"x,y\n1,2\n") == (
        f"{path}: a model written by fastbp.save is wanted; got 8 bytes of something else"
    )


def test_a_file_that_is_not_there_is_a_model_error(tmp_path):
    """A missing file, and a folder in its place, are refused by name."""
    with pytest.raises(ModelError) as caught:
        npz.load(tmp_path / "nothing")
    assert str(caught.value) == f"{tmp_path / 'nothing'} cannot be read: No such file or directory"
    with pytest.raises(ModelError, match=r"cannot be read: Is a directory$"):
        npz.load(tmp_path)


# -- files that lie ------------------------------------------------------------------------------------


def sealed(content):
    """The same archive with a digest that is right."""
    return content[:-64] + hashlib.sha256(content[:-64]).hexdigest().encode()


def rebuilt(content, changes, compression=zipfile.ZIP_STORED):
    """The archive with members replaced or dropped (None), and a digest that is right."""
    memory = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(memory, "w", compression) as new:
        for name in dict.fromkeys([*old.namelist(), *changes]):
            member = changes.get(name, old.read(name) if name in old.namelist() else None)
            if member is not None:
                new.writestr(name, member)
        new.comment = old.comment
    return sealed(memory.getvalue())


def npy(array, allow_pickle=False):
    """The bytes of an npy file."""
    memory = io.BytesIO()
    np.lib.format.write_array(memory, array, allow_pickle=allow_pickle)
    return memory.getvalue()


def manifest(content, **changes):
    """The manifest's bytes with some entries changed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return json.dumps(json.loads(archive.read("manifest.json")) | changes).encode()


VECTOR = np.zeros(21, np.float32)
HEADER = npy(VECTOR)
UNKNOWN = {"layer_sizes": [3, 4, 1], "activation": [["tanh", 0]], "loss": ["eval", 0], "bias": True}
LIES = {
    "compressed": (
        lambda c: rebuilt(c, {"vector.npy": npy(np.zeros(10**6))}, zipfile.ZIP_DEFLATED),
        "manifest.json must be stored as it is; got ",
    ),
    "header too large": (
        lambda c: rebuilt(c, {"vector.npy": HEADER.replace(b"(21,), }     ", b"(9999999999,)}")[:-1]}),
        "the header says 39999999996 bytes of data, there are 84",
    ),
    "header too small": (
        lambda c: rebuilt(c, {"vector.npy": HEADER.replace(b"(21,)", b"(20,)")}),
        "the header says 80 bytes of data, there are 84",
    ),
    "header of code": (
        lambda c: rebuilt(c, {"vector.npy": HEADER.replace(b"(21,)", b"1//0 ")}),
        "its header cannot be read: ",
    ),
    "pickle": (
        lambda c: rebuilt(c, {"vector.npy": npy(np.array([print]), allow_pickle=True)}),
        "arrays of Python objects are never read, they would need pickle; got object",
    ),
    "no vector": (lambda c: rebuilt(c, {"vector.npy": None}), "'vector'"),
    "no manifest": (lambda c: rebuilt(c, {"manifest.json": None}), "There is no item named 'manifest.json'"),
    "no JSON": (lambda c: rebuilt(c, {"manifest.json": b"{"}), "Expecting property name"),
    "no text": (lambda c: rebuilt(c, {"manifest.json": b"\xff"}), "'utf-8' codec can't decode"),
    "JSON of another kind": (lambda c: rebuilt(c, {"manifest.json": b"[1]"}), "list indices must be integers"),
    "deep JSON": (lambda c: rebuilt(c, {"manifest.json": b"[" * 100_000}), "maximum recursion depth exceeded"),
    "no meta array": (lambda c: rebuilt(c, {"meta/0.npy": None}), "'meta/0'"),
    "wrong length": (
        lambda c: rebuilt(c, {"vector.npy": npy(VECTOR[:20])}),
        "the parameter vector of 3-4-1 sigmoid, binary_cross_entropy has shape (21,); got (20,)",
    ),
    "wrong dtype": (
        lambda c: rebuilt(c, {"vector.npy": npy(VECTOR.astype(np.float64))}),
        "the manifest says 'float32', the vector is float64",
    ),
    "integers": (
        lambda c: rebuilt(c, {"vector.npy": npy(VECTOR.astype(np.int32))}),
        "from_vector needs a contiguous float32 or float64 array",
    ),
    "no network": (lambda c: rebuilt(c, {"manifest.json": manifest(c, network={})}), "'layer_sizes'"),
    "unknown loss": (
        lambda c: rebuilt(c, {"manifest.json": manifest(c, network=UNKNOWN)}),
        "unknown loss 'eval'; known are ",
    ),
}


@pytest.mark.parametrize("case", LIES)
def test_archives_that_lie_are_refused(case, model):
    """A right digest is not believed: sizes, kinds and contents are checked as well, before memory is taken."""
    path, content = model
    lie, reason = LIES[case]
    message = assert_refused(path, lie(content))
    assert message.startswith(f"{path}: its digest is right, but it holds no model that this fastbp can read: ")
    assert reason in message


def test_a_rebuilt_archive_is_read(model):
    """The archives of the test above are refused for their lies, not for how they were put together."""
    path, content = model
    path.write_bytes(rebuilt(content, {}))
    assert npz.load(path)[0] == MLP((3, 4, 1))


def test_a_later_version_is_refused(model):
    """A file of a later format says so."""
    path, content = model
    message = assert_refused(path, rebuilt(content, {"manifest.json": manifest(content, version=2)}))
    assert message == (
        f"{path}: this fastbp reads version 1 of its model format; got version 2. Read it with the fastbp that wrote it"
    )


def test_random_damage_under_a_right_digest_never_raises_anything_else(model):
    """Whatever bytes come, the outcome is a model or a ModelError."""
    path, content = model
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(500):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content) - 80, rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        path.write_bytes(sealed(bytes(damaged)))
        try:
            npz.load(path)
            outcomes.add("model")
        except ModelError:
            outcomes.add("refused")
    assert outcomes == {"model", "refused"}


# -- writing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(function, model, monkeypatch):
    """If the disk refuses, the old file stays as it was and nothing lies beside it."""
    path, content = model
    net = MLP((3, 4, 1))

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(OSError, match="No space left"):
        npz.save(path, net, initialize(net, 1))
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_file(model, monkeypatch):
    """Ctrl-C in the middle of writing is no different."""
    path, content = model
    net = MLP((3, 4, 1))

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(npz, "_digest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        npz.save(path, net, initialize(net, 1))
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_nothing_has_the_name_before_all_is_on_the_disk(model, monkeypatch):
    """The file is synced, then renamed, then its folder is synced."""
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    net = MLP((3, 4, 1))
    npz.save(model[0], net, initialize(net, 1))
    assert calls == ["fsync", "replace", "fsync"]


def test_a_link_stays_a_link(model, tmp_path):
    """Saving through a symbolic link replaces the file it points to."""
    link = tmp_path / "latest.npz"
    link.symlink_to(model[0])
    net = MLP((1, 1))
    npz.save(link, net, initialize(net, 0))
    assert link.is_symlink()
    assert npz.load(model[0])[0] == net
