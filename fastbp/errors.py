"""What can go wrong, as one tree.

    FastbpError                      catch this one to catch them all
    ├── InputError (ValueError)      an argument or array that cannot be honored
    ├── DataError (ValueError)       a data file that cannot be used; names the file and the row
    ├── ModelError (ValueError)      a saved model that cannot be read, or does not fit the data
    ├── CheckpointError (ValueError) checkpoints that cannot be written, read, or gone on from
    ├── DivergenceError (ArithmeticError)  a descent whose loss or parameters are no longer finite
    ├── StateError (RuntimeError)    a call out of order: backward before forward, one workspace in two calls at once
    └── ThreadError (RuntimeError)   threads that cannot be had: more than there are, or a pool lost in a fork

Every message says what was wanted, what came and what to do.
"""

__all__ = [
    "CheckpointError",
    "DataError",
    "DivergenceError",
    "FastbpError",
    "InputError",
    "ModelError",
    "StateError",
    "ThreadError",
]


class FastbpError(Exception):
    """Any error that fastbp raises on purpose."""


class InputError(FastbpError, ValueError):
    """An argument or array that cannot be honored."""


class DataError(FastbpError, ValueError):
    """A data file that cannot be used; the message names the file and the row."""


class ModelError(FastbpError, ValueError):
    """A saved model that cannot be read, or that does not fit the data it is applied to."""


class CheckpointError(FastbpError, ValueError):
    """A checkpoint that cannot be written or read, or does not belong to the training; the message names the file."""


class DivergenceError(FastbpError, ArithmeticError):
    """A descent whose loss or parameters are no longer finite; the message names the step.

    params : of `fastbp.train`, the parameters of the last step whose loss was finite.
    """

    params = None


class StateError(FastbpError, RuntimeError):
    """A call out of order, such as backward before forward."""


class ThreadError(FastbpError, RuntimeError):
    """Threads that cannot be had."""
