"""Create, resume and find runs."""

import shutil
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from textgen.errors import BookError, OptionError, RunError
from textgen.options.reading import ReadingOptions
from textgen.options.training import TrainingOptions, TrainingSettings
from textgen.preprocess.corpus import CORPUS_FILES, borders
from textgen.preprocess.prepare import Prepared, corpus_key_of, prepare_corpus
from textgen.preprocess.reading import display_name, is_read_once
from textgen.preprocess.tokenizers import Tokenizer
from textgen.runs.files import flush_file, flush_folder, writing
from textgen.runs.folder import CORPUS, MODEL, Run
from textgen.runs.initial import InitialWeights
from textgen.runs.replacement import (
    draft_of,
    refuse_to_overwrite,
    replace_run,
    undo_half_replacement,
)
from textgen.system.terminal import counted

CHECKPOINTS = Path("checkpoints")
"""The default folder of runs."""


def default_folder(books: Sequence[str | Path]) -> Path:
    """Return the folder of a run on these books; raise OptionError if there are none."""
    if not books:
        raise OptionError("out", "is needed if no book is given")
    return CHECKPOINTS / ("stdin" if books[0] == "-" else Path(books[0]).stem)


def create(
    path: str | Path,
    books: Sequence[str | Path],
    options: TrainingOptions,
    force: bool = False,
    initial: InitialWeights | None = None,
    quiet: bool = True,
) -> Run:
    """Create a run from books, ready to be trained.

    The folder appears complete or not at all. It replaces a run that is prepared but not
    trained, and with `force` any run. If the run at `path` has a corpus read from the same books
    with the same options, the corpus is reused.

    Args:
        initial: the initial weights; by default they are drawn at random.

    Raises RunError if `path` is in use or cannot be written, BookError if a book cannot be read
    or the text is too short.
    """
    path = Path(path)
    with writing(path), draft_of(path) as draft:
        refuse_to_overwrite(path, force)
        known = initial.known if initial else None
        run = _read_into(draft, path, books, options, known, quiet)
        _check_length(run.tokens, run.settings)
        if initial:
            run.save_initial_weights(initial.weights(run.tokenizer, options.seed))
        refuse_to_overwrite(path, force)  # another process may have created one meanwhile
        replace_run(path, draft)
    return Run.open(path)


def prepare(
    path: str | Path,
    books: Sequence[str | Path],
    options: ReadingOptions,
    force: bool = False,
    quiet: bool = True,
) -> Run:
    """Prepare a run: read books into a corpus that `create` reuses.

    Arguments and errors are those of `create`, but the books may be too short to train with the
    default options. They cannot be standard input or pipes, because `create` reads them again
    to compare them.
    """
    path = Path(path)
    for book in books:
        if is_read_once(book):
            raise BookError(f"{display_name(book)} can be read only once; name a file")
    reading = {item.name: getattr(options, item.name) for item in fields(ReadingOptions)}
    with writing(path), draft_of(path) as draft:
        refuse_to_overwrite(path, force)
        _read_into(draft, path, books, TrainingOptions(**reading), None, quiet)
        refuse_to_overwrite(path, force)
        replace_run(path, draft)
    return Run.open(path)


def resume(path: str | Path, books: Sequence[str | Path], changes: dict[str, Any]) -> Run:
    """Return the run at `path` with changed options, to resume training.

    The changes are not written to disk. Raises BookError if the run was not created from
    `books`, OptionError for an option that must not change.
    """
    path = Path(path)
    with writing(path):
        undo_half_replacement(path)
    if not path.exists():
        raise RunError(f"there is no run at {path} to resume; leave out --resume")
    run = Run.open(path)
    if conflict := run.settings.conflict(changes):
        if not run.is_begun:
            raise RunError(f"{path} is prepared but not trained; give its book, without --resume")
        name, value = conflict
        raise OptionError(name, f"is {value} in {path} and cannot change; leave it out")
    _check_length(run.tokens, run.settings)
    if books and not _has_books(run, books):
        raise BookError(
            f"{path} was not created from {', '.join(map(display_name, books))}; leave the books "
            "out to resume with the same text"
        )
    return replace(run, settings=run.settings.resumed(changes))


def newest(folder: str | Path = CHECKPOINTS) -> Path:
    """Return the run under `folder` whose weights were saved last; raise RunError if none."""
    models = filter(Path.is_file, Path(folder).glob(f"*/{MODEL}"))
    try:
        return max(models, key=lambda model: model.stat().st_mtime).parent
    except ValueError:
        raise RunError(
            f"there is no trained run under {folder}; make one with: textgen train BOOK"
        ) from None


def _read_into(
    draft: Path,
    path: Path,
    books: Sequence[str | Path],
    options: TrainingOptions,
    known: Tokenizer | None,
    quiet: bool,
) -> Run:
    """Create a run in the folder `draft`, reusing the corpus at `path` if possible."""
    folder = draft / CORPUS
    folder.mkdir()
    prepared = None if known else _copy_prepared(path, books, options.reading, folder)
    prepared = prepared or prepare_corpus(books, folder, options.reading, known, quiet)
    facts = {item.name: getattr(prepared, item.name) for item in fields(Prepared)}
    settings = options.resolve(prepared.tokens, len(prepared.tokenizer))
    run = Run(path=draft, settings=settings, **facts | {"books": list(map(display_name, books))})
    run.write_config()
    run.write_tokenizer()
    flush_folder(folder)
    return run


def _copy_prepared(
    path: Path, books: Sequence[str | Path], options: ReadingOptions, folder: Path
) -> Prepared | None:
    """Copy the corpus of the run at `path` into `folder`, if it comes from the same books."""
    try:
        run = Run.open(path)
        if run.corpus_key is None or run.corpus_key != corpus_key_of(books, options):
            return None
        run.corpus()  # raises RunError if it is damaged
    except RunError:
        return None
    for name in CORPUS_FILES:
        shutil.copyfile(run.path / CORPUS / name, folder / name)
        flush_file(folder / name)
    return run


def _has_books(run: Run, books: Sequence[str | Path]) -> bool:
    options = run.settings.reading
    if run.corpus_key and run.corpus_key == corpus_key_of(books, options):
        return True
    with writing(run.path), draft_of(run.path) as draft:
        found = prepare_corpus(books, draft, options, run.tokenizer)
        return found.corpus_digest == run.digest()


def _check_length(tokens: int, settings: TrainingSettings) -> None:
    """Raise BookError if a text is too short to train, to validate or to test on."""
    training, test_begins = borders(tokens, settings.reading)
    streams, steps = settings.batch_size, settings.chunk_length
    if training <= streams * steps:
        raise BookError(
            f"the training part, {training:,} of {counted(tokens, 'token')}, is too short for "
            f"{counted(streams, 'stream')} of {counted(steps, 'step')}; "
            + (
                f"lower --batch-size to {(training - 1) // steps} or less"
                if training > steps
                else f"lower --batch-size to 1 and --chunk-length to {training - 1} or less"
                if training > 1
                else "give a longer text"
            )
        )
    for name, length, purpose in (
        ("validation", test_begins - training, "validate"),
        ("test", tokens - test_begins, "test"),
    ):
        share = getattr(settings.reading, name)
        if share and length <= 1:
            raise BookError(
                f"--{name} {share} holds out {length} of {counted(tokens, 'token')}, too few to "
                f"{purpose} on; raise it, or give 0 to train on all"
            )
