"""Names that files of fastbp 0.1 hold for options of optimizers and schedules, and what each is called now."""

from __future__ import annotations

from typing import Any

NAMES_OF_0_1 = {
    "average": "ema_decay",
    "longer": "eta_plus",
    "shorter": "eta_minus",
    "smallest": "step_min",
    "largest": "step_max",
}
SCHEDULES_OF_0_1 = {"step": "step_decay"}


def renamed(values: dict[str, Any]) -> dict[str, Any]:
    """The options of an optimizer as a file holds them, by their present names."""
    return {NAMES_OF_0_1.get(name, name): value for name, value in values.items()}
