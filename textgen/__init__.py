"""Train a character- or word-level LSTM on a book and write in its manner.

import textgen

model = textgen.train("book.txt", minutes=5)
print(model.generate("It was ", temperature=0.7))

model = textgen.load("checkpoints/book")
model.evaluate("It was a dark night.").bits_per_character
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgen.errors import (
    BookError,
    OptionError,
    RunError,
    TextgenError,
    TrainingError,
    VocabularyError,
)

if TYPE_CHECKING:
    from textgen.evaluation import Evaluation
    from textgen.model import Model
    from textgen.novelty import Novelty

__version__ = "0.1.0"
__all__ = [
    "BookError",
    "Evaluation",
    "Model",
    "Novelty",
    "OptionError",
    "RunError",
    "TextgenError",
    "TrainingError",
    "VocabularyError",
    "load",
    "train",
]


def train(
    *books: str | Path,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> "Model":
    """Train a network on one or several books, each a document, and return the model.

    Args:
        books: paths, or "-" for standard input. Not needed to resume.
        out: the run folder; by default `checkpoints/` and the first book's name.
        resume: go on where the run in `out` was stopped. Of the options only epochs,
            minutes, patience, precision and save_every may then differ from those it began
            with.
        force: replace a run that is there already.
        quiet: write nothing to standard error.
        options: those of `textgen train`; `textgen.options.TrainingOptions` lists them.

    Raises:
        BookError: a book cannot be read, or is too short.
        OptionError: an option is outside its limits.
        RunError: the run folder holds a run already, is being trained by another process, is
            damaged, or cannot be written.
        TrainingError: the loss stopped being a number.
        KeyboardInterrupt: on Ctrl-C, with the run saved.
    """
    from textgen import runs
    from textgen.options import TrainingOptions

    if out is None:
        if not books:
            raise OptionError("out", "is needed where no book is given")
        out = runs.CHECKPOINTS / ("stdin" if books[0] == "-" else Path(books[0]).stem)
    if resume:
        run = runs.reopen(out, books, options)
    elif books:
        run = runs.create(out, books, TrainingOptions(**options), force)
    else:
        raise BookError("no book to train on; name one, or resume a run")

    try:
        with runs.locked(run.path):
            from textgen.training.loop import fit  # TensorFlow: seconds to import, so at last

            fit(run, quiet)
    except KeyboardInterrupt as interrupt:  # or what the command line makes of other signals
        raise type(interrupt)(
            f"stopped; go on with: textgen train --out {shlex.quote(str(run.path))} --resume"
        ) from None
    return load(run.path)


def load(*runs: str | Path, weights: Sequence[float] | None = None) -> "Model":
    """Return the model in a run folder, with its best weights.

    Of several runs that share a vocabulary the probabilities are mixed, in equal shares or in
    proportion to `weights`.

    Raises RunError where there is none, or it is damaged, OptionError for the weights.
    """
    from textgen.checkpoint import Run
    from textgen.model import Model

    if not runs:
        raise RunError("no run to load; name one")
    return Model([Run.open(run) for run in runs], shares=weights)


def __getattr__(name: str) -> Any:
    """Import what needs NumPy only when it is asked for."""
    if name == "Model":
        from textgen.model import Model

        return Model
    if name == "Evaluation":
        from textgen.evaluation import Evaluation

        return Evaluation
    if name == "Novelty":
        from textgen.novelty import Novelty

        return Novelty
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
