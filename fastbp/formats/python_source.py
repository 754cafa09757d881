"""Models as one Python file that needs NumPy alone: forward(x), predict(x), and a command line. Made to be read.

Only what the network needs is written. Text from a task, such as the names of features, stands in it as literals alone:
no name can become code. Importing the file defines functions and decodes the parameters, no more.
"""

from __future__ import annotations

import base64
import textwrap
from typing import Any

import numpy as np

from .. import __version__
from ..data.tables import as_float
from ..data.task import Task
from ..errors import InputError
from ..model.network import MLP
from ..model.parameters import Parameters

_MAX_BYTES = 2**30  # Python reads no source file of 2 GiB, and base64 takes a third more
_WIDTH = 100


def content(net: MLP, params: Parameters, task: Task | None) -> bytes:
    """The file, UTF-8. InputError for parameters too large for source code."""
    if params.vector.nbytes > _MAX_BYTES:
        raise InputError(
            f"a .py file can hold parameters of at most 1 GiB; they take {params.vector.nbytes:,} bytes. "
            "Export to .onnx or .safetensors"
        )
    used = [function.numpy for function in (*(a.record for a in net.activations), net.loss_function.record.link)]
    imports = sorted({"base64", "csv", "sys"}.union(*(source.imports for source in used)))
    sections = [
        _head(net, task, imports) + _constants(net, params, task),
        _forward(net, task),
        _predict(net, task),
        _logits(net),
        _inputs(net, task),
        *dict.fromkeys(source.definition for source in used if source.definition),
        _MAIN_WITH_NAMES if _is_named(task) else _MAIN,
        _DECODER if net.bias else _DECODER_WITHOUT_BIASES,
    ]
    numbers = np.ascontiguousarray(params.vector, params.dtype.newbyteorder("<"))
    end = _END.format(base64.encodebytes(numbers.tobytes()).decode(), "WEIGHTS, BIASES" if net.bias else "WEIGHTS")
    return "\n\n".join(f"{section.strip()}\n" for section in [*sections, end]).encode()


# -- constants -----------------------------------------------------------------------------------------


def _head(net: MLP, task: Task | None, imports: list[str]) -> str:
    forward, predict = _meaning(net, task)
    return f'''
"""Predictions of a trained network, written by fastbp {__version__}. Needs NumPy alone.

    network     {net}
    x           rows of {net.n_inputs} numbers{", FEATURES in their own units" if task else ""}
    forward(x)  {forward}
    predict(x)  {predict}

As a program it reads rows from stdin, numbers between commas, and prints a prediction a line:

    python this_file.py < rows.csv
"""

{chr(10).join(f"import {name}" for name in imports)}

import numpy as np

'''


def _meaning(net: MLP, task: Task | None) -> tuple[str, str]:
    """What forward and predict give."""
    n = net.n_outputs
    if not net.loss_function.is_classification:
        unit = ", in the units of the target" if task else ""
        return f"the predicted numbers, (N, {n}){unit}", f"what forward gives{', (N,)' if task and n == 1 else ''}"
    label = "of CLASSES" if task else "class, as a whole number"
    if net.loss_function.couples_outputs:
        return f"probabilities of the classes, (N, {n})", f"the most probable {label}, (N,)"
    if n == 1:
        return "probabilities of class 1, (N, 1)", f"the more probable {label}, (N,)"
    return f"probabilities of yes, (N, {n})", f"1 for yes and 0 for no, (N, {n})"


def _constants(net: MLP, params: Parameters, task: Task | None) -> str:
    lines = [f"LAYER_SIZES = {net.layer_sizes!r}", f"DTYPE = np.{params.dtype}"]
    if task is not None:
        lines += [f"FEATURES = {_literal(list(task.features))}"]
        lines += [f"MEAN = {_array(task.inputs.mean)}", f"SCALE = {_array(task.inputs.scale)}"]
        if task.classes is not None:
            lines += [f"CLASSES = {_array(task.classes)}"]
        else:
            lines += [f"TARGET_MEAN = {_array(task.outputs.mean)}", f"TARGET_SCALE = {_array(task.outputs.scale)}"]
    return "\n".join(lines)


def _array(values: np.ndarray) -> str:
    return f'np.array({_literal(values.tolist())}, "{values.dtype.str}")'


def _literal(values: list[Any]) -> str:
    """A list as source code, over several lines where it is long."""
    items = [f"{value!r}," for value in values]
    if sum(map(len, items)) + len(items) <= _WIDTH - 30:
        return f"[{' '.join(items).removesuffix(',')}]"
    lines, line = [], ""
    for item in items:
        if line and len(line) + 1 + len(item) > _WIDTH:
            lines.append(line)
            line = ""
        line = f"{line} {item}".lstrip()
    return "[\n" + textwrap.indent("\n".join([*lines, line]), "    ") + "\n]"


# -- functions of the network ----------------------------------------------------------------------------


def _forward(net: MLP, task: Task | None) -> str:
    link = net.loss_function.record.link
    response = link.numpy.expression.format(z="logits(x)")
    if task is not None and task.classes is None:
        response = f"{response}.astype(np.float64) * TARGET_SCALE + TARGET_MEAN"
    text = _meaning(net, task)[0]
    if link.is_identity and task is None:
        body = f"    return {response}\n"
    else:
        body = f'    with np.errstate(all="ignore"):\n        return {response}\n'
    return f'def forward(x):\n    """{_sentence(text)}"""\n{body}'


def _predict(net: MLP, task: Task | None) -> str:
    n, loss = net.n_outputs, net.loss_function
    column = "[:, 0]" if n == 1 else ""
    if loss.couples_outputs:
        answer = "logits(x).argmax(axis=1)"
    elif loss.is_classification:
        answer = f"(logits(x) > 0).astype(np.int64){column}"
    else:
        answer = f"forward(x){column if task else ''}"
    if task is not None and task.classes is not None:
        answer = f"CLASSES[{answer}]"
    text = _meaning(net, task)[1]
    return f'def predict(x):\n    """{_sentence(text)}"""\n    return {answer}\n'


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _logits(net: MLP) -> str:
    lines = ["def logits(x):", '    """What the last layer gives, before its link."""', "    a = inputs(x)"]
    lines += ['    with np.errstate(all="ignore"):']
    for i in range(len(net.layers)):
        z = f"a @ WEIGHTS[{i}]" + (f" + BIASES[{i}]" if net.bias else "")
        if i < len(net.activations):
            activation = net.activations[i]
            value = activation.record.numpy.expression.format(z=z, p=activation.parameter)
            lines.append(f"        a = {value}")
        else:
            lines.append(f"        return {z}")
    return "\n".join(lines)


def _inputs(net: MLP, task: Task | None) -> str:
    text = "Standardized rows" if task else "Rows"
    scaled = "((x - MEAN) / SCALE)" if task else "x"
    return f'''
def inputs(x):
    """{text} as an array of DTYPE; ValueError if they are not {net.n_inputs} finite numbers each."""
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or x.shape[1] != {net.n_inputs}:
        raise ValueError(f"x must have shape (N, {net.n_inputs}); got {{x.shape}}")
    with np.errstate(all="ignore"):
        a = {scaled}.astype(DTYPE)
    bad = np.argwhere(~np.isfinite(a))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"x must be finite and fit {{DTYPE.__name__}}; got {{x[row, column]}} in row {{row}}, column {{column}}"
        )
    return a
'''


def _is_named(task: Task | None) -> bool:
    """Whether a first line with the names of features differs from numbers."""
    return task is not None and any(as_float(name) is None for name in task.features)


# -- templates -------------------------------------------------------------------------------------------

_DECODER = '''
def decoded(text):
    """Weights (n_in, n_out) and biases (n_out,) of the layers."""
    vector = np.frombuffer(base64.b64decode(text), np.dtype(DTYPE).newbyteorder("<")).astype(DTYPE)
    weights, biases, at = [], [], 0
    for n_in, n_out in zip(LAYER_SIZES, LAYER_SIZES[1:]):
        weights.append(vector[at : at + n_in * n_out].reshape(n_in, n_out))
        at += n_in * n_out
        biases.append(vector[at : at + n_out])
        at += n_out
    return weights, biases
'''
_DECODER_WITHOUT_BIASES = '''
def decoded(text):
    """Weights (n_in, n_out) of the layers."""
    vector = np.frombuffer(base64.b64decode(text), np.dtype(DTYPE).newbyteorder("<")).astype(DTYPE)
    weights, at = [], 0
    for n_in, n_out in zip(LAYER_SIZES, LAYER_SIZES[1:]):
        weights.append(vector[at : at + n_in * n_out].reshape(n_in, n_out))
        at += n_in * n_out
    return weights
'''
_READ_ROW = """
        try:
            if len(cells) != n_cells:
                raise ValueError
            rows.append([float(cells[column]) for column in columns])
        except ValueError:
            sys.exit(f"line {reader.line_num}: {n_cells} cells with numbers are wanted; got {cells}")
    try:
        answers = predict(rows) if rows else []
    except ValueError as error:
        sys.exit(str(error))
    writer = csv.writer(sys.stdout, lineterminator="\\n")
    for answer in answers:
        writer.writerow([str(value) for value in np.atleast_1d(answer)])
"""
_MAIN = f'''
def main():
    """Read rows of numbers from stdin, print a prediction a line."""
    sys.stdin.reconfigure(encoding="utf-8-sig")
    n_cells = LAYER_SIZES[0]
    columns = range(n_cells)
    rows, reader = [], csv.reader(sys.stdin)
    for cells in filter(None, reader):
        {_READ_ROW.strip()}
'''
_MAIN_WITH_NAMES = f'''
def main():
    """Read rows of numbers from stdin, print a prediction a line. A first line may name the columns, in any order."""
    sys.stdin.reconfigure(encoding="utf-8-sig")
    n_cells = LAYER_SIZES[0]
    columns = None
    rows, reader = [], csv.reader(sys.stdin)
    for cells in filter(None, reader):
        if columns is None:
            columns = range(n_cells)
            names = [cell.strip() for cell in cells]
            if set(FEATURES) <= set(names):
                columns, n_cells = [names.index(name) for name in FEATURES], len(names)
                continue
        {_READ_ROW.strip()}
'''
_END = '''
PARAMETERS = """
{}"""
{} = decoded(PARAMETERS)

if __name__ == "__main__":
    main()
'''
