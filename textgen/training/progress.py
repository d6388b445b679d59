"""The progress of training on standard error: a bar, and notes above it."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress

from tqdm import tqdm

from textgen.system.terminal import visible

_REFRESH_SECONDS = 0.2


class Reporter:
    """Writes notes to standard error, and a bar if it is a terminal; nothing if `quiet`."""

    def __init__(self, quiet: bool, done: float) -> None:
        self._quiet = quiet or sys.stderr is None  # it is closed
        self._next = 0.0
        self._bar = tqdm(
            total=1.0,
            initial=done,
            disable=True if self._quiet else None,  # None: only on a terminal
            bar_format="{percentage:3.0f}% |{bar:20}| {elapsed}<{remaining}{postfix}",
            dynamic_ncols=True,
            leave=False,
        )

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def note(self, text: str) -> None:
        if not self._quiet:
            with suppress(OSError):  # a full disk behind standard error must not stop training
                tqdm.write(visible(text) if sys.stderr.isatty() else text, file=sys.stderr)

    def stepped(self, done: float, figures: Callable[[], str]) -> None:
        """Move the bar to the share `done` and show the figures beside it."""
        if self._bar.disable or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _REFRESH_SECONDS
        self._bar.n = done
        self._bar.set_postfix_str(figures())
