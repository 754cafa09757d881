"""Pictures of networks, of their training and of what they answer.

Functions take matplotlib Axes or make new ones, and return them. New Axes belong to a Figure of their own that no
window shows: `ax.figure.savefig("boundary.png")` writes it. Colors are those of Okabe and Ito (2008), told apart with
every kind of color vision; brightness, dashes and markers tell classes and lines apart in gray, too.
"""

from .animation import animate
from .boundary import decision_boundary
from .curves import learning_curve
from .graphs import computation_graph
from .layers import activation_histograms, gradient_flow, weights
from .scores import calibration, confusion_matrix

__all__ = [
    "activation_histograms",
    "animate",
    "calibration",
    "computation_graph",
    "confusion_matrix",
    "decision_boundary",
    "gradient_flow",
    "learning_curve",
    "weights",
]
