"""Split the text of a file into documents: by a delimiter, a CSV column or a JSON key."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from textgen.errors import BookError
from textgen.options.reading import ReadingOptions
from textgen.preprocess.reading import display_name, read_blocks, without_surrogates

_LONGEST_DOCUMENT = 1 << 24  # characters, in a file of several documents
_STRETCH_LENGTH = 1 << 20  # characters


class Boundary(Enum):
    """A marker between tokens that stands for no text."""

    DOCUMENT = "document"  # a document begins here, and the one before it has ended


class Stretch(NamedTuple):
    """A part of a corpus. Each text begins a document, the first one only if `begins` is true."""

    texts: list[str]
    begins: bool


def are_documents(books: int, options: ReadingOptions) -> bool:
    """Return whether a corpus of `books` files has documents, instead of being one text."""
    return books > 1 or options.splits_files


def read_stretches(
    book: str | Path,
    options: ReadingOptions,
    documents: bool,
    on_read: Callable[[int], object] | None = None,
    strict: bool = False,
) -> Iterator[Stretch]:
    """Yield the text of a book.

    Without `documents`, the book is one text without document boundaries. Otherwise `options` split
    it into documents, or the whole book is one document. Splitting leaves out documents of white
    space alone.

    Args:
        on_read: called with the number of bytes of each read.
        strict: whether the delimiter must occur in the book, unless the book is empty.

    Raises BookError if the book cannot be read, or does not have the format that `options` name.
    """
    blocks = read_blocks(
        book, options.encoding, options.keep_gutenberg, on_read, options.level == "byte"
    )
    split = _document_splitter(book, options, strict)
    if split is None:
        for number, block in enumerate(blocks):
            yield Stretch([block], documents and not number)
    else:
        yield from _stretches(split(blocks))


def _document_splitter(
    book: str | Path, options: ReadingOptions, strict: bool
) -> Callable[[Iterable[str]], Iterator[str]] | None:
    """Return a function from blocks of text to documents; None if a file is one document."""
    name = display_name(book)

    def split(blocks: Iterable[str]) -> Iterator[str]:
        documents: Iterator[str]
        if options.delimiter:
            delimiter = _line_feeds(options.delimiter)
            parts = _split(blocks, delimiter, name)
            if strict:
                parts = _several(parts, delimiter, name)
            documents = (text.strip("\n") for text in parts)
        elif options.csv:
            documents = _column(_lines(blocks, name), options.csv, name)
        else:
            documents = _values(_lines(blocks, name), str(options.jsonl), name)
        return (text for text in documents if text and not text.isspace())

    return split if options.splits_files else None


def _stretches(documents: Iterable[str]) -> Iterator[Stretch]:
    """Gather documents into stretches of about the same length."""
    texts, length = list[str](), 0
    for document in documents:
        texts.append(document)
        length += len(document)
        if length >= _STRETCH_LENGTH:
            yield Stretch(texts, True)
            texts, length = [], 0
    if texts:
        yield Stretch(texts, True)


def _line_feeds(text: str) -> str:
    r"""Replace line ends by `\n`, as `read_blocks` does."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _split(blocks: Iterable[str], delimiter: str, name: str) -> Iterator[str]:
    rest = ""
    for block in blocks:
        *parts, rest = (rest + block).split(delimiter)
        yield from parts
        if len(rest) > _LONGEST_DOCUMENT:
            raise BookError(
                f"{name} has a document of more than {_LONGEST_DOCUMENT:,} characters; check "
                f"that {delimiter!r} stands between its documents"
            )
    yield rest


def _several(parts: Iterator[str], delimiter: str, name: str) -> Iterator[str]:
    """Yield the parts of a text; raise BookError if a text that is not blank has only one."""
    first, second = next(parts), next(parts, None)
    if second is None and first and not first.isspace():
        raise BookError(
            f"{name} does not contain {delimiter!r}; give the text that stands between its "
            "documents, or omit --delimiter"
        )
    yield from () if second is None else (first, second)
    yield from parts


def _lines(blocks: Iterable[str], name: str) -> Iterator[str]:
    return (line + "\n" for line in _split(blocks, "\n", name))


def dialect_of(book: str | Path) -> str:
    """Return the name that the module `csv` has for the format of a table."""
    return "excel-tab" if display_name(book).lower().endswith(".tsv") else "excel"


def _column(lines: Iterable[str], column: str, name: str) -> Iterator[str]:
    """Yield the texts of a column.

    In a table with one column, a row that is not one field is a text with unquoted commas.
    """
    raw = list[str]()  # the lines of the row being read
    # The limit is that of the process. It stays, since another thread may be reading a table.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_DOCUMENT))
    rows = csv.reader(_noted(lines, raw), dialect_of(name), strict=True)
    try:
        header = next(rows, [])
        if column not in header:
            names = ", ".join(repr(other[:40]) for other in header[:20])
            raise BookError(f"{name} has no column {column!r}; its first line names {names}")
        place = header.index(column)
        raw.clear()
        for row in rows:
            if len(row) > len(header) > 1:
                raise BookError(
                    f"{name}, line {rows.line_num} has {len(row)} fields, not {len(header)}; put "
                    "a text with commas or tabs in quotation marks"
                )
            if len(row) > len(header):
                yield "".join(raw).removesuffix("\n")
            elif len(row) > place:
                yield row[place]
            elif row:  # else it is a blank line
                raise BookError(f"{name}, line {rows.line_num} has no column {column!r}")
            raw.clear()
    except csv.Error as error:
        raise BookError(f"{name}, line {rows.line_num}: {error}; is it a CSV file?") from None


def _noted(lines: Iterable[str], raw: list[str]) -> Iterator[str]:
    for line in lines:
        raw.append(line)
        yield line


def _values(lines: Iterable[str], key: str, name: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise BookError(
                f"{name}, line {number} is not JSON; is it a JSON Lines file?"
            ) from None
        value = record.get(key) if isinstance(record, dict) else None
        if not isinstance(value, str):
            raise BookError(f"{name}, line {number} has no text under the key {key!r}")
        yield _line_feeds(without_surrogates(value))
