"""Create or resume a run and train it, alone or with other workers."""

import shlex
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from textgen.runs.folder import Run
from textgen.runs.locking import locked
from textgen.training.tensorboard import EventLog
from textgen.training.workers import connect_workers


def train_run(
    path: Path,
    begin: Callable[[], Run],
    quiet: bool = False,
    tensorboard: str | Path | None = None,
) -> Path:
    """Train the run that `begin` creates or resumes at `path`; return its folder.

    With several workers, only the first one calls `begin`. Then the others open the run. It also
    writes the evaluations to `tensorboard`, a folder of TensorBoard's.

    Raises what `begin`, `fit` and EventLog raise, RunError if another process trains the run, and
    KeyboardInterrupt with a message on how to resume.
    """
    workers = connect_workers(quiet)
    log: EventLog | None = None
    with ExitStack() as held:

        def first() -> Run:
            nonlocal log
            if tensorboard is not None:
                log = EventLog(tensorboard, path)
            run = begin()
            held.enter_context(locked(run.path))
            if workers.several:
                run.write_config()  # the others read the settings there
            return run

        run = workers.after_the_first(first, lambda: Run.open(path))
        try:
            start = time.monotonic()
            from textgen.training.loop import fit  # TensorFlow takes seconds to import

            fit(run, workers, quiet, start, log)
        except KeyboardInterrupt as interrupt:  # or its subclass for SIGTERM
            raise type(interrupt)(
                f"stopped; resume with: textgen train --out {shlex.quote(str(run.path))} --resume"
            ) from None
    return run.path
