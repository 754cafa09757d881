"""The compile cache: what is trusted, and what is warned of."""

import contextlib
import os
import pickle
import resource
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.caching import NullCache
from numba.core.registry import CPUDispatcher

from fastbp.compiler import cache, jit
from tests import small_kernels
from tests.processes import finish, run, start

pytestmark = pytest.mark.skipif(not jit.COMPILED, reason="nothing is compiled")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache folder, in a process that has not warned yet."""
    path = tmp_path / "cache"
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(path))
    monkeypatch.delenv("FASTBP_CACHE", raising=False)
    monkeypatch.setattr(cache, "_failure", "")
    return path


def call():
    """Calls `serial` through a new entry, as a new process would; returns how many functions were compiled."""
    entry = jit.entry(small_kernels.serial_f64._signature)(small_kernels.serial)
    before = jit.n_compilations()
    x, y = np.arange(5.0), np.zeros(5)
    entry(y, x)
    np.testing.assert_array_equal(y, small_kernels.expected(x))
    return jit.n_compilations() - before


def only_file(folder):
    [path] = folder.iterdir()
    return path


def warned(text):
    return pytest.warns(cache.CacheWarning, match=text)


class Plant:
    """Unpickled, it touches a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


# -- files that cannot be trusted --------------------------------------------------------------------------------------

DAMAGES = {
    "empty": lambda content: b"",
    "truncated in the head": lambda content: content[:20],
    "truncated": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "head flipped": lambda content: flipped(content, 3),
    "digest flipped": lambda content: flipped(content, 20),
    "payload flipped": lambda content: flipped(content, len(content) // 2),
    "another key's file": lambda content: with_digest("another key", content[48:]),
}


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def with_digest(key, payload):
    return cache.MAGIC + cache._digest(key, payload) + payload


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_file(folder, damage):
    """A damaged file is one warning, the right result, and is replaced by a good one."""
    assert call() > 0
    path = only_file(folder)
    good = path.read_bytes()
    path.write_bytes(damage(good))
    assert path.read_bytes() != good
    with warned("is damaged") as warnings:
        assert call() > 0
    assert len(warnings) == 1
    assert call() == 0


def test_every_failure_is_one_warning(folder):
    """The second failure in a process is silent; the result is still right."""
    call()
    for expectation in (warned("is damaged"), contextlib.nullcontext()):
        only_file(folder).write_bytes(b"")
        with expectation:
            assert call() > 0


@pytest.mark.parametrize("digest", ["none", "right, but others may write the file"])
def test_planted_pickle_never_runs(folder, tmp_path, digest):
    """What a planted file would run is not run."""
    touched = tmp_path / "touched"
    payload = pickle.dumps(Plant(touched))
    call()
    path = only_file(folder)
    if digest == "none":
        path.write_bytes(payload)
    else:
        path.write_bytes(with_digest(path.stem, payload))
        path.chmod(0o666)
    with warned("is damaged|can be written by others"):
        assert call() > 0
    assert not touched.exists()
    pickle.loads(payload)
    assert touched.exists()  # the plant works where it is let in


FOREIGN = {
    "group may write the file": (
        lambda folder: only_file(folder).chmod(0o620),
        r"can be written by others \(mode 0620\)",
    ),
    "others may write the file": (
        lambda folder: only_file(folder).chmod(0o602),
        r"can be written by others \(mode 0602\)",
    ),
    "group may write the folder": (lambda folder: folder.chmod(0o770), r"can be written by others \(mode 0770\)"),
    "others may write the folder": (lambda folder: folder.chmod(0o707), r"can be written by others \(mode 0707\)"),
    "a link": (lambda folder: linked(only_file(folder)), "OSError"),
}


def linked(path):
    moved = path.parent.parent / "elsewhere"
    path.rename(moved)
    path.symlink_to(moved)


@pytest.mark.parametrize(("make_foreign", "text"), FOREIGN.values(), ids=FOREIGN)
def test_what_others_could_have_written_is_not_read(folder, make_foreign, text):
    """A file or folder that another user could have written, or a link, is one warning and is not read."""
    call()
    make_foreign(folder)
    with warned(text):
        assert call() > 0


def test_a_link_is_not_read_where_folders_cannot_be_opened(folder, monkeypatch):
    """As on Windows, where nobody can be asked for modes and owners either."""
    monkeypatch.setattr(cache, "_PINS_FOLDERS", False)
    monkeypatch.delattr(os, "geteuid")
    call()
    assert call() == 0
    linked(only_file(folder))
    with warned("is a link"):
        assert call() > 0


def test_another_owner(folder, monkeypatch):
    """Files of another user are not read, nor is their folder written to."""
    call()
    before = only_file(folder).stat()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with warned(rf"belongs to user {os.getuid()}, not to you \(12345\)"):
        assert call() > 0
    assert only_file(folder).stat() == before


# -- folders ----------------------------------------------------------------------------------------------------------


def test_only_the_user_can_read_and_write(folder):
    """The folder is made with mode 0700, its files with 0600."""
    call()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert only_file(folder).stat().st_mode & 0o777 == 0o600


def test_no_folder_can_be_made(folder, monkeypatch):
    """Where no folder can be made everything works, uncached, with one warning that names the ways out."""
    monkeypatch.setenv("FASTBP_CACHE_DIR", "/dev/null/cache")
    with pytest.warns(cache.CacheWarning) as warnings:
        assert call() > 0
    assert call() > 0
    assert [str(w.message) for w in warnings] == [
        "the compile cache was not used (NotADirectoryError: [Errno 20] Not a directory: '/dev/null/cache'); kernels "
        "are compiled instead. Remove the file or folder, set FASTBP_CACHE_DIR to a folder that only you can write to, "
        "or set FASTBP_CACHE=0 to do without a cache"
    ]
    assert cache.state() == "not used (NotADirectoryError: [Errno 20] Not a directory: '/dev/null/cache')"


def test_warnings_as_errors(folder, monkeypatch):
    """Where warnings are errors the first call raises it, and the entry works from the second call on."""
    monkeypatch.setenv("FASTBP_CACHE_DIR", "/dev/null/cache")
    entry = jit.entry(small_kernels.serial_f64._signature)(small_kernels.serial)
    x, y = np.arange(5.0), np.zeros(5)
    with pytest.raises(cache.CacheWarning):
        entry(y, x)
    entry(y, x)
    np.testing.assert_array_equal(y, small_kernels.expected(x))


def test_code_with_addresses_is_not_kept(folder):
    """Code that holds an address of its process is compiled in every process, with a warning."""
    entry = jit.entry(small_kernels.team_size._signature, parallel=True)(small_kernels.team_size.function)
    with warned("CacheError: team_size has addresses of this process in its code"):
        entry(np.zeros(1), 1)
    assert not folder.exists()


def test_full_disk(folder):
    """On a full disk everything works, with one warning, and no half-written file stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with warned("File too large"):
            assert call() > 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(folder.iterdir()) == []


def test_switched_off(folder, monkeypatch):
    """FASTBP_CACHE=0 neither reads nor writes, and warns of nothing."""
    monkeypatch.setenv("FASTBP_CACHE", "0")
    assert call() > 0
    assert call() > 0
    assert not folder.exists()
    assert cache.state() == "off (FASTBP_CACHE=0)"


def test_folder_from_the_environment(monkeypatch):
    """FASTBP_CACHE_DIR, else $XDG_CACHE_HOME/fastbp, else ~/.cache/fastbp; Numba's own setting is left alone."""
    monkeypatch.delenv("FASTBP_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("FASTBP_CACHE_DIR", "~/mine")
    assert cache.folder() == Path("/home/me/mine")
    monkeypatch.delenv("FASTBP_CACHE_DIR")
    assert cache.folder() == Path("/xdg/fastbp")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder() == Path("/home/me/.cache/fastbp")
    assert os.environ.get("NUMBA_CACHE_DIR", "") == numba.config.CACHE_DIR


HOOKS = {
    "numba.core.serialize.dumps": "cannot import name 'dumps'",
    "numba.core.compiler.CompileResult._reduce": "no attribute '_reduce'",
    "numba.core.compiler.CompileResult._rebuild": "no attribute '_rebuild'",
}


@pytest.mark.parametrize(("hook", "text"), HOOKS.items(), ids=HOOKS)
def test_numba_without_our_hooks(folder, monkeypatch, hook, text):
    """Where Numba's private parts are missing there is one warning, and everything works."""
    if hook.endswith("_rebuild"):
        call()
    monkeypatch.delattr(hook)
    with warned(text) as warnings:
        assert call() > 0
        assert call() > 0
    assert len(warnings) == 1


class IgnoredCache(NullCache):
    """What a dispatcher has in place of a cache; it takes no other, as if Numba had moved it elsewhere."""

    def __get__(self, dispatcher, owner):
        return self

    def __set__(self, dispatcher, value):
        pass


class FixedCache(IgnoredCache):
    """It refuses any other."""

    def __set__(self, dispatcher, value):
        if not isinstance(value, NullCache):
            raise AttributeError("can't set attribute '_cache'")


class ForgetfulCache(IgnoredCache):
    """It asks ours, and hands nothing to it."""

    def __set__(self, dispatcher, value):
        self.load_overload = value.load_overload


@pytest.mark.parametrize(("there", "text"), [
    (IgnoredCache, f"Numba {numba.__version__} does not use dispatcher._cache"),
    (FixedCache, "can't set attribute '_cache'"),
    (ForgetfulCache, f"Numba {numba.__version__} does not use dispatcher._cache"),
])  # fmt: skip
def test_numba_that_does_not_use_our_cache(folder, monkeypatch, there, text):
    """Where Numba has its cache elsewhere that is noticed: one warning, everything works, and no file is written."""
    monkeypatch.setattr(CPUDispatcher, "_cache", there(), raising=False)
    with warned(text) as warnings:
        assert call() > 0
        assert call() > 0
    assert len(warnings) == 1
    assert not folder.exists()
    monkeypatch.setenv("FASTBP_CACHE", "0")
    monkeypatch.setattr(cache, "_failure", "")
    assert call() > 0  # nothing to warn of: there is to be no cache


def test_sweep_keeps_what_was_used_last(folder, monkeypatch):
    """Beyond the limit the files unused for longest go, and so do old temporary files; other programs' files stay."""
    for age, key in enumerate(["newer", "loaded", "old"]):
        cache.save(key, b"payload")
        os.utime(folder / f"{key}.compiled", (1e9 - age,) * 2)
    for name in ("old.compiled-part", "new.compiled-part", "notes.tmp"):
        (folder / name).touch()
    for name in ("old.compiled-part", "notes.tmp"):
        os.utime(folder / name, (1e9,) * 2)
    monkeypatch.setattr(cache, "MAX_FILES", 2)
    assert cache.load("loaded") == b"payload"
    cache.save("newest", b"payload")
    left = {path.name for path in folder.iterdir()}
    assert left == {"loaded.compiled", "newest.compiled", "new.compiled-part", "notes.tmp"}


# -- processes --------------------------------------------------------------------------------------------------------

USE = """
import numpy as np
from tests import small_kernels as s
from fastbp.compiler import jit as _jit; from fastbp.compiler import threads as _threads
x, y, z = np.arange(9.0), np.zeros(9), np.zeros(9)
s.serial_f64(y, x)
_threads.launch(s.parallel_f64, 2, z, x, 4)
assert (y == s.expected(x)).all() and (z == y).all()
print(_jit.n_compilations(), sum(_jit.signatures_compiled().values()))
"""


@pytest.mark.smoke
def test_processes_share_the_cache(folder):
    """Two processes that compile at once leave one good file per function; the next compiles nothing."""
    for _ in range(5):  # until neither was so late that it found the other's files
        racing = [start(USE) for _ in range(2)]
        have_compiled = [int(finish(process).split()[0]) > 0 for process in racing]
        if have_compiled == [True, True]:
            break
        for path in folder.iterdir():
            path.unlink()
    assert have_compiled == [True, True]
    assert len(list(folder.iterdir())) == 2
    assert run(USE, PYTHONHASHSEED="7", NUMBA_NUM_THREADS="3").split() == ["0", "2"]
