"""From the bytes of a book to its text: encoding, line ends, Project Gutenberg's wrapping."""

import codecs
import hashlib
import io
import mmap
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from textgen.errors import BookError, OptionError
from textgen.preprocess.tokenizers import END

_BLOCK = 1 << 20  # bytes
_MARKS = (  # byte-order marks; those of UTF-32 begin like those of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WRAPPING = rb"\*\*\* ?%s OF TH(?:E|IS) PROJECT GUTENBERG EBOOK[^*]{0,500}\*\*\*"
_HEADER = re.compile(_WRAPPING % b"START" + rb"\s*")
_LICENCE = re.compile(_WRAPPING % b"END")


def read_blocks(
    source: str | Path,
    encoding: str | None = None,
    keep_gutenberg: bool = False,
    read: Callable[[int], object] | None = None,
) -> Iterator[str]:
    r"""Yield the text of a book in blocks of about a million characters.

    `source` is a path, or "-" for standard input. Without `encoding` the text is UTF-8, or
    what its byte-order mark says. Line ends become `\n`. What Project Gutenberg puts before
    and after a book is left out where both of its markers are there, in ASCII, as they are in
    its files; of several such books in one file, what stands before the first and after the
    last. `read` is told how many bytes were read at a time.

    Raises BookError when the file cannot be read or decoded, OptionError for an encoding
    that does not exist.
    """
    name = display_name(source)
    if encoding is not None:
        _check_encoding(encoding)
    with _seekable(source) as file:
        head = file.read(4)
        mark, marked = next((m for m in _MARKS if head.startswith(m[0])), (b"", "utf-8"))
        if encoding is not None and codecs.lookup(encoding).name != marked:
            mark = b""
        decoder = codecs.getincrementaldecoder(encoding or marked)()
        translator = io.IncrementalNewlineDecoder(None, translate=True)
        start, stop = len(mark), file.seek(0, os.SEEK_END)
        if not keep_gutenberg:
            start, stop = _without_wrapping(file, start, stop)
        file.seek(start)
        while start <= stop:
            data = file.read(min(_BLOCK, stop - start))
            final = not data
            try:
                text = decoder.decode(data, final)
            except UnicodeDecodeError as error:
                offset = start - len(decoder.getstate()[0]) + error.start
                raise BookError(
                    f"{name}: byte {error.object[error.start]:#04x} at offset {offset} is not "
                    f"{encoding or marked}; give the file's encoding, such as --encoding latin-1"
                ) from None
            if text := translator.decode(text, final):
                yield text.replace(END, "\N{REPLACEMENT CHARACTER}")
            if final:
                return
            start += len(data)
            if read is not None:
                read(len(data))


def read_text(source: str | Path, encoding: str | None = None, keep_gutenberg: bool = False) -> str:
    """Return the whole text of a book; arguments and errors as for `read_blocks`."""
    return "".join(read_blocks(source, encoding, keep_gutenberg))


def display_name(source: str | Path) -> str:
    return "standard input" if source == "-" else str(source)


def _check_encoding(encoding: str) -> None:
    try:
        "".encode(encoding)  # also turns away codecs between bytes and bytes, such as base64
        codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError):
        raise OptionError(
            "encoding", f"{encoding!r} is not known; use one such as utf-8, latin-1 or cp1252"
        ) from None


def fingerprint(source: str | Path) -> str | None:
    """The SHA-256 of a file's bytes; None for what cannot be read, or only once."""
    try:
        if source == "-" or not Path(source).is_file():
            return None
        with Path(source).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # reading it as a book will tell
        return None


@contextmanager
def _seekable(source: str | Path) -> Iterator[BinaryIO]:
    """Open a book for reading; standard input and pipes go through a temporary file."""
    try:
        if source == "-" and sys.stdin is None:
            raise BookError("standard input is closed; name a file")
        with nullcontext(sys.stdin.buffer) if source == "-" else Path(source).open("rb") as file:
            if source != "-" and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                yield file
                return
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(file, copy)
                copy.seek(0)
                yield copy
    except FileNotFoundError as error:
        if error.filename is None:  # there is no folder for temporary files
            raise BookError(f"cannot read {display_name(source)}: {error.strerror}") from None
        raise BookError(f"there is no file {source}; check the name") from None
    except IsADirectoryError:
        raise BookError(f"{source} is a folder; name the text files in it") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise BookError(f"cannot read {display_name(source)}: {reason}") from None


def _without_wrapping(file: BinaryIO, start: int, stop: int) -> tuple[int, int]:
    """Narrow [start, stop) to what lies between Gutenberg's markers, if both are there."""
    if start == stop:  # an empty file cannot be mapped
        return start, stop
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        header = _HEADER.search(data)
        if header is None:
            return start, stop
        licences = [match.start() for match in _LICENCE.finditer(data, header.end())]
        return (header.end(), licences[-1]) if licences else (start, stop)
