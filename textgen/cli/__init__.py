"""The command line: each command wraps one library call."""

from textgen.cli import measure, sample, serve, train  # noqa: F401 - they add their commands to main
from textgen.cli.app import main

__all__ = ["main"]
