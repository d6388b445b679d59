"""Read the text of books: encodings, line ends, Project Gutenberg, unreadable files."""

import bz2
import gzip
import lzma
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import textgen
from textgen.errors import BookError, OptionError
from textgen.model import Model
from textgen.options.reading import ReadingOptions
from textgen.preprocess import reading
from textgen.preprocess.documents import Stretch, read_stretches
from textgen.preprocess.reading import read_blocks, read_text

HEADER = "The eBook\r\n*** START OF THE PROJECT GUTENBERG EBOOK {} ***\r\n\r\n"
LICENCE = "*** END OF THE PROJECT GUTENBERG EBOOK {} ***\r\nThe licence\r\n"


def write(data: bytes) -> Path:
    path = Path("book.txt")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("naïve “☃”\n".encode(), None),
        ("naïve “☃”\n".encode("utf-8-sig"), None),
        ("naïve “☃”\n".encode("utf-16"), None),
        (b"\xfe\xff" + "naïve “☃”\n".encode("utf-16-be"), None),
        ("naïve “☃”\n".encode("utf-8-sig"), "utf8"),
        ("naïve “☃”\n".encode("utf-16"), "utf-16"),
        ("naïve “☃”\n".encode("utf-32"), None),
    ],
)
def test_encodings_and_marks(data: bytes, encoding: str | None) -> None:
    assert read_text(write(data), encoding) == "naïve “☃”\n"


def test_another_encoding_is_taken_at_its_word() -> None:
    assert read_text(write(b"caf\xe9 \x93yes\x94"), "cp1252") == "café “yes”"
    assert read_text(write(b"\xef\xbb\xbfA"), "latin-1") == "ï»¿A"


@given(
    text=st.text(st.sampled_from("a\r\né☃𝄞"), max_size=60),
    size=st.integers(1, 7),
    wide=st.booleans(),
)
def test_blocks_join_to_the_text_wherever_they_are_cut(text: str, size: int, wide: bool) -> None:
    path = write(text.encode("utf-16" if wide else "utf-8"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_BYTES_AT_ONCE", size)
        joined = "".join(read_blocks(path))
    assert joined == text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("title", ["A BOOK", "A BOOK\r\nWITH A LONG NAME"])
def test_gutenberg_wrapping_is_cut_off(title: str) -> None:
    path = write((HEADER.format(title) + "It was.\r\n" + LICENCE.format(title)).encode())
    assert read_text(path) == "It was.\n"
    assert read_text(path, keep_gutenberg=True).startswith("The eBook\n")


def test_of_several_gutenberg_books_in_one_file_none_is_lost() -> None:
    books = [HEADER.format(name) + f"It was {name}.\r\n" + LICENCE.format(name) for name in "ABC"]
    text = read_text(write("".join(books).encode()))
    assert text.startswith("It was A.\n")
    assert "It was B.\n" in text
    assert text.endswith("It was C.\n")


def test_half_a_gutenberg_wrapping_stays() -> None:
    for half in (HEADER.format("X") + "It was.", "It was." + LICENCE.format("X")):
        assert read_text(write(half.encode())) == half.replace("\r\n", "\n")


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_undecodable_bytes_are_located(
    size: int, mark: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_BYTES_AT_ONCE", size)
    data = mark + "é".encode() * 5 + b"caf\xe9 au lait"
    with pytest.raises(BookError) as error:
        read_text(write(data))
    assert f"byte 0xe9 at offset {data.index(b'caf') + 3} is not utf-8" in str(error.value)
    assert "encoding latin-1" in str(error.value)


def test_a_book_cut_inside_a_character() -> None:
    with pytest.raises(BookError, match="offset 3"):
        read_text(write("abc☃".encode()[:-1]))


ZIP = b"PK\x03\x04" + bytes(26)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "a PNG image, not text; give a text instead"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image"),
        (b"GIF89a\x01\0", "a GIF image"),
        (b"%PDF-1.4\n%", "a PDF document, not text; save it as plain text"),
        (gzip.compress(b"one", mtime=0), "compressed by gzip, not text; unpack it"),
        (bz2.compress(b"one"), "compressed by bzip2"),
        (lzma.compress(b"one"), "compressed by xz"),
        (b"\x7fELF\x02", "a program"),
        (ZIP + b"book.txt", "a zip archive, not text; unpack it"),
        (ZIP + b"[Content_Types].xml", "an Office document, such as .docx, not text; save it"),
        (ZIP + b"mimetypeapplication/epub+zip", "an EPUB book"),
        (ZIP + b"mimetypeapplication/vnd.oasis.opendocument.text", "an OpenDocument file"),
        (bytes.fromhex("d0cf11e0a1b11ae1"), "an Office document, such as .doc,"),
        (b"Title".ljust(60, b"\0") + b"BOOKMOBI", "a Kindle book"),
    ],
)
@pytest.mark.parametrize("encoding", [None, "latin-1"])
def test_files_that_are_not_text(data: bytes, told: str, encoding: str | None) -> None:
    path = write(data)
    with pytest.raises(BookError, match=re.escape(f"book.txt is {told}")):
        read_text(path, encoding)
    assert read_text(path, "latin-1", any_bytes=True) == translated(data)
    if encoding:
        options = ReadingOptions(level="byte", encoding=encoding)
        assert list(read_stretches(path, options, False)) == [Stretch([translated(data)], False)]


def translated(data: bytes) -> str:
    return data.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")


def test_a_text_may_speak_of_other_files() -> None:
    for text in ("PNG and GIF89a", "PK", "\u0089PNG\n", "BZh91 AY", "7z", "ÿØÿ"):
        assert read_text(write(text.encode())) == text


@pytest.mark.parametrize("size", [3, 1 << 20])
@pytest.mark.parametrize("text", ["Naïve", "Привет, мир", "日本語 の", "é and e"])
@pytest.mark.parametrize("wide", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(
    size: int, text: str, wide: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_BYTES_AT_ONCE", size)
    path = write((text * 9).encode(wide))
    for encoding in (None, "latin-1"):
        with pytest.raises(BookError) as error:
            read_text(path, encoding)
        if encoding or text.isascii():
            assert f"encoding {wide}" in str(error.value)
    assert read_text(path, wide) == text * 9


def test_a_text_has_no_nul_characters() -> None:
    for data, encoding in ((b"abcde\0", None), (b"abcde\0", "latin-1"), (b"+AAA-", "utf-7")):
        with pytest.raises(BookError, match=r"book\.txt has NUL characters"):
            read_text(write(data), encoding)


@pytest.mark.parametrize("encoding", ["base64", "no-such", "rot13", "a\0b"])
def test_an_unknown_encoding(encoding: str) -> None:
    with pytest.raises(OptionError, match="encoding"):
        read_text(write(b"abc"), encoding)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: textgen.train(path, out="run"),
        lambda path: textgen.prepare(path, out="run"),
        lambda path: textgen.train("book.txt", out="run", level="word", vectors=path),
    ],
)
def test_a_file_out_of_reach(read: Callable[[str], object], book: Path, model: Model) -> None:
    with pytest.raises(BookError, match=r"cannot read xxx.*: File name too long"):
        read("x" * 300)
    with pytest.raises(BookError, match=r"cannot read xxx.*: File name too long"):
        model.evaluate_file("x" * 300)


def test_missing_files_and_folders() -> None:
    with pytest.raises(BookError, match=r"there is no file none\.txt"):
        read_text("none.txt")
    with pytest.raises(BookError, match="is a folder"):
        read_text(".")
    with pytest.raises(BookError, match="cannot read"):
        read_text("a\0b")


def test_a_named_pipe() -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(b"one\r\ntwo"))
    writer.start()
    assert read_text("pipe") == "one\ntwo"
    writer.join()


def test_a_file_that_grows_is_read_as_far_as_it_went_when_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "_BYTES_AT_ONCE", 4)
    path = write(b"one two three")
    blocks = read_blocks(path)
    first = next(blocks)
    with path.open("ab") as file:
        file.write(b" four\xff")
    assert first + "".join(blocks) == "one two three"


def test_a_file_that_shrinks_ends_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_BYTES_AT_ONCE", 20_000)
    path = write(b"a" * 100_000)
    blocks = read_blocks(path)
    first = next(blocks)
    os.truncate(path, 50_000)
    assert len(first + "".join(blocks)) == 50_000
