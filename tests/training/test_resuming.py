"""Resuming: the same weights as without a stop, whenever a process ends or dies."""

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SMALL, make_book, snapshot, trained, weights_of

import textgen
from textgen.errors import BookError, OptionError, RunError
from textgen.options.training import TrainingOptions
from textgen.runs.folder import Run
from textgen.runs.history import best
from textgen.runs.lifecycle import create
from textgen.training.plan import Plan
from textgen.training.trainer import Trainer
from textgen.training.workers import Workers


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (0, {"precision": "float32", "batch_size": 3}),
        (37, {"precision": "bfloat16", "tie": True, "embedding": None}),
        (0, {"precision": "float32", "cell": "gru", "units": "24,12", "layers": None}),
        (37, {"precision": "bfloat16", "cell": "gru", "units": "24,12", "layers": None}),
        (37, {"precision": "float32", "cell": "cifg", "units": "24,12", "layers": None}),
    ],
)
def test_a_run_that_was_stopped_ends_with_the_same_weights(
    book: Path, step: int, options: dict[str, Any], signal_at: Callable[..., None]
) -> None:
    options = {"layers": 2, "dropout": 0.2, "seed": 5, **options}
    undisturbed = trained(book, "undisturbed", **options)
    signal_at(step)
    with pytest.raises(KeyboardInterrupt, match=r"resume with: .* --out stopped --resume"):
        trained(book, "stopped", **options)
    assert textgen.load("stopped").generate(length=3)  # before the first evaluation
    signal_at(30)
    with pytest.raises(KeyboardInterrupt):
        textgen.train(out="stopped", resume=True, quiet=True)
    signal_at(-1)
    textgen.train(out="stopped", resume=True, quiet=True)
    assert weights_of(Path("stopped")) == weights_of(undisturbed)
    whole, parts = Run.open(undisturbed).history(), Run.open("stopped").history()
    timed = ("seconds", "tokens_per_second")
    for one, other in zip(whole, parts, strict=True):
        assert {k: v for k, v in one.items() if k not in timed} == {
            k: v for k, v in other.items() if k not in timed
        }


def test_a_run_is_resumed_without_the_kernel_that_began_it(
    book: Path, signal_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"precision": "float32", "dropout": 0.2}
    undisturbed = trained(book, "undisturbed", **options)
    signal_at(37)
    with pytest.raises(KeyboardInterrupt):
        trained(book, "stopped", **options)
    signal_at(-1)
    monkeypatch.setenv("TEXTGEN_KERNELS", "off")
    textgen.train(out="stopped", resume=True, quiet=True)
    whole, parts = Run.open(undisturbed).history(), Run.open("stopped").history()
    for one, other in zip(whole, parts, strict=True):
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], abs=1e-3)


def test_a_run_goes_on_from_what_was_saved_if_it_died_later(
    book: Path, signal_at: Callable[..., None]
) -> None:
    undisturbed = trained(book, "undisturbed")
    signal_at(20)
    with pytest.raises(KeyboardInterrupt):
        trained(book, "died")
    saved = snapshot(Path("died"))
    signal_at(40)
    with pytest.raises(KeyboardInterrupt):
        textgen.train(out="died", resume=True, quiet=True)
    Path("died/training.safetensors").write_bytes(saved["training.safetensors"])
    signal_at(-1)
    textgen.train(out="died", resume=True, quiet=True)
    assert weights_of(Path("died")) == weights_of(undisturbed)
    samples = [(run / "samples.txt").read_text("utf-8") for run in (undisturbed, Path("died"))]
    whole, again = (re.sub(r", [\d,]+ tokens/s", "", text) for text in samples)
    assert whole == again  # no sample is written twice


def dying_at(monkeypatch: pytest.MonkeyPatch, method: str, last: int) -> Iterator[int]:
    """Let a process die in a call of a method of runs; return an iterator that counts the calls."""
    original, calls = getattr(Run, method), itertools.count(1)

    def dies(run: Run, saved: Any) -> None:
        if next(calls) == last:
            raise RuntimeError("it died")
        original(run, saved)

    monkeypatch.setattr(Run, method, dies)
    return calls


def test_weights_that_no_checkpoint_judges_are_not_kept(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying_at(monkeypatch, "save_training_state", 3)
    with pytest.raises(RuntimeError, match="it died"):
        trained(book, "died")
    trainer = Trainer(Run.open("died"), Workers(), 0.0)
    assert best(trainer.progress.history)["step"] == trainer.progress.step
    kept = Run.open("died").weights()
    for name, weight in trainer.weights().items():
        np.testing.assert_array_equal(kept[name], weight)


def test_a_save_that_the_process_did_not_survive_is_completed(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = dying_at(monkeypatch, "save_weights", -1)
    undisturbed = trained(book, "undisturbed")
    last = next(calls) - 1
    dying_at(monkeypatch, "save_weights", last)
    with pytest.raises(RuntimeError, match="it died"):
        trained(book, "died")
    textgen.train(out="died", resume=True, quiet=True)
    assert weights_of(Path("died")) == weights_of(undisturbed)


def test_a_finished_run_can_be_trained_further(book: Path) -> None:
    run = trained(book, "run", epochs=1)
    before = Run.open(run).history()
    assert len(textgen.train(out=run, resume=True, quiet=True).run.history()) == len(before)
    model = textgen.train(out=run, resume=True, epochs=2, quiet=True)
    after = model.run.history()
    assert after[: len(before)] == before
    assert after[-1]["epoch"] == 2
    assert model.run.settings.epochs == 2


def test_what_may_not_change_on_resume(book: Path, tmp_path: Path) -> None:
    run = trained(book, "run", epochs=1)
    before = snapshot(run)
    with pytest.raises(OptionError, match="units is 16 in run and cannot change"):
        textgen.train(out=run, resume=True, units=17)
    with pytest.raises(RunError, match="no run at nowhere to resume; leave out resume=True"):
        textgen.train(out="nowhere", resume=True)
    other = tmp_path / "other.txt"
    other.write_text(make_book(seed=1), "utf-8")
    with pytest.raises(BookError, match="run was not created from"):
        textgen.train(other, out=run, resume=True)
    assert snapshot(run) == before
    book.unlink()
    textgen.train(out=run, resume=True, units=16, quiet=True)


@pytest.mark.parametrize(
    ("options", "reached", "more"),
    [
        ({}, "epoch 2", "--epochs 4"),
        ({"minutes": 0.0001}, "0.0001 minutes", "--minutes 0.0002"),
        ({"patience": 1}, "early stopping", "--patience 2"),
    ],
)
def test_a_run_at_its_end_says_so_and_changes_nothing(
    run: Path,
    options: dict[str, float],
    reached: str,
    more: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Plan, "_has_lost_patience", lambda plan: "patience" in options)
    before = snapshot(run)
    textgen.train(out=run, resume=True, **options)
    first = capfd.readouterr().err.splitlines()[0]
    command = f"textgen train --out run --resume {more}"
    assert first == f"run is trained to its end, {reached}; to train it further: {command}"
    assert snapshot(run) == before


def test_a_new_run_can_be_resumed_before_its_first_save(book: Path) -> None:
    create("run", [book], TrainingOptions(**{k: v for k, v in SMALL.items() if k != "quiet"}))
    with pytest.raises(RunError, match="no trained weights yet"):
        textgen.load("run")
    assert textgen.train(out="run", resume=True, epochs=1, quiet=True).generate(length=3)
