from .training.callbacks import (
    Callback,
    Callbacks,
    EarlyStopping,
    Run,
    __doc__,  # noqa: F401
)

__all__ = [
    "Callback",
    "Callbacks",
    "EarlyStopping",
    "Run",
]
