"""The lock on a folder, as on a run that is trained. It ends with the process that holds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textgen.errors import RunError
from textgen.runs.files import writing

LOCK = ".lock"
_WAIT = 0.5  # seconds; `is_locked` holds the lock for a moment
_SHORT_WAIT = 0.02  # as others may ask whether the run is locked, too


@contextmanager
def locked(path: Path, folder: Path | None = None) -> Iterator[None]:
    """Lock the run at `path` so that no other process trains it.

    The lock is a file in the run's folder, or in `folder` if given. Raises RunError if another
    process holds it.
    """
    from filelock import FileLock, Timeout  # slow to import, and sampling needs no lock

    lock = FileLock((folder or path) / LOCK, timeout=_WAIT)
    with writing(path):
        try:
            lock.acquire()
        except Timeout:
            raise RunError(
                f"{path} is being trained by another process; wait for it, or choose another --out"
            ) from None
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock in the folder `path`, as one that trains a run."""
    from filelock import FileLock, Timeout

    if not (path / LOCK).is_file():
        return False
    lock = FileLock(path / LOCK, timeout=_SHORT_WAIT)
    try:
        lock.acquire(poll_interval=_SHORT_WAIT / 4)
    except Timeout:
        return True
    except OSError:  # it is someone else's, and cannot be opened to write
        return False
    lock.release()
    return False
