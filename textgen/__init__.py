"""Train a character- or word-level LSTM on a book and write in its manner.

import textgen

model = textgen.train("book.txt", minutes=5)
print(model.generate("It was ", temperature=0.7))

model = textgen.load("checkpoints/book")
model.evaluate("It was a dark night.").bits_per_character
"""

import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgen.errors import (
    BookError,
    FetchError,
    OptionError,
    RunError,
    TextgenError,
    TrainingError,
    VocabularyError,
)

if TYPE_CHECKING:
    from textgen.analysis.evaluation import Evaluation
    from textgen.analysis.novelty import Novelty
    from textgen.model import Model
    from textgen.runs.initial import Beginning

__version__ = "0.1.0"
__all__ = [
    "BookError",
    "Evaluation",
    "FetchError",
    "Model",
    "Novelty",
    "OptionError",
    "RunError",
    "TextgenError",
    "TrainingError",
    "VocabularyError",
    "fetch",
    "load",
    "prepare",
    "train",
]


def train(
    *books: str | Path,
    out: str | Path | None = None,
    from_run: str | Path | None = None,
    vectors: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> "Model":
    """Train a network on one or several books, each a document, and return the model.

    Args:
        books: paths, or "-" for standard input. Not needed to resume.
        out: the run folder; by default `checkpoints/` and the first book's name.
        from_run: a run whose weights to begin with. Its vocabulary is extended by what the
            books have beyond it, and the network is of its size.
        vectors: a text file of word2vec or GloVe, whose vectors the embedding of the words
            begins with.
        resume: go on where the run in `out` was stopped. Of the options only epochs,
            minutes, patience, precision and save_every may then differ from those it began
            with.
        force: replace a run that is there already.
        quiet: write nothing to standard error.
        options: those of `textgen train`; `textgen.options.training.TrainingOptions` lists them.

    Raises:
        BookError: a book cannot be read, or is too short.
        OptionError: an option is outside its limits.
        RunError: the run folder holds a run already, is being trained by another process, is
            damaged, or cannot be written.
        TrainingError: the loss stopped being a number.
        KeyboardInterrupt: on Ctrl-C, with the run saved.
    """
    from textgen.cluster import cluster
    from textgen.options.training import TrainingOptions
    from textgen.runs import lifecycle as runs
    from textgen.runs.folder import Run

    if resume and (from_run is not None or vectors is not None):
        raise OptionError("resume", "goes on with the run's own weights; leave out the others")
    if not resume and not books:
        raise BookError("no book to train on; name one, or resume a run")
    path = _run_folder(out, books)
    team = cluster()

    def begin() -> Run:
        if not team.is_first:
            return Run.open(path)
        if resume:
            run = runs.reopen(path, books, options)
            if len(team.addresses) > 1:
                run.write_config()  # which the others open
            return run
        beginning = _beginning(from_run, vectors)
        given = TrainingOptions(**(beginning.adapt(options) if beginning else options))
        team.rows(given.batch_size)  # are there enough of them?
        return runs.create(path, books, given, force, beginning, quiet)

    workers = None
    if len(team.addresses) > 1:
        from textgen.training.workers import Workers

        workers = Workers(team, quiet)
    run = workers.after_the_first(begin) if workers else begin()
    try:
        with runs.locked(run.path) if team.is_first else nullcontext():
            from textgen.training.loop import fit  # TensorFlow: seconds to import, so at last

            fit(run, quiet, workers)
    except KeyboardInterrupt as interrupt:  # or what the command line makes of other signals
        raise type(interrupt)(
            f"stopped; go on with: textgen train --out {shlex.quote(str(run.path))} --resume"
        ) from None
    return load(run.path)


def prepare(
    *books: str | Path,
    out: str | Path | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Path:
    """Read books into a run folder, for `train` to find them ready there; return the folder.

    `options` are those of `textgen prepare`: the ones of `train` that decide on how books are
    read. Training takes over what is ready if they are the same then, and reads the books anew
    if not. Other arguments and errors are those of `train`.
    """
    from dataclasses import fields

    from textgen.options.training import TrainingOptions
    from textgen.runs import lifecycle as runs

    if not books:
        raise BookError("no book to prepare; name one")
    reading = {item.name for item in fields(TrainingOptions) if item.metadata["reads"]}
    for name in sorted(options.keys() - reading):
        raise OptionError(name, "has no meaning in preparing; leave it out")
    folder = _run_folder(out, books)
    runs.create(folder, books, TrainingOptions(**options), force, quiet=quiet, for_later=True)
    return folder


def fetch(source: str, folder: str | Path = "corpora", quiet: bool = False) -> Path:
    """Bring a text into a folder, by name or from an address; return its file.

    `textgen.preprocess.fetching.SOURCES` lists the names. A partial download is resumed. Raises
    FetchError if it cannot be fetched whole, or is there already.
    """
    from textgen.preprocess import fetching

    return fetching.fetch(source, folder, quiet)


def load(*runs: str | Path, weights: Sequence[float] | None = None) -> "Model":
    """Return the model in a run folder, with its best weights.

    Of several runs that share a vocabulary the probabilities are mixed, in equal shares or in
    proportion to `weights`.

    Raises RunError where there is none, or it is damaged, OptionError for the weights.
    """
    from textgen.model import Model
    from textgen.runs.folder import Run

    if not runs:
        raise RunError("no run to load; name one")
    return Model([Run.open(run) for run in runs], shares=weights)


def _run_folder(out: str | Path | None, books: Sequence[str | Path]) -> Path:
    from textgen.runs.lifecycle import CHECKPOINTS

    if out is not None:
        return Path(out)
    if not books:
        raise OptionError("out", "is needed where no book is given")
    return CHECKPOINTS / ("stdin" if books[0] == "-" else Path(books[0]).stem)


def _beginning(from_run: str | Path | None, vectors: str | Path | None) -> "Beginning | None":
    from textgen.runs.initial import OtherRun, Vectors

    if from_run is not None and vectors is not None:
        raise OptionError("vectors", "cannot be given together with --from; choose one")
    if from_run is not None:
        return OtherRun(from_run)
    return None if vectors is None else Vectors(vectors)


def __getattr__(name: str) -> Any:
    """Import what needs NumPy only when it is asked for."""
    if name == "Model":
        from textgen.model import Model

        return Model
    if name == "Evaluation":
        from textgen.analysis.evaluation import Evaluation

        return Evaluation
    if name == "Novelty":
        from textgen.analysis.novelty import Novelty

        return Novelty
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
