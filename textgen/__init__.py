"""Train a character- or word-level LSTM on a book and write in its manner.

import textgen

model = textgen.train("book.txt", minutes=5)
print(model.generate("It was ", temperature=0.7))

model = textgen.load("checkpoints/book")
model.evaluate("It was a dark night.").bits_per_character
"""

from collections.abc import Sequence
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
        out: the run folder; by default `checkpoints/` and the name of the first book.
        from_run: a run to fine-tune: its weights are the first ones. The network has its size,
            and its vocabulary is extended by what the books add to it.
        vectors: a text file of word2vec or GloVe with the first embeddings of words.
        resume: go on where the run in `out` was stopped. Only epochs, minutes, patience,
            precision and save_every can then be changed.
        force: replace an existing run.
        quiet: write nothing to standard error.
        options: those of `textgen train`; `textgen.options.training.TrainingOptions` lists them.

    Raises:
        BookError: a book cannot be read, or is too short.
        OptionError: an option is outside its limits.
        RunError: the run folder exists, is in use by another process, is damaged, or cannot be
            written.
        TrainingError: the loss is no longer finite, or memory is short.
        KeyboardInterrupt: on Ctrl-C, with the run saved.
    """
    from textgen.options.training import TrainingOptions
    from textgen.runs import lifecycle
    from textgen.runs.folder import Run
    from textgen.runs.initial import initial_weights
    from textgen.training.session import train_run

    if resume and (from_run is not None or vectors is not None):
        raise OptionError("resume", "goes on with the run's own weights; leave out the others")
    if not resume and not books:
        raise BookError("no book to train on; name one, or resume a run")
    path = lifecycle.default_folder(books) if out is None else Path(out)

    def begin() -> Run:
        if resume:
            return lifecycle.resume(path, books, options)
        initial = initial_weights(from_run, vectors)
        asked = TrainingOptions(**(initial.adapt(options) if initial else options))
        return lifecycle.create(path, books, asked, force, initial, quiet)

    return load(train_run(path, begin, quiet))


def prepare(
    *books: str | Path,
    out: str | Path | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Path:
    """Read books into a run folder, where `train` finds them ready; return the folder.

    `options` are those of `textgen prepare`: the ones of `train` that decide how books are read.
    `train` uses what is prepared if it is called with the same books and options, and reads the
    books again if not. Other arguments and errors are those of `train`.
    """
    from dataclasses import fields

    from textgen.options.reading import ReadingOptions
    from textgen.runs import lifecycle

    if not books:
        raise BookError("no book to prepare; name one")
    for name in sorted(options.keys() - {item.name for item in fields(ReadingOptions)}):
        raise OptionError(name, "has no meaning in preparing; leave it out")
    path = lifecycle.default_folder(books) if out is None else Path(out)
    return lifecycle.prepare(path, books, ReadingOptions(**options), force, quiet).path


def fetch(source: str, folder: str | Path = "corpora", quiet: bool = False) -> Path:
    """Download a text into a folder, by its name or address; return the file.

    `textgen.preprocess.fetching.SOURCES` lists the names. A partial download is resumed. Raises
    FetchError if the text cannot be downloaded whole, or is there already.
    """
    from textgen.preprocess import fetching

    return fetching.fetch(source, folder, quiet)


def load(*runs: str | Path, weights: Sequence[float] | None = None) -> "Model":
    """Return the model in a run folder, with its best weights.

    If several runs share a vocabulary, their probabilities are mixed: in equal shares, or in
    proportion to `weights`.

    Raises RunError if a run does not exist or is damaged, OptionError for the weights.
    """
    from textgen.model import Model
    from textgen.runs.folder import Run

    if not runs:
        raise RunError("no run to load; name one")
    return Model([Run.open(run) for run in runs], shares=weights)


def __getattr__(name: str) -> Any:
    """Import what needs NumPy only when it is used."""
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
