"""Ensembles: several runs that generate together."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from helpers import fabricate

import textgen
from textgen.errors import OptionError, RunError
from textgen.model import Model
from textgen.sampling.ensemble import Ensemble
from textgen.sampling.network import NumpyNetwork


@pytest.fixture(scope="session")
def pair(models: dict[str, Model], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two runs with the same vocabulary and different weights."""
    path = models["char"].path
    other = tmp_path_factory.mktemp("pair") / "other"
    return [path, fabricate(other, path.parent / "book.txt", units=(12, 9)).path]


def test_probabilities_are_mixed(pair: list[Path]) -> None:
    networks = [
        NumpyNetwork(m.run.settings.architecture, m.run.weights()) for m in map(textgen.load, pair)
    ]
    mixed = Ensemble(networks, [3, 1])
    ids = np.array([[1, 2], [3, 4], [5, 6]])
    hidden, state = mixed.forward(ids, mixed.zero_state(2))
    logits = mixed.logits(hidden)[-1]
    parts = [(n.logits(h)[-1], s) for n in networks for h, s in [n.forward(ids, n.zero_state(2))]]

    def probabilities(logits: np.ndarray) -> np.ndarray:
        powers = np.exp(logits.astype(np.float64))
        return powers / powers.sum(axis=1, keepdims=True)

    expected = 0.75 * probabilities(parts[0][0]) + 0.25 * probabilities(parts[1][0])
    np.testing.assert_allclose(probabilities(logits), expected, rtol=1e-4, atol=1e-7)
    following, _ = mixed.step(ids[0][::-1], mixed.take(state, [1, 0]))
    swapped = [
        n.step(ids[0][::-1], n.take(s, [1, 0]))[0]
        for n, (_, s) in zip(networks, parts, strict=True)
    ]
    expected = 0.75 * probabilities(swapped[0]) + 0.25 * probabilities(swapped[1])
    np.testing.assert_allclose(probabilities(following), expected, rtol=1e-4, atol=1e-7)
    both = mixed.join([mixed.take(state, [1]), mixed.take(state, [0])])
    np.testing.assert_array_equal(mixed.step(ids[0][::-1], both)[0], following)


def test_runs_write_together(pair: list[Path], command: Callable[..., Result]) -> None:
    one, other = map(textgen.load, pair)
    both = textgen.load(*pair)
    options = {"length": 30, "seed": 1}
    assert textgen.load(*pair, weights=[1, 0]).generate(**options) == one.generate(**options)
    assert textgen.load(*pair, weights=[0, 1]).generate(**options) == other.generate(**options)
    text = "The lamp saw the ferry.\n" * 9
    losses = [model.evaluate(text).loss for model in (one, other)]
    assert both.evaluate(text).loss < np.mean(losses)  # the logarithm is concave
    printed = command("sample", *pair, "--weights", "1,1", "-l", 30, "--seed", 1).stdout
    assert printed == both.generate(**options) + "\n"
    Path("text.txt").write_text(text, "utf-8")
    printed = command("evaluate", *pair, "text.txt", "--weights", "3,1", "--json").stdout
    assert json.loads(printed) == asdict(textgen.load(*pair, weights=[3, 1]).evaluate(text))


def test_runs_that_cannot_be_mixed(models: dict[str, Model], pair: list[Path]) -> None:
    with pytest.raises(RunError, match=r"the vocabulary of .* is not that of"):
        textgen.load(models["char"].path, models["byte"].path)
    for weights in ([1], [1, 2, 3], [0, 0], [-1, 2], [float("nan"), 1]):
        with pytest.raises(OptionError, match="weights must be"):
            textgen.load(*pair, weights=weights)
    with pytest.raises(RunError, match="no run"):
        textgen.load()
