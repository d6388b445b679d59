"""Processes that train, forked from one that has imported TensorFlow, which takes seconds."""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from helpers import wait_for

SECONDS = 120  # time limit for steps that usually take a few seconds

_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(["pytest", "textgen.training.loop"])


class Child:
    """A process that calls a function of a module, in the current folder."""

    def __init__(
        self,
        function: Callable[..., object],
        *arguments: object,
        environment: dict[str, str] | None = None,
        **settings: object,
    ) -> None:
        """Start it, with some variables of its environment changed."""
        with tempfile.NamedTemporaryFile(delete=False) as file:
            self._errors = Path(file.name)
        self._process = _forking.Process(
            target=_call,
            args=(function, arguments, settings, Path.cwd(), self._errors, environment or {}),
        )
        self._process.start()

    @property
    def exit_code(self) -> int | None:
        """The exit code, minus the number of the signal that ended it, or None while it runs."""
        return self._process.exitcode

    def errors(self) -> str:
        """Return what the process has written to standard error."""
        return self._errors.read_text("utf-8")

    def wait_for(self, ready: Callable[[], bool]) -> None:
        """Wait until something is so, or the process has ended."""
        wait_for(lambda: ready() or self.exit_code is not None)

    def wait(self) -> int:
        """Wait for the end; return the exit code."""
        self._process.join(SECONDS)
        assert self.exit_code is not None, "timed out"
        return self.exit_code

    def send(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        assert self._process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def close(self) -> None:
        """Kill the process if it runs still."""
        self._process.kill()
        self._process.join()
        self._errors.unlink(missing_ok=True)


Start = Callable[..., Child]


@contextmanager
def starting() -> Iterator[Start]:
    """Give a function that starts processes; none outlives the context."""
    with ExitStack() as started:

        def start(*arguments: Any, **settings: Any) -> Child:
            child = Child(*arguments, **settings)
            started.callback(child.close)
            return child

        yield start


def run_textgen(*arguments: str) -> None:
    """Run a command line of textgen in this process, and exit."""
    from textgen.cli import main

    main(arguments, prog_name="textgen")


def train_noting(note: str, *books: str, **options: Any) -> None:
    """Train in this process, and write the loss of each step to a file in JSON."""
    from steppers import note_losses

    import textgen

    losses = note_losses(pytest.MonkeyPatch())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        textgen.train(*books, **options)
    except textgen.TextgenError as error:
        sys.exit(str(error))
    Path(note).write_text(json.dumps(losses))


def _call(
    function: Callable[..., object],
    arguments: tuple[object, ...],
    settings: dict[str, object],
    folder: Path,
    errors: Path,
    environment: dict[str, str],
) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    with errors.open("wb") as file:
        os.dup2(file.fileno(), 2)
    function(*arguments, **settings)
