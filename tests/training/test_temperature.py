"""The temperature that is fitted to the validation part."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SMALL, make_book, weights_of
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import textgen
from textgen.preprocess.corpus import Corpus
from textgen.runs.files import Arrays
from textgen.runs.folder import Run
from textgen.runs.history import best
from textgen.sampling.filters import log_softmax
from textgen.sampling.network import NumpyNetwork
from textgen.system.signals import Terminated
from textgen.training.streams import Streams
from textgen.training.temperature import TemperatureFit

TOKENS = 20_000


class FixedLogits:
    """Stands for a stepper and its network: the hidden output of each step is its logits."""

    def __init__(self, logits: np.ndarray, targets: np.ndarray) -> None:
        self._logits, self._targets = logits, targets
        self._weights: dict[str, np.ndarray] = {}
        self.network = self

    def assign(self, weights: dict[str, np.ndarray]) -> None:
        self._weights |= weights

    def loss(self, streams: Streams, chunks: int) -> float:
        count = streams.predicted(chunks)
        kernel, bias = self._weights["output.kernel"], self._weights["output.bias"]
        logs = log_softmax(self._logits[:count] @ kernel + bias)
        return -float(logs[np.arange(count), self._targets[:count]].mean())


@given(st.floats(0.85, 1.25), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_temperature_that_a_text_was_drawn_at_is_found(temperature: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (TOKENS, 10)) + np.arange(10) / 5
    noise = rng.gumbel(size=logits.shape)  # the largest sum is a draw from the softmax
    targets = (logits / temperature + noise).argmax(1)
    streams = Streams(Corpus(np.zeros(TOKENS + 1, np.uint8), np.array([0])), 1, 64)
    stepper: Any = FixedLogits(logits, targets)
    kernel, bias = np.eye(10, dtype=np.float32), np.zeros(10, np.float32)
    fit = TemperatureFit(stepper, streams)
    found, loss = fit.fit({"output.kernel": kernel, "output.bias": bias})
    assert found == pytest.approx(temperature, rel=0.04)
    at_drawn = log_softmax(logits / temperature)[np.arange(TOKENS), targets].mean()
    assert loss == pytest.approx(-at_drawn, abs=1e-3)
    assert 3 < fit.passes < 4  # three of 16,384 tokens, one of all


def train(book: Path, out: str) -> Run:
    """Train a network that is less sure than it could be; its last weights are the best."""
    if not book.exists():
        book.write_text(make_book(5000), "utf-8")
    options = SMALL | {"units": 24, "learning_rate": 0.01}
    return textgen.train(book, out=out, epochs=2, **options).run


def losses_at(run: Run, weights: dict[str, np.ndarray], *temperatures: float) -> list[float]:
    """Return the validation loss by NumPy."""
    _, validation, _ = run.corpus().split(run.settings.reading)
    ids = validation.ids.astype(np.int64)
    network = NumpyNetwork(run.settings.architecture, weights)
    hidden, _ = network.forward(ids[:-1, None], network.zero_state(1))
    logits = network.logits(hidden)[:, 0].astype(np.float64)
    return [
        -float(log_softmax(logits / t)[np.arange(len(logits)), ids[1:]].mean())
        for t in temperatures
    ]


def last_weights(run: Run) -> dict[str, np.ndarray]:
    """Return the weights that training goes on from."""
    saved = load_file(run.path / "training.safetensors")
    return {name.removeprefix("weights/"): w for name, w in saved.items() if "weights/" in name}


def test_the_weights_kept_have_the_temperature_that_suits_them(tmp_path: Path) -> None:
    run = train(tmp_path / "long.txt", "run")
    kept, outcome = best(run.history()), run.outcome()
    assert kept == run.history()[-1]
    assert kept["temperature"] == outcome["temperature"] < 0.95
    assert outcome["validation_loss"] == kept["tempered_loss"] < kept["validation_loss"]
    assert outcome["bits_per_character"] == kept["tempered_bits"] < kept["bits_per_character"]
    weights, last = run.weights(), last_weights(run)
    for name, weight in weights.items():
        divisor = kept["temperature"] if name.startswith("output") else 1
        np.testing.assert_allclose(weight * divisor, last[name], rtol=1e-6)
    one, below, above = losses_at(run, weights, 1, 0.9, 1.1)
    assert one == pytest.approx(kept["tempered_loss"], abs=1e-4)
    assert one < min(below, above)
    assert losses_at(run, last, 1)[0] == pytest.approx(kept["validation_loss"], abs=1e-4)


def test_a_training_goes_on_as_if_there_were_no_temperature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tempered = train(tmp_path / "long.txt", "tempered")
    with monkeypatch.context() as patch:
        patch.setattr(TemperatureFit, "fit", lambda *_: (1.1, 99.0))  # it gains nothing
        plain = train(tmp_path / "long.txt", "plain")
    kept = best(plain.history())
    assert (kept["temperature"], kept["tempered_loss"]) == (1, kept["validation_loss"])
    assert plain.outcome()["validation_loss"] == kept["validation_loss"]
    for name, weight in last_weights(plain).items():
        np.testing.assert_array_equal(plain.weights()[name], weight)
    for run in (tempered, plain):
        textgen.train(out=run.path, resume=True, epochs=3, quiet=True)
    assert [e["validation_loss"] for e in tempered.history()] == [
        e["validation_loss"] for e in plain.history()
    ]
    for name, weight in last_weights(plain).items():
        np.testing.assert_array_equal(last_weights(tempered)[name], weight)


@pytest.mark.parametrize("where", [(TemperatureFit, "fit"), (Run, "temper_weights")])
def test_a_run_that_is_stopped_at_its_end_is_tempered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str]
) -> None:
    undisturbed = train(tmp_path / "long.txt", "undisturbed")

    def die(*_: Any) -> None:
        raise Terminated

    with monkeypatch.context() as patch:
        patch.setattr(*where, die)
        with pytest.raises(Terminated):
            train(tmp_path / "long.txt", "run")
    for _ in range(2):
        run = textgen.train(out="run", resume=True, quiet=True).run
        assert weights_of(run.path) == weights_of(undisturbed.path)
        assert best(run.history())["tempered_loss"] == undisturbed.outcome()["validation_loss"]


def test_a_signal_that_comes_while_the_temperature_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = TemperatureFit.fit

    def interrupted(self: TemperatureFit, weights: Arrays) -> tuple[float, float]:
        os.kill(os.getpid(), signal.SIGINT)
        return fit(self, weights)

    monkeypatch.setattr(TemperatureFit, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt, match="stopped; resume with"):
        train(tmp_path / "long.txt", "run")
    assert best(Run.open("run").history())["temperature"] < 0.95


@pytest.mark.parametrize("options", [{"tie": True, "embedding": None}, {"validation": 0.02}])
def test_tied_networks_and_short_validation_parts_have_no_temperature(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    book = tmp_path / "long.txt"
    book.write_text(make_book(5000), "utf-8")
    run = textgen.train(book, epochs=0.2, **SMALL | options).run
    kept = best(run.history())
    assert "temperature" not in kept
    assert run.outcome()["temperature"] is None
    assert run.outcome()["validation_loss"] == kept["validation_loss"]
