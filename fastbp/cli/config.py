"""`fastbp config`."""

from __future__ import annotations

import argparse

from ..config import show_config


def config(args: argparse.Namespace) -> int:
    """Print versions and settings."""
    show_config()
    return 0
