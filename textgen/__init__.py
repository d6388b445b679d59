"""Train a character- or word-level LSTM on a book and write in its manner.

import textgen

model = textgen.train("book.txt", minutes=5)
print(model.generate("It was ", temperature=0.7))

model = textgen.load("checkpoints/book")
model.evaluate("It was a dark night.").bits_per_character
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgen.errors import (
    BookError,
    FetchError,
    OptionError,
    OutputError,
    RunError,
    TextgenError,
    TrainingError,
    VocabularyError,
)

if TYPE_CHECKING:
    from textgen.analysis.authors import Authors, Authorship
    from textgen.analysis.evaluation import Evaluation
    from textgen.analysis.novelty import Novelty
    from textgen.model import Model
    from textgen.reporting.inspection import Inspection

__version__ = "0.1.0"
__all__ = [
    "Authors",
    "Authorship",
    "BookError",
    "Evaluation",
    "FetchError",
    "Inspection",
    "Model",
    "Novelty",
    "OptionError",
    "OutputError",
    "RunError",
    "TextgenError",
    "TrainingError",
    "VocabularyError",
    "authors",
    "fetch",
    "load",
    "prepare",
    "serve",
    "train",
]

_CLASSES = {
    "Authors": "textgen.analysis.authors",
    "Authorship": "textgen.analysis.authors",
    "Evaluation": "textgen.analysis.evaluation",
    "Inspection": "textgen.reporting.inspection",
    "Model": "textgen.model",
    "Novelty": "textgen.analysis.novelty",
}


def __dir__() -> list[str]:
    """Return the public names, without what this module imports."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])


def train(
    *books: str | Path,
    out: str | Path | None = None,
    from_run: str | Path | None = None,
    vectors: str | Path | None = None,
    tensorboard: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> "Model":
    """Train a network on one or more books and return the model.

    Args:
        books: paths, or "-" for standard input. Each is a document. Not needed to resume.
        out: the run folder; by default `checkpoints/` and the name of the first book.
        from_run: a run to fine-tune. Training starts from its weights, with its architecture.
            The vocabulary is extended by the new tokens of the books.
        vectors: a text file of word vectors (word2vec or GloVe) that initialize the embeddings.
        tensorboard: a folder of TensorBoard's. Each evaluation is written there, under the name of
            the run folder.
        resume: resume the run in `out` where it stopped. Only epochs, minutes, patience,
            precision and save_every can be changed.
        force: replace an existing run.
        quiet: write nothing to standard error.
        options: as for `textgen train`; `textgen.options.training.TrainingOptions` lists them.
            None is the same as leaving an option out.

    Raises:
        BookError: a book cannot be read, or is too short.
        OptionError: an option is outside its limits, or does not exist.
        OutputError: the folder of TensorBoard's cannot be written.
        RunError: the run folder exists, is in use by another process, is damaged, or cannot be
            written.
        TrainingError: the loss is not finite, memory runs out, or another worker fails.
        KeyboardInterrupt: on Ctrl-C, after saving the run.
    """
    from textgen.options.declare import without_none
    from textgen.options.training import TrainingOptions
    from textgen.runs import lifecycle
    from textgen.runs.folder import Run
    from textgen.runs.initial import initial_weights
    from textgen.training.session import train_run

    keywords = ("out", "from_run", "vectors", "tensorboard", "resume", "force", "quiet")
    TrainingOptions.check_names(options, *keywords)
    options = without_none(options)
    if resume and force:
        raise OptionError("force", "cannot be given together with --resume; choose one")
    if resume and (from_run is not None or vectors is not None):
        raise OptionError("resume", "uses the run's own weights; leave out --from and --vectors")
    if not resume and not books:
        raise BookError("no book to train on; name one, or resume a run")
    path = lifecycle.default_folder(books) if out is None else Path(out)

    def begin() -> Run:
        if resume:
            return lifecycle.resume(path, books, options)
        initial = initial_weights(from_run, vectors)
        asked = TrainingOptions(**(initial.adapt(options) if initial else options))
        return lifecycle.create(path, books, asked, force, initial, quiet)

    return load(train_run(path, begin, quiet, tensorboard))


def prepare(
    *books: str | Path,
    out: str | Path | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Path:
    """Read books into a run folder, ready for `train`, and return the folder.

    `options` are the options of `train` that decide how books are read; None is the same as
    leaving one out. `train` uses the prepared corpus if it is called with the same books and
    options; otherwise it reads the books again. Other arguments and errors are those of `train`.
    """
    from textgen.options.declare import without_none
    from textgen.options.reading import ReadingOptions
    from textgen.runs import lifecycle

    if not books:
        raise BookError("no book to prepare; name one")
    ReadingOptions.check_names(options, "out", "force", "quiet")
    asked = ReadingOptions(**without_none(options))
    path = lifecycle.default_folder(books) if out is None else Path(out)
    return lifecycle.prepare(path, books, asked, force, quiet).path


def fetch(source: str, folder: str | Path = "corpora", quiet: bool = False) -> Path:
    """Download a text into a folder, by its name or address; return the file.

    `textgen.preprocess.fetching.SOURCES` lists the names. A partial download is resumed. Raises
    FetchError if the download fails or is incomplete, or if the file exists.
    """
    from textgen.preprocess import fetching

    return fetching.fetch(source, folder, quiet)


def serve(
    *runs: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    quiet: bool = False,
    **options: Any,
) -> None:
    """Answer requests for completions over HTTP until Ctrl-C or SIGTERM.

    Args:
        runs: the runs to serve; by default all under `checkpoints/`.
        host: the address to listen at. Only this computer reaches 127.0.0.1; "0.0.0.0" is every
            address of this computer, which others reach, too.
        port: 0 chooses a free one.
        quiet: write nothing to standard error.
        options: as for `textgen serve`; `textgen.options.serving.ServingOptions` lists them.

    Raises OptionError for an option outside its limits or an address that is in use, RunError if
    a run cannot be read or there is none, KeyboardInterrupt on Ctrl-C.
    """
    from textgen.options.declare import without_none
    from textgen.options.serving import ServingOptions
    from textgen.serving.server import serve_runs

    ServingOptions.check_names(options, "host", "port", "quiet")
    asked = ServingOptions(**without_none(options))
    serve_runs(list(map(Path, runs)), host, port, asked, quiet)


def load(*runs: str | Path, weights: Sequence[float] | None = None) -> "Model":
    """Return the model in a run folder, with its best weights.

    Several runs form an ensemble: their probabilities are averaged, equally or in proportion to
    `weights`. They must have the same vocabulary.

    Raises RunError if a run does not exist, is damaged or has another vocabulary, OptionError
    for invalid weights.
    """
    from textgen.model import Model
    from textgen.runs.folder import Run

    if not runs:
        raise RunError("no run to load; name one")
    return Model([Run.open(run) for run in runs], shares=weights)


def authors(*runs: str | Path) -> "Authors":
    """Return the authors of runs, each trained on the books of one, to judge texts with.

    The first judgement takes some seconds more: the networks read the validation parts of all runs.

    Raises RunError if there are fewer than two runs, or if one is damaged, or lacks its corpus or
    a validation part.
    """
    from textgen.analysis.authors import Authors
    from textgen.runs.folder import Run

    return Authors([Run.open(run) for run in runs])


def __getattr__(name: str) -> Any:
    """Import the classes that need NumPy on first use."""
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_CLASSES[name]), name)
