"""Create or replace a run atomically."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from textgen.errors import RunError
from textgen.preprocess.corpus import CORPUS_FILES
from textgen.runs.files import NEW, flush_folder
from textgen.runs.folder import CORPUS, RUN_FILES, Run
from textgen.runs.locking import LOCK, locked

_OLD = ".old"  # suffix of a run that is being replaced


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Provide an empty, locked folder beside `path` to create a run in; remove it at the end."""
    draft = _beside(path, NEW)
    missing = [parent for parent in draft.parents if not parent.exists()]
    try:
        if draft.is_symlink():  # not made by textgen
            draft.unlink()
        draft.mkdir(parents=True, exist_ok=True)
        with locked(path, draft):
            ours = draft.stat()
            try:
                _clear(draft)  # a process that was killed may have left files in it
                undo_half_replacement(path)
                yield draft
            finally:
                undo_half_replacement(path)
                with suppress(OSError):  # it was renamed, and another process may have made one
                    if os.path.samestat(ours, draft.stat()):
                        _remove_folder(draft)
    finally:
        for parent in missing:
            with suppress(OSError):  # it is not empty
                parent.rmdir()


def replace_run(path: Path, new: Path) -> None:
    """Move the folder `new` to `path`, replacing the run there, if any.

    If the process ends between the two renames, `undo_half_replacement` restores the old run.
    """
    path, old = path.resolve(), _beside(path, _OLD)
    if not path.exists():
        new.rename(path)
    else:
        with locked(path):
            _remove_folder(old)
            path.rename(old)
            new.rename(path)
    flush_folder(path.parent)
    _remove_folder(old)


def undo_half_replacement(path: Path) -> None:
    """Restore the old run if a process ended before the new run replaced it."""
    old = _beside(path, _OLD)
    if old.is_dir() and not old.is_symlink() and not path.exists():
        old.rename(path.resolve())


def refuse_to_overwrite(path: Path, force: bool) -> None:
    """Raise RunError if something is at `path` that a new run must not replace."""
    if Path.cwd().is_relative_to(path.resolve()):
        raise RunError(f"{path} contains the current folder; leave it, or choose another --out")
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        begun = Run.open(path).is_begun
    except RunError:
        raise RunError(
            f"{path} exists and is not a run that can be replaced; choose another --out"
        ) from None
    if begun and not force:
        raise RunError(
            f"{path} is a run already; resume it with --resume, replace it with --force, or "
            "choose another --out"
        )
    found = {p.name.removesuffix(NEW) for p in path.iterdir()} - set(RUN_FILES)
    if (path / CORPUS).is_dir():
        found |= {f"{CORPUS}/{p.name}" for p in (path / CORPUS).iterdir()} - {
            f"{CORPUS}/{name}" for name in CORPUS_FILES
        }
    if strange := sorted(found):
        raise RunError(
            f"{path} contains {strange[0]}, which is not part of a run and would be lost; move "
            "it, or choose another --out"
        )


def _beside(path: Path, ending: str) -> Path:
    try:
        path = path.resolve()
        return path.with_name(f".textgen-{path.name}{ending}")
    except (RuntimeError, ValueError):  # a loop of links; the root folder
        raise RunError(f"{path} cannot be a run; choose another --out") from None


def _remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _clear(draft: Path) -> None:
    for left in draft.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        elif left.name != LOCK:
            left.unlink()
