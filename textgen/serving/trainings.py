"""Train models on texts that clients send: one at a time, the others wait."""

import asyncio
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from textgen.options.serving import ServingOptions
from textgen.runs.folder import MODEL
from textgen.runs.locking import LOCK, is_locked
from textgen.serving import events
from textgen.serving.events import Event
from textgen.serving.messages import BYTES_OF_A_MB
from textgen.serving.process import TrainingProcess
from textgen.serving.query import training_flags
from textgen.serving.refusals import RequestError, no_run

# The only text of a client that becomes part of a path. Windows ignores a period at the end.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?")
_UPLOADS = ".textgen-uploads-"  # a folder of texts beside the runs, locked by its server
_ABANDONED_SECONDS = 24 * 3600  # a training outlives its server, and reads its text for less
_REMEMBERED = 100  # trainings that are over
_PROGRESS_SECONDS = 1.0
_CLOSING_SECONDS = 30.0
_RETRY_SECONDS = 60


class Trainings:
    """The trainings of a server, in the order they came. Its methods run in the event loop."""

    def __init__(
        self, folder: Path, options: ServingOptions, runs: Callable[[], Mapping[str, Path]]
    ) -> None:
        """Train runs in `folder`, within the bounds of `options`.

        `runs` returns the folders of all runs by name, even of those in other folders.
        """
        self._folder = folder.resolve()
        self._options = options
        self._runs = runs
        self._trainings: dict[str, TrainingProcess] = {}
        self._arriving: set[str] = set()  # names of runs whose text is being received
        self._uploads: Path | None = None  # the folder of texts
        self._held = ExitStack()  # that folder, and the lock on it
        self._worker: asyncio.Task[None] | None = None
        self._is_closed = False

    async def begin(
        self, name: str, options: Mapping[str, str], body: AsyncIterator[bytes]
    ) -> dict[str, Any]:
        """Train a run on the text in `body`, when its turn comes, and return its description.

        Args:
            options: those of `textgen.options.training.TrainingOptions`, as text, and "from", the
                name of a run to fine-tune.

        Raises RequestError if the name or an option is wrong, the run exists, the text is empty,
        too large or too slow, or too many trainings wait.
        """
        _check_name(name)
        others = {key: text for key, text in options.items() if key != "from"}
        flags = training_flags(others, self._most_bytes)
        start = self._start(options.get("from"))
        self._check_is_new(name)
        self._check_room()
        self._arriving.add(name)
        try:
            receiving = self._receive(name, body)
            book = await asyncio.wait_for(receiving, self._options.max_seconds)
        except asyncio.TimeoutError:
            raise RequestError(
                408, f"the text took more than {self._options.max_seconds:g} seconds"
            ) from None
        finally:
            self._arriving.discard(name)
        bounds = self._options.train_nice, self._options.train_cores
        training = TrainingProcess(self._folder / name, book, flags, *bounds, start)
        self._trainings.pop(name, None)  # it is over, and left no run
        for over in [t for t in self._trainings.values() if t.is_over][:-_REMEMBERED]:
            del self._trainings[over.name]
        self._trainings[name] = training
        if self._is_closed:  # while the text was received
            training.stop()
        elif self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return self._described(training)

    def describe(self, name: str) -> dict[str, Any] | None:
        """Return the state of a training; None if this server does not remember one."""
        training = self._trainings.get(name)
        return self._described(training) if training else None

    def states(self) -> dict[str, dict[str, Any]]:
        """Return the states of all trainings that this server remembers, by name, in order."""
        return {name: self._described(training) for name, training in self._trainings.items()}

    def events(self, name: str) -> AsyncIterator[Event]:
        """Return the events of a training from its beginning to its end.

        Raises RequestError if this server does not remember one of this name.
        """
        training = self._trainings.get(name)
        if training is None:
            raise no_run(name)
        return self._follow(training)

    def stop(self, name: str) -> dict[str, Any]:
        """Stop a training as Ctrl-C does and return its description; kill one that is stuck.

        Raises RequestError if there is no such training, or it is over.
        """
        training = self._trainings.get(name)
        if training is None:
            self._check_is_run(name)
        if training is None or training.is_over:
            raise RequestError(409, f"{name} is not being trained here", code="not_training")
        if training.is_stuck:
            training.kill()
        training.stop()
        return self._described(training)

    async def close(self) -> None:
        """Stop all trainings, wait until they are saved, and kill one that takes too long."""
        self._is_closed = True
        for training in self._trainings.values():
            training.stop()
        if self._worker:
            await asyncio.wait([self._worker], timeout=_CLOSING_SECONDS)
            self.kill()
            await asyncio.wait([self._worker], timeout=_CLOSING_SECONDS)
        self._held.close()

    def kill(self) -> None:
        """Kill the training that has a process."""
        for training in self._trainings.values():
            training.kill()

    @property
    def _unfinished(self) -> list[TrainingProcess]:
        return [training for training in self._trainings.values() if not training.is_over]

    async def _work(self) -> None:
        """Run the trainings that wait, in their order."""
        while unfinished := self._unfinished:
            await unfinished[0].run()

    async def _follow(self, training: TrainingProcess) -> AsyncIterator[Event]:
        told, due = 0, 0.0
        while True:
            for event in training.log[told:]:
                told += 1
                yield event
            if told < len(training.log):  # more came while the reader took these
                continue
            if training.is_over:
                return
            if time.monotonic() >= due:
                due = time.monotonic() + _PROGRESS_SECONDS
                yield "progress", {"position": self._position(training), **training.progress()}
            await asyncio.sleep(events.POLL_SECONDS)

    def _position(self, training: TrainingProcess) -> int | None:
        """Return how many trainings come before this one; None if it is over."""
        unfinished = self._unfinished
        return unfinished.index(training) if training in unfinished else None

    def _described(self, training: TrainingProcess) -> dict[str, Any]:
        return {
            "object": "training",
            "run": training.name,
            "state": training.state,
            "position": self._position(training),
            "error": training.error,
        }

    def _start(self, name: str | None) -> Path | None:
        """Return the folder of the run to fine-tune, if there is to be one."""
        if name is None:
            return None
        path = self._runs().get(name)
        if path is None or not (path / MODEL).is_file():
            raise RequestError(
                400, f"from must be a run with weights; there is no {name[:64]!r}", param="from"
            )
        return path.resolve()

    @property
    def _most_bytes(self) -> int:
        return int(BYTES_OF_A_MB * self._options.max_book)

    def _check_is_new(self, name: str) -> None:
        training = self._trainings.get(name)
        waits = name in self._arriving or (training is not None and not training.is_over)
        if waits or name in self._runs() or os.path.lexists(self._folder / name):
            raise RequestError(
                409,
                f"{name} is a run already; choose another name",
                param="name",
                code="run_exists",
            )

    def _check_room(self) -> None:
        if self._is_closed:
            raise RequestError(503, "the server is stopping", retry_after=_RETRY_SECONDS)
        if len(self._arriving) + len(self._unfinished) > self._options.max_trainings:
            raise RequestError(
                503,
                "too many trainings wait; try again later",
                code="queue_full",
                retry_after=_RETRY_SECONDS,
            )

    def _check_is_run(self, name: str) -> None:
        if name not in self._runs():
            raise no_run(name)

    async def _receive(self, name: str, body: AsyncIterator[bytes]) -> Path:
        """Write a text to a file in a folder of its own and return the file.

        If that fails, the folder is removed.
        """
        folder = None
        try:
            folder = self._upload_folder()
            await self._write(folder / f"{name}.txt", body)
        except BaseException as error:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
            if not isinstance(error, OSError) or isinstance(error, ConnectionError | TimeoutError):
                raise
            raise RequestError(
                503, f"the text cannot be stored: {error.strerror}", retry_after=_RETRY_SECONDS
            ) from None
        return folder / f"{name}.txt"

    def _upload_folder(self) -> Path:
        """Return a new folder. It is beside the runs, and no run is looked for in it."""
        if self._uploads is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned_uploads()
            uploads = tempfile.TemporaryDirectory(
                prefix=_UPLOADS, dir=self._folder, ignore_cleanup_errors=True
            )
            folder = Path(self._held.enter_context(uploads))
            self._held.enter_context(FileLock(folder / LOCK))
            self._uploads = folder
        return Path(tempfile.mkdtemp(dir=self._uploads))

    def _remove_abandoned_uploads(self) -> None:
        """Remove the texts of servers that were killed, once no training reads them any more."""
        for folder in self._folder.glob(f"{_UPLOADS}*"):
            with suppress(OSError):  # it is another user's
                is_old = folder.stat().st_mtime < time.time() - _ABANDONED_SECONDS
                if is_old and not is_locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)

    async def _write(self, path: Path, body: AsyncIterator[bytes]) -> None:
        size = 0
        with path.open("wb") as file:
            async for piece in body:
                size += len(piece)
                if size > self._most_bytes:
                    raise RequestError(
                        413, f"the text is larger than {self._options.max_book:g} MB"
                    )
                await asyncio.to_thread(file.write, piece)
        if not size:
            raise RequestError(400, "the body is empty; send the text to train on")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise RequestError(
            400,
            "name must be 1 to 64 of A-Z, a-z, 0-9, period, hyphen and underscore, with a "
            f"letter or digit first and no period last, not {name[:80]!r}",
            param="name",
        )
