"""`python -m fastbp` is `fastbp`."""

from .cli.main import run

if __name__ == "__main__":
    run()
