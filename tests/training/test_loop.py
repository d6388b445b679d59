"""The training loop: carried state, stopping and resuming, evaluation and early stopping."""

import itertools
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from helpers import SMALL, make_book, snapshot, weights_of
from safetensors.numpy import load_file

import textgen
from textgen.errors import BookError, OptionError, RunError, TrainingError
from textgen.model import Model
from textgen.options.training import TrainingOptions
from textgen.runs.folder import Run
from textgen.runs.history import best
from textgen.runs.lifecycle import create
from textgen.training import plan
from textgen.training.network import TrainingNetwork
from textgen.training.plan import Plan
from textgen.training.recorder import Recorder
from textgen.training.schedule import Schedule
from textgen.training.step import Stepper
from textgen.training.trainer import Trainer
from textgen.training.workers import Workers


def trained(book: Path, out: str, **options: Any) -> Path:
    return textgen.train(book, out=out, **SMALL | {"epochs": 3} | options).path


def test_state_reaches_further_back_than_a_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every line ends with its first letter, 4 steps back. The first of a line's 6 characters is
    # unpredictable, so the best loss is ln(4) / 6 = 0.23. Without the state, the best loss on the
    # validation part is (3 ln(4) + 2 ln(2)) / 12 = 0.46: for every second line the letter is in
    # another chunk, and a letter that starts a chunk may be the first or the last of its line.
    monkeypatch.setattr(plan, "_EVALUATIONS", 2)
    letters = np.random.default_rng(0).choice(list("abcd"), 1000)
    book = tmp_path / "far.txt"
    book.write_text("".join(f"{letter}...{letter}\n" for letter in letters))
    options = SMALL | {
        "units": 24,
        "embedding": 16,
        "batch_size": 8,
        "learning_rate": 0.03,
        "chunk_length": 4,
    }
    losses = {
        stateless: textgen.train(
            book, out=f"run-{stateless}", stateless=stateless, epochs=6, **options
        ).run.outcome()["validation_loss"]
        for stateless in (False, True)
    }
    assert losses[False] < 0.25
    assert losses[True] > 0.45


def test_the_alphabet_goes_on_from_any_letter(tmp_path: Path) -> None:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    book = tmp_path / "alphabet.txt"
    book.write_text(alphabet * 200)
    # A chunk of 7 begins at every letter in turn, so resets start texts with each of them.
    options = SMALL | {"units": 32, "learning_rate": 0.03, "epochs": 10, "chunk_length": 7}
    model = textgen.train(book, out="run", **options)
    for start in range(26):
        expected = (alphabet * 4)[start + 1 :][:60]
        assert model.generate(alphabet[start], length=60, temperature=0) == expected
        middle = (alphabet * 2)[start : start + 20]
        expected = (alphabet * 4)[start + 20 :][:30]
        assert model.generate(middle, length=30, temperature=0) == expected


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


def test_evaluating_leaves_training_as_it_was(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def last_weights(run: Path) -> dict[str, np.ndarray]:
        return Trainer(Run.open(run), Workers(), 0.0).weights()

    monkeypatch.setattr(plan, "_EVALUATIONS", 20)
    often = last_weights(trained(book, "often"))
    assert len(Run.open("often").history()) >= 3
    monkeypatch.setattr(plan, "_EVALUATIONS", 1)
    once = last_weights(trained(book, "once"))
    assert len(Run.open("once").history()) == 1
    for name, weight in often.items():
        np.testing.assert_array_equal(weight, once[name])


def test_training_never_looks_at_the_test_part(tmp_path: Path) -> None:
    text = make_book(600)
    cut = round(0.8 * len(text))
    books = [tmp_path / "one.txt", tmp_path / "other.txt"]
    books[0].write_text(text, "utf-8")
    books[1].write_text(text[:cut] + text[cut:][::-1], "utf-8")  # the same characters
    one, other = (trained(book, book.stem, test=0.2, epochs=1) for book in books)
    assert weights_of(one) == weights_of(other)
    losses = [textgen.load(run).evaluate_test().loss for run in (one, other)]
    assert losses[0] < losses[1]


def test_a_new_network_predicts_tokens_by_their_frequency(model: Model) -> None:
    run = model.run
    shutil.copytree(run.path, "fresh")
    Path("fresh/training.safetensors").unlink()
    ids = run.corpus().split(run.settings.reading)[0].ids
    counts = np.bincount(ids, minlength=len(run.tokenizer)) + 1
    bias = Trainer(Run.open("fresh"), Workers(), 0.0).weights()["output.bias"]
    np.testing.assert_allclose(np.exp(bias) / np.exp(bias).sum(), counts / counts.sum(), rtol=1e-4)


def test_the_summary_says_which_weights_are_kept(model: Model) -> None:
    def summary(*losses: float) -> str:
        recorder = Recorder(model.run, Trainer(model.run, Workers(), 0.0))
        recorder.history[:] = [
            {"epoch": float(epoch), "validation_loss": loss, "loss": 1.0}
            for epoch, loss in enumerate(losses, 1)
        ]
        return recorder.summary()

    assert "keeps the weights of epoch 4.00, validation 2.000" in summary(3, 2.5, 2.2, 2)
    assert "rose" not in summary(3, 2.5, 2.2, 2, 2.1)
    assert "keeps the weights of epoch 2.00" in summary(3, 2, 2.2, 2.5)
    assert "then the validation loss rose from 2.000 to 2.500 by epoch 4.00" in summary(
        3, 2, 2.2, 2.5
    )


@pytest.mark.parametrize("validation", [0, 0.1])
def test_minutes_may_end_before_the_first_step(
    book: Path, validation: float, capfd: pytest.CaptureFixture[str]
) -> None:
    options = SMALL | {"quiet": False}
    model = textgen.train(book, out="run", minutes=1e-9, validation=validation, **options)
    assert model.run.history()[-1]["step"] == 0
    told = capfd.readouterr().err
    assert "run keeps the weights of epoch 0.00" in told
    assert "rose" not in told


def test_the_seed_decides(book: Path) -> None:
    first, again, other = (
        trained(book, f"run{i}", seed=seed, dropout=0.1, epochs=1)
        for i, seed in enumerate((1, 1, 2))
    )
    assert weights_of(first) == weights_of(again) != weights_of(other)


def test_validation_in_rows_is_that_of_one_pass(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text(make_book(30_000), "utf-8")
    model = textgen.train(book, epochs=1, **SMALL | {"batch_size": 16})
    validation = Recorder(model.run, Trainer(model.run, Workers(), 0.0)).validation
    assert validation is not None
    assert validation.batch_size > 1
    text = book.read_text("utf-8")
    whole = model.evaluate(text[int(0.9 * len(text)) :])
    outcome = model.run.outcome()
    assert outcome["validation_loss"] == pytest.approx(whole.loss, abs=5e-4)
    assert outcome["bits_per_character"] == pytest.approx(whole.bits_per_character, abs=1e-3)


def test_the_best_weights_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    book = tmp_path / "noise.txt"  # nothing to learn, so longer training only overfits
    book.write_text("".join(rng.choice(list("abcdefgh"), 1500)))
    monkeypatch.setattr(plan, "_EVALUATIONS", 12)
    options = SMALL | {"units": 64, "chunk_length": 16}
    model = textgen.train(book, out="long", epochs=40, **options)
    history = model.run.history()
    best = min(entry["validation_loss"] for entry in history)
    assert history[-1]["validation_loss"] > best + 0.1
    kept = model.run.outcome()["validation_loss"]
    assert model.evaluate(book.read_text()[1350:]).loss == pytest.approx(kept, abs=1e-4)
    assert best - 0.1 < kept <= best
    for schedule, first in (("cosine", 0), ("linear", 24)):  # epochs before evaluations count
        early = textgen.train(
            book, out=schedule, epochs=40, patience=3, schedule=schedule, **options
        ).run.history()
        losses = [entry["validation_loss"] for entry in early]
        after = early[losses.index(min(losses)) + 1 :]
        assert sum(entry["epoch"] >= first for entry in after) == 3
        assert early[-1]["epoch"] < 40


def test_minutes_are_kept(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(step=0.001)  # a clock that advances at every call
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    history = Run.open(trained(book, "run", epochs=100_000, minutes=0.1)).history()
    assert 5.5 < history[-1]["seconds"] < 6.02
    assert len(history) > 3
    before = snapshot(Path("run"))
    textgen.train(out="run", resume=True, quiet=True)  # the minutes are over
    assert snapshot(Path("run")) == before
    longer = textgen.train(out="run", resume=True, minutes=0.2, quiet=True).run.history()
    assert longer[: len(history)] == history
    assert 11 < longer[-1]["seconds"] < 12.1


def test_epochs_may_end_before_the_minutes(book: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = trained(book, "run", epochs=2, minutes=60)
    before = snapshot(run)
    textgen.train(out=run, resume=True)
    assert "run is trained to its end, epoch 2; to train it further: textgen train --out run" in (
        told := capfd.readouterr().err
    )
    assert "; 2 epochs are over, before the minutes" in told
    assert snapshot(run) == before


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


def test_stopping_without_validation_keeps_the_current_weights(
    book: Path, signal_at: Callable[..., None]
) -> None:
    signal_at(100)
    with pytest.raises(KeyboardInterrupt):
        trained(book, "run", validation=0)
    run = Run.open("run")
    assert run.history()
    saved = load_file("run/training.safetensors")
    for name, weight in run.weights().items():
        np.testing.assert_array_equal(weight, saved[f"weights/{name}"])


def test_no_validation(book: Path) -> None:
    run = Run.open(trained(book, "run", validation=0, epochs=1))
    assert run.outcome()["validation_loss"] is None
    assert run.outcome()["training_loss"] > 0


def test_a_loss_that_is_no_number_stops_training(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(book, "run", epochs=1)
    before = snapshot(run)
    train = Stepper.train

    def infinite(network: TrainingNetwork) -> dict[str, np.ndarray]:
        return {name: np.full(v.shape, np.inf) for name, v in network.variables.items()}

    broken = {
        Stepper: ("train", lambda *arguments: (float("nan"), *train(*arguments)[1:])),
        TrainingNetwork: ("weights", infinite),
    }
    for owner, (name, replacement) in broken.items():
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, replacement)
            with pytest.raises(TrainingError, match="learning_rate below"):
                textgen.train(out=run, resume=True, epochs=2, quiet=True)
    after = snapshot(run)
    assert after["model.safetensors"] == before["model.safetensors"]
    assert after["training.safetensors"] == before["training.safetensors"]


def test_memory_that_does_not_suffice(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(Stepper, "train", full)
    with pytest.raises(TrainingError, match="not enough memory for LSTM 1x16 with 4 streams"):
        trained(book, "run")


def test_what_a_run_leaves_behind(book: Path) -> None:
    run = trained(book, "run", epochs=1)
    assert {p.name for p in run.iterdir()} == {
        *("config.json", "tokenizer.json", "corpus", "model.safetensors"),
        *("training.safetensors", "metrics.jsonl", "samples.txt", ".lock"),
    }
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["epoch"] == 1
    assert lines[-1]["bits_per_character"] == pytest.approx(
        lines[-1]["validation_loss"] / np.log(2)
    )
    assert (run / "samples.txt").read_text("utf-8").count("epoch ") == len(lines)
    assert {p.name for p in Path().iterdir()} == {"book.txt", "run"}


def test_figures_of_the_steps_before_an_evaluation(model: Model) -> None:
    run = model.run
    history, trainer = run.history(), Trainer(run, Workers(), 0.0)
    assert len(history) > 1
    assert history[-1]["tokens"] == 2 * (trainer.tokens - 1)  # two epochs; the last has no target
    schedule = Schedule(run.settings, trainer.steps_per_epoch)
    for line in history:
        done = schedule.done(line["step"] - 1, 0, 0)
        assert line["learning_rate"] == schedule.learning_rate(line["step"] - 1, done)
        assert 0 < line["gradient_norm"] < 5
        assert line["tokens"] <= line["step"] * 4 * 8  # streams and steps


def test_a_new_run_can_be_resumed_before_its_first_save(book: Path) -> None:
    create("run", [book], TrainingOptions(**{k: v for k, v in SMALL.items() if k != "quiet"}))
    with pytest.raises(RunError, match="no trained weights yet"):
        textgen.load("run")
    assert textgen.train(out="run", resume=True, epochs=1, quiet=True).generate(length=3)
