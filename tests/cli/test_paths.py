"""Runs and files on the command line: notes and advice on them, completion, the home folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import Result
from helpers import FLAGS, fabricate, snapshot

import textgen
from textgen.cli import main
from textgen.errors import BookError
from textgen.model import Model
from textgen.runs.locking import locked

Command = Callable[..., Result]


@pytest.fixture
def checkpoints(model: Model) -> Path:
    """Return a default folder with two runs."""
    for name in ("book", "my book"):
        shutil.copytree(model.path, Path("checkpoints", name))
    return Path("checkpoints")


def completions(*arguments: str, incomplete: str) -> list[tuple[str, str]]:
    complete = ShellComplete(main, {}, "textgen", "_TEXTGEN_COMPLETE")
    return [(i.type, i.value) for i in complete.get_completions(list(arguments), incomplete)]


def test_a_shell_completes_runs_and_files(checkpoints: Path) -> None:
    runs = [("plain", "checkpoints/book"), ("plain", "checkpoints/my book")]
    for before in (["sample"], ["info"], ["evaluate"], ["novelty"], ["train", "b.txt", "--from"]):
        assert completions(*before, incomplete="") == runs
    assert completions("sample", incomplete="checkpoints/m") == runs[1:]
    assert completions("sample", "checkpoints/book", incomplete="check") == runs
    assert completions("sample", incomplete="elsewhere/") == [("dir", "elsewhere/")]
    for before in (["train"], ["prepare"], ["evaluate", "run"], ["sample", "--prompt-file"]):
        assert completions(*before, incomplete="bo") == [("file", "bo")]
    for before in (["train", "--out"], ["fetch", "--folder"]):
        assert completions(*before, incomplete="c") == [("dir", "c")]


def test_the_run_that_was_taken_is_told(checkpoints: Path, command: Command) -> None:
    shutil.rmtree(checkpoints / "book")
    result = command("sample", "-l", 5, "--seed", 1)
    assert result.stderr == "run checkpoints/my book\n"
    assert "run checkpoints/my book\n" in command("sample", "--interactive", input="").stderr
    assert command("sample", checkpoints / "my book", "-l", 5, "--seed", 1).stderr == ""
    result = command("sample", "-l", 5, "--json")
    assert (result.stderr, json.loads(result.stdout)["run"]) == ("", "checkpoints/my book")


def test_a_tilde_is_the_home_folder(
    book: Path, run: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for source, name in ((book, "book.txt"), (run, "run")):
        Path("home").mkdir(exist_ok=True)
        source.rename(Path("home", name))
    arguments = ["~/book.txt", "--out", "~/prepared", "-q"]
    assert command("prepare", *arguments).exit_code == 0
    assert Path("home/prepared/config.json").is_file()
    for arguments in (
        ["sample", "~/run", "--prompt-file", "~/book.txt", "-l", 1],
        ["evaluate", "~/run", "~/book.txt"],
        ["novelty", "~/run", "~/book.txt"],
        ["info", "~/run"],
    ):
        assert command(*arguments).exit_code == 0, arguments
    told = command("train", "~/book.txt", "--from", "~/run", "--vectors", "~/v").stderr
    assert "--vectors cannot be given together" in told
    assert "there is no file ~nosuchuser/x" in command("train", "~nosuchuser/x").stderr
    assert {p.name for p in Path().iterdir()} == {"home"}


@pytest.mark.usefixtures("untrained")
def test_advice_quotes_what_a_shell_would_split(book: Path, command: Command) -> None:
    result = command("train", book, "--out", "my run", *FLAGS)
    assert result.stderr == "my run is trained; now: textgen sample 'my run'\n"
    Path("my run/model.safetensors").unlink()
    result = command("sample", "my run")
    assert result.stderr.endswith("train it with: textgen train --out 'my run' --resume\n")


def test_a_run_in_training_has_to_be_waited_for(book: Path, command: Command) -> None:
    run = fabricate("run", book)
    (run.path / "model.safetensors").unlink()
    with locked(run.path):
        before = snapshot(run.path)
        result = command("sample", "run")
    message = "Error: run is being trained and has no weights yet; wait until it saves them\n"
    assert (result.exit_code, result.stderr) == (1, message)
    assert "train it with" in command("sample", "run").stderr
    (run.path / ".lock").unlink()
    assert "train it with" in command("sample", "run").stderr
    assert snapshot(run.path) == before
    assert not (run.path / ".lock").exists()


def test_several_texts_make_a_list(model: Model, command: Command) -> None:
    arguments = ["sample", model.path, "-l", 10, "--seed", 1, "-n", 3]
    texts = ["".join(text) for text in model.samples(count=3, seed=1, length=10)]
    for flag, separator in ((r"\n--\n", "\n--\n"), (r"\t", "\t"), ("", ""), (r"\\n", r"\n")):
        result = command(*arguments, "--separator", flag)
        assert result.stdout == separator.join(texts) + "\n"
    for other in ("--json", "--interactive"):
        result = command("sample", model.path, "--separator", ",", other)
        assert result.exit_code == 2
        assert "--separator is not used with --json or --interactive" in result.stderr


def test_documents_of_a_line_are_listed_line_by_line(command: Command) -> None:
    Path("titles.txt").write_text("The lamp\nThe ferry\nThe storm\n" * 20)
    fabricate("run", "titles.txt", delimiter="\n")
    arguments = ["sample", "run", "-l", 10, "--seed", 1, "-n", 3]
    texts = textgen.load("run").samples(count=3, seed=1, length=10)
    assert command(*arguments).stdout == "\n".join(map("".join, texts)) + "\n"


def test_a_long_copied_passage_is_clipped(command: Command) -> None:
    words = " ".join(str(number) for number in range(3000))
    Path("book.txt").write_text(words)
    fabricate("run", "book.txt")
    result = command("novelty", "run", "book.txt")
    assert f"\n{len(words):,} at 0, from book.txt, character 0\n" in result.stdout
    lines = result.stdout.splitlines()
    assert f"  [... {len(words) - 1000:,} characters ...]" in lines
    assert f"  {words[:500]}" in lines
    assert f"  {words[-500:]}" in lines
    found = json.loads(command("novelty", "run", "book.txt", "--json").stdout)
    assert found["longest"][0]["text"] == words


def test_splitting_words_may_take_too_long(
    command: Command, monkeypatch: pytest.MonkeyPatch, models: dict[str, Model]
) -> None:
    redos = pytest.importorskip("nltk.redos")
    monkeypatch.setattr(redos, "DEFAULT_TIMEOUT", 1e-9)
    Path("long.txt").write_text("The lamp saw the ferry. " * 40_000)
    word = models["word"].path
    for arguments in (
        ["train", "long.txt", "--level=word", "--out=run"],
        ["evaluate", word, "long.txt"],
        ["inspect", word, "long.txt", "--length=1000000"],
        ["sample", word, "--prompt-file=long.txt"],
    ):
        result = command(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: splitting a text into words takes too long; ")
    assert not Path("run").exists()
    with pytest.raises(BookError, match="takes too long"):
        textgen.load(word).generate("The lamp saw the ferry. " * 40_000)
