"""textgen sample --interactive, by commands and in a terminal."""

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from textgen.model import Model
from textgen.sampling.writer import Writer


def test_stopping_the_network_loses_nothing(
    model: Model, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Writer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Writer, "draw", interrupted)
    arguments = ["sample", model.path, "--interactive", "-p", "The "]
    result = command(*arguments, input="=lamp\n+9\n=s\n:w \0\n:w no/such\n+" + "9" * 5000)
    assert (result.exit_code, result.stdout) == (0, "The lamps\n")
    assert "stopped" in result.stderr
    assert "cannot write no/such" in result.stderr
    result = command(*arguments, input="=lamp\n\n")  # Ctrl-C while a token is drawn
    assert (result.exit_code, result.stdout) == (130, "The lamp\n")


class Terminating(io.BytesIO):
    """Input after which the process is told to end."""

    def read1(self, size: int = -1) -> bytes:
        data = super().read1(size)
        if not data:
            os.kill(os.getpid(), signal.SIGTERM)
        return data


def test_sigterm_ends_writing_with_its_own_code(
    model: Model, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["sample", model.path, "--interactive", "-p", "The "]
    result = command(*arguments, input=Terminating(b"=lamp\n"))
    assert (result.exit_code, result.stdout) == (143, "The lamp\n")
    monkeypatch.setattr(Writer, "draw", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    result = command(*arguments, input="=lamp\n+9\n=s\n")
    assert (result.exit_code, result.stdout) == (143, "The lamp\n")
    assert result.stderr.endswith("stopped\n")


def test_the_home_of_nobody_is_a_name(model: Model, command: Callable[..., Result]) -> None:
    arguments = ["sample", model.path, "--interactive", "-p", "The "]
    result = command(*arguments, input=":w ~nosuchuser/x\n:q\n")
    assert (result.exit_code, result.stdout) == (0, "The \n")
    assert "cannot write ~nosuchuser/x: No such file or directory" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_the_interactive_mode_in_a_terminal(model: Model) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        f"{sys.executable} -m textgen sample {model.path} --interactive --seed 1 -p The\\ ",
        shell=True,
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    shown = ""

    def answer(line: str) -> str:
        """Wait for a prompt and answer it; return the output since the last prompt."""
        nonlocal shown
        while not shown.endswith("> "):
            shown += os.read(ours, 4096).decode()
        before, shown = shown, ""
        os.write(ours, line.encode() + b"\n")
        return before

    def likeliest(screen: str) -> list[str]:
        return re.findall(r"(\d) (\S+|' '|'\\n') \d+%", screen)

    writer = model.writer("The ", seed=1)
    first = answer("1")
    choice = writer.likeliest(9)
    assert [number for number, _ in likeliest(first)][:3] == ["1", "2", "3"]
    shown = repr(choice[0].text) if choice[0].text.isspace() else choice[0].text
    assert f"1 {shown}" in first
    assert "The " + choice[0].text in answer("=lamp saw")
    assert "lamp saw" in answer("-")
    assert "lamp saw" not in answer("+3").split("> ")[-1].partition("\n")[2]
    answer("9999")  # no such command: help, and nothing lost
    assert "1-9" in answer("=Ж")
    assert "never seen" in answer("-99")
    assert "beginning of the text" in answer(":w written.txt")
    assert "saved to written.txt" in answer("=ferry")
    answer(":q")
    output = process.stdout.read() if process.stdout else ""
    assert process.wait() == 0
    assert output == "The ferry\n"
    assert Path("written.txt").read_text("utf-8") == "The "
    os.close(ours)


def test_the_end_of_input_ends_writing(model: Model, command: Callable[..., Result]) -> None:
    result = command("sample", model.path, "--interactive", "-p", "The ", input="=lamp\n")
    assert (result.exit_code, result.stdout) == (0, "The lamp\n")
