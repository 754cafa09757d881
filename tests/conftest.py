"""Settings of hypothesis: a few examples for each property, in CI the same ones in every run."""

import os

from hypothesis import settings

# No deadline: the first example may compile a kernel.
settings.register_profile("fastbp", max_examples=60, deadline=None, derandomize="CI" in os.environ, database=None)
settings.load_profile("fastbp")
