"""Settings of hypothesis, and Ctrl-C as a terminal has it."""

import os
import signal

from hypothesis import settings

# No deadline: the first example may compile a kernel. In CI the same examples in every run.
settings.register_profile("fastbp", max_examples=60, deadline=None, derandomize="CI" in os.environ, database=None)
settings.load_profile("fastbp")

# A shell lets its background jobs ignore SIGINT, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
