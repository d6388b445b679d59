"""From the text of a file to its documents: a delimiter, a column of a table, a key of JSON."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from textgen.errors import BookError
from textgen.options.training import TrainingOptions
from textgen.preprocess.reading import display_name, read_blocks
from textgen.preprocess.tokenizers import END

_LONGEST = 1 << 24  # characters of one document of several in a file
_BLOCK = 1 << 20  # characters


def are_documents(books: int, options: TrainingOptions) -> bool:
    """Whether so many books, read as `options` say, are several documents and not one text."""
    return books > 1 or any((options.delimiter, options.csv, options.jsonl))


def read_documents(
    book: str | Path, options: TrainingOptions, read: Callable[[int], object] | None = None
) -> Iterator[str]:
    """Yield the text of a book's documents in blocks, END before each document.

    Without a delimiter, column or key the whole book is one. White space alone is no document,
    then, and line ends around one at a delimiter do not belong to it. `read` is told how many
    bytes were read at a time.

    Raises BookError where the book cannot be read, or is no such table.
    """
    blocks = read_blocks(book, options.encoding, options.keep_gutenberg, read)
    name = display_name(book)
    if options.delimiter:
        delimiter = _lines_as_read(options.delimiter.replace(r"\n", "\n").replace(r"\t", "\t"))
        yield from _joined(part.strip("\n") for part in _split(blocks, delimiter, name))
    elif options.csv:
        yield from _joined(_column(_lines(blocks, name), options.csv, name))
    elif options.jsonl:
        yield from _joined(_values(_lines(blocks, name), options.jsonl, name))
    else:
        for number, block in enumerate(blocks):
            yield block if number else END + block


def read_apart(book: str | Path, options: TrainingOptions) -> list[str]:
    """Return the documents of a book; arguments and errors as for `read_documents`."""
    return "".join(read_documents(book, options)).split(END)[1:]


def _joined(documents: Iterable[str]) -> Iterator[str]:
    """Put documents together in blocks, without those that are blank."""
    waiting, size = list[str](), 0
    for document in documents:
        if document and not document.isspace():
            waiting.append(document)
            size += len(document)
            if size >= _BLOCK:
                yield END + END.join(waiting)
                waiting, size = [], 0
    if waiting:
        yield END + END.join(waiting)


def _lines_as_read(text: str) -> str:
    """Make line ends what `read_blocks` makes of them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _split(blocks: Iterable[str], delimiter: str, name: str) -> Iterator[str]:
    rest = ""
    for block in blocks:
        *parts, rest = (rest + block).split(delimiter)
        yield from parts
        if len(rest) > _LONGEST:
            raise BookError(
                f"{name} has a document of more than {_LONGEST:,} characters; see whether it "
                f"really has {delimiter!r} between its documents"
            )
    yield rest


def _lines(blocks: Iterable[str], name: str) -> Iterator[str]:
    return (line + "\n" for line in _split(blocks, "\n", name))


def _column(lines: Iterable[str], column: str, name: str) -> Iterator[str]:
    dialect = "excel-tab" if name.lower().endswith(".tsv") else "excel"
    limit = csv.field_size_limit(_LONGEST)
    rows = csv.reader(lines, dialect, strict=True)
    try:
        header = next(rows, [])
        if column not in header:
            names = ", ".join(repr(other[:40]) for other in header[:20])
            raise BookError(f"{name} has no column {column!r}; its first line names {names}")
        place = header.index(column)
        for row in rows:
            if len(row) > place:
                yield row[place]
            elif row:  # else it is a blank line
                raise BookError(f"{name}, line {rows.line_num} has no column {column!r}")
    except csv.Error as error:
        raise BookError(f"{name}, line {rows.line_num}: {error}; is it a CSV file?") from None
    finally:
        csv.field_size_limit(limit)


def _values(lines: Iterable[str], key: str, name: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise BookError(f"{name}, line {number} is no JSON; is it a JSON-lines file?") from None
        value = record.get(key) if isinstance(record, dict) else None
        if not isinstance(value, str):
            raise BookError(f"{name}, line {number} has no text under the key {key!r}")
        # JSON can spell half a surrogate pair, which is no character.
        characters = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        yield _lines_as_read(characters)
