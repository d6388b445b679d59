"""The training loop: carried state, stopping and resuming, evaluation and early stopping."""

import itertools
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from helpers import SMALL, make_book, snapshot, trained, weights_of
from safetensors.numpy import load_file

import textgen
from textgen.errors import TrainingError
from textgen.model import Model
from textgen.runs.folder import Run
from textgen.training import plan, recorder
from textgen.training.network import TrainingNetwork
from textgen.training.recorder import Recorder
from textgen.training.schedule import Schedule
from textgen.training.step import Stepper
from textgen.training.streams import Batch, Streams
from textgen.training.trainer import Trainer
from textgen.training.workers import Workers


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


def test_a_long_validation_part_is_read_in_pieces_from_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_PIECES", 5)
    monkeypatch.setattr(recorder, "_PIECE_LENGTH", {"char": 400})
    text = make_book(3000)
    start = int(0.9 * len(text))
    middle = (start + len(text)) // 2
    text = text[:middle] + text[middle:][::-1]  # the second half of the part is hard to predict
    book = tmp_path / "book.txt"
    book.write_text(text, "utf-8")
    model = textgen.train(book, epochs=2, **SMALL)
    starts = np.linspace(start, len(text) - 400, 5).astype(int)
    pieces = model.evaluate(*(text[first : first + 400] for first in starts))
    loss = model.run.outcome()["validation_loss"]
    assert loss == pytest.approx(pieces.loss, abs=0.03)
    assert loss > model.evaluate(text[start:middle]).loss + 0.3


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


@pytest.mark.parametrize(("minutes", "fitted"), [(3, False), (7, True)])
def test_time_is_left_for_the_last_evaluation_and_the_temperature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int, fitted: bool
) -> None:
    """On a processor that trains on 100 tokens a second and evaluates 100 in 0.6 seconds.

    A text that is read less than twice needs no temperature, and no time is left for it.
    """
    book = tmp_path / "book.txt"
    book.write_text(make_book(4000), "utf-8")
    clock = [0.0]
    train, loss = Stepper.train, Stepper.loss

    def slow_train(self: Stepper, batch: Batch, *rest: Any) -> Any:
        clock[0] += batch.counts.sum() / 100
        return train(self, batch, *rest)

    def slow_loss(self: Stepper, streams: Streams, chunks: int | None = None) -> float:
        clock[0] += 0.6 * streams.predicted(len(streams) if chunks is None else chunks) / 100
        return loss(self, streams, chunks)

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(Stepper, "train", slow_train)
    monkeypatch.setattr(Stepper, "loss", slow_loss)
    run = Run.open(trained(book, "run", epochs=None, minutes=minutes, validation=0.1))
    assert (run.history()[-1]["epoch"] >= 2) == fitted
    assert (run.outcome()["temperature"] is not None) == fitted
    assert 60 * minutes - 2 < clock[0] < 60 * minutes + 1


def test_epochs_may_end_before_the_minutes(book: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = trained(book, "run", epochs=2, minutes=60)
    before = snapshot(run)
    textgen.train(out=run, resume=True)
    assert "run is trained to its end, epoch 2; to train it further: textgen train --out run" in (
        told := capfd.readouterr().err
    )
    assert "; 2 epochs are over, before the minutes: use the rest for a run with --seed 1" in told
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
