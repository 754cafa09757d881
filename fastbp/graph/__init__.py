from .tracing import (
    Graph,
    Node,
    __doc__,  # noqa: F401
    trace,
)

__all__ = [
    "Graph",
    "Node",
    "trace",
]
