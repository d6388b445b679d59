"""Read the text of a book: encoding, line ends, Project Gutenberg's header and license."""

import codecs
import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from textgen.errors import BookError, OptionError
from textgen.preprocess.gutenberg import without_wrapping
from textgen.preprocess.signatures import recognize

_BYTES_AT_ONCE = 1 << 20
_HEAD = 300  # bytes, by which files that are not text are recognized
_MARKS = (  # byte-order marks; UTF-32 first, as its marks begin like those of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_blocks(
    source: str | Path,
    encoding: str | None = None,
    keep_gutenberg: bool = False,
    on_read: Callable[[int], object] | None = None,
    any_bytes: bool = False,
) -> Iterator[str]:
    r"""Yield the text of a book in blocks of about a million characters.

    Line ends become `\n`. Project Gutenberg's header, credits and license are removed, if they are
    in ASCII, as in its files. If a file has several of its books, only the text before the first
    and after the last is removed.

    Args:
        source: a path, or "-" for standard input.
        encoding: by default UTF-8, or the one that the byte-order mark indicates.
        keep_gutenberg: whether to keep the header and the license.
        on_read: called with the number of bytes of each read.
        any_bytes: whether to read files that are not text, if `encoding` can decode them.

    Raises BookError if the file cannot be read or decoded or is not text, OptionError if there is
    no such encoding.
    """
    name = display_name(source)
    if encoding is not None:
        _check_encoding(encoding)
    with _seekable(source) as file:
        head = file.read(_HEAD)
        if not any_bytes and (recognized := recognize(head)):
            kind, advice = recognized
            raise BookError(f"{name} is {kind}, not text; {advice}")
        mark, marked = next((m for m in _MARKS if head.startswith(m[0])), (b"", "utf-8"))
        if encoding is not None and codecs.lookup(encoding).name != marked:
            mark = b""
        decoder = codecs.getincrementaldecoder(encoding or marked)()
        translator = io.IncrementalNewlineDecoder(None, translate=True)
        start, stop = len(mark), file.seek(0, os.SEEK_END)
        if not keep_gutenberg:
            start, stop = without_wrapping(file, start, stop)
        file.seek(start)
        while start <= stop:
            data = file.read(min(_BYTES_AT_ONCE, stop - start))
            final = not data
            try:
                text = decoder.decode(data, final)
            except UnicodeDecodeError as error:
                if not any_bytes and 0 in data:
                    raise _nul_error(name, data, start) from None
                offset = start - len(decoder.getstate()[0]) + error.start
                raise BookError(
                    f"{name}: byte {error.object[error.start]:#04x} at offset {offset} is not "
                    f"{encoding or marked}; give the file's encoding, such as --encoding latin-1"
                ) from None
            if not any_bytes and "\0" in text:
                raise _nul_error(name, data, start)
            if text := translator.decode(text, final):
                yield without_surrogates(text)
            if final:
                return
            start += len(data)
            if on_read is not None:
                on_read(len(data))


def _nul_error(name: str, data: bytes, start: int) -> BookError:
    """Return an error for a NUL character in `data`, which begin at the offset `start`."""
    # Every second byte of UTF-16 is NUL in Latin letters, and in spaces between other letters.
    wide = "utf-16-le" if (start + data.find(0)) % 2 else "utf-16-be"
    return BookError(
        f"{name} has NUL characters, so it is not text in this encoding; if it is text, give "
        f"another, such as --encoding {wide}"
    )


def read_text(
    source: str | Path,
    encoding: str | None = None,
    keep_gutenberg: bool = False,
    any_bytes: bool = False,
) -> str:
    """Return the whole text of a book; arguments and errors as for `read_blocks`."""
    return "".join(read_blocks(source, encoding, keep_gutenberg, any_bytes=any_bytes))


def without_surrogates(text: str) -> str:
    """Replace lone surrogates, which are not characters and cannot be stored as UTF-8.

    Some encodings and JSON can contain them. A pair becomes the character that it encodes.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def display_name(source: str | Path) -> str:
    return "standard input" if source == "-" else str(source)


def _check_encoding(encoding: str) -> None:
    try:
        "".encode(encoding)  # fails for codecs from bytes to bytes, such as base64
        codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError):
        raise OptionError(
            "encoding", f"{encoding!r} is not known; use one such as utf-8, latin-1 or cp1252"
        ) from None


def size_of(source: str | Path) -> int | None:
    """Return the size of a file in bytes; None if it is not a regular file, or out of reach."""
    status = _status(source)
    return status.st_size if status and stat.S_ISREG(status.st_mode) else None


def is_read_once(source: str | Path) -> bool:
    """Return whether a source can be read only once, as standard input and pipes can."""
    if source == "-":
        return True
    status = _status(source)
    return status is not None and not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode))


def _status(source: str | Path) -> os.stat_result | None:
    """Return the status of a file; None if it is out of reach, which reading it reports."""
    try:
        return None if source == "-" else Path(source).stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None


def fingerprint(source: str | Path) -> str | None:
    """Return the SHA-256 of a file's bytes; None if it cannot be read, or only once."""
    if size_of(source) is None:
        return None
    try:
        with Path(source).open("rb") as file:
            return sha256_of(file).hexdigest()
    except OSError:  # reading it as a book reports the error
        return None


def sha256_of(file: BinaryIO) -> "hashlib._Hash":
    """Return the SHA-256 of the rest of a file."""
    sha = hashlib.sha256()
    while data := file.read(_BYTES_AT_ONCE):
        sha.update(data)
    return sha


@contextmanager
def _seekable(source: str | Path) -> Iterator[BinaryIO]:
    """Open a book; copy standard input and pipes to a temporary file first."""
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
        if error.filename is None:  # no folder for temporary files
            raise BookError(f"cannot read {display_name(source)}: {error.strerror}") from None
        raise BookError(f"there is no file {source}; check the name") from None
    except IsADirectoryError:
        raise BookError(f"{source} is a folder; name the text files in it") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise BookError(f"cannot read {display_name(source)}: {reason}") from None
