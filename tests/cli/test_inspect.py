"""The `inspect` command: the page, the figures, and what it cannot read."""

import errno
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import Result
from helpers import fabricate, make_book
from markov import Chain

import textgen
from textgen.cli import main
from textgen.model import Model

TEXT = make_book()[:300]


@pytest.fixture(autouse=True)
def _text() -> None:
    Path("letter.txt").write_text(TEXT, "utf-8")


def test_a_page_is_written_and_not_replaced(command: Callable[..., Result], model: Model) -> None:
    result = command("inspect", model.path, "letter.txt")
    assert result.exit_code == 0
    best = model.inspect(TEXT).units.features[0].best[0]
    assert (
        f"{best.correlation:+.2f}  layer 1, unit {best.unit.unit}, {best.unit.part}"
        in result.stdout
    )
    assert result.stderr == "letter.html is written; open it in a browser\n"
    assert "<!doctype html>" in Path("letter.html").read_text("utf-8").lower()
    Path("letter.html").write_text("mine")
    result = command("inspect", model.path, "letter.txt")
    assert result.exit_code == 1
    assert "letter.html exists; replace it with --force" in result.stderr
    assert Path("letter.html").read_text() == "mine"
    assert command("inspect", model.path, "letter.txt", "--force").exit_code == 0
    assert Path("letter.html").read_text("utf-8") != "mine"


def test_json_prints_the_figures_of_the_library(
    command: Callable[..., Result], model: Model
) -> None:
    result = command("inspect", model.path, "-", "--json", "--units", 1, input=TEXT)
    figures = json.loads(result.stdout)
    found = model.inspect(TEXT, units=1)
    assert figures == json.loads(json.dumps(found.to_json()))
    assert "".join(figures["tokens"]) == TEXT
    assert figures["bits"][0] is None
    assert all(len(feature["best"]) == 1 for feature in figures["features"])
    assert not Path("inspection.html").exists()
    command("inspect", model.path, "-", "--json", "-o", "page.html", input=TEXT)
    assert Path("page.html").exists()


def test_only_the_beginning_of_a_long_text_is_read(
    command: Callable[..., Result], model: Model
) -> None:
    Path("long.txt").write_text(TEXT * 40_000, "utf-8")  # 12 MB
    result = command("inspect", model.path, "long.txt", "--length", 200, "--json")
    assert result.stderr == "these are the first 200 characters of 12,000,000\n"
    assert json.loads(result.stdout)["tokens"] == list(TEXT[:200])


def test_documents_are_those_of_the_run(
    command: Callable[..., Result],
) -> None:
    Path("book.txt").write_text(TEXT, "utf-8")
    run = fabricate("run", "book.txt", delimiter="\n\n")
    result = command("inspect", run.path, "letter.txt", "--json")
    figures = json.loads(result.stdout)
    texts = [text.strip("\n") for text in TEXT.split("\n\n") if text.strip()]
    assert "".join(figures["tokens"]) == "".join(texts)
    assert figures["documents"] == [sum(map(len, texts[:n])) for n in range(len(texts))]


def test_authors_are_those_of_the_command_author(command: Callable[..., Result]) -> None:
    chains = [Chain(" abc", seed) for seed in (0, 1)]
    for chain, name in zip(chains, ("austen", "byron"), strict=True):
        chain.run(name)
    Path("poem.txt").write_text(chains[1].text(2000))
    authors = ("--author", "austen", "--author", "byron")
    printed = command("inspect", "austen", "poem.txt", *authors)
    heading, first, second = command("author", "austen", "byron", "poem.txt").stdout.splitlines()[
        :3
    ]
    assert printed.stdout.endswith(f"\n\n{heading}\n{first}\n{second}\n")
    assert first.split()[0] == "byron"
    figures = json.loads(command("inspect", "austen", "poem.txt", *authors, "--json").stdout)
    judged = textgen.authors("austen", "byron").judge_file("poem.txt")
    assert figures["authors"] == asdict(judged)


@pytest.mark.parametrize("name", ["inspect", "evaluate"])
def test_a_bar_on_a_terminal(name: str, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    getattr(model, f"{name}_file")("letter.txt")
    assert terminal.getvalue() == ""
    main.main([name, str(model.path), "letter.txt"], standalone_mode=False)
    assert f"reading:   0%|{' ' * 10}" in terminal.getvalue()
    assert f"/{Path('letter.txt').stat().st_size} [" in terminal.getvalue()


@pytest.mark.parametrize("output", [None, "notes.html", "./notes.html", "link", "hard"])
def test_a_page_does_not_replace_the_text(
    command: Callable[..., Result], model: Model, output: str | None
) -> None:
    notes = Path("notes.html")
    notes.write_text(TEXT, "utf-8")
    Path("link").symlink_to(notes)
    Path("hard").hardlink_to(notes)
    arguments = ["inspect", model.path, "notes.html", *(["-o", output] if output else [])]
    for force in ([], ["--force"]):
        result = command(*arguments, *force)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"Error: {Path(output or notes)} is the text that is read")
    assert notes.read_text("utf-8") == TEXT
    Path("texts").mkdir()
    notes.rename("texts/notes.html")
    assert command("inspect", model.path, "texts/notes.html").exit_code == 0
    assert Path("texts/notes.html").read_text("utf-8") == TEXT


def test_writing_a_page_leaves_other_files_alone(
    command: Callable[..., Result], model: Model
) -> None:
    Path("page.html.new").write_text("mine")
    os.mkfifo("pipe")
    before = sorted(Path().iterdir())
    assert command("inspect", model.path, "letter.txt", "-o", "page.html").exit_code == 0
    assert sorted(Path().iterdir()) == sorted([*before, Path("page.html")])
    assert Path("page.html.new").read_text() == "mine"
    for special in ("pipe", os.devnull):
        result = command("inspect", model.path, "letter.txt", "-o", special, "--force")
        assert result.stderr == f"Error: {special} is not a regular file; name another file\n"
    assert Path("pipe").is_fifo()


def test_a_full_disk_leaves_nothing(
    command: Callable[..., Result], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    result = command("inspect", model.path, "letter.txt")
    assert result.stderr.startswith("Error: cannot write letter.html: No space left on device")
    assert list(Path().iterdir()) == [Path("letter.txt")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("empty.txt",), "a text of 0 characters leaves nothing to predict; give more text"),
        (("missing.txt",), "there is no file missing.txt; check the name"),
        ((".",), ". is a folder; name the text files in it"),
        (("/",), "/ is a folder; name the text files in it"),
        (("",), " is a folder; name the text files in it"),
        (("letter.txt", "-o", "folder"), "folder is a folder; name a file"),
        (("letter.txt", "-o", "none/page.html"), "there is no folder none for page.html"),
        (("letter.txt", "--units", "0"), "--units must be a whole number, at least 1, not 0"),
        (("letter.txt", "--length", "0"), "--length must be a whole number, at least 1, not 0"),
        (("binary.gz",), "binary.gz is"),
        (("missing.txt", "--author", "one"), "there must be two authors to choose from"),
        (("short.txt", "--author", "one", "--author", "two"), "5 characters is too short"),
    ],
)
def test_bad_input_is_one_line(
    command: Callable[..., Result], model: Model, arguments: tuple[str, ...], message: str
) -> None:
    Path("empty.txt").touch()
    Path("short.txt").write_text("lamp\n")
    for name in ("one", "two"):
        shutil.copytree(model.path, name)
    Path("folder").mkdir()
    Path("binary.gz").write_bytes(b"\x1f\x8b\x08\x00\x00\x00")
    result = command("inspect", model.path, *arguments)
    assert result.exit_code in (1, 2)
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not list(Path().glob("*.html*"))
