"""Initial weights: those of another run, for fine-tuning, or pretrained word vectors."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from textgen.errors import BookError, OptionError
from textgen.preprocess.documents import Boundary
from textgen.preprocess.reading import is_read_once
from textgen.preprocess.tokenizers import Tokenizer
from textgen.runs.files import Arrays
from textgen.runs.folder import Run

_LARGEST_COMPONENT = 1e4  # above any number in a trained vector
_LARGEST_VECTOR = 65_536
_FINE_TUNING_RATE = 0.004  # see docs/recipe.md
_INHERITED = ("level", "cell", "units", "layers", "embedding", "tie")


class InitialWeights(Protocol):
    """A source of the initial weights of a run."""

    known: Tokenizer | None
    """A tokenizer whose tokens the vocabulary must contain."""

    def adapt(self, options: dict[str, Any]) -> dict[str, Any]:
        """Add the options that the weights decide; raise OptionError if one conflicts."""

    def weights(self, tokenizer: Tokenizer, seed: int) -> Arrays:
        """Return all or some of the weights for a vocabulary, by name."""


def initial_weights(
    from_run: str | Path | None, vectors: str | Path | None
) -> InitialWeights | None:
    """Return the initial weights that a user asks for, if any."""
    if from_run is not None and vectors is not None:
        raise OptionError("vectors", "cannot be given together with --from; choose one")
    if from_run is not None:
        return RunWeights(from_run)
    return None if vectors is None else WordVectors(vectors)


class RunWeights:
    """The weights of another run, for fine-tuning. New tokens start as the mean of all tokens.

    With the mean as its output row, a new token takes little probability from the others
    (Hewitt, 2021, "Initializing New Word Embeddings for Pretrained Language Models").
    """

    def __init__(self, path: str | Path) -> None:
        self._run = Run.open(path)
        self._weights = self._run.weights()
        self.known: Tokenizer | None = self._run.tokenizer

    def adapt(self, options: dict[str, Any]) -> dict[str, Any]:
        if "size" in options:
            raise OptionError("size", f"is taken from {self._run.path}; leave it out")
        given = {name: options[name] for name in _INHERITED if name in options}
        if conflict := self._run.settings.conflict(given):
            name, value = conflict
            raise OptionError(name, f"is {value} in {self._run.path}; leave it out")
        settings = self._run.settings.to_json()
        inherited = {name: settings[name] for name in _INHERITED if name in settings}
        return {"learning_rate": _FINE_TUNING_RATE} | inherited | options

    def weights(self, tokenizer: Tokenizer, seed: int) -> Arrays:
        places = {token: i for i, token in enumerate(_tokens(self._run.tokenizer))}
        order = np.array([places.get(token, -1) for token in _tokens(tokenizer)])

        def extended(rows: NDArray[np.float32]) -> NDArray[np.float32]:
            mean = rows.mean(axis=0, keepdims=True)
            return np.concatenate([rows, mean])[order]  # index -1 is the mean

        weights = dict(self._weights)
        weights["embedding"] = extended(weights["embedding"])
        weights["output.bias"] = extended(weights["output.bias"])
        if "output.kernel" in weights:
            weights["output.kernel"] = np.ascontiguousarray(extended(weights["output.kernel"].T).T)
        return weights


class WordVectors:
    """Embeddings of words from a text file in the format of word2vec or GloVe.

    Each line is a word and its numbers. A word2vec file starts with a line of two sizes. A word
    that the file has only in lower case gets that vector. A word that the file lacks gets random
    numbers with the mean and the standard deviation of the vectors found.
    """

    known: Tokenizer | None = None

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        if is_read_once(path):
            raise BookError(f"{path} is not a regular file; give a text file of word2vec or GloVe")
        first, second = [*islice(self._lines(), 2), "", ""][:2]
        sizes = first.split()
        self._has_header = len(sizes) == 2 and all(size.isdecimal() for size in sizes)
        self._size = int(sizes[1]) if self._has_header else len(sizes) - 1
        if not 1 <= self._size <= _LARGEST_VECTOR or (self._has_header and not second):
            raise BookError(f"{path} has no vectors; give a text file of word2vec or GloVe")

    def adapt(self, options: dict[str, Any]) -> dict[str, Any]:
        if options.get("level") != "word":
            raise OptionError("vectors", "are vectors of words; train with --level word")
        if options.get("embedding", self._size) != self._size:
            raise OptionError("embedding", f"is {self._size} in {self._path}; leave it out")
        # Pretrained vectors are too long to start as the weights of an output layer.
        return {"tie": False, **options, "embedding": self._size}

    def weights(self, tokenizer: Tokenizer, seed: int) -> Arrays:
        tokens = _tokens(tokenizer)
        words = [token.removeprefix(" ") if isinstance(token, str) else "" for token in tokens]
        vectors = self._vectors({*words, *map(str.lower, words)} - {""})
        rows = [vectors.get(word, vectors.get(word.lower())) for word in words]
        found = np.array([row for row in rows if row is not None])
        if not len(found):
            raise BookError(f"{self._path} has no vector for any word of the text")
        rng = np.random.default_rng(seed)
        drawn = rng.normal(found.mean(0), found.std(0), (len(words), self._size))
        embedding = [new if row is None else row for row, new in zip(rows, drawn, strict=True)]
        return {"embedding": np.array(embedding, np.float32)}

    def _vectors(self, words: set[str]) -> dict[str, NDArray[np.float32]]:
        vectors: dict[str, NDArray[np.float32]] = {}
        for number, line in enumerate(self._lines(), 1):
            word = line.partition(" ")[0]
            if word in words and not (self._has_header and number == 1):
                numbers = line.split()[1:]
                if len(numbers) > self._size:
                    continue  # a different word, which has spaces in it
                try:
                    vector = np.array(numbers, np.float32)
                except ValueError:
                    vector = np.empty(0, np.float32)
                if len(vector) != self._size or not np.all(np.abs(vector) < _LARGEST_COMPONENT):
                    raise BookError(f"{self._path}, line {number} is not a vector of {self._size}")
                vectors.setdefault(word, vector)
        return vectors

    def _lines(self) -> Iterator[str]:
        try:
            with self._path.open(encoding="utf-8", errors="replace", newline="\n") as file:
                yield from file
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BookError(f"cannot read {self._path}: {reason}") from None


def _tokens(tokenizer: Tokenizer) -> Sequence[str | Boundary | None]:
    """Return a key for each id; the same token has the same key in every vocabulary."""
    texts = tokenizer.vocabulary
    unknown = [] if tokenizer.unknown is None else [None]
    end = [] if tokenizer.end is None else [Boundary.DOCUMENT]
    return [*unknown, *(map(chr, range(256)) if texts is None else texts), *end]
