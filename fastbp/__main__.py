"""`python -m fastbp` is `fastbp`."""

from .cli import run

if __name__ == "__main__":
    run()
