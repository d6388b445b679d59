"""The command line: each command wraps one library call."""

from textgen.cli import (  # noqa: F401 - they add their commands to main
    author,
    export,
    inspect,
    measure,
    plot,
    sample,
    serve,
    train,
)
from textgen.cli.app import main

__all__ = ["main"]
