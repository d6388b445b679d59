"""The temperature that is fitted to the validation part."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SMALL, make_book
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import textgen
from textgen.preprocess.corpus import Corpus
from textgen.runs.folder import Run
from textgen.runs.history import best
from textgen.sampling.filters import log_softmax
from textgen.sampling.network import NumpyNetwork
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


@pytest.fixture
def trained(tmp_path: Path) -> Run:
    """Return a network that is less sure than it could be; its last weights are the best."""
    book = tmp_path / "book.txt"
    book.write_text(make_book(300), "utf-8")
    options = SMALL | {"units": 48, "learning_rate": 0.01}
    return textgen.train(book, out="run", epochs=6, **options).run


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


def test_the_weights_kept_have_the_temperature_that_suits_them(trained: Run) -> None:
    kept, outcome = best(trained.history()), trained.outcome()
    assert kept == trained.history()[-1]
    assert kept["temperature"] < 0.95
    assert outcome["validation_loss"] == kept["tempered_loss"] < kept["validation_loss"]
    saved = load_file(trained.path / "training.safetensors")
    last = {name.removeprefix("weights/"): w for name, w in saved.items() if "weights/" in name}
    weights = trained.weights()
    for name, weight in weights.items():
        divisor = kept["temperature"] if name.startswith("output") else 1
        np.testing.assert_allclose(weight * divisor, last[name], rtol=1e-6)
    one, below, above = losses_at(trained, weights, 1, 0.95, 1.05)
    assert one == pytest.approx(kept["tempered_loss"], abs=1e-4)
    assert one < min(below, above)
    assert losses_at(trained, last, 1)[0] == pytest.approx(kept["validation_loss"], abs=1e-4)


def test_a_training_that_goes_on_compares_losses_at_temperature_1(trained: Run) -> None:
    before = trained.history()
    textgen.train(out=trained.path, resume=True, quiet=True)
    assert trained.history() == before
    earlier = {"validation_loss": 1.5, "temperature": 1.2, "tempered_loss": 1.3}
    later = {"validation_loss": 1.4}
    assert best([earlier, later]) is later


def test_a_tied_network_has_no_temperature(book: Path) -> None:
    options = SMALL | {"embedding": None, "tie": True}
    run = textgen.train(book, out="tied", epochs=2, **options).run
    kept = best(run.history())
    assert "temperature" not in kept
    assert run.outcome()["validation_loss"] == kept["validation_loss"]


def test_a_temperature_that_gains_nothing_is_not_used(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TemperatureFit, "fit", lambda *_: (1.1, 99.0))
    run = textgen.train(book, out="run", epochs=2, **SMALL).run
    kept = best(run.history())
    assert kept["temperature"] == 1
    assert kept["tempered_loss"] == kept["validation_loss"]
    assert losses_at(run, run.weights(), 1)[0] == pytest.approx(kept["validation_loss"], abs=1e-4)
