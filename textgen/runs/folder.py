"""The contract between training and sampling: a run is one folder.

Every file is written beside its place, flushed to disk and renamed, so a reader finds a whole
old file or a whole new one. What is read is checked before it is used, and before memory is
taken for it; a run may come from a stranger.
"""

import errno
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from textgen import __version__
from textgen.errors import RunError
from textgen.options.training import TrainingOptions
from textgen.preprocess import corpus
from textgen.preprocess.tokenizers import Tokenizer, tokenizer_from_json

FORMAT = 2
"""Raised whenever an older textgen could not read a run any more."""

Arrays = dict[str, NDArray[np.float32]]
Shapes = dict[str, tuple[int, ...]]

CONFIG, TOKENIZER, CORPUS = "config.json", "tokenizer.json", "corpus"
MODEL, TRAINING = "model.safetensors", "training.safetensors"
INITIAL = "initial.safetensors"
METRICS, SAMPLES, LOCK = "metrics.jsonl", "samples.txt", ".lock"
FILES = (CONFIG, TOKENIZER, CORPUS, INITIAL, MODEL, TRAINING, METRICS, SAMPLES, LOCK)
NEW = ".new"
"""Ends the name of a file or folder that is being written, until it is renamed."""

GATES = {"lstm": 4, "gru": 3}
STATES = {"lstm": ("h", "c"), "gru": ("h",)}


# Of an evaluation, and whether it may be missing.
_FIGURES = {
    "epoch": False,
    "seconds": False,
    "loss": True,
    "validation_loss": True,
    "tokens_per_second": True,
}
_LARGEST_WEIGHT = 1e6  # far beyond any that training gives; no product of these overflows


def weight_shapes(options: TrainingOptions, vocabulary_size: int) -> Shapes:
    """The shape of every weight by name, in Keras's layout.

    An LSTM's gates are i, f, c, o; a GRU's z, r, h, with a row of bias for the input and one
    for the recurrent product.
    """
    units, width = options.units, GATES[options.cell] * options.units
    shapes: Shapes = {"embedding": (vocabulary_size, options.embedding)}
    for layer in range(options.layers):
        inputs = units if layer else options.embedding
        shapes[f"layers.{layer}.kernel"] = (inputs, width)
        shapes[f"layers.{layer}.recurrent_kernel"] = (units, width)
        shapes[f"layers.{layer}.bias"] = (width,) if options.cell == "lstm" else (2, width)
    if not options.tie:  # else it is the embedding, transposed
        shapes["output.kernel"] = (units, vocabulary_size)
    shapes["output.bias"] = (vocabulary_size,)
    return shapes


def state_shapes(options: TrainingOptions) -> Shapes:
    """The shape of each layer's state by name, for the streams of a training batch."""
    return {
        f"layers.{layer}.{name}": (options.batch_size, options.units)
        for layer in range(options.layers)
        for name in STATES[options.cell]
    }


@dataclass
class Progress:
    """How far training has come."""

    step: int = 0
    seconds: float = 0.0
    loss_total: float = 0.0  # of the steps since the last evaluation
    loss_steps: int = 0
    samples_size: int = 0  # bytes of samples.txt
    history: list[dict[str, Any]] = field(default_factory=list)  # the lines of metrics.jsonl

    def check(self) -> None:
        """Raise ValueError where this cannot be what was once saved."""
        for value in (self.step, self.loss_steps, self.samples_size):
            if type(value) is not int or not 0 <= value < 1 << 53:
                raise ValueError("its counts are no counts")
        if not (0 <= float(self.seconds) < 1e12 and math.isfinite(float(self.loss_total))):
            raise ValueError("its progress makes no sense")
        _checked_history(self.history)


@dataclass
class TrainingState:
    """All that exact resuming needs, the corpus aside."""

    weights: Arrays
    optimizer: Arrays
    state: Arrays
    progress: Progress


@dataclass(frozen=True)
class Run:
    """A run folder whose settings and vocabulary have been read and checked."""

    path: Path
    options: TrainingOptions
    tokenizer: Tokenizer
    books: list[str]
    documents: list[int]  # in each book
    tokens: int
    characters_per_token: float
    corpus_digest: str | None  # of the corpus that belongs to it; older runs have none
    corpus_key: str | None = None  # see `textgen.preprocess.corpus.key_of`

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        path = Path(path)
        with _reading(path / CONFIG):
            if not (path / CONFIG).is_file():
                raise RunError(f"{path} is not a run; name a folder that textgen train has made")
            config = json.loads((path / CONFIG).read_text("utf-8"))
            if not isinstance(config, dict) or type(config.get("format")) is not int:
                raise ValueError("it is not the settings of a run")
            if config["format"] > FORMAT:
                needed = str(config.get("textgen"))[:20]
                raise RunError(
                    f"{path} has format {config['format']}, which needs textgen {needed} or "
                    f"later; this is {__version__}"
                )
            if config["format"] < 1:
                raise ValueError(f"there never was a format {config['format']}")
            known = {item.name for item in fields(TrainingOptions)}
            if unknown := set(config["options"]) - known:
                raise ValueError(f"unknown options {', '.join(sorted(unknown))}")
            digest, key = config.get("corpus_digest"), config.get("corpus_key")
            if not isinstance(digest, str | None) or not isinstance(key, str | None):
                raise ValueError("the digest of its corpus is none")
            books = [str(book) for book in config["books"]]
            documents = config.get("documents", [1] * len(books))
            if not all(type(n) is int and n > 0 for n in documents) or len(documents) != len(books):
                raise ValueError("its books have no number of documents")
            tokens, characters = int(config["tokens"]), float(config["characters_per_token"])
            options = TrainingOptions(**config["options"]).sized(tokens)
            if tokens < 0 or not 0 < characters < math.inf:
                raise ValueError("its text has no length")
        with _reading(path / TOKENIZER):
            tokenizer = tokenizer_from_json((path / TOKENIZER).read_text("utf-8"))
            if tokenizer.level != options.level:
                raise ValueError(f"it is of level {tokenizer.level}, not {options.level}")
        return cls(path, options, tokenizer, books, documents, tokens, characters, digest, key)

    def write_config(self) -> None:
        config = {
            "format": FORMAT,
            "textgen": __version__,
            "books": self.books,
            "documents": self.documents,
            "tokens": self.tokens,
            "characters_per_token": self.characters_per_token,
            "corpus_digest": self.corpus_digest,
            "corpus_key": self.corpus_key,
            "options": asdict(self.options),
        }
        _write(self.path / CONFIG, _utf8(json.dumps(config, indent=2) + "\n"))

    def write_tokenizer(self) -> None:
        _write(self.path / TOKENIZER, self._tokenizer_json)

    @property
    def weight_shapes(self) -> Shapes:
        return weight_shapes(self.options, len(self.tokenizer))

    @property
    def weight_count(self) -> int:
        return sum(math.prod(shape) for shape in self.weight_shapes.values())

    @property
    def _tokenizer_json(self) -> bytes:
        return _utf8(json.dumps(self.tokenizer.to_json()) + "\n")

    @cached_property
    def _vocabulary_digest(self) -> str:
        """What ties weights to the vocabulary that they were trained with."""
        return hashlib.sha256(self._tokenizer_json).hexdigest()

    def weights(self) -> Arrays:
        """The weights with the best validation loss."""
        if not (self.path / MODEL).exists():
            raise RunError(
                f"{self.path} has no trained weights yet; "
                f"train it with: textgen train --out {self.path} --resume"
            )
        return self._read_arrays(self.path / MODEL, self.weight_shapes)[0]

    def save_weights(self, weights: Arrays) -> None:
        self._write_arrays(self.path / MODEL, weights)

    @property
    def is_begun(self) -> bool:
        """Whether there is anything of training in it, and not of preprocessing alone."""
        return any((self.path / name).exists() for name in (MODEL, TRAINING))

    def initial_weights(self) -> Arrays:
        """The weights that training begins with; those missing are drawn."""
        path = self.path / INITIAL
        return self._read_arrays(path, self.weight_shapes, partly=True)[0] if path.exists() else {}

    def save_initial_weights(self, weights: Arrays) -> None:
        self._write_arrays(self.path / INITIAL, weights)

    def corpus(self) -> corpus.Corpus:
        with _reading(self.path / CORPUS):
            found = corpus.load(self.path / CORPUS, self.tokens, len(self.tokenizer))
            if len(found.documents) != (count := sum(self.documents)):
                raise ValueError(f"it holds {len(found.documents)} documents, not {count}")
            if count > 1 and self.tokenizer.end is None:
                raise RunError(
                    f"{self.path} was begun on several books by an older textgen, which knew no "
                    "end of a document; train anew"
                )
            if self.corpus_digest not in (None, found.digest()):
                raise ValueError("it is not what this run was begun with")
            return found

    def training_state(self, optimizer_shapes: Shapes) -> TrainingState | None:
        """What was last saved for resuming; None where nothing was."""
        path = self.path / TRAINING
        if not path.exists():
            return None
        groups = {
            "weights": self.weight_shapes,
            "optimizer": optimizer_shapes,
            "state": state_shapes(self.options),
        }
        shapes = {f"{g}/{name}": s for g, named in groups.items() for name, s in named.items()}
        arrays, metadata = self._read_arrays(path, shapes)
        with _reading(path):
            saved = json.loads(metadata["progress"])
            progress = Progress(**{item.name: saved[item.name] for item in fields(Progress)})
            progress.check()
        parts = {g: {name: arrays[f"{g}/{name}"] for name in named} for g, named in groups.items()}
        return TrainingState(**parts, progress=progress)

    def save_training_state(self, state: TrainingState) -> None:
        groups = {"weights": state.weights, "optimizer": state.optimizer, "state": state.state}
        arrays = {f"{g}/{name}": a for g, named in groups.items() for name, a in named.items()}
        progress = json.dumps(asdict(state.progress))
        self._write_arrays(self.path / TRAINING, arrays, {"progress": progress})

    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl: one dictionary for each evaluation."""
        path = self.path / METRICS
        if not path.exists():
            return []
        with _reading(path):
            return _checked_history(map(json.loads, path.read_text("utf-8").splitlines()))

    def outcome(self) -> dict[str, Any]:
        """How training went: of the weights kept, and when it was last looked at."""
        history = self.history()
        last = history[-1] if history else {}
        return {
            "validation_loss": min(validation_losses(history), default=None),
            "training_loss": last.get("loss"),
            "tokens_per_second": last.get("tokens_per_second"),
            "epochs": last.get("epoch"),
            "seconds": last.get("seconds"),
        }

    def describe(self) -> dict[str, Any]:
        """All that there is to know of the run."""
        return {
            "run": str(self.path),
            "books": self.books,
            "documents": sum(self.documents),
            "tokens": self.tokens,
            "vocabulary": len(self.tokenizer),
            "weights": self.weight_count,
            "options": asdict(self.options),
            "outcome": self.outcome(),
        }

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(line) + "\n" for line in history)
        _write(self.path / METRICS, _utf8(lines))

    def add_sample(self, text: str, size: int) -> int:
        """Write `text` at byte `size` of the samples, dropping what follows; return the new size.

        What follows was written after the state that training resumed from was saved.
        """
        path = self.path / SAMPLES
        with writing(path), os.fdopen(_open_plainly(path), "ab") as file:
            if os.fstat(file.fileno()).st_nlink > 1:
                raise OSError(errno.EMLINK, "it is a link to another file")
            size = min(size, file.tell())
            file.truncate(size)
            return size + file.write(text.encode("utf-8", "replace"))

    def _write_arrays(
        self, path: Path, arrays: Arrays, metadata: dict[str, str] | None = None
    ) -> None:
        metadata = {"vocabulary": self._vocabulary_digest, **(metadata or {})}
        _write(path, save(arrays, metadata))

    def _read_arrays(
        self, path: Path, shapes: Shapes, partly: bool = False
    ) -> tuple[Arrays, dict[str, str]]:
        """Read float32 arrays of these names and shapes, and the file's metadata.

        Some may be missing if it holds them only `partly`.
        """
        with _reading(path), safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            # Older runs say nothing of their vocabulary.
            if metadata.get("vocabulary", self._vocabulary_digest) != self._vocabulary_digest:
                raise ValueError(f"it belongs to another {TOKENIZER}")
            found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            if set(found) != set(shapes) and not (partly and set(found) < set(shapes)):
                raise ValueError(f"it lacks or adds {sorted(set(found) ^ set(shapes))[0]}")
            for name, part in found.items():
                if tuple(part.get_shape()) != shapes[name] or part.get_dtype() != "F32":
                    raise ValueError(f"{name} is not float32 of shape {shapes[name]}")
            arrays = {name: file.get_tensor(name) for name in shapes if name in found}
            if not all((np.abs(array) < _LARGEST_WEIGHT).all() for array in arrays.values()):
                raise ValueError("it holds numbers that are not finite, or far too large")
            return arrays, metadata


def validation_losses(history: list[dict[str, Any]]) -> list[float]:
    """The validation losses of a history, in order; none where nothing was held out."""
    return [loss for entry in history if (loss := entry["validation_loss"]) is not None]


def _checked_history(lines: Iterable[Any]) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, each with its figures; raises ValueError for anything else."""
    history = list(lines)
    for line in history:
        if not isinstance(line, dict) or type(line.get("step")) is not int:
            raise ValueError("a line of it is no evaluation")
        for name, optional in _FIGURES.items():
            figure = line[name]
            if figure is None and optional:
                continue
            if not isinstance(figure, int | float) or not math.isfinite(float(figure)):
                raise ValueError("a figure in it is no number")
    return history


# What the readers of JSON, NumPy's and safetensors' formats raise where a file makes no sense.
_DAMAGE = (
    *(ValueError, TypeError, KeyError, OverflowError, RecursionError),
    *(SyntaxError, TokenError, SafetensorError),
)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ValueError("it is no plain file")  # but something that may never end
        yield
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from None
    except _DAMAGE as error:
        raise RunError(f"{path} is damaged: {_one_line(error)}; restore it or train anew") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; see to that, or choose another --out"
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error)[:200].split())


def _write(path: Path, data: bytes) -> None:
    """Write a whole file beside `path`, flush it to disk and rename it."""
    new = path.with_name(path.name + NEW)
    with writing(path):
        new.unlink(missing_ok=True)  # what one that was killed left, or a link to elsewhere
        try:
            with new.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            flush_folder(path.parent)
        finally:
            new.unlink(missing_ok=True)


def _open_plainly(path: Path) -> int:
    """Open to write, following no link out of the run's folder and waiting for no reader."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for name in ("O_NOFOLLOW", "O_NONBLOCK"):
        flags |= getattr(os, name, 0)
    return os.open(path, flags, 0o666)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8")


def flush_folder(path: Path) -> None:
    """Make a renaming last, where the system can flush folders."""
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
