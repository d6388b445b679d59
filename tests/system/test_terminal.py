"""Output to a terminal and to a pipe."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from textgen.model import Model
from textgen.system.terminal import counted, one_line, visible

HOSTILE = "\x1b]0;title\x07 \x9b31m\x00\x08\r\u202eabc\u2028"


@given(st.text(), st.sampled_from("\x00\x07\x08\x0b\r\x1b\x7f\x85\x9b\u2028\u202e\u2066\ud800"))
def test_nothing_that_steers_a_terminal_is_left(text: str, steering: str) -> None:
    shown = visible(text + steering)
    assert steering not in shown
    assert "\n" not in one_line(text + "\n" + steering)
    assert visible(shown) == shown


@given(
    st.text(st.characters(categories=("L", "M", "N", "P", "S", "Zs"), include_characters="\n\t"))
)
def test_all_else_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ends = os.openpty()
    yield ends
    for end in ends:
        os.close(end)


def sampled(model: Model, prompt: Path, stdout: int, *flags: str) -> "subprocess.Popen[bytes]":
    flags = (f"--prompt-file={prompt}", "--seed=1", "--length=300", "--temperature=5", *flags)
    return subprocess.Popen(
        [sys.executable, "-m", "textgen", "sample", str(model.path), *flags], stdout=stdout
    )


@pytest.mark.parametrize("flag", ["--stream", "--no-stream"])
def test_a_terminal_gets_no_escape_codes_and_a_pipe_the_exact_text(
    flag: str, models: dict[str, Model], terminal: tuple[int, int]
) -> None:
    model, prompt = models["byte"], Path("prompt.txt")
    prompt.write_text(HOSTILE, "utf-8", newline="")
    text = HOSTILE.replace("\r", "\n") + model.generate(
        HOSTILE.replace("\r", "\n"), seed=1, length=300, temperature=5
    )
    assert any(c < " " for c in text.replace("\n", ""))  # control characters are drawn, too
    output, _ = sampled(model, prompt, subprocess.PIPE, flag).communicate(timeout=60)
    assert output == (text + "\n").encode()
    ours, theirs = terminal
    process = sampled(model, prompt, theirs, flag)
    shown = b""
    while not shown.endswith((visible(text) + "\n").replace("\n", "\r\n").encode()[-40:]):
        shown += os.read(ours, 4096)
    assert process.wait(timeout=60) == 0
    assert shown.decode() == (visible(text) + "\n").replace("\n", "\r\n")


def test_what_a_run_says_of_itself_steers_no_terminal(
    model: Model, terminal: tuple[int, int]
) -> None:
    shutil.copytree(model.path, "run")
    config = Path("run/config.json")
    config.write_text(config.read_text("utf-8").replace("book.txt", r"\u001b[2J\u0007"), "utf-8")
    ours, theirs = terminal
    subprocess.run([sys.executable, "-m", "textgen", "info", "run"], stdout=theirs, check=True)
    assert b"\\x1b[2J\\x07" in os.read(ours, 4096)


def test_one_is_not_counted_as_several() -> None:
    assert counted(1, "document") == "1 document"
    assert counted(0, "document") == "0 documents"
    assert counted(2000, "token") == "2,000 tokens"


def test_messages_count_one_thing(command: Callable[..., Result]) -> None:
    Path("book.txt").write_text("one\n", "utf-8")
    assert ", 1 document\n" in command("prepare", "book.txt", "--delimiter", r"\n").stderr
    told = command("train", "book.txt", "--batch-size", 1, "--chunk-length", 9, "--force").stderr
    assert "3 of 4 tokens, is too short for 1 stream of 9 steps" in told
