"""Signals that end a process: raise them as exceptions, delay them, or let the system act."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import NoReturn

_Handler = Callable[[int, FrameType | None], object] | signal.Handlers

_ENDING = [  # Windows does not have all of them
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Terminated(KeyboardInterrupt):
    """SIGTERM: the process was told to end. Commands treat it like Ctrl-C."""


@contextmanager
def raising_sigterm() -> Iterator[None]:
    """Raise Terminated on SIGTERM."""

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    with _handled([signal.SIGTERM], terminate):
        yield


@contextmanager
def default_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the process at once, without running any Python.

    A Python handler runs only when a blocking call into C returns. TensorFlow also replaces the
    handler of SIGTERM while workers connect; the previous one is restored at the end.
    """
    with _handled([signal.SIGINT, signal.SIGTERM], signal.SIG_DFL):
        yield


class HeldSignals:
    """Delays the signals that end a process until `obey` is called.

    A second signal takes effect at once.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._handlers = ExitStack()

    @property
    def received(self) -> bool:
        return self._received is not None

    def obey(self) -> NoReturn:
        """Raise the received signal again, or KeyboardInterrupt if it does not end the process."""
        self._handlers.close()
        if self._received is not None:
            signal.raise_signal(self._received)
        raise KeyboardInterrupt

    def __enter__(self) -> "HeldSignals":
        self._handlers.enter_context(_handled(_ENDING, self._hold))
        return self

    def __exit__(self, *_: object) -> None:
        self._handlers.close()

    def _hold(self, number: int, _frame: FrameType | None) -> None:
        impatient, self._received = self.received, number
        if impatient:
            self.obey()


@contextmanager
def _handled(numbers: Iterable[int], handler: _Handler) -> Iterator[None]:
    """Handle signals by `handler`, and restore the previous handlers at the end.

    Signals can be handled in the main thread only; in another thread this does nothing. Signals
    that the process ignores, like SIGHUP under nohup, stay ignored.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in numbers}
        before = {n: old for n, old in before.items() if old not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
