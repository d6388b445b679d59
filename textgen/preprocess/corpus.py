"""A corpus on disk: the ids of one or several documents, and where each begins."""

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.options.reading import ReadingOptions
from textgen.preprocess.tokenizers import Ids

_IDS_AT_ONCE = 1 << 22  # tokens
IDS, DOCUMENTS = CORPUS_FILES = "ids.npy", "documents.npy"


@dataclass(frozen=True)
class Means:
    """Means of a part of a corpus, which relate its tokens to the characters they stand for."""

    characters_per_token: float
    unknown_per_token: float  # share of the tokens that are not in the vocabulary
    spelling_per_token: float  # nats that it costs to spell them

    def bits_per_character(self, loss: float) -> float:
        """Convert nats per token to bits per character, the spelling of unknown tokens included."""
        return (loss + self.spelling_per_token) / math.log(2) / self.characters_per_token


@dataclass(frozen=True)
class Corpus:
    """Memory-mapped ids, and the positions where documents begin."""

    ids: Ids  # (tokens,), of the smallest unsigned type that holds the vocabulary
    documents: NDArray[np.int64]  # (documents,), ascending

    def __len__(self) -> int:
        return len(self.ids)

    def digest(self) -> str:
        """Return the SHA-256 of the ids and the documents."""
        sha = hashlib.sha256(self.documents.data)
        for start in range(0, len(self), _IDS_AT_ONCE):
            sha.update(self.ids[start : start + _IDS_AT_ONCE].data)
        return sha.hexdigest()

    def counts(self, size: int) -> NDArray[np.int64]:
        """Return how often each id of a vocabulary of `size` tokens occurs, (V,)."""
        counts = np.zeros(size, np.int64)
        for start in range(0, len(self), _IDS_AT_ONCE):
            counts += np.bincount(self.ids[start : start + _IDS_AT_ONCE], minlength=size)
        return counts

    def split(self, options: ReadingOptions) -> tuple["Corpus", "Corpus", "Corpus"]:
        """Return the parts for training, validation and the test."""
        validation, test = borders(len(self), options)
        return self.part(0, validation), self.part(validation, test), self.part(test, len(self))

    def part(self, start: int, stop: int) -> "Corpus":
        """Return a part as a corpus; a document that `start` cuts begins at `start`."""
        first, last = np.searchsorted(self.documents, (start + 1, stop))
        inside = self.documents[first:last] - start
        return Corpus(self.ids[start:stop], np.append(0, inside))

    def sample(self, pieces: int, length: int) -> "Corpus":
        """Return `pieces` parts of `length` tokens as a corpus, spread evenly over this one.

        Each of them begins a document.
        """
        starts = np.linspace(0, len(self) - length, pieces).astype(np.int64)
        parts = [self.part(start, start + length) for start in starts]
        documents = [part.documents + k * length for k, part in enumerate(parts)]
        return Corpus(np.concatenate([part.ids for part in parts]), np.concatenate(documents))


def borders(tokens: int, options: ReadingOptions) -> tuple[int, int]:
    """Return where the validation part and the test part of a corpus begin."""
    return (
        int((1 - options.validation - options.test) * tokens),
        int((1 - options.test) * tokens),
    )


def load_corpus(folder: Path, tokens: int, vocabulary_size: int) -> Corpus:
    """Memory-map the corpus in `folder`.

    Raises ValueError or OSError if it is damaged or does not have `tokens` tokens.
    """
    if not all((folder / name).is_file() for name in CORPUS_FILES):
        raise ValueError(f"{IDS} or {DOCUMENTS} is missing or is not a file")
    ids = np.lib.format.open_memmap(folder / IDS, "r")
    documents = np.lib.format.open_memmap(folder / DOCUMENTS, "r")
    if ids.shape != (tokens,) or ids.dtype.kind != "u" or ids.max() >= vocabulary_size:
        raise ValueError("its ids do not fit the vocabulary")
    if (
        documents.ndim != 1
        or documents.dtype != np.int64
        or not len(documents)
        or documents[0] != 0
        or documents[-1] >= tokens
        or np.any(np.diff(documents) <= 0)
    ):
        raise ValueError("its list of documents is damaged")
    return Corpus(ids, documents)


class ArrayWriter:
    """Writes a one-dimensional array to a file in NumPy's format, piece by piece."""

    def __init__(self, path: Path, dtype: Any = np.int64) -> None:
        self._file = path.open("wb")
        self._dtype = np.dtype(dtype)
        self._length = 0
        self._write_header()

    def __len__(self) -> int:
        return self._length

    def extend(self, values: NDArray[Any]) -> None:
        self._file.write(values.astype(self._dtype, copy=False).data)
        self._length += len(values)

    def __enter__(self) -> "ArrayWriter":
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.seek(0)
            self._write_header()
            self._file.flush()
            os.fsync(self._file.fileno())

    def _write_header(self) -> None:
        """Write the header; its padding leaves room for a longer length in the same bytes."""
        np.lib.format.write_array_header_1_0(
            self._file,
            {"descr": self._dtype.str, "fortran_order": False, "shape": (self._length,)},
        )
