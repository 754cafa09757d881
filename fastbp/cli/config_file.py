"""The options of `fastbp train` in a TOML file, under the names that they have on the command line."""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError

# Where a run is to be, and what is shown of it, is not a part of it.
_NOT_KEPT = ("command", "config", "out", "checkpoint", "resume", "json", "quiet", "no_plots", "animate", "live")


def arguments(path: str, parser: argparse.ArgumentParser, given: Sequence[str]) -> list[str]:
    """The file's options as arguments of the command line, those left out that `given` replaces."""
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: a TOML file is wanted: {error}") from error
    flags = {action.dest: action for action in parser._actions if action.option_strings and action.dest != "help"}
    replaced = {"epochs", "steps"} if {"--epochs", "--steps"} & {text.split("=")[0] for text in given} else set()
    result: list[str] = []
    for name, value in values.items():
        action = flags.get(name.replace("-", "_"))
        if action is None or action.dest == "config":
            known = ", ".join(flag.replace("_", "-") for flag in flags if flag != "config")
            raise InputError(f"{path}: there is no option {name!r}; there are {known}")
        if action.dest in replaced:
            continue
        if action.nargs == 0:
            if not isinstance(value, bool):
                raise InputError(f"{path}: {name} must be true or false; got {value!r}")
            result += [action.option_strings[0]] if value else []
        else:
            result.append(f"{action.option_strings[0]}={_text(path, name, value)}")
    return result


def _text(path: str, name: str, value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_text(path, name, item) for item in value)
    if isinstance(value, bool | dict):
        raise InputError(f"{path}: {name} must be a number, text or a list of numbers; got {value!r}")
    return str(value)


def text_of(args: argparse.Namespace, in_effect: Mapping[str, Any]) -> str:
    """The options in effect as a TOML file that `--config` takes; paths are made absolute."""
    values = {name: value for name, value in vars(args).items() if name not in _NOT_KEPT} | {
        name: value for name, value in in_effect.items() if hasattr(args, name) and name != "epochs"
    }
    values.pop("epochs", None)
    if values.get("data") is not None:
        values["data"] = str(Path(values["data"]).resolve())
    lines = [
        f"{name.replace('_', '-')} = {_toml(value)}"
        for name, value in sorted(values.items())
        if value is not None and value is not False
    ]
    return "\n".join(["# fastbp train --config with this file makes the same model.", *lines, ""])


def _toml(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
