"""What a network makes of a text, compared with Keras, with `evaluate` and with hand-made units."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import fabricate, make_book
from markov import Chain

import textgen
from textgen.analysis.inspection import InspectedText
from textgen.errors import BookError, OptionError, RunError
from textgen.model import Model
from textgen.options.architecture import as_lstm
from textgen.runs.folder import Run


def inspected(run: Run, *texts: str, units: int = 3) -> InspectedText:
    return textgen.load(run.path).inspect(*texts, units=units)


@pytest.mark.parametrize("cell", ["lstm", "gru", "cifg"])
def test_predictions_and_states_are_those_of_keras(book: Path, cell: str) -> None:
    import keras

    run = fabricate("run", book, cell=cell, units=(12, 8), embedding=6)
    weights, text = run.weights(), make_book()[:200]
    ids = run.tokenizer.encode(text)
    layer_type: Any = keras.layers.GRU if cell == "gru" else keras.layers.LSTM
    layers = [layer_type(units, return_sequences=True) for units in (12, 8)]
    x = keras.ops.convert_to_tensor(weights["embedding"][ids][None])
    hidden = []
    for number, layer in enumerate(layers):
        layer.build(x.shape)
        parts = ("kernel", "recurrent_kernel", "bias")
        own = [weights[f"layers.{number}.{part}"] for part in parts]
        layer.set_weights([as_lstm(w, np.concatenate) for w in own] if cell == "cifg" else own)
        x = layer(x)
        hidden.append(np.asarray(x)[0])
    logits = hidden[-1] @ weights["output.kernel"] + weights["output.bias"]
    expected = np.asarray(keras.ops.softmax(logits[:-1]))

    found = inspected(run, text)
    own = expected[np.arange(len(ids) - 1), ids[1:]]
    assert np.isnan(found.bits[0])
    np.testing.assert_allclose(found.bits[1:], -np.log2(own), atol=1e-4)
    np.testing.assert_array_equal(found.ranks, [0, *(expected > own[:, None]).sum(1) + 1])
    np.testing.assert_allclose(found.probabilities[1:], -np.sort(-expected)[:, :5], atol=1e-4)
    np.testing.assert_array_equal(found.guesses[1:, 0], expected.argmax(1))
    for unit, shades in found.units.beginning.items():
        if unit.part == "h":
            activations = hidden[unit.layer - 1][:, unit.unit]
            np.testing.assert_allclose(shades / 127, activations, atol=0.5 / 127 + 1e-4)


@pytest.mark.parametrize("beginning", ["", "é", "☃", "Zebras "])
@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_the_figures_are_those_of_evaluate(
    models: dict[str, Model], level: str, beginning: str
) -> None:
    model, text = models[level], beginning + make_book()[:500] + "Zebras ☃ éat."
    found = model.inspect(text)
    assert "".join(found.tokens) == text
    expected = model.evaluate(text)
    for name in ("tokens", "characters", "unknown"):
        assert getattr(found.evaluation, name) == getattr(expected, name)
    assert found.evaluation.loss == pytest.approx(expected.loss, rel=1e-5)
    bits = found.evaluation.bits_per_character * found.evaluation.characters
    assert bits == pytest.approx(np.nansum(found.bits), rel=1e-5)


def test_documents_are_read_apart(book: Path) -> None:
    run = fabricate("run", book, delimiter="\n\n")
    texts = "The cat ran.", "A dog ☃ sat", "Ann said no."
    together = inspected(run, *texts)
    assert together.documents == [0, 12, 23]
    apart = [inspected(run, text) for text in texts]
    np.testing.assert_allclose(together.bits, np.concatenate([found.bits for found in apart]))
    assert together.evaluation.tokens == textgen.load("run").evaluate(*texts).tokens


def test_a_character_outside_the_vocabulary_is_not_read(book: Path) -> None:
    run = fabricate("run", book)
    with_it, without = inspected(run, "The ☃cat sat"), inspected(run, "The cat sat")
    assert with_it.bits[4] == pytest.approx(run.tokenizer.spelling.cost("☃") / np.log(2))
    assert (with_it.ranks[4], with_it.probabilities[4].sum()) == (0, 0)
    for figures in ("bits", "ranks", "guesses", "probabilities"):
        rest = np.delete(getattr(with_it, figures), 4, axis=0)
        np.testing.assert_array_equal(rest, getattr(without, figures))
    for unit, shades in with_it.units.beginning.items():
        assert shades[4] == shades[3]  # the state is that of the character before
        np.testing.assert_array_equal(np.delete(shades, 4), without.units.beginning[unit])


def brackets(seed: int, length: int) -> str:
    """Return a text of words, some of them in nested brackets."""
    rng, parts, depth = np.random.default_rng(seed), list[str](), 0
    for _ in range(length):
        draw = rng.random()
        if draw < 0.15 and depth < 3:
            parts.append("(")
            depth += 1
        elif draw < 0.3 and depth:
            parts.append(")")
            depth -= 1
        else:
            parts.append(rng.choice(["a ", "bc ", "ab "]))
    return "".join(parts) + ")" * depth


def counting(out: str, text: str) -> Run:
    """Create a run in which unit 5 counts open brackets; the others are random."""
    Path("brackets.txt").write_text(text, "utf-8")
    run = fabricate(out, "brackets.txt", units=8, embedding=len(set(text)))
    weights, unit = run.weights(), 5
    weights["embedding"] = np.eye(len(run.tokenizer), dtype=np.float32)
    i, f, c, o = (gate * 8 + unit for gate in range(4))
    for gate in (i, f, c, o):
        weights["layers.0.kernel"][:, gate] = weights["layers.0.recurrent_kernel"][:, gate] = 0
        weights["layers.0.bias"][gate] = 0 if gate == c else 30
    for character, change in (("(", 0.3), (")", -0.3)):
        weights["layers.0.kernel"][run.tokenizer.encode(character)[0], c] = change
    run.save_weights(weights)
    return run


def test_a_planted_unit_is_found_and_judged_on_the_other_half() -> None:
    text = brackets(0, 600)
    found = inspected(counting("run", text), text, units=2)
    features = {feature.name: feature for feature in found.units.features}
    depth = features["depth of brackets"].best[0]
    assert (depth.unit.layer, depth.unit.unit) == (1, 5)
    assert abs(depth.correlation) > 0.95
    inside = features["inside brackets"]
    assert inside.best[0].unit[:2] == (1, 5)
    assert len({match.unit[:2] for match in inside.best}) == 2

    # The correlations are those of each half.
    half = len(text) // 2
    values = np.cumsum([(c == "(") - (c == ")") for c in text])
    shades = found.units.shades[depth.unit].astype(np.float64)
    for correlation, part in (
        (depth.ranked_by, slice(half)),
        (depth.correlation, slice(half, None)),
    ):
        expected = np.corrcoef(shades[part], values[part])[0, 1]
        assert correlation == pytest.approx(expected, abs=0.01)  # shades are rounded
    assert inside.share == pytest.approx(np.mean(values > 0))


@pytest.mark.parametrize(("cell", "sigmoids"), [("lstm", "ifo"), ("gru", "zr"), ("cifg", "fo")])
def test_gates_are_counted(book: Path, cell: str, sigmoids: str) -> None:
    run = fabricate("run", book, cell=cell)
    text = make_book()[:400]
    network, ids = textgen.load("run").network, run.tokenizer.encode(text)
    (trace,), _ = network.trace(ids[:, None], network.zero_state(1))
    (saturation,) = inspected(run, text).units.saturation
    assert set(saturation.low) == set(sigmoids)
    for gate in saturation.low:
        np.testing.assert_allclose(saturation.low[gate], (trace.gates[gate] < 0.1).mean((0, 1)))
        np.testing.assert_allclose(saturation.high[gate], (trace.gates[gate] > 0.9).mean((0, 1)))


def test_the_worth_of_memory_is_the_loss_from_a_zero_state(book: Path) -> None:
    run = fabricate("run", book)
    text = make_book()[:45]
    network, ids, found = (
        textgen.load("run").network,
        run.tokenizer.encode(text),
        inspected(run, text),
    )
    assert found.memory is not None
    carried = found.bits * np.log(2)
    assert found.memory.carried == pytest.approx(np.nanmean(carried))
    # All places that have room for 20 tokens are read. A length of 7 stands for 6 to 8.
    for length, near in ((1, [1]), (3, [3]), (7, [6, 7, 8])):
        differences = []
        for n in near:
            for start in range(len(text) - 20):
                state = network.zero_state(1)
                for token in ids[start : start + n]:
                    logits, state = network.step(np.array([token]), state)
                loss = np.logaddexp.reduce(logits[0]) - logits[0, ids[start + n]]
                differences.append(loss - carried[start + n])
        place = found.memory.lengths.index(length)
        assert found.memory.samples[place] == len(differences)
        assert found.memory.losses[place] == pytest.approx(
            found.memory.carried + np.mean(differences), abs=1e-4
        )
    assert max(found.memory.lengths) == 20
    assert inspected(run, text[:20]).memory is None


def test_copies_of_the_training_text_are_found(model: Model) -> None:
    found = model.inspect("Zzz. " + make_book()[100:160] + " zzz.").copying
    assert not isinstance(found, str)
    assert make_book()[100:160] in found.text.longest[0].text
    shares = [share.copied for share in found.generated]
    assert shares[0] >= shares[-1]
    assert all(0 <= share <= 1 for share in shares)


def test_a_run_without_its_corpus_is_inspected_without_copies(run: Path) -> None:
    (run / "corpus").rename("elsewhere")
    found = textgen.load(run).inspect(make_book()[:100])
    assert isinstance(found.copying, str)
    assert "has no corpus" in found.copying


def test_authors_judge_the_texts_as_one() -> None:
    austen, byron = Chain(" abc", 0), Chain(" abc", 1)
    runs = [chain.run(name) for chain, name in ((austen, "austen"), (byron, "byron"))]
    authors = textgen.authors(*(run.path for run in runs))
    texts = austen.text(600) + "☃", byron.text(900)
    found = textgen.load("austen").inspect(*texts, authors=authors)
    assert found.authors == authors.judge("".join(texts))
    assert found.to_json()["authors"] == asdict(found.authors)
    assert textgen.load("austen").inspect(*texts).to_json()["authors"] is None
    with pytest.raises(BookError, match="12 characters is too short to tell its author"):
        textgen.load("austen").inspect("abc", " cab abc ", authors=authors)


def test_what_cannot_be_inspected(book: Path) -> None:
    run = fabricate("run", book)
    model = textgen.load("run")
    for texts in ((), ("",), ("T",), ("☃☃",)):
        with pytest.raises(BookError, match="leaves nothing to predict"):
            model.inspect(*texts)
    with pytest.raises(OptionError, match="units must be a whole number, at least 1"):
        model.inspect("The cat", units=0)
    with pytest.raises(RunError, match="only one network can be inspected"):
        textgen.load(run.path, run.path).inspect("The cat")
