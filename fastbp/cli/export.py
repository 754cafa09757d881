"""`fastbp export`."""

from __future__ import annotations

import argparse

from .. import files
from ..formats import export as exporting
from ..formats import npz
from .run_folder import naming


def export(args: argparse.Namespace) -> int:
    """Write a model in the form that the ending of --out names."""
    files.check_output(args.out, {"--model": args.model})
    net, params, meta = npz.load(args.model)
    with naming(args.out):
        exporting.export(args.out, net, params, meta)
    print(f"{net}, {params.dtype}: {args.out}")
    return 0
