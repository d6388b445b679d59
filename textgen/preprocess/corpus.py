"""A corpus on disk: the ids of one or several documents, and where each begins."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from textgen.errors import BookError
from textgen.options.training import TrainingOptions
from textgen.preprocess.documents import are_documents, read_documents
from textgen.preprocess.parallel import in_parallel
from textgen.preprocess.reading import display_name, fingerprint, read_blocks
from textgen.preprocess.tokenizers import END, Ids, Tokenizer, stop_the_clock
from textgen.preprocess.vocabulary import (
    Block,
    Counts,
    between_tokens,
    characters,
    choose,
    take_apart,
)
from textgen.system.terminal import byte_bar

if TYPE_CHECKING:
    from tqdm import tqdm

_BLOCK = 1 << 22  # tokens
_LARGEST_ALPHABET = 1 << 17  # characters; all that writing knows, but no room for noise
FILES = _IDS, _DOCUMENTS = "ids.npy", "documents.npy"
_READING = 1  # raised whenever the same books become other ids


@dataclass(frozen=True)
class Prepared:
    """What `prepare` found out about the books."""

    tokenizer: Tokenizer
    books: list[str]
    documents: list[int]
    """How many each book has."""
    tokens: int
    characters_per_token: float
    """In the part that validates; in the whole where nothing does."""
    corpus_digest: str
    corpus_key: str | None
    """What tells whether `prepare` would give the same again; None where that can't be known."""


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
        """Return a stretch, which begins with a document, if perhaps not with its beginning."""
        first, last = np.searchsorted(self.documents, (start + 1, stop))
        inside = self.documents[first:last] - start
        return Corpus(self.ids[start:stop], np.append(0, inside))


def prepare(
    books: Sequence[str | Path],
    folder: Path,
    options: TrainingOptions,
    known: Tokenizer | None = None,
    quiet: bool = True,
) -> Prepared:
    """Read books, choose the vocabulary, with all tokens of `known` in it, and write the ids.

    They go into `folder`. Memory is bounded by the vocabulary, not by the books. Raises
    BookError where a book cannot be read or is empty.
    """
    several = are_documents(len(books), options) or bool(known and known.end is not None)
    key = None if known else key_of(books, options)
    documents = []
    with (
        tempfile.TemporaryFile(dir=folder) as file,
        _Growing(folder / _DOCUMENTS) as starts,
        _bar(books, quiet) as bar,
    ):
        numbered = _Numbered(file)
        for book in books:
            before, first = len(starts), len(numbered)
            for block in _blocks(book, options, several, bar.update):
                if several:
                    starts.extend(len(numbered) + block.positions(END))
                numbered.append(block)
            if len(numbered) == first:
                raise BookError(f"{display_name(book)} is empty; give a book with text in it")
            documents.append(len(starts) - before if several else 1)
        if several:  # the last document ends as well
            numbered.append(take_apart(END, options.level))
        else:
            starts.extend(np.zeros(1, np.int64))
        tokens, total = list(numbered.numbers), len(numbered)
        validation_counts = numbered.counts_from(_training_length(total, options.validation))
        training_counts = numbered.counts - validation_counts
        if options.level == "char" and len(tokens) > _LARGEST_ALPHABET:
            raise BookError(
                f"{len(tokens):,} distinct characters are more than a network by characters can "
                "tell apart; if the books are text, train with --level byte"
            )
        tokenizer, table = choose(tokens, training_counts, options, several, known)
        if tokenizer.unknown is not None and not tokenizer.vocabulary:
            raise BookError(
                f"no word stands {options.min_count} times in the text; lower --min-count"
            )
        table = table.astype(np.min_scalar_type(len(tokenizer) - 1))
        with _Growing(folder / _IDS, table.dtype) as ids:
            for numbers, places in numbered.blocks():
                ids.extend(table[numbers][places])
    lengths = characters(tokens, options.level)
    judged = validation_counts if lengths @ validation_counts else numbered.counts
    return Prepared(
        tokenizer=tokenizer,
        books=list(map(display_name, books)),
        documents=documents,
        tokens=total,
        characters_per_token=float(lengths @ judged / judged.sum()),
        corpus_digest=load(folder, total, len(tokenizer)).digest(),
        corpus_key=key,
    )


def key_of(books: Sequence[str | Path], options: TrainingOptions) -> str | None:
    """Return the key of what `prepare` makes of these books: a hash of all that decides on it."""
    contents = [fingerprint(book) for book in books]
    if None in contents:
        return None
    reading = {
        item.name: getattr(options, item.name) for item in fields(options) if item.metadata["reads"]
    }
    return hashlib.sha256(json.dumps([_READING, contents, reading]).encode()).hexdigest()


def check_length(tokens: int, options: TrainingOptions) -> None:
    """Raise BookError where a text leaves too little to train on, or to validate."""
    training = _training_length(tokens, options.validation)
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
    if options.validation and tokens - training <= 1:
        raise BookError(
            f"--validation {options.validation} leaves {tokens - training} of {tokens} tokens, "
            "which is nothing to validate on; raise it, or give 0 to train on all"
        )


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


def _training_length(tokens: int, validation: float) -> int:
    return int((1 - validation) * tokens)


def _blocks(
    book: str | Path, options: TrainingOptions, several: bool, read: Callable[[int], object]
) -> Iterator[Block]:
    """The text of a book taken apart; END before each document if there are several."""
    if several:
        texts = read_documents(book, options, read)
    else:
        texts = read_blocks(book, options.encoding, options.keep_gutenberg, read)
    parts = between_tokens(texts, options.level)
    begin = stop_the_clock if options.level == "word" else None
    yield from in_parallel(take_apart, parts, options.level, begin=begin)


def _bar(books: Sequence[str | Path], quiet: bool) -> "tqdm":
    """Shows how much of the books has been read, once that takes longer than a second."""
    sizes = [Path(book).stat().st_size for book in books if Path(book).is_file()]
    total = sum(sizes) if len(sizes) == len(books) else None
    return byte_bar("reading", total, quiet, delay=1)


class _Numbered:
    """Tokens by number, in a temporary file, until all are known and ids can be chosen.

    Numbers are in the order in which tokens first appeared. Each block of the file has a table
    of the tokens in it, and the place of each token in that table.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._length = 0
        self._blocks = 0
        self.numbers: dict[str, int] = {}
        self.counts = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return self._length

    def append(self, block: Block) -> None:
        numbers = self.numbers
        table = np.array([numbers.setdefault(t, len(numbers)) for t in block.tokens], np.uint32)
        self.counts = np.pad(self.counts, (0, len(numbers) - len(self.counts)))
        self.counts[table] += block.counts
        np.save(self._file, table)
        np.save(self._file, block.places)
        self._length += len(block.places)
        self._blocks += 1

    def blocks(self) -> Iterator[tuple[Ids, Ids]]:
        """Yield the table and the places of each block."""
        self._file.seek(0)
        for _ in range(self._blocks):
            yield np.load(self._file), np.load(self._file)

    def counts_from(self, start: int) -> Counts:
        """How often each token stands at or after the position `start`."""
        counts = np.zeros_like(self.counts)
        position = 0
        for table, places in self.blocks():
            if position + len(places) > start:
                inside = places[max(start - position, 0) :]
                counts[table] += np.bincount(inside, minlength=len(table))
            position += len(places)
        return counts


class _Growing:
    """A one-dimensional array on disk, in NumPy's format, that is written piece by piece."""

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

    def __enter__(self) -> "_Growing":
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.seek(0)
            self._write_header()
            self._file.flush()
            os.fsync(self._file.fileno())

    def _write_header(self) -> None:
        """The format leaves room in it for a length to grow."""
        np.lib.format.write_array_header_1_0(
            self._file,
            {"descr": self._dtype.str, "fortran_order": False, "shape": (self._length,)},
        )
