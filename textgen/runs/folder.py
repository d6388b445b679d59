"""A run: the folder that training writes and sampling reads. They share nothing else."""

import hashlib
import json
import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from textgen import __version__
from textgen.errors import RunError
from textgen.kernels import kernels
from textgen.options.architecture import Shapes
from textgen.options.escapes import unescape
from textgen.options.training import TrainingOptions, TrainingSettings
from textgen.preprocess.corpus import Corpus, Means, load_corpus
from textgen.preprocess.prepare import Prepared
from textgen.preprocess.tokenizers import Ids, tokenizer_from_json
from textgen.runs.files import Arrays, read_arrays, reading, write_arrays, write_at, write_file
from textgen.runs.history import Evaluations, Progress, best, check_history, kept_losses
from textgen.runs.locking import LOCK, is_locked
from textgen.system.terminal import counted

FORMAT = 3
"""Version of the run folder. Increase it when an older textgen can no longer read a run."""

CONFIG, TOKENIZER, CORPUS = "config.json", "tokenizer.json", "corpus"
MODEL, TRAINING = "model.safetensors", "training.safetensors"
INITIAL = "initial.safetensors"
METRICS, SAMPLES = "metrics.jsonl", "samples.txt"
RUN_FILES = (CONFIG, TOKENIZER, CORPUS, INITIAL, MODEL, TRAINING, METRICS, SAMPLES, LOCK)


@dataclass
class TrainingState:
    """A checkpoint: everything needed to resume exactly, apart from the corpus."""

    weights: Arrays
    optimizer: Arrays
    state: Arrays
    progress: Progress


@dataclass(frozen=True)
class Run(Prepared):
    """A run folder whose settings and vocabulary are read and checked."""

    path: Path
    settings: TrainingSettings

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Read the run in a folder; raise RunError if it is missing or damaged."""
        path = Path(path)
        with reading(path / CONFIG):
            if not (path / CONFIG).is_file():
                raise RunError(f"{path} is not a run; name a folder made by textgen train")
            config = json.loads((path / CONFIG).read_text("utf-8"))
            _check_format(path, config)
            settings, facts = _parse_config(config)
        with reading(path / TOKENIZER):
            tokenizer = tokenizer_from_json((path / TOKENIZER).read_text("utf-8"))
            if tokenizer.level != settings.reading.level:
                raise ValueError(f"its level is {tokenizer.level}, not {settings.reading.level}")
        return cls(path=path, settings=settings, tokenizer=tokenizer, **facts)

    def write_config(self) -> None:
        config = {
            "format": FORMAT,
            "textgen": __version__,
            "books": self.books,
            "documents": self.documents,
            "tokens": self.tokens,
            **asdict(self.means),
            "test": self.test_means and asdict(self.test_means),
            "corpus_digest": self.corpus_digest,
            "corpus_key": self.corpus_key,
            "options": self.settings.to_json(),
        }
        write_file(self.path / CONFIG, (json.dumps(config, indent=2) + "\n").encode())

    def write_tokenizer(self) -> None:
        write_file(self.path / TOKENIZER, self._tokenizer_json)

    @property
    def weight_shapes(self) -> Shapes:
        return self.settings.architecture.weight_shapes(len(self.tokenizer))

    @property
    def weight_count(self) -> int:
        return self.settings.architecture.weight_count(len(self.tokenizer))

    def weights(self) -> Arrays:
        """Return the weights with the best validation loss; raise RunError if there are none."""
        if not (self.path / MODEL).exists():
            if is_locked(self.path):
                raise RunError(
                    f"{self.path} is being trained and has no weights yet; wait until it saves them"
                )
            command = shlex.join(["textgen", "train", "--out", str(self.path), "--resume"])
            raise RunError(f"{self.path} has no trained weights yet; train it with: {command}")
        return read_arrays(self.path / MODEL, self.weight_shapes, self._metadata)[0]

    def has_weights(self, weights: Arrays) -> bool:
        """Return whether these are the weights that are saved."""
        try:
            own = self.weights()
        except RunError:  # there are none, or they are damaged
            return False
        return all(np.array_equal(own[name], weights[name]) for name in own)

    def save_weights(self, weights: Arrays) -> None:
        write_arrays(self.path / MODEL, weights, self._metadata)

    def temper_weights(self, temperature: float) -> None:
        """Divide the logits of the weights kept by a temperature, unless that is done already."""
        weights, metadata = read_arrays(self.path / MODEL, self.weight_shapes, self._metadata)
        if "temperature" not in metadata:
            metadata = self._metadata | {"temperature": repr(temperature)}
            write_arrays(
                self.path / MODEL, weights | at_temperature(weights, temperature), metadata
            )

    @property
    def is_begun(self) -> bool:
        """Whether training has saved anything; false for a run that is only prepared."""
        return any((self.path / name).exists() for name in (MODEL, TRAINING))

    def initial_weights(self) -> Arrays:
        """Return the initial weights by name; training draws missing ones at random."""
        path = self.path / INITIAL
        if not path.exists():
            return {}
        return read_arrays(path, self.weight_shapes, self._metadata, partial=True)[0]

    def save_initial_weights(self, weights: Arrays) -> None:
        write_arrays(self.path / INITIAL, weights, self._metadata)

    def corpus(self) -> Corpus:
        """Return the ids of the books; raise RunError if they are missing or damaged."""
        if not (self.path / CORPUS).exists():  # as in a run that was shared without it
            raise RunError(f"{self.path} has no {CORPUS}/; copy it from where the run was trained")
        with reading(self.path / CORPUS):
            found = load_corpus(self.path / CORPUS, self.tokens, len(self.tokenizer))
            if len(found.documents) != (count := sum(self.documents)):
                raise ValueError(f"it has {counted(len(found.documents), 'document')}, not {count}")
            if count > 1 and self.tokenizer.end is None:
                raise RunError(
                    f"{self.path} was created from several books by an older textgen, without "
                    "an end-of-document token; train a new run"
                )
            if self.corpus_digest not in (None, found.digest()):
                raise ValueError("it is not the corpus that this run was created with")
            return found

    def digest(self) -> str:
        """Return the digest of the corpus; raise RunError if none is stored and it is damaged."""
        return self.corpus_digest or self.corpus().digest()

    def documents_by_name(self, decode: Callable[[Ids], str]) -> list[tuple[str, str]]:
        """Return the name and the text of each document of the corpus.

        Raises RunError if it is missing or damaged.
        """
        corpus = self.corpus()
        names = [
            book if count == 1 else f"{book}, document {number}"
            for book, count in zip(self.books, self.documents, strict=True)
            for number in range(1, count + 1)
        ]
        parts = np.split(corpus.ids, corpus.documents[1:])
        return [(name, decode(part)) for name, part in zip(names, parts, strict=True)]

    def training_state(self, optimizer_shapes: Shapes) -> TrainingState | None:
        """Return the last checkpoint; None if there is none."""
        path = self.path / TRAINING
        if not path.exists():
            return None
        groups = {
            "weights": self.weight_shapes,
            "optimizer": optimizer_shapes,
            "state": self.settings.architecture.state_shapes(self.settings.batch_size),
        }
        shapes = {f"{g}/{name}": s for g, named in groups.items() for name, s in named.items()}
        arrays, metadata = read_arrays(path, shapes, self._metadata)
        with reading(path):
            progress = Progress.from_json(json.loads(metadata["progress"]))
        parts = {g: {name: arrays[f"{g}/{name}"] for name in named} for g, named in groups.items()}
        return TrainingState(**parts, progress=progress)

    def save_training_state(self, state: TrainingState) -> None:
        groups = {"weights": state.weights, "optimizer": state.optimizer, "state": state.state}
        arrays = {f"{g}/{name}": a for g, named in groups.items() for name, a in named.items()}
        progress = json.dumps(asdict(state.progress))
        write_arrays(self.path / TRAINING, arrays, self._metadata | {"progress": progress})

    def history(self) -> Evaluations:
        """Return the lines of metrics.jsonl: one dictionary for each evaluation."""
        path = self.path / METRICS
        if not path.exists():
            return []
        with reading(path):
            return check_history(map(json.loads, path.read_text("utf-8").splitlines()))

    def write_metrics(self, history: Evaluations) -> None:
        lines = "".join(json.dumps(line) + "\n" for line in history)
        write_file(self.path / METRICS, lines.encode())

    def add_sample(self, text: str, size: int) -> int:
        """Truncate samples.txt to `size` bytes and append `text`; return the new size.

        After resuming, this drops the samples written after the last checkpoint.
        """
        return write_at(self.path / SAMPLES, text.encode("utf-8", "replace"), size)

    def outcome(self) -> dict[str, Any]:
        """Return the results of training: the figures of the weights kept, and of the whole."""
        history = self.history()
        kept, last = best(history), (history or [{}])[-1]
        loss, bits = kept_losses(kept)
        return {
            "validation_loss": loss,
            "bits_per_character": bits,
            "training_loss": kept.get("loss"),
            "temperature": kept.get("temperature"),
            "best_epoch": kept.get("epoch"),
            "epochs": last.get("epoch"),
            "seconds": last.get("seconds"),
            "tokens_per_second": last.get("tokens_per_second"),
        }

    def describe(self) -> dict[str, Any]:
        """Return what `textgen info` prints."""
        return {
            "run": str(self.path),
            "books": self.books,
            "documents": sum(self.documents),
            "tokens": self.tokens,
            "vocabulary": len(self.tokenizer),
            "unknown": self.means.unknown_per_token,
            "weights": self.weight_count,
            "kernel": next((each.name for each in kernels(self.settings.precision)), "XLA"),
            "options": self.settings.to_json(),
            "outcome": self.outcome(),
        }

    @property
    def _tokenizer_json(self) -> bytes:
        return (json.dumps(self.tokenizer.to_json()) + "\n").encode()

    @cached_property
    def _metadata(self) -> dict[str, str]:
        """Metadata that ties weights to the vocabulary they were trained with."""
        return {"vocabulary": hashlib.sha256(self._tokenizer_json).hexdigest()}


def at_temperature(weights: Arrays, temperature: float) -> Arrays:
    """Return the weights of the output layer for logits that are divided by a temperature."""
    divided = ("output.kernel", "output.bias")
    return {name: weights[name] / np.float32(temperature) for name in divided}


def distinct_names(runs: Sequence[Run]) -> list[str]:
    """Return the names of the folders of runs, or their paths if two have the same name."""
    names = [run.path.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]


def _check_format(path: Path, config: Any) -> None:
    if not isinstance(config, dict) or type(config.get("format")) is not int:
        raise ValueError("it does not have the settings of a run")
    if config["format"] > FORMAT:
        needed = str(config.get("textgen"))[:20]
        raise RunError(
            f"{path} has format {config['format']}, which needs textgen {needed} or later; this "
            f"is {__version__}"
        )
    if config["format"] < 1:
        raise ValueError(f"there is no format {config['format']}")


def _parse_config(config: dict[str, Any]) -> tuple[TrainingSettings, dict[str, Any]]:
    """Return the settings of a run, and the fields of Prepared except the tokenizer.

    Raises ValueError, TypeError or KeyError if they are invalid. Formats 1 and 2 have the option
    `layers` and one number of units for all layers, and the delimiter with escapes.
    """
    known = {item.name for item in fields(TrainingOptions)}
    if not isinstance(config["options"], dict):
        raise ValueError("its options are not an object")
    if unknown := set(config["options"]) - known:
        raise ValueError(f"unknown options {', '.join(sorted(unknown))}")
    for name in ("corpus_digest", "corpus_key"):
        if not isinstance(config.get(name), str | None):
            raise ValueError(f"{name} is not a string")
    books = [str(book) for book in config["books"]]
    documents = config.get("documents", [1] * len(books))
    if not all(type(n) is int and n > 0 for n in documents) or len(documents) != len(books):
        raise ValueError("documents does not have a positive number for each book")
    tokens, test = int(config["tokens"]), config.get("test")
    options = config["options"]
    if config["format"] < 3 and (delimiter := options.get("delimiter")) is not None:
        options = options | {"delimiter": unescape(delimiter)}
    settings = TrainingSettings.from_json(options, tokens)
    if tokens < 0:
        raise ValueError("tokens is out of range")
    return settings, {
        "books": books,
        "documents": documents,
        "tokens": tokens,
        "means": _parse_means(config),
        "test_means": None if test is None else _parse_means(test),
        "corpus_digest": config.get("corpus_digest"),
        "corpus_key": config.get("corpus_key"),
    }


def _parse_means(values: dict[str, Any]) -> Means:
    """Return the means stored in the settings; raise ValueError or KeyError if they are invalid."""
    # Runs of formats 1 and 2 have only the first.
    means = Means(
        float(values["characters_per_token"]),
        float(values.get("unknown_per_token", 0.0)),
        float(values.get("spelling_per_token", 0.0)),
    )
    if not 0 < means.characters_per_token < math.inf:
        raise ValueError("characters_per_token is out of range")
    if not 0 <= means.unknown_per_token <= 1 or not 0 <= means.spelling_per_token < math.inf:
        raise ValueError("unknown_per_token or spelling_per_token is out of range")
    return means
