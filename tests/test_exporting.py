"""Exported models in general: formats and endings, what is refused, and files that are whole or not there."""

import errno
import os

import numpy as np
import pytest
from models import make_params, make_task

import fastbp
from fastbp import exporting, losses, saving
from fastbp.activations import Activation
from fastbp.cli import main
from fastbp.errors import InputError
from fastbp.network import MLP

STARTS = {"npz": b"PK\x03\x04", "safetensors": b"", "onnx": b"\x08\x08", "py": b'"""Predictions of a trained network'}
FORMATS = [
    pytest.param(name, marks=[pytest.mark.skipif(name == "onnx" and not exporting, reason="")]) for name in STARTS
]
