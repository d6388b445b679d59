"""Runs begun, gone on with, and found: stage 1 into a folder that stage 2 can train."""

import tempfile
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from textgen.checkpoint import CORPUS, FILES, MODEL, Run, writing
from textgen.errors import BookError, OptionError, RunError
from textgen.options import TrainingOptions
from textgen.preprocess import corpus
from textgen.preprocess.reading import display_name

CHECKPOINTS = Path("checkpoints")
"""Where runs go by default."""


def create(
    path: str | Path, books: Sequence[str | Path], options: TrainingOptions, force: bool = False
) -> Run:
    """Read `books` into a new run, ready to be trained.

    The folder appears complete or not at all; with `force` it takes the place of an older run.
    Raises RunError where `path` is in use or cannot be written, BookError for the books.
    """
    path = Path(path)
    with writing(path), _folder_near(path) as temporary:
        _refuse_to_overwrite(path, force)
        draft = Path(temporary) / "new"
        (draft / CORPUS).mkdir(parents=True)
        found = corpus.prepare(books, draft / CORPUS, options)
        run = Run(
            draft,
            options.sized(found.tokens),
            found.tokenizer,
            list(map(display_name, books)),
            found.tokens,
            found.characters_per_token,
        )
        run.write_config()
        run.write_tokenizer()
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, draft, Path(temporary) / "old")
    return Run.open(path)


def reopen(path: str | Path, books: Sequence[str | Path], changes: dict[str, Any]) -> Run:
    """Open a run to go on with it, with what may change of its options changed, not yet on disk.

    Where books are given, they must be those that the run began with, or BookError is raised.
    """
    run = Run.open(path)
    fixed = {item.name for item in fields(TrainingOptions) if not item.metadata["on_resume"]}
    for name in sorted(changes.keys() & fixed):
        if changes[name] != getattr(run.options, name):
            raise OptionError(name, f"was {getattr(run.options, name)} when this run began")
    if changes.keys() & {"epochs", "minutes"}:
        changes = {"epochs": None, "minutes": None, **changes}
    if books:
        with writing(run.path), _folder_near(run.path) as folder:
            found = corpus.prepare(books, Path(folder), run.options)
            now = corpus.load(Path(folder), found.tokens, len(found.tokenizer))
            same = found.tokenizer.vocabulary == run.tokenizer.vocabulary
            if not (same and now.equals(run.corpus())):
                raise BookError(
                    f"{', '.join(map(display_name, books))} is not what {path} was begun with; "
                    "leave the books out to go on with the text as it was"
                )
    return replace(run, options=replace(run.options, **changes))


def newest(folder: str | Path = CHECKPOINTS) -> Path:
    """The run under `folder` whose weights were saved last; raises RunError if there is none."""
    models = Path(folder).glob(f"*/{MODEL}")
    try:
        return max(models, key=lambda model: model.stat().st_mtime).parent
    except ValueError:
        raise RunError(
            f"there is no trained run under {folder}; make one with: textgen train BOOK"
        ) from None


def _replace(path: Path, new: Path, old: Path) -> None:
    """Move the folder `new` to `path`, and what is there to `old`; both or neither."""
    there = path.exists()
    if there:
        path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        if there:
            old.rename(path)
        raise


def _refuse_to_overwrite(path: Path, force: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        Run.open(path)
    except RunError:
        raise RunError(
            f"{path} is there already and is no run to replace; choose another --out"
        ) from None
    if not force:
        raise RunError(
            f"{path} holds a run already; go on with it by --resume, replace it by --force, "
            "or choose another --out"
        )
    if strange := sorted({p.name for p in path.iterdir()} - set(FILES)):
        raise RunError(
            f"{path} holds {strange[0]}, which is no part of a run and would be lost; "
            "move it, or choose another --out"
        )


def _folder_near(path: Path) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder on the disk where `path` is to be."""
    home = next(p for p in path.absolute().parents if p.exists())
    return tempfile.TemporaryDirectory(dir=home, prefix=".textgen-")
