r"""Escapes on the command line: `\n`, `\t` and `\\` in options that take text."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from helpers import fabricate

import textgen
from textgen.errors import BookError
from textgen.options.escapes import unescape
from textgen.runs.folder import Run


def test_three_escapes_and_no_others() -> None:
    assert unescape(r"a\nb\tc") == "a\nb\tc"
    assert unescape(r"\\newpage \\n \\\n") == "\\newpage \\n \\\n"
    assert unescape("\\q \\ é\\") == "\\q \\ é\\"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(r"\n--\n", "\n--\n"), (r"\\newpage", "\\newpage"), (r"\section", "\\section"), ("--", "--")],
)
def test_a_delimiter_on_the_command_line(
    typed: str, meant: str, command: Callable[..., Result]
) -> None:
    Path("book.txt").write_text(f"one{meant}two", "utf-8")
    assert command("prepare", "book.txt", "--delimiter", typed, "-q").exit_code == 0
    run = Run.open("checkpoints/book")
    assert run.settings.reading.delimiter == meant
    assert run.documents == [2]


def test_stops_and_bans_on_the_command_line(command: Callable[..., Result]) -> None:
    Path("book.txt").write_text("ab\n\\n\n" * 40, "utf-8")
    fabricate("run", "book.txt")
    sample = ("sample", "run", "-p", "a", "--seed", 1, "--json", "-l", 200)

    def text(*options: str) -> str:
        return str(json.loads(command(*sample, *options).stdout)["samples"][0]["text"])

    written = text()
    assert "\n" in written
    assert "\\n" in written
    assert text("--stop", r"\n") == written.partition("\n")[0]
    assert text("--stop", r"\\n") == written.partition("\\n")[0]
    assert "\n" not in text("--ban", r"\n", "--ban", "b")


def test_the_library_takes_texts_as_they_are() -> None:
    Path("book.txt").write_text("one\\newpagetwo\nthree", "utf-8")
    for delimiter in ("\\newpage", r"\n", "\n"):
        assert Run.open(textgen.prepare("book.txt", delimiter=delimiter)).documents == [2]
    with pytest.raises(BookError, match="does not contain"):
        textgen.prepare("book.txt", delimiter=r"\\newpage")


@pytest.mark.parametrize(("number", "meant"), [(2, "\n\\x"), (3, r"\n\\x")])
def test_older_runs_stored_the_delimiter_as_it_was_typed(number: int, meant: str) -> None:
    Path("book.txt").write_text("one two " * 20, "utf-8")
    fabricate("run", "book.txt")
    path = Path("run/config.json")
    config = json.loads(path.read_text("utf-8"))
    config["format"] = number
    config["options"]["delimiter"] = r"\n\\x"
    path.write_text(json.dumps(config), "utf-8")
    assert Run.open("run").settings.reading.delimiter == meant
