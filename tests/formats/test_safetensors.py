"""Models as safetensors: what comes back, what other libraries read, and what is refused."""

import json
import tracemalloc

import numpy as np
import pytest

from fastbp.errors import InputError, ModelError
from fastbp.formats import export, safetensors
from fastbp.model.network import MLP
from tests.formats.test_saving import META, assert_same
from tests.models import NETWORKS, make_params

MORE_META = META | {
    "halves": np.arange(3, dtype=np.float16),
    "bytes": np.arange(3, dtype=np.uint8),
    "bools": np.array([[True], [False]]),
    "big": np.array(2**63, np.uint64),
    "word": np.array("ü"),
    "words": np.array([["a", "bcd"], ["", "猫🐈"]]),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


@pytest.fixture
def model(tmp_path):
    """An exported model: (path, its bytes)."""
    path = tmp_path / "model.safetensors"
    net = MLP((3, 4, 1))
    export.export(path, net, make_params(net), META)
    return path, path.read_bytes()


def opened(content):
    """(header as a dict, data) of the bytes of a file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def closed(header, data):
    """The bytes of a file; the header is a dict or text."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", NETWORKS)
def test_what_was_exported_comes_back(case, dtype, tmp_path):
    """Network, parameters and meta come back equal in every bit, and can be written to."""
    net, path = NETWORKS[case], tmp_path / "m.safetensors"
    params = make_params(net, dtype)
    export.export(path, net, params, MORE_META)
    loaded_net, loaded, meta = export.load_safetensors(path)
    assert loaded_net == net
    assert_same(loaded.vector, params.vector)
    assert_same(meta, MORE_META)
    loaded.vector[0] = 7
    assert loaded.weights[0][0, 0] == 7


@pytest.mark.parametrize("array", [np.array([1, 2.5], ">f8"), np.arange(6)[::2], np.ndarray(2, "U0"), np.array([])])
def test_arrays_of_any_layout_keep_their_values(array, tmp_path):
    """Byte order and strides are not kept, values and shape are."""
    net = MLP((1, 1))
    export.export(tmp_path / "m.safetensors", net, make_params(net), {"a": array})
    loaded = export.load_safetensors(tmp_path / "m.safetensors")[2]["a"]
    assert loaded.tolist() == array.tolist()
    assert loaded.dtype.kind == array.dtype.kind


@pytest.mark.parametrize("case", list(NETWORKS)[::6])
def test_the_safetensors_library_reads_it(case, tmp_path):
    """The library of that name finds every tensor, bit for bit, and the metadata."""
    library = pytest.importorskip("safetensors.numpy")
    net, path = NETWORKS[case], tmp_path / "m.safetensors"
    params = make_params(net)
    export.export(path, net, params, {"a": np.arange(3), "b": "text"})
    wanted = {f"layers.{i}.weight": w for i, w in enumerate(params.weights)}
    wanted |= {f"layers.{i}.bias": b for i, b in enumerate(params.biases)} | {"meta.0": np.arange(3)}
    tensors = library.load_file(path)
    assert set(tensors) == set(wanted)
    for name, array in wanted.items():
        assert_same(tensors[name], array)
    with pytest.importorskip("safetensors").safe_open(path, "np") as file:
        metadata = file.metadata()
    assert json.loads(metadata["fastbp"]) == net.to_dict()
    assert json.loads(metadata["meta"]) == {"a": {"__array__": "meta.0"}, "b": "text"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_the_safetensors_library_writes_is_read(dtype, tmp_path):
    """A file that went through the library, which orders tensors its own way, is the same model."""
    library = pytest.importorskip("safetensors.numpy")
    path, net = tmp_path / "m.safetensors", NETWORKS["3-16-15-17-2 relu, tanh, gelu, cross_entropy"]
    params = make_params(net, dtype)
    export.export(path, net, params, META)
    metadata = opened(path.read_bytes())[0]["__metadata__"]
    library.save_file(library.load_file(path), path, metadata)
    loaded_net, loaded, meta = export.load_safetensors(path)
    assert loaded_net == net
    assert_same(loaded.vector, params.vector)
    assert_same(meta, META)


def test_tensors_are_aligned(tmp_path):
    """Every tensor begins at a multiple of the size of its numbers, so that it can be mapped into memory."""
    net = MLP((3, 5, 1))
    meta = {"a": np.zeros(3, np.uint8), "b": np.zeros(3), "c": np.zeros(1, np.uint16)}
    export.export(tmp_path / "m.safetensors", net, make_params(net), meta)
    content = (tmp_path / "m.safetensors").read_bytes()
    header, data = opened(content)
    assert (len(content) - len(data)) % 8 == 0
    sizes = {"U8": 1, "U16": 2, "F32": 4, "F64": 8}
    del header["__metadata__"]
    assert all(entry["data_offsets"][0] % sizes[entry["dtype"]] == 0 for entry in header.values())


def test_meta_that_no_tensor_can_hold_is_refused(tmp_path):
    """By its name, and no file appears."""
    net = MLP((1, 1))
    with pytest.raises(InputError, match=r"^meta.0: a safetensors file holds no array of \w+; make it float64$"):
        export.export(tmp_path / "m.safetensors", net, make_params(net), {"a": np.zeros(1, np.longdouble)})
    with pytest.raises(InputError, match=r"^meta\['a'\] must be None, a bool, "):
        export.export(tmp_path / "m.safetensors", net, make_params(net), {"a": object})
    assert list(tmp_path.iterdir()) == []


def test_a_header_too_long_is_not_written(tmp_path, monkeypatch):
    """What could not be read again is refused at once."""
    monkeypatch.setattr(safetensors, "MAX_HEADER_BYTES", 2000)
    net = MLP((1, 1))
    with pytest.raises(InputError, match="holds at most 2,000 bytes; meta makes it 3,"):
        export.export(tmp_path / "m.safetensors", net, make_params(net), {"a": "b" * 3000})
    assert list(tmp_path.iterdir()) == []


# -- damage and lies -------------------------------------------------------------------------------------


def assert_refused(path, content):
    """A file of this content is refused with a ModelError that names it; returns the reason."""
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        export.load_safetensors(path)
    message = str(caught.value)
    start, end = f"{path}: a .safetensors file written by fastbp.export is wanted; ", ". Export or copy it again"
    assert message.startswith(start)
    assert message.endswith(end)
    assert len(message) < len(start) + 300
    return message.removeprefix(start).removesuffix(end)


def tensor(name, **changes):
    """A change of one entry of the header."""
    return lambda header, data: (header | {name: header[name] | changes}, data)


def metadata(**changes):
    """A change of the metadata; values that are no text are written as JSON."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in changes.items()}
    return lambda header, data: (header | {"__metadata__": header["__metadata__"] | texts}, data)


def without(name):
    return lambda header, data: ({key: value for key, value in header.items() if key != name}, data)


# The tensors lie in this order: meta.0 F64 3, meta.2 I64 (2, 3), layers.0.weight F32 (3, 4), layers.1.weight (4, 1),
# layers.0.bias (4), layers.1.bias (1), meta.1 text U32 (3, 5), meta.3 F32 (0, 3), meta.4 BOOL 1.
DEEP = b"[" * 100_000
NET = {"layer_sizes": [3, 4, 1], "activation": [["sigmoid", 0.0]], "loss": ["binary_cross_entropy", 0.0], "bias": True}
W, B = "layers.0.weight", "layers.0.bias"
LIES = {
    "no header": (lambda h, d: (b"", b""), "its header must be a dict in JSON"),
    "no JSON": (lambda h, d: (b"{]}", d), "Expecting property name"),
    "no UTF-8": (lambda h, d: (b'{"\xff": 1}', d), "'utf-8' codec can't decode"),
    "JSON of another kind": (lambda h, d: (b"[1]", d), "its header must be a dict in JSON"),
    "header of no end": (lambda h, d: (b"{" + d, b""), "its header must be a dict in JSON"),
    "deep JSON": (lambda h, d: (b'{"a":' + DEEP + b"}", d), "maximum recursion depth exceeded"),
    "twins": (lambda h, d: (b'{"a": 1, "a": 2}', d), "its header says something twice"),
    "no metadata": (without("__metadata__"), "its __metadata__ must be a dict of text"),
    "metadata not text": (lambda h, d: (h | {"__metadata__": {"a": 1}}, d), "its __metadata__ must be a dict of text"),
    "foreign metadata": (
        lambda h, d: (h | {"__metadata__": {"format": "pt"}}, d),
        "its __metadata__ lacks fastbp, dtype, meta, text",
    ),
    "entry of another kind": (lambda h, d: (h | {W: 1}, d), f"tensor '{W}' must have dtype, shape and data_offsets"),
    "half an entry": (
        lambda h, d: (h | {W: {"dtype": "F32", "shape": [3, 4]}}, d),
        f"tensor '{W}' must have dtype, shape and data_offsets",
    ),
    "more than an entry": (tensor(W, code="eval"), f"tensor '{W}' must have dtype, shape and data_offsets"),
    "unknown dtype": (tensor(W, dtype="O"), f"tensor '{W}' must be one of BOOL, U8, "),
    "no dtype": (tensor(W, dtype=["F32"]), "its dtype is ['F32']"),
    "half a shape": (tensor(W, shape=[3.0, 4]), "must have a shape of whole numbers; it has [3.0, 4]"),
    "negative shape": (tensor(W, shape=[-3, -4]), "must have a shape of whole numbers; it has [-3, -4]"),
    "endless shape": (tensor(W, shape=[1] * 1000), "must have a shape of whole numbers; it has [1, 1, "),
    "huge shape": (tensor(W, shape=[2**62, 4]), f"tensor '{W}' takes {2**66} bytes; its offsets are [72, 120]"),
    "shape beyond 64 bits": (tensor(W, shape=[2**64, 0]), "must have a shape of whole numbers"),
    "bools for offsets": (tensor(W, data_offsets=[False, 48]), "must have two offsets; it has [False, 48]"),
    "one offset": (tensor(W, data_offsets=[72]), "must have two offsets; it has [72]"),
    "offsets turned round": (tensor(W, data_offsets=[120, 72]), "takes 48 bytes; its offsets are [120, 72]"),
    "overlap": (tensor(W, data_offsets=[68, 116]), f"tensor '{W}' must begin at byte 72 of the data; its offset is 68"),
    "twice the same": (
        tensor("layers.1.weight", data_offsets=[72, 88]),
        "must begin at byte 88 of the data; its offset is 72",
    ),
    "gap": (without(W), "tensor 'layers.1.weight' must begin at byte 72 of the data; its offset is 120"),
    "beyond the file": (
        tensor("meta.4", shape=[10**12], data_offsets=[216, 216 + 10**12]),
        "its tensors take 1000000000216 bytes of data; there are 217",
    ),
    "trailing bytes": (lambda h, d: (h, d + b"\0"), "its tensors take 217 bytes of data; there are 218"),
    "cut short": (lambda h, d: (h, d[:-1]), "its tensors take 217 bytes of data; there are 216"),
    "wrong shape": (tensor(W, shape=[4, 3]), f"tensor {W} must be float32 (3, 4); it is float32 (4, 3)"),
    "wrong dtype of a tensor": (tensor(W, dtype="I32"), f"tensor {W} must be float32 (3, 4); it is int32 (3, 4)"),
    "wrong dtype": (metadata(dtype="float64"), f"tensor {W} must be float64 (3, 4); it is float32 (3, 4)"),
    "no such dtype": (metadata(dtype="int8"), "its dtype must be float32 or float64; it is 'int8'"),
    "missing tensor": (
        lambda h, d: ({key.replace(B, "meta.9"): value for key, value in h.items()}, d),
        f"tensor {B} of 3-4-1 sigmoid, binary_cross_entropy is missing",
    ),
    "biases of a network without": (
        metadata(fastbp=NET | {"bias": False}),
        f"tensor '{B}' belongs neither to 3-4-1 sigmoid, binary_cross_entropy, no bias nor to meta",
    ),
    "other network": (
        metadata(fastbp=NET | {"layer_sizes": [3, 10**9, 1]}),
        "tensor layers.0.weight must be float32 (3, 1000000000); it is float32 (3, 4)",
    ),
    "no network": (metadata(fastbp={}), "it lacks 'layer_sizes'"),
    "network of another kind": (metadata(fastbp=[1]), "list indices must be integers"),
    "unknown activation": (
        metadata(fastbp=NET | {"activation": [["eval", 0.0]]}),
        "unknown activation 'eval'; known are identity, ",
    ),
    "endless parameter": (
        metadata(fastbp=NET | {"activation": [["elu", float("inf")]]}),
        "alpha of elu must be a finite number; got inf",
    ),
    "parameter of text": (
        metadata(fastbp=NET | {"activation": [["elu", "__import__"]]}),
        "alpha of elu must be a finite number; got '__import__'",
    ),
    "no meta": (metadata(meta=[1]), "its meta must be a dict"),
    "deep meta": (metadata(meta=DEEP.decode()), "maximum recursion depth exceeded"),
    "missing array": (metadata(meta={"a": {"__array__": "meta.7"}}), "it lacks 'meta.7'"),
    "weights as meta": (metadata(meta={"a": {"__array__": W}}), f"it lacks '{W}'"),
    "numbers as text": (metadata(text=["meta.0"]), "tensor 'meta.0' must hold text as U32; it is float64 (3,)"),
    "text without length": (
        lambda h, d: tensor("meta.3", shape=[2**60, 0], dtype="U32")(*metadata(text=["meta.3"])(h, d)),
        f"tensor 'meta.3' must hold text as U32; it is uint32 ({2**60}, 0)",
    ),
    "text of endless length": (
        lambda h, d: tensor("meta.3", shape=[0, 2**60], dtype="U32")(*metadata(text=["meta.3"])(h, d)),
        "",
    ),
    "no characters": (
        lambda h, d: (h, d[:156] + b"\xff" * 60 + d[216:]),
        "tensor 'meta.1' holds numbers that are no characters",
    ),
    "no bools": (lambda h, d: (h, d[:-1] + b"\2"), "tensor 'meta.4' must hold bools; it holds other bytes"),
}


@pytest.mark.parametrize("case", LIES)
def test_headers_that_lie_are_refused(case, model):
    """Sizes, kinds and contents are checked against each other and the file; the message says what is wrong."""
    path, content = model
    lie, reason = LIES[case]
    assert reason in assert_refused(path, closed(*lie(*opened(content))))


def test_a_rebuilt_file_is_read(model):
    """The files of the test above are refused for their lies, not for how they were put together."""
    path, content = model
    path.write_bytes(closed(*opened(content)))
    assert export.load_safetensors(path)[0] == MLP((3, 4, 1))


def test_every_cut_is_noticed(model):
    """A file that ends anywhere before its end is refused."""
    path, content = model
    for n_bytes in range(0, len(content), 7):
        assert_refused(path, content[:n_bytes])


def test_a_header_too_long_is_not_read(model):
    """Neither one that the file does not hold, nor one of above 100 MB."""
    path, content = model
    for length in (len(content) - 7, 2**40, 2**64 - 1):
        reason = assert_refused(path, length.to_bytes(8, "little") + content[8:])
        assert reason == f"it has {len(content)} bytes, too few for a header of {length}"
    path.write_bytes((100_000_001).to_bytes(8, "little"))
    with open(path, "rb+") as file:
        file.truncate(100_000_100)
    with pytest.raises(ModelError, match="its header has 100000001 bytes; at most 100000000 are read"):
        export.load_safetensors(path)


def test_a_missing_file_says_so(tmp_path):
    """As a ModelError that names it."""
    with pytest.raises(ModelError, match=r"none\.safetensors cannot be read: No such file or directory$"):
        export.load_safetensors(tmp_path / "none.safetensors")


def test_random_damage_to_a_header_is_a_model_or_refused(tmp_path):
    """Whatever bytes come: a model or a ModelError, never anything else, and never more memory than the file is long.

    A margin of 1 MB is for the header as Python values; the file has 8 MB.
    """
    path, net = tmp_path / "m.safetensors", MLP((1000, 1000, 2), loss="cross_entropy")
    export.export(path, net, make_params(net), META | {"more": np.arange(500_000.0)})
    content = path.read_bytes()
    n_header = 8 + int.from_bytes(content[:8], "little")
    rng, outcomes = np.random.default_rng(0), set()
    digits = [i for i in range(8, n_header) if content[i : i + 1].isdigit()]
    tracemalloc.start()
    try:
        for i in range(300):
            # A third of them in the length, digits for digits, and anything anywhere.
            places = rng.integers(0, 8, 1) if i % 3 == 0 else rng.integers(8, n_header, rng.integers(1, 4))
            places = rng.choice(digits, 1) if i % 3 == 1 else places
            with open(path, "rb+") as file:
                for place in places:
                    file.seek(place)
                    file.write(bytes([rng.integers(48, 58) if i % 3 == 1 else rng.integers(256)]))
            tracemalloc.reset_peak()
            try:
                export.load_safetensors(path)
                outcomes.add("model")
            except ModelError:
                outcomes.add("refused")
            assert tracemalloc.get_traced_memory()[1] <= len(content) + 10**6
            with open(path, "rb+") as file:
                file.write(content[:n_header])
    finally:
        tracemalloc.stop()
    assert outcomes == {"model", "refused"}
