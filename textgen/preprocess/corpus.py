"""A corpus on disk: the ids of one or several books, and where each book begins."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from textgen.errors import BookError
from textgen.options import TrainingOptions
from textgen.preprocess.reading import display_name, read_blocks
from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.preprocess.vocabulary import Counts, new_vocabulary

_BLOCK = 1 << 22  # tokens
_LARGEST_ALPHABET = 1 << 17  # characters; all that writing knows, but no room for noise
FILES = _IDS, _DOCUMENTS = "ids.npy", "documents.npy"


@dataclass(frozen=True)
class Prepared:
    """What `prepare` found out about the books."""

    tokenizer: Tokenizer
    tokens: int
    characters_per_token: float
    """In the part that validates; in the whole where nothing does."""
    digest: str


@dataclass(frozen=True)
class Corpus:
    """A stretch of ids, memory-mapped, and the positions in it where documents begin."""

    ids: Ids  # (tokens,), the smallest unsigned type that holds the vocabulary
    documents: NDArray[np.int64]  # (documents,), ascending

    def __len__(self) -> int:
        return len(self.ids)

    def digest(self) -> str:
        """The SHA-256 of ids and documents."""
        sha = hashlib.sha256(self.documents.data)
        for start in range(0, len(self), _BLOCK):
            sha.update(self.ids[start : start + _BLOCK].data)
        return sha.hexdigest()

    def split(self, validation: float) -> tuple["Corpus", "Corpus"]:
        """Return the training part and, after it, the share that validates."""
        border = _training_length(len(self), validation)
        return self.part(0, border), self.part(border, len(self))

    def part(self, start: int, stop: int) -> "Corpus":
        inside = (self.documents >= start) & (self.documents < stop)
        return Corpus(self.ids[start:stop], self.documents[inside] - start)


def prepare(books: Sequence[str | Path], folder: Path, options: TrainingOptions) -> Prepared:
    """Read books, each a document, choose the vocabulary and write the ids into `folder`.

    Memory is bounded by the vocabulary, not by the books. Raises BookError where a book
    cannot be read, is empty, or leaves too little to train on.
    """
    vocabulary = new_vocabulary(options)
    with tempfile.TemporaryFile(dir=folder) as file:
        starts = []
        for book in books:
            starts.append(file.tell())
            blocks = read_blocks(book, options.encoding, options.keep_gutenberg)
            for numbers in vocabulary.number(blocks):
                file.write(numbers.astype("<u4", copy=False).data)
            if file.tell() == starts[-1]:
                raise BookError(f"{display_name(book)} is empty; give a book with text in it")
        tokens, documents = file.tell() // 4, np.array(starts, np.int64) // 4
        training = _training_length(tokens, options.validation)
        _check_length(tokens, training, documents, options)
        training_counts = _count(file, 0, training)
        validation_counts = _count(file, training, tokens, len(training_counts))
        missing = len(validation_counts) - len(training_counts)
        training_counts = np.pad(training_counts, (0, missing))
        counts = training_counts + validation_counts
        if options.level == "char" and (alphabet := np.count_nonzero(counts)) > _LARGEST_ALPHABET:
            raise BookError(
                f"{alphabet:,} distinct characters are more than a network by characters can "
                "tell apart; if the books are text, train with --level byte"
            )
        tokenizer, table = vocabulary.choose(counts, training_counts)
        if tokenizer.level == "word" and len(tokenizer) == 1:
            raise BookError(
                f"no word stands {options.min_count} times in the text; lower --min-count"
            )
        lengths = vocabulary.characters(len(counts))
        judged = validation_counts if lengths @ validation_counts else counts
        table = table.astype(np.min_scalar_type(len(tokenizer) - 1))
        with (folder / _IDS).open("wb") as ids:
            header = {"descr": table.dtype.str, "fortran_order": False, "shape": (tokens,)}
            np.lib.format.write_array_header_1_0(ids, header)
            for numbers in _numbers(file, 0, tokens):
                ids.write(table[numbers].data)
            _flush(ids)
    with (folder / _DOCUMENTS).open("wb") as file:
        np.lib.format.write_array(file, documents)
        _flush(file)
    digest = load(folder, tokens, len(tokenizer)).digest()
    return Prepared(tokenizer, tokens, float(lengths @ judged / judged.sum()), digest)


def load(folder: Path, tokens: int, vocabulary_size: int) -> Corpus:
    """Memory-map the corpus in `folder`, which has so many tokens.

    Raises ValueError or OSError where it is damaged.
    """
    if not all((folder / name).is_file() for name in FILES):
        raise ValueError(f"{_IDS} and {_DOCUMENTS} are not both there as files")
    ids = np.lib.format.open_memmap(folder / _IDS, "r")
    documents = np.lib.format.open_memmap(folder / _DOCUMENTS, "r")
    if ids.shape != (tokens,) or ids.dtype.kind != "u" or ids.max() >= vocabulary_size:
        raise ValueError("its ids are not those of the vocabulary")
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


def _flush(file: BinaryIO) -> None:
    """Have what was written reach the disk."""
    file.flush()
    os.fsync(file.fileno())


def _training_length(tokens: int, validation: float) -> int:
    return int((1 - validation) * tokens)


def _check_length(
    tokens: int, training: int, documents: NDArray[np.int64], options: TrainingOptions
) -> None:
    streams, steps = options.batch_size, options.chunk_length
    if training <= streams * steps:
        raise BookError(
            f"{training} of {tokens} tokens to train on are too few for {streams} streams of "
            f"{steps} steps; "
            + (
                f"lower --batch-size to {(training - 1) // steps} or less"
                if training > steps
                else f"lower --batch-size to 1 and --chunk-length to {training - 1} or less"
                if training > 1
                else "give a longer text"
            )
        )
    inside = (documents > training) & (documents < tokens)  # whose first tokens none predicts
    if options.validation and tokens - training - 1 <= np.count_nonzero(inside):
        raise BookError(
            f"--validation {options.validation} leaves {tokens - training} of {tokens} tokens, "
            "which is nothing to validate on; raise it, or give 0 to train on all"
        )


def _numbers(file: BinaryIO, start: int, stop: int) -> Iterator[Ids]:
    """Yield the provisional numbers of the file's tokens from `start` to `stop`, in blocks."""
    for position in range(start, stop, _BLOCK):
        file.seek(4 * position)
        data = file.read(4 * min(_BLOCK, stop - position))
        yield np.frombuffer(data, "<u4")


def _count(file: BinaryIO, start: int, stop: int, size: int = 0) -> Counts:
    """How often each number stands in the file from `start` to `stop`; at least `size` counts."""
    counts = np.zeros(size, np.int64)
    for numbers in _numbers(file, start, stop):
        block = np.bincount(numbers, minlength=len(counts))
        counts = np.pad(counts, (0, len(block) - len(counts))) + block
    return counts
