"""The command line: fastbp train | predict | export | graph | check | bench | config.

Exit codes: 0 done, 1 `check` found a wrong gradient, 2 an error, in one line on stderr, 130 interrupted by Ctrl-C, 143
terminated by SIGTERM.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from ..errors import FastbpError, InputError
from ..model import activations, losses
from ..training.interrupts import Terminated
from . import config_file

OPTIMIZERS = ("sgd", "adam", "adamw", "nadam", "amsgrad", "rmsprop", "adagrad", "rprop", "lion")
SCHEDULES = (
    *("constant", "cosine", "warmup-cosine", "one-cycle", "step-decay", "exponential", "inverse-scaling"),
    "reduce-on-plateau",
)
_TRAIN = """\
Train a dense network by gradient descent and write a folder with the model, its history and pictures.

Without --data: the lecture's 2-100-1 network on two spirals, a million points, standardized, full batch,
1,000 steps.
With --data: your own table. Features are standardized, and a fifth of the rows is held out to score the model.
A target of text or of few whole numbers is taken for classes, any other for a number."""
_TRAIN_EXAMPLES = """\
examples:
  fastbp train
  fastbp train --samples 10000 --out spirals
  fastbp train --data flowers.csv --target species --out flowers
  fastbp train --data houses.npz --hidden 128,64 --activation relu --epochs 100"""
_PREDICT_EXAMPLES = """\
examples:
  fastbp predict --model flowers/model.npz --data new.csv --out answers.csv
  fastbp predict --model flowers/model.npz --data labeled.csv --target species --out answers.csv"""
_EXPORT_EXAMPLES = """\
examples:
  fastbp export --model flowers/model.npz --out flowers.onnx
  fastbp export --model flowers/model.npz --out flowers.py && python flowers.py < new.csv"""
_GRAPH_EXAMPLES = """\
examples:
  fastbp train && fastbp graph --out graph.png
  fastbp graph --model flowers/model.npz --data flowers.csv --row 3 --explain W1"""
_CHECK_EXAMPLES = """\
examples:
  fastbp check
  fastbp check --layers 4,32,16,3 --activation gelu --loss cross_entropy --dtype float32"""

_BENCH_EXAMPLES = """\
examples:
  fastbp bench
  fastbp bench --layers 784,256,128,10 --activation relu --loss cross_entropy --rows 8192 --peers"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        args = _parse(list(sys.argv[1:] if argv is None else argv))
        # Each command is loaded when it is run: --help and errors in the options need no kernel.
        module, function = args.command.split(":")
        return getattr(importlib.import_module(f"{__package__}.{module}"), function)(args)
    except KeyboardInterrupt as interrupt:
        return _failed("interrupted" + (f" at {interrupt}" if interrupt.args else ""), 130)
    except Terminated as interrupt:
        return _failed(f"terminated at {interrupt.message}", 128 + signal.SIGTERM)
    except FastbpError as error:
        return _failed(str(error), 2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _failed(f"{where}{error.strerror or error}", 2)


def run() -> NoReturn:
    """The command as a process: ends with the code, after a signal at once."""
    code = main()
    sys.stdout.flush()
    if code > 128:
        os._exit(code)  # everything is written; taking the interpreter apart would take another third of a second
    sys.exit(code)


def _parse(argv: list[str]) -> argparse.Namespace:
    """The options, those of a --config file first, so that the command line has the last word."""
    parser, train = _parser()
    args = parser.parse_args(argv)
    if getattr(args, "config", None) is None:
        return args
    place = argv.index("train") + 1
    return parser.parse_args([*argv[:place], *config_file.arguments(args.config, train, argv), *argv[place:]])


def _failed(message: str, code: int) -> int:
    print(f"fastbp: {' '.join(message.split())}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, as all others."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def _parser() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The whole parser, and that of `train`."""
    from .. import __version__

    parser = _Parser(prog="fastbp", description="Train dense neural networks on CPUs and see what they learn.")
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="train | predict | export | graph | check | bench | config")
    train = _add_train(commands)
    _add_predict(commands)
    _add_export(commands)
    _add_graph(commands)
    _add_check(commands)
    _add_bench(commands)
    config = commands.add_parser("config", help="versions, CPU, threads and the compile cache, for a bug report")
    config.set_defaults(command="config:config")
    return parser, train


def _add_train(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = _add(commands, "train", "train a network and write its model and pictures", _TRAIN, _TRAIN_EXAMPLES)
    parser.set_defaults(command="train:run")
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        type=_path,
        metavar="FILE",
        help=".csv with a header, .npy, .npz, .parquet, or a folder of them; default: two spirals",
    )
    group.add_argument("--target", metavar="NAME", help="column to learn; default: the last one, y in an .npz")
    group.add_argument(
        "--test-fraction", type=_fraction, metavar="F", help="share of rows held out, 0 for none; default 0.2 of a file"
    )
    group.add_argument("--samples", type=_positive, default=1_000_000, metavar="N", help="spiral points; default 1e6")

    group = parser.add_argument_group("network")
    group.add_argument("--hidden", type=_sizes, metavar="N[,N...]", help="units of the hidden layers; default 100")
    _add_choice(group, "--activation", activations.NAMES, "default: sigmoid for spirals, tanh for a file")
    _add_choice(group, "--loss", losses.NAMES, "default: by the target")
    _add_choice(group, "--dtype", ("float32", "float64"), "default: float32", default="float32")

    _add_training(parser)
    _add_safety(parser)

    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", default="fastbp-run", type=_path, metavar="DIR",
        help="new or empty folder, or that of an earlier run, which is replaced; default ./fastbp-run",
    )  # fmt: skip
    group.add_argument("--no-plots", action="store_true", help="draw no pictures")
    group.add_argument("--animate", action="store_true", help="also a film of the training, training.gif")
    group.add_argument(
        "--live", type=_natural, nargs="?", const=0, metavar="PORT",
        help="show the training while it runs, in a web page of this machine alone; any free port by default",
    )  # fmt: skip
    group.add_argument("--json", action="store_true", help="print one JSON object a line, for machines")
    group.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser


def _add_training(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    _add_choice(group, "--optimizer", OPTIMIZERS, "default: sgd")
    group.add_argument(
        "--learning-rate",
        type=float,
        metavar="R",
        help="default: 10 for spirals, 0.03 for a file, else the optimizer's",
    )
    _add_choice(group, "--schedule", SCHEDULES, "of the learning rate, over all steps; default: constant")
    group.add_argument("--momentum", type=float, metavar="M", help="of sgd and rmsprop; default 0")
    group.add_argument("--weight-decay", type=float, metavar="D", help="decoupled, weights only; default 0")
    group.add_argument("--clip-norm", type=float, metavar="C", help="largest norm of a gradient; default any")
    group.add_argument("--l1", type=float, default=0.0, metavar="P", help="penalty P sum|W|; default 0")
    group.add_argument("--l2", type=float, default=0.0, metavar="P", help="penalty P/2 sum W^2; default 0")
    group.add_argument("--dropout", type=_fraction, default=0.0, metavar="F", help="share of hidden values; default 0")
    group.add_argument(
        "--batch-size", type=_positive, metavar="N", help="default: all rows for spirals, >= 32 of a file"
    )
    length = group.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=_positive, metavar="N", help="default: 1000 for spirals, 50 for a file")
    length.add_argument("--steps", type=_positive, metavar="N", help="instead of --epochs: single steps")
    group.add_argument(
        "--validation", type=_fraction, default=0.0, metavar="F", help="share of the training rows to watch; default 0"
    )
    group.add_argument(
        "--early-stopping", type=_positive, nargs="?", const=10, metavar="N",
        help="stop after N epochs without a lower validation loss (without --validation: training loss), and keep the "
        "best epoch; 10 if N is left out",
    )  # fmt: skip
    group.add_argument("--seed", type=_natural, default=0, metavar="N", help="of weights, split and order; default 0")
    group.add_argument("--threads", type=_positive, metavar="N", help="the result has the same bits for any number")


def _add_safety(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("safety")
    group.add_argument(
        "--checkpoint",
        type=_path,
        metavar="DIR",
        help="keep the last states of the run there, to go on after whatever happens",
    )
    group.add_argument(
        "--resume", action="store_true", help="go on from the last good checkpoint; start anew where there is none"
    )
    group.add_argument(
        "--memory-limit", type=_bytes, metavar="SIZE",
        help="such as 500MB: read the data in pieces and keep them on the disk (in TMPDIR) while training; same result",
    )  # fmt: skip
    _add_choice(group, "--on-bad-rows", ("error", "skip"), "skip leaves them out and says so; default: error", "error")
    group.add_argument(
        "--config", type=_path, metavar="FILE", help="TOML file with options by these names; the command line wins"
    )


def _add_predict(commands: argparse._SubParsersAction) -> None:
    description = (
        "Apply a trained model to new rows and write its answers as CSV. Columns are found by name, in any order; "
        "columns that the model does not know are left alone."
    )
    parser = _add(commands, "predict", "apply a trained model to a file", description, _PREDICT_EXAMPLES)
    parser.set_defaults(command="predict:predict")
    parser.add_argument(
        "--model", required=True, type=_path, metavar="PATH", help="model.npz as `fastbp train` wrote it"
    )
    parser.add_argument(
        "--data", required=True, type=_path, metavar="FILE", help=".csv, .npy, .npz, .parquet, or a folder of them"
    )
    parser.add_argument("--out", required=True, type=_path, metavar="FILE", help="the .csv to write")
    parser.add_argument("--target", metavar="NAME", help="column with the right answers: prints how good the model is")
    _add_choice(
        parser,
        "--on-bad-rows",
        ("error", "skip"),
        "skip gives them an empty answer and says so; default: error",
        "error",
    )


def _add_export(commands: argparse._SubParsersAction) -> None:
    description = (
        "Write a trained model for other programs: .onnx for onnxruntime (needs the onnx package), .py as a file that "
        "needs NumPy alone, .safetensors as named tensors."
    )
    parser = _add(commands, "export", "write a trained model for other programs", description, _EXPORT_EXAMPLES)
    parser.set_defaults(command="export:export")
    parser.add_argument(
        "--model", required=True, type=_path, metavar="PATH", help="model.npz as `fastbp train` wrote it"
    )
    parser.add_argument(
        "--out", required=True, type=_path, metavar="FILE", help="the .onnx, .py, .safetensors or .npz to write"
    )


def _add_graph(commands: argparse._SubParsersAction) -> None:
    description = (
        "Show how the gradient of a model comes about on one row: the computation graph, with the value of every node "
        "and the gradient that the chain rule brings back to it."
    )
    parser = _add(commands, "graph", "show backpropagation on one row of a file", description, _GRAPH_EXAMPLES)
    parser.set_defaults(command="graph:run")
    parser.add_argument(
        "--model",
        default="fastbp-run/model.npz",
        type=_path,
        metavar="PATH",
        help="model.npz as `fastbp train` wrote it; default: fastbp-run/model.npz",
    )
    parser.add_argument(
        "--data", type=_path, metavar="FILE", help=".csv, .npy, .npz, .parquet, or a folder; default: two spirals"
    )
    parser.add_argument(
        "--row", type=_natural, default=0, metavar="N",
        help="row to show, counted from 0 below the header; without --data one of the million points of a default "
        "`fastbp train`, 0 to 999999; default 0",
    )  # fmt: skip
    parser.add_argument("--target", metavar="NAME", help="column with the right answer; default: as in training")
    parser.add_argument("--explain", metavar="NODE", help="derive the gradient of a node, such as W1, with its numbers")
    parser.add_argument(
        "--out", type=_path, metavar="FILE", help="write the picture (.png, .svg, .pdf), or .dot, .json, .tex"
    )


def _add_check(commands: argparse._SubParsersAction) -> None:
    description = (
        "Compare the gradient of a network at random weights and data with complex step differentiation, random "
        "projections and central differences. Exit code 1 if they disagree."
    )
    parser = _add(commands, "check", "check a network's gradient", description, _CHECK_EXAMPLES)
    parser.set_defaults(command="check:check")
    _add_network(parser, dtype="float64")
    parser.add_argument("--rows", type=_positive, default=50, metavar="N", help="rows of random data; default 50")
    parser.add_argument("--seed", type=_natural, default=0, metavar="N", help="default 0")


def _add_bench(commands: argparse._SubParsersAction) -> None:
    description = (
        "Time a network's loss and gradient on random data: the plan and its reasons, samples and operations a second, "
        "their share of the machine's peak measured in the same run, and where the time goes."
    )
    parser = _add(commands, "bench", "time a network on this machine", description, _BENCH_EXAMPLES)
    parser.set_defaults(command="bench:run")
    _add_network(parser, dtype="float32")
    parser.add_argument("--rows", type=_positive, default=100_000, metavar="N", help="samples of a batch; default 1e5")
    parser.add_argument("--threads", type=_positive, metavar="N", help="default: all cores")
    parser.add_argument(
        "--peers", action="store_true", help="also the other libraries that are installed, each in its own process"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")


# -- parts -------------------------------------------------------------------------------------------


def _add(
    commands: argparse._SubParsersAction, name: str, summary: str, description: str, examples: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name, help=summary, description=description, epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def _add_network(parser: argparse.ArgumentParser, dtype: str) -> None:
    parser.add_argument("--layers", type=_sizes, default=(2, 100, 1), metavar="N,N[,N...]", help="default 2,100,1")
    _add_choice(parser, "--activation", activations.NAMES, "default: sigmoid", default="sigmoid")
    _add_choice(parser, "--loss", losses.NAMES, "default: binary_cross_entropy", default="binary_cross_entropy")
    _add_choice(parser, "--dtype", ("float32", "float64"), f"default: {dtype}", default=dtype)
    parser.add_argument("--no-bias", action="store_true", help="a network without biases")


def _add_choice(parser, flag: str, names: Sequence[str], text: str, default: str | None = None) -> None:
    parser.add_argument(flag, choices=names, default=default, metavar="NAME", help=f"{', '.join(names)}; {text}")


def _path(text: str) -> str:
    """With the home folder for a ~, which no shell puts in for --data=~/x or a line of a --config file."""
    return os.path.expanduser(text)


def _natural(text: str) -> int:
    return _whole(text, 0)


def _positive(text: str) -> int:
    return _whole(text, 1)


def _whole(text: str, smallest: int) -> int:
    """A whole number, also written as 1e6 or 1_000_000."""
    try:
        number = float(text)
        if number == int(number) and number >= smallest:
            return int(text) if text.isdecimal() else int(number)
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f"must be a whole number of at least {smallest}; got {text!r}")


def _bytes(text: str) -> int:
    """A number of bytes, also written as 500MB, 2GB or 1.5e9."""
    units = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    number = text.strip().upper().removesuffix("B").rstrip("I")
    unit = number[-1:] if number[-1:] in units and not number[-1:].isdigit() else ""
    try:
        n = int(float(number.removesuffix(unit)) * units[unit])
    except (ValueError, OverflowError):
        n = 0
    if n < 1:
        raise argparse.ArgumentTypeError(f"must be a number of bytes, such as 500MB or 2GB; got {text!r}")
    return n


def _fraction(text: str) -> float:
    try:
        if 0 <= float(text) < 1:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"must be a number from 0 to below 1; got {text!r}")


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(_positive(part.strip()) for part in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"must be positive integers, such as 100 or 128,64; got {text!r}") from None
