"""One training that a client asked for: a process of its own, and the log of its events."""

import asyncio
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from textgen.errors import RunError, TextgenError
from textgen.runs.folder import Run
from textgen.serving import events
from textgen.serving.events import Event, RunFiles
from textgen.serving.query import MOST_WEIGHTS
from textgen.serving.refusals import without_folder
from textgen.system.terminal import one_line

# The process runs this. Its arguments are the server's import path, the niceness, the number of
# cores or "", and those of `textgen`. NumPy and TensorFlow count the cores when they are imported.
_PROGRAM = """
import atexit, os, sys
sys.path[:] = sys.argv.pop(1).split(os.pathsep)
import runpy, signal
from contextlib import suppress
from pathlib import Path

def interrupt(*_):
    signal.alarm(3)  # once more, if it is lost: Python ignores what the callbacks of imports raise
    raise KeyboardInterrupt

atexit.register(signal.alarm, 0)  # Python restores the default handlers before it ends
signal.signal(signal.SIGINT, interrupt)
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
niceness, cores = sys.argv.pop(1), sys.argv.pop(1)
if hasattr(os, "nice"):
    os.nice(int(niceness))
with suppress(OSError):  # Linux may share the cores among sessions before it does among processes
    Path("/proc/self/autogroup").write_text(niceness)
with suppress(OSError):  # if memory runs out, the system ends this process, not the server
    Path("/proc/self/oom_score_adj").write_text("1000")
if cores and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-int(cores):])
runpy.run_module("textgen", run_name="__main__", alter_sys=True)
"""

COMMAND = (sys.executable, "-c", _PROGRAM)
"""What trains a run."""

_LOG = logging.getLogger(__name__)
_SECRETS = ("TEXTGEN_API_KEY", "TF_CONFIG")  # variables that are not for the process
_STARTING_SECONDS = 1.0  # until the process can handle a signal
_SAVING_SECONDS = 10.0  # usually enough to save a run
_STDERR_KEPT = 4000  # bytes
_STDERR_SECONDS = 1.0
_ERROR = "Error: "  # begins the line in which a command tells its error
_OVER = ("finished", "stopped", "failed")
_STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)  # exit codes


class TrainingProcess:
    """A run that is to be trained, is being trained, or was trained by this server."""

    def __init__(
        self,
        path: Path,
        book: Path,
        flags: Sequence[str],
        niceness: int,
        cores: int | None,
        start: Path | None = None,
    ) -> None:
        """Describe a training.

        Args:
            path: the folder of the run.
            book: the text, alone in a folder that is removed at the end.
            flags: options of `textgen train`.
            start: the folder of a run to fine-tune.
            niceness: 0 shares the cores equally with the server, 19 yields them.
            cores: how many the process may use; None for all.
        """
        self.name = path.name
        self.state = ""
        self.error: str | None = None
        self.log: list[Event] = []  # all events, but for the progress
        self._path = path
        self._book = book
        self._arguments = [
            os.pathsep.join(map(os.path.abspath, sys.path)),
            str(niceness),
            "" if cores is None else str(cores),
            *("train", book.name, f"--out={path}", "--quiet"),
            *flags,
            *([f"--from={start}"] if start else []),
        ]
        self._runs = [path, start] if start else [path]
        self._files = RunFiles(path)
        self._process: asyncio.subprocess.Process | None = None
        self._start: float | None = None  # of the first step, about; as of time.monotonic
        self._seconds_planned: float | None = None
        self._refusal = ""  # why its network is too large
        self._stuck_from = 0.0  # when it has been stopping for long, as of time.monotonic
        self._enter("queued")

    @property
    def is_over(self) -> bool:
        return self.state in _OVER

    async def run(self) -> None:
        """Train in a process, and log what its files tell, until it ends.

        Whatever fails, the process ends, and those that wait can follow.
        """
        try:
            await self._train()
        except Exception:
            _LOG.exception("training %s failed", self.name)
            self.kill()
            if self._process:
                await self._process.wait()
            self.end("failed", "the training met an error in the server; its log tells more")

    async def _train(self) -> None:
        if os.path.lexists(self._path):  # created while this one was waiting
            self.end("failed", f"{self.name} is a run already; choose another name")
            return
        self._enter("training")
        try:
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                *self._arguments,
                cwd=self._book.parent,  # so that the run knows the text by its name alone
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env={name: text for name, text in os.environ.items() if name not in _SECRETS},
                start_new_session=True,  # so that Ctrl-C in the server's terminal does not reach it
            )
        except OSError as error:
            self.end("failed", f"the training cannot start: {error.strerror}")
            return
        self._process = process
        assert process.stderr
        stderr = asyncio.create_task(_last_part(process.stderr))
        ready, interrupted = time.monotonic() + _STARTING_SECONDS, False
        while process.returncode is None:
            if self.state == "stopping" and not interrupted and time.monotonic() >= ready:
                interrupted = True  # once: a second signal would end it before it has saved
                self._signal(signal.SIGINT)
            await asyncio.sleep(events.POLL_SECONDS)
            await self._read_files()
        await self._read_files()  # it may have written more before it ended
        # Another process that it started may hold the pipe for longer.
        await asyncio.wait([stderr], timeout=_STDERR_SECONDS)
        output = stderr.result() if stderr.done() else ""
        stderr.cancel()
        self._end_with(process.returncode, output)

    def stop(self) -> None:
        """Stop as Ctrl-C does. A training that waits ends at once, one that goes on saves first."""
        if self.state == "queued":
            self.end("stopped")
        elif self.state == "training":
            self._enter("stopping")
            self._stuck_from = time.monotonic() + _SAVING_SECONDS

    @property
    def is_stuck(self) -> bool:
        """Whether it was stopped long ago, and has not ended."""
        return self.state == "stopping" and time.monotonic() > self._stuck_from

    def kill(self) -> None:
        """End the process at once."""
        self._signal(signal.SIGKILL)

    def end(self, state: str, error: str | None = None) -> None:
        """Log the end, and remove the text. The run has a copy of it."""
        shutil.rmtree(self._book.parent, ignore_errors=True)
        self.error = error
        self._enter(state)
        self.log.append(("end", {"state": state, "error": error, "run": self.name}))

    def progress(self) -> dict[str, Any]:
        """Return the seconds trained, the seconds left and the share done, None where unknown."""
        if self._start is None:
            return {"seconds": None, "seconds_left": None, "share": None}
        seconds, planned = time.monotonic() - self._start, self._seconds_planned
        return {
            "seconds": round(seconds, 1),
            "seconds_left": None if planned is None else round(max(0.0, planned - seconds), 1),
            "share": None if not planned else round(min(1.0, seconds / planned), 4),
        }

    def _enter(self, state: str) -> None:
        self.state = state
        self.log.append(("state", {"state": state}))

    async def _read_files(self) -> None:
        # The next evaluation replaces a damaged file, and one on another computer may come back.
        with suppress(RunError, OSError):
            if not self._files.exist:
                return
            if self._start is None:
                self._start = time.monotonic()
                await asyncio.to_thread(self._check_size)
            news = await asyncio.to_thread(self._files.news)
            self.log += news
            if news:
                self._start = time.monotonic() - self._files.seconds
            self._seconds_planned = self._files.seconds_planned()

    def _check_size(self) -> None:
        """Kill the process if its network is too large, before it has taken the memory."""
        run = Run.open(self._path)
        if run.weight_count > MOST_WEIGHTS:
            self._refusal = (
                f"a vocabulary of {len(run.tokenizer):,} makes {run.weight_count:,} weights; at "
                f"most {MOST_WEIGHTS:,} are allowed here; lower units or embedding"
            )
            self.kill()

    def _signal(self, number: int) -> None:
        """Send a signal to the process and those it started, as a terminal does."""
        if self._process and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _end_with(self, code: int, output: str) -> None:
        """Log the end of the process, from its exit code and what it wrote to standard error."""
        errors = [line for line in output.splitlines() if line.startswith(_ERROR)]
        if self._refusal:
            self.end("failed", self._refusal)
        elif code == 0:
            self.end("finished")
        elif errors:
            error = errors[-1].removeprefix(_ERROR)
            for run in self._runs:
                error = without_folder(error, run)
            self.end("failed", str(TextgenError(error)))  # with names of options, not flags
        elif code in _STOPPED or (code > 0 and self.state == "stopping"):
            self.end("stopped")  # a library may turn Ctrl-C into an error while it is imported
        else:
            _LOG.warning("training %s ended with code %d: %s", self.name, code, one_line(output))
            reason = f"ended with code {code}"
            if code == -signal.SIGKILL:
                reason = "was killed"
                if self.state != "stopping":
                    reason += ", perhaps for lack of memory"
            self.end("failed", f"the training {reason}")


async def _last_part(stream: asyncio.StreamReader) -> str:
    """Read a stream to its end, and return the last part of it."""
    kept = b""
    while piece := await stream.read(_STDERR_KEPT):
        kept = (kept + piece)[-_STDERR_KEPT:]
    return kept.decode("utf-8", "replace")
