"""Runs begun, gone on with, and found: stage 1 into a folder that stage 2 can train."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from textgen.errors import BookError, OptionError, RunError
from textgen.options.training import TrainingOptions
from textgen.preprocess import corpus
from textgen.preprocess.reading import display_name
from textgen.runs.folder import CORPUS, FILES, LOCK, MODEL, NEW, Run, flush_folder, writing
from textgen.runs.initial import Beginning

CHECKPOINTS = Path("checkpoints")
"""Where runs go by default."""

_OLD = ".old"  # ends the name of a run that is being replaced


def create(
    path: str | Path,
    books: Sequence[str | Path],
    options: TrainingOptions,
    force: bool = False,
    beginning: Beginning | None = None,
    quiet: bool = True,
    for_later: bool = False,
) -> Run:
    """Read `books` into a new run, ready to be trained, with weights to begin with if given.

    The folder appears complete or not at all. It takes the place of a run that was prepared and
    not begun, and with `force` of any run; what was prepared there is used again if it comes
    from the same books. If it is `for_later`, other options may be chosen by then, so that the
    books need not be long enough for these. Raises RunError where `path` is in use or cannot be
    written, BookError for the books.
    """
    path = Path(path)
    if for_later:
        for book in books:
            if book == "-" or (Path(book).exists() and not Path(book).is_file()):
                raise BookError(f"{display_name(book)} can be read only once; name a file")
    with writing(path), _draft_of(path) as draft:
        if Path.cwd().is_relative_to(path.resolve()):
            raise RunError(f"{path} holds the folder you are in; leave it, or choose another --out")
        _refuse_to_overwrite(path, force)
        (draft / CORPUS).mkdir()
        known = beginning.known if beginning else None
        found = None if known else _prepared_before(path, books, options, draft / CORPUS)
        found = found or corpus.prepare(books, draft / CORPUS, options, known, quiet)
        run = Run(draft, options.sized(found.tokens), **vars(found))
        if not for_later:
            corpus.check_length(run.tokens, run.options)
        run.write_config()
        run.write_tokenizer()
        if beginning:
            run.save_initial_weights(beginning.weights(run.tokenizer, options.seed))
        flush_folder(draft / CORPUS)
        _refuse_to_overwrite(path, force)  # another process may have begun one meanwhile
        _replace(path, draft)
    return Run.open(path)


def reopen(path: str | Path, books: Sequence[str | Path], changes: dict[str, Any]) -> Run:
    """Open a run to go on with it, with what may change of its options changed, not yet on disk.

    Where books are given, they must be those that the run began with, or BookError is raised.
    """
    with writing(Path(path)):
        _undo_half_a_replacement(Path(path))
    run = Run.open(path)
    fixed = {item.name for item in fields(TrainingOptions) if not item.metadata["on_resume"]}
    for name in sorted(changes.keys() & fixed):
        if changes[name] != getattr(run.options, name):
            if not run.is_begun:
                raise RunError(f"{path} is prepared, not begun; name its book, without --resume")
            raise OptionError(name, f"was {getattr(run.options, name)} when this run began")
    corpus.check_length(run.tokens, run.options)
    if changes.keys() & {"epochs", "minutes"}:
        changes = {"epochs": None, "minutes": None, **changes}
    if books and not _are_those_of(run, books):
        raise BookError(
            f"{', '.join(map(display_name, books))} is not what {path} was begun with; "
            "leave the books out to go on with the text as it was"
        )
    return replace(run, options=replace(run.options, **changes))


def _are_those_of(run: Run, books: Sequence[str | Path]) -> bool:
    if run.corpus_key and run.corpus_key == corpus.key_of(books, run.options):
        return True
    with writing(run.path), _draft_of(run.path) as draft:
        found = corpus.prepare(books, draft, run.options, run.tokenizer)
        return found.corpus_digest == run.corpus().digest()


def _prepared_before(
    path: Path, books: Sequence[str | Path], options: TrainingOptions, folder: Path
) -> corpus.Prepared | None:
    """Copy into `folder` what was prepared of the same books for the run at `path`, if it was."""
    try:
        run = Run.open(path)
        if run.corpus_key is None or run.corpus_key != corpus.key_of(books, options):
            return None
        run.corpus()  # is it whole?
    except RunError:
        return None
    for name in corpus.FILES:
        shutil.copyfile(run.path / CORPUS / name, folder / name)
    found = {item.name: getattr(run, item.name) for item in fields(corpus.Prepared)}
    return corpus.Prepared(**found | {"books": list(map(display_name, books))})


def newest(folder: str | Path = CHECKPOINTS) -> Path:
    """The run under `folder` whose weights were saved last; raises RunError if there is none."""
    models = filter(Path.is_file, Path(folder).glob(f"*/{MODEL}"))
    try:
        return max(models, key=lambda model: model.stat().st_mtime).parent
    except ValueError:
        raise RunError(
            f"there is no trained run under {folder}; make one with: textgen train BOOK"
        ) from None


@contextmanager
def locked(path: Path, folder: Path | None = None) -> Iterator[None]:
    """Keep other processes from training the run at `path`; a lock dies with its process.

    The lock lies in the run's folder, or in `folder` while that is not there yet. Raises
    RunError where another process holds it.
    """
    from filelock import FileLock, Timeout  # long to import, wanted for training alone

    lock = FileLock((folder or path) / LOCK, timeout=0)
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


@contextmanager
def _draft_of(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path`, to make a run in; nothing of it stays."""
    draft = _beside(path, NEW)
    missing = [parent for parent in draft.parents if not parent.exists()]
    try:
        if draft.is_symlink():  # none of ours
            draft.unlink()
        draft.mkdir(parents=True, exist_ok=True)
        with locked(path, draft):
            ours = draft.stat()
            try:
                _clear(draft)  # a process that was killed may have left it
                _undo_half_a_replacement(path)
                yield draft
            finally:
                _undo_half_a_replacement(path)
                with suppress(OSError):  # renamed, and perhaps another's by now
                    if os.path.samestat(ours, draft.stat()):
                        _remove(draft)
    finally:
        for parent in missing:
            with suppress(OSError):  # it is used by now
                parent.rmdir()


def _beside(path: Path, ending: str) -> Path:
    try:
        path = path.resolve()
        return path.with_name(f".textgen-{path.name}{ending}")
    except (RuntimeError, ValueError):  # links in a circle; the root
        raise RunError(f"{path} is no place for a run; choose another --out") from None


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _clear(draft: Path) -> None:
    for left in draft.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        elif left.name != LOCK:
            left.unlink()


def _replace(path: Path, new: Path) -> None:
    """Move the folder `new` to `path`, and what is there out of the way before.

    Where that ends half done, `_undo_half_a_replacement` mends it.
    """
    path, old = path.resolve(), _beside(path, _OLD)
    if not path.exists():
        new.rename(path)
    else:
        with locked(path):
            _remove(old)
            path.rename(old)
            new.rename(path)
    flush_folder(path.parent)
    _remove(old)


def _undo_half_a_replacement(path: Path) -> None:
    """Bring back the older run, if a process was ended before the new one took its place."""
    old = _beside(path, _OLD)
    if old.is_dir() and not old.is_symlink() and not path.exists():
        old.rename(path.resolve())


def _refuse_to_overwrite(path: Path, force: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        begun = Run.open(path).is_begun
    except RunError:
        raise RunError(
            f"{path} is there already and is no run to replace; choose another --out"
        ) from None
    if begun and not force:
        raise RunError(
            f"{path} holds a run already; go on with it by --resume, replace it by --force, "
            "or choose another --out"
        )
    found = {p.name.removesuffix(NEW) for p in path.iterdir()} - set(FILES)
    if (path / CORPUS).is_dir():
        found |= {f"{CORPUS}/{p.name}" for p in (path / CORPUS).iterdir()} - {
            f"{CORPUS}/{name}" for name in corpus.FILES
        }
    if strange := sorted(found):
        raise RunError(
            f"{path} holds {strange[0]}, which is no part of a run and would be lost; "
            "move it, or choose another --out"
        )
