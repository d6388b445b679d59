"""Prepare books for training: read them, choose a vocabulary, write the ids to disk."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from textgen.errors import BookError
from textgen.options.reading import ReadingOptions
from textgen.preprocess.corpus import (
    DOCUMENTS,
    IDS,
    ArrayWriter,
    Means,
    borders,
    load_corpus,
)
from textgen.preprocess.documents import Boundary, are_documents, dialect_of, read_stretches
from textgen.preprocess.numbering import Numbering
from textgen.preprocess.parallel import in_parallel
from textgen.preprocess.reading import display_name, fingerprint, size_of
from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.preprocess.vocabulary import (
    BOUNDARY,
    Block,
    Counts,
    character_counts,
    choose_vocabulary,
    regroup,
    split_tokens,
)
from textgen.preprocess.words import disable_time_limit
from textgen.system.terminal import byte_bar, counted

if TYPE_CHECKING:
    from tqdm import tqdm

_LARGEST_ALPHABET = 1 << 17  # characters; more than a text needs, fewer than noise has
_READING_VERSION = 2  # raise it whenever the same books give different ids


@dataclass(frozen=True)
class Prepared:
    """The result of `prepare_corpus`."""

    tokenizer: Tokenizer
    books: list[str]
    documents: list[int]  # in each book
    tokens: int
    means: Means  # of the validation part, or of the whole text if there is none
    test_means: Means | None  # of the test part, if there is one
    corpus_digest: str | None  # see `Corpus.digest`; runs of format 1 may have none
    corpus_key: str | None  # see `corpus_key_of`


def prepare_corpus(
    books: Sequence[str | Path],
    folder: Path,
    options: ReadingOptions,
    known: Tokenizer | None = None,
    quiet: bool = True,
) -> Prepared:
    """Write the ids of books into `folder`.

    Memory use depends on the size of the vocabulary, not on the length of the books.

    Args:
        known: a tokenizer whose tokens, including the end of documents, the vocabulary must have.

    Raises BookError if a book cannot be read or is empty.
    """
    documents = are_documents(len(books), options) or bool(known and known.end is not None)
    key = None if known else corpus_key_of(books, options)
    with tempfile.TemporaryFile(dir=folder) as file:
        numbering = Numbering(file)
        with ArrayWriter(folder / DOCUMENTS) as starts:
            per_book = _number(books, options, documents, numbering, starts, quiet)
        tokens, total = list(numbering.numbers), len(numbering)
        validation_begins, test_begins = borders(total, options)
        validation = numbering.counts_between(validation_begins, test_begins)
        test = numbering.counts_between(test_begins, total)
        training = numbering.counts - validation - test
        tokenizer, table = _choose(numbering, training, options, documents, known)
        with ArrayWriter(folder / IDS, table.dtype) as ids:
            for numbers, places in numbering.blocks():
                ids.extend(table[numbers][places])
    lengths = character_counts(tokens, options.level)

    def means(counts: Counts) -> Means:
        unknown, spelling = 0, 0.0
        if tokenizer.unknown is not None:
            for place in np.flatnonzero((table == tokenizer.unknown) & (counts > 0)):
                unknown += int(counts[place])
                spelling += counts[place] * tokenizer.spelling.cost(str(tokens[place]))
        total = counts.sum()
        return Means(
            float(lengths @ counts / total), float(unknown / total), float(spelling / total)
        )

    return Prepared(
        tokenizer=tokenizer,
        books=list(map(display_name, books)),
        documents=per_book,
        tokens=total,
        means=means(validation if lengths @ validation else numbering.counts),
        test_means=means(test) if lengths @ test else None,
        corpus_digest=load_corpus(folder, total, len(tokenizer)).digest(),
        corpus_key=key,
    )


def corpus_key_of(books: Sequence[str | Path], options: ReadingOptions) -> str | None:
    """Return a hash of all that `prepare_corpus` depends on; None if a book can be read only once.

    Books with the same key need not be read again.
    """
    contents = [fingerprint(book) for book in books]
    if None in contents:
        return None
    reading = {item.name: getattr(options, item.name) for item in fields(ReadingOptions)}
    dialects = [dialect_of(book) for book in books if options.csv]
    key = json.dumps([_READING_VERSION, contents, dialects, reading])
    return hashlib.sha256(key.encode()).hexdigest()


def _number(
    books: Sequence[str | Path],
    options: ReadingOptions,
    documents: bool,
    numbering: Numbering,
    starts: ArrayWriter,
    quiet: bool,
) -> list[int]:
    """Number the tokens of all books; return how many documents each has."""
    counts = []
    with _reading_bar(books, quiet) as bar:
        for book in books:
            before, first = len(starts), len(numbering)
            for block in _token_blocks(book, options, documents, bar.update):
                starts.extend(len(numbering) + block.positions(Boundary.DOCUMENT))
                numbering.append(block)
            if len(numbering) == first:
                raise BookError(f"{display_name(book)} is empty; give a book with text in it")
            counts.append(len(starts) - before if documents else 1)
    if documents:
        numbering.append(BOUNDARY)  # the end of the last document
    else:
        starts.extend(np.zeros(1, np.int64))
    return counts


def _token_blocks(
    book: str | Path, options: ReadingOptions, documents: bool, on_read: Callable[[int], object]
) -> Iterator[Block]:
    stretches = read_stretches(book, options, documents, on_read, strict=True)
    initializer = disable_time_limit if options.level == "word" else None
    return in_parallel(
        split_tokens, regroup(stretches, options.level), options.level, initializer=initializer
    )


def _choose(
    numbering: Numbering,
    training_counts: Counts,
    options: ReadingOptions,
    documents: bool,
    known: Tokenizer | None,
) -> tuple[Tokenizer, Ids]:
    """Choose the vocabulary; return its tokenizer and the id of each number."""
    tokens = list(numbering.numbers)
    if options.level == "char" and len(tokens) > _LARGEST_ALPHABET:
        raise BookError(
            f"{len(tokens):,} distinct characters are too many for a character-level network; "
            "if the books are text, train with --level byte"
        )
    tokenizer, table = choose_vocabulary(tokens, training_counts, options, documents, known)
    if tokenizer.unknown is not None and not tokenizer.vocabulary:
        times = counted(options.min_count, "time")
        raise BookError(f"no word occurs {times} in the text; lower --min-count")
    return tokenizer, table.astype(np.min_scalar_type(len(tokenizer) - 1))


def _reading_bar(books: Sequence[str | Path], quiet: bool) -> "tqdm":
    """Return a progress bar that appears after a second."""
    sizes = [size for book in books if (size := size_of(book)) is not None]
    total = sum(sizes) if len(sizes) == len(books) else None
    return byte_bar("reading", total, quiet, delay=1)
