"""Signals: Ctrl-C and its kin save a training before they end it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from helpers import FLAGS, SMALL, in_training, notes_of, wait_for
from processes import SECONDS

import textgen
from textgen.options.training import TrainingOptions
from textgen.runs.folder import Run
from textgen.runs.lifecycle import create
from textgen.training.step import Stepper
from textgen.training.trainer import Trainer


def test_a_process_prints_notes_only_and_saves_before_sigterm_ends_it(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)  # textgen must silence TensorFlow
    flags = [*FLAGS, "--epochs=100000", "--save-every=100000"]
    command = [sys.executable, "-m", "textgen", "train", str(book), "--out=run", *flags]
    with Path("errors").open("w+") as file, subprocess.Popen(command, stderr=file) as process:
        try:
            wait_for(lambda: "about " in Path("errors").read_text() or process.poll() is not None)
            assert not Path("run/training.safetensors").exists()
            process.terminate()
            assert process.wait(SECONDS) == 143
        finally:
            process.kill()
    assert in_training(Path("run"))[1].progress.step > 0
    first, forecast, last = notes_of(Path("errors").read_text())
    assert first.startswith("run: training on")
    assert forecast.startswith("about ")
    assert " for 100000 epochs at " in forecast
    assert last == "stopped; resume with: textgen train --out run --resume"


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_signals_save_before_they_end_training(
    book: Path,
    command: Callable[..., Result],
    signal_at: Callable[..., None],
    name: str,
    code: int,
) -> None:
    signal_at(17, getattr(signal, name))
    result = command("train", book, "--out=run", *FLAGS, "-q", "--epochs=3")
    assert result.exit_code == code
    assert result.stderr == "stopped; resume with: textgen train --out run --resume\n"
    assert in_training(Path("run"))[1].progress.step == 18
    signal_at(-1)
    result = command("train", book, "--out=run", "--resume", "--json", "-q")
    assert json.loads(result.stdout)["epochs"] == 3


def test_the_end_of_the_terminal_saves_and_then_ends_the_process(
    book: Path, signal_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)  # a real one would end pytest
    signal_at(17, signal.SIGHUP)
    with pytest.raises(KeyboardInterrupt):
        textgen.train(book, out="run", epochs=3, **SMALL)
    assert raised == [signal.SIGHUP]
    assert in_training(Path("run"))[1].progress.step == 18


def test_a_signal_before_the_first_step_tells_how_to_resume(
    book: Path, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    create("run", [book], TrainingOptions())
    monkeypatch.setattr(Trainer, "__init__", interrupted)
    result = command("train", "--out=run", "--resume")
    assert result.exit_code == 143
    assert result.stderr == "stopped; resume with: textgen train --out run --resume\n"


def test_a_second_signal_does_not_wait(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = Stepper.train

    def twice(self: Stepper, *arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return train(self, *arguments)

    monkeypatch.setattr(Stepper, "train", twice)
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        textgen.train(book, out="run", epochs=1, **SMALL)
    assert not Path("run/training.safetensors").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_is_ignored_stays_ignored(
    book: Path, command: Callable[..., Result], signal_at: Callable[..., None]
) -> None:
    signal_at(17, signal.SIGTERM)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        result = command("train", book, "--out=run", *FLAGS, "-q", "--epochs=1")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result.exit_code == 0
    assert Run.open("run").history()[-1]["epoch"] == 1


def test_a_signal_in_the_last_evaluation_is_obeyed(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = Stepper.loss

    def interrupted(self: Stepper, *arguments: Any) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        return loss(self, *arguments)

    monkeypatch.setattr(Stepper, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        textgen.train(book, out="run", epochs=0.1, **SMALL)
    assert textgen.load("run").generate(length=3)
