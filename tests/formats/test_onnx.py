"""Models as ONNX: what onnxruntime makes of the graph, held against the network itself."""

import json
import sys

import numpy as np
import pytest

from fastbp.errors import InputError
from fastbp.formats import export
from fastbp.formats import onnx as onnx_files
from fastbp.model.network import MLP
from tests.models import NETWORKS, TASKS, answers, assert_close, make_params, make_rows, make_task

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def session(path):
    """The graph in onnxruntime."""
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def run(path, x):
    """The outputs by name."""
    graph = session(path)
    values = graph.run(None, {"x": x})
    return dict(zip([output.name for output in graph.get_outputs()], values, strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", NETWORKS)
def test_predictions_are_those_of_the_network(case, dtype, tmp_path):
    """y_pred is forward, and label is predict: to 1e-5 in float32, 1e-12 in float64 (gelu: 1e-6, see its record)."""
    net, path = NETWORKS[case], tmp_path / "m.onnx"
    params, x = make_params(net, dtype), make_rows(net).astype(dtype)
    export.export(path, net, params)
    outputs = run(path, x)
    uses_erf = any(activation.name == "gelu" for activation in net.activations)
    tolerance = 1e-5 if dtype == np.float32 else 1e-6 if uses_erf else 1e-12
    assert_close(outputs["y_pred"], net.forward(params, x), tolerance)
    assert outputs["y_pred"].dtype == dtype
    assert set(outputs) == ({"y_pred", "label"} if net.loss_function.is_classification else {"y_pred"})
    if "label" in outputs:
        labels, logits = net.predict(params, x), net.logits(params, x)
        assert outputs["label"].dtype == np.int64
        assert outputs["label"].shape == labels.shape
        # Of two that are equal to the last bits either may be it.
        ordered = np.sort(logits, axis=1)
        sure = ordered[:, -1] - ordered[:, -2] > 1e-4 if net.loss_function.link == "softmax" else abs(logits) > 1e-4
        sure = sure.reshape(labels.shape)
        assert sure.mean() > 0.9
        assert (outputs["label"] == labels)[sure].all()


@pytest.mark.parametrize("n_rows", [1, 2, 1000])
def test_any_number_of_rows_is_taken(n_rows, tmp_path):
    """N is free, and called N."""
    net, path = MLP((3, 8, 2), loss="cross_entropy"), tmp_path / "m.onnx"
    params, x = make_params(net), make_rows(net, n_rows).astype(np.float32)
    export.export(path, net, params)
    assert_close(run(path, x)["y_pred"], net.forward(params, x), 1e-5)
    assert session(path).get_inputs()[0].shape == ["N", 3]
    assert [output.shape for output in session(path).get_outputs()] == [["N", 2], ["N"]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_part_of_the_graph(name, dtype, tmp_path):
    """From features in their own units to what the task answers; one feature is a time that float32 cannot hold."""
    net, params, task, x = make_task(name, dtype)
    path = tmp_path / "m.onnx"
    export.export(path, net, params, {"task": task.to_meta()})
    outputs = run(path, x)
    response, labels = answers(net, params, task, x)
    assert_close(outputs["y_pred"], response, 1e-5 if dtype == np.float32 else 1e-12)
    assert outputs["y_pred"].dtype == (dtype if task.classes is not None else np.float64)
    assert ("label" in outputs) == (task.classes is not None)
    if task.classes is not None:
        assert (task.classes[outputs["label"]] == labels).all()


@pytest.mark.parametrize("name", TASKS)
def test_names_are_in_the_metadata(name, tmp_path):
    """metadata_props hold features, target and classes as JSON."""
    net, params, task, _ = make_task(name)
    export.export(tmp_path / "m.onnx", net, params, {"task": task.to_meta()})
    metadata = {
        key: json.loads(value)
        for key, value in session(tmp_path / "m.onnx").get_modelmeta().custom_metadata_map.items()
    }
    classes = {} if task.classes is None else {"classes": task.classes.tolist()}
    wanted = {"network": net.to_dict(), "features": list(task.features), "target": "y"} | classes
    assert metadata == wanted


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", NETWORKS)
def test_the_graph_is_valid(case, dtype, tmp_path):
    """By onnx's own checker, with the types and shapes of all values, in opset 17 and the format of its time."""
    net, path = NETWORKS[case], tmp_path / "m.onnx"
    export.export(path, net, make_params(net, dtype))
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    assert model.producer_name == "fastbp"


def test_without_onnx_the_command_to_get_it_is_named(tmp_path, monkeypatch):
    """An InputError, and no file."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    net = MLP((1, 1))
    with pytest.raises(InputError) as caught:
        export.export(tmp_path / "m.onnx", net, make_params(net))
    assert str(caught.value) == (
        'writing .onnx needs the onnx package, which is not installed: pip install "fastbp[onnx]"'
    )
    assert list(tmp_path.iterdir()) == []


def test_more_than_a_file_can_hold_is_refused(tmp_path, monkeypatch):
    """Before anything is built."""
    monkeypatch.setattr(onnx_files, "_MAX_BYTES", 7)
    net = MLP((1, 1))
    with pytest.raises(InputError, match=r"^an ONNX file holds at most 2 GiB; the parameters take 8 bytes\. "):
        export.export(tmp_path / "m.onnx", net, make_params(net))
    assert list(tmp_path.iterdir()) == []
