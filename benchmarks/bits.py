"""The bits of trained weights: twelve short trainings, each as the SHA-256 of its parameters.

    python -m benchmarks.bits                      prints them, and whether they are those recorded for this machine
    python -m benchmarks.bits --record             writes them to bits.json, under the CPU and the versions

Bits depend on the CPU type and on the versions of Numba and NumPy, never on threads: each training runs on one thread
and on two. A release that changes them says so in the CHANGELOG.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import scipy.sparse

import fastbp

FILE = Path(__file__).with_suffix(".json")


def data(net: fastbp.MLP, n_rows: int, dtype: type) -> tuple[fastbp.Parameters, np.ndarray, np.ndarray]:
    """Parameters, inputs, and targets or labels that fit the network."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_rows, net.n_inputs)).astype(dtype)
    if net.loss_function.link == "softmax":
        y = rng.integers(0, net.n_outputs, n_rows)
    else:
        y = (rng.random((n_rows, net.n_outputs)) < 0.5).astype(dtype)
    return net.init(0, dtype=dtype), x, y


def trained(
    sizes: tuple[int, ...], activation: str, loss: str | fastbp.Loss, *, dtype: type = np.float32, n_rows: int = 3000,
    epochs: int = 4, batch_size: int | None = 256, **options: object,
) -> Callable[[int], np.ndarray]:  # fmt: skip
    """A training, as a function of the number of threads."""

    def run(n_threads: int) -> np.ndarray:
        net = fastbp.MLP(sizes, activation=activation, loss=loss)
        result = fastbp.train(
            net, *data(net, n_rows, dtype), epochs=epochs, batch_size=batch_size, n_threads=n_threads,
            **{"optimizer": "adam", "seed": 1, **options},
        )  # fmt: skip
        return result.params.vector

    return run


def sparse(n_threads: int) -> np.ndarray:
    """Sparse inputs, mini-batches."""
    net = fastbp.MLP((300, 60, 20, 4), activation="relu", loss="cross_entropy")
    params, x, y = data(net, 2000, np.float32)
    x = scipy.sparse.csr_array(np.where(np.abs(x) > 1.9, x, 0))
    options = {"optimizer": "adam", "seed": 1, "epochs": 3, "batch_size": 200}
    return fastbp.train(net, params, x, y, n_threads=n_threads, **options).params.vector


def streamed(n_threads: int) -> np.ndarray:
    """Rows read from a data set while the training runs."""
    net = fastbp.MLP((10, 40, 1), activation="silu", loss="squared_error")
    params, x, y = data(net, 9000, np.float32)
    options = {"optimizer": "adam", "seed": 1, "epochs": 2, "batch_size": 128, "memory_limit": 2**23}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "x.npy", Path(folder) / "y.npy"
        for file, array in zip(files, (x, y), strict=True):
            np.save(file, array)
        return fastbp.train(net, params, fastbp.data.Npy(*files), n_threads=n_threads, **options).params.vector


def resumed(n_threads: int) -> np.ndarray:
    """Two epochs, and two more from their checkpoint."""
    net = fastbp.MLP((12, 50, 30, 3), activation="tanh", loss="cross_entropy")
    arrays = data(net, 2000, np.float64)
    options = {"optimizer": "adam", "seed": 1, "batch_size": 100, "n_threads": n_threads}
    with tempfile.TemporaryDirectory() as folder:
        fastbp.train(net, *arrays, epochs=2, checkpoint=folder, **options)
        return fastbp.train(net, *arrays, epochs=4, checkpoint=folder, resume=True, **options).params.vector


def log_cosh(n_threads: int) -> np.ndarray:
    """A loss of one's own."""
    loss = fastbp.Loss("log_cosh", lambda y, z: math.log(math.cosh(z - y)), lambda y, z: math.tanh(z - y))
    return trained((6, 30, 2), "elu", loss)(n_threads)


RUNS: dict[str, Callable[[int], np.ndarray]] = {
    "2-100-1 sigmoid, whole batch": trained((2, 100, 1), "sigmoid", "binary_cross_entropy", batch_size=None),
    "2-100-1 sigmoid, float64": trained((2, 100, 1), "sigmoid", "binary_cross_entropy", dtype=np.float64),
    "5-20-3 tanh, classes": trained((5, 20, 3), "tanh", "cross_entropy", batch_size=100),
    "20-64-64-3 relu, classes": trained((20, 64, 64, 3), "relu", "cross_entropy"),
    "32-128-128-1 silu, whole batch": trained((32, 128, 128, 1), "silu", "squared_error", batch_size=None, n_rows=9000),
    "20-40-40-12 gelu, float64": trained((20, 40, 40, 12), "gelu", "binary_cross_entropy", dtype=np.float64),
    "784-256-128-10 relu, batch 512": trained((784, 256, 128, 10), "relu", "cross_entropy", batch_size=512, epochs=1),
    "dropout, penalties, clipping": trained(
        (10, 50, 40, 4), "relu", "cross_entropy", input_dropout=0.1, dropout=(0.2, 0.3), l1=1e-5, l2=1e-4,
        optimizer=fastbp.optim.adamw(0.01, clip_norm=0.5),
    ),
    "sparse": sparse,
    "streamed": streamed,
    "resumed": resumed,
    "a loss of one's own": log_cosh,
}  # fmt: skip


def machine() -> str:
    """What bits depend on beside the code."""
    return f"{fastbp.show_config(as_dict=True)['cpu']}, numba {numba.__version__}, numpy {np.__version__}"


def main() -> int:
    """Run all trainings; 1 if bits depend on threads or are not those recorded."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", action="store_true", help="write the bits to bits.json")
    record = parser.parse_args().record
    every_machine = json.loads(FILE.read_text()) if FILE.exists() else {}
    known, found, failed = every_machine.get(machine(), {}), {}, False
    for name, run in RUNS.items():
        hashes = {hashlib.sha256(run(n_threads).tobytes()).hexdigest() for n_threads in (1, 2)}
        found[name] = " ".join(sorted(hashes))
        if len(hashes) > 1:
            says = "DEPENDS ON THREADS"
        elif record or name not in known:
            says = "not recorded"
        else:
            says = "as recorded" if known[name] == found[name] else f"CHANGED, was {known[name][:16]}"
        failed |= says.startswith(("DEPENDS", "CHANGED"))
        print(f"{name:32} {found[name][:16]}  {says}", flush=True)
    if record and not failed:
        FILE.write_text(json.dumps(every_machine | {machine(): found}, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
