"""Loss, perplexity and bits per character, compared with an independent computation."""

import math
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers import fabricate

import textgen
from textgen.analysis.evaluation import evaluate
from textgen.analysis.inspection import inspect_texts
from textgen.errors import BookError, RunError, VocabularyError
from textgen.model import Model
from textgen.preprocess.documents import Stretch
from textgen.sampling.network import NumpyNetwork


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_figures_follow_from_the_probability_of_each_token(
    level: str, models: dict[str, Model]
) -> None:
    model = models[level]
    text = "“café!” said the lamp.\nThe goose saw the ferry.\n" * 12
    ids = model.tokenizer.encode(text)
    network = NumpyNetwork(model.run.settings.architecture, model.run.weights())
    states, nats = network.zero_state(1), 0.0
    for token, target in pairwise(ids):
        logits, states = network.step(np.array([token]), states)
        p = np.exp(logits[0].astype(np.float64))
        nats -= math.log(p[target] / p.sum())
    found = evaluate(model.network, model.tokenizer, [Stretch([text], True)])
    assert found.unknown == 0
    assert found.tokens == len(ids) - 1
    assert found.loss == pytest.approx(nats / found.tokens, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(found.loss))
    assert found.characters == len(text) - 1  # the first token is one character
    assert found.bits_per_character == pytest.approx(
        nats / math.log(2) / found.characters, rel=1e-5
    )
    assert model.evaluate(text) == found
    parts = [Stretch([part], False) for part in text.splitlines(keepends=True)]
    assert evaluate(model.network, model.tokenizer, parts).loss == pytest.approx(found.loss)


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_no_text_cannot_be_evaluated(level: str, models: dict[str, Model]) -> None:
    with pytest.raises(BookError, match="nothing to predict"):
        models[level].evaluate()


def test_texts_that_cannot_be_evaluated(model: Model) -> None:
    with pytest.raises(BookError, match="nothing to predict"):
        model.evaluate("T")
    with pytest.raises(BookError, match="nothing to predict"):
        model.evaluate("")
    with pytest.raises(VocabularyError, match="'Ж' is not in the vocabulary"):
        model.evaluate("The Ж", strict=True)
    with pytest.raises(BookError, match="nothing to predict"):
        model.evaluate("Ж")


@pytest.mark.parametrize("level", ["char", "word"])
def test_unknown_tokens_are_charged_for_their_spelling(
    level: str, models: dict[str, Model]
) -> None:
    model = models[level]
    strange = " Ж" if level == "word" else "Ж"
    known = model.evaluate("The lamp saw the goose.")
    found = model.evaluate(f"The lamp{strange} saw the goose.")
    nats = found.bits_per_character * found.characters * math.log(2)
    spelling = model.tokenizer.spelling.cost(strange)
    assert nats == pytest.approx(found.loss * found.tokens + spelling)
    assert found.characters == known.characters + len(strange)
    assert found.unknown == pytest.approx(1 / (found.tokens + (level == "char")))
    if level == "char":  # the network does not read what it does not know
        assert found.loss == known.loss


def test_a_foreign_book_is_not_predicted_well(models: dict[str, Model]) -> None:
    foreign = "道可道，非常道。名可名，非常名。\n" * 20
    for level in ("char", "word"):
        found = models[level].evaluate("The lamp saw the goose.\n" + foreign)
        assert found.bits_per_character > 15
        assert found.unknown > 0.5


def test_fewer_words_do_not_make_a_better_model(tmp_path: Path) -> None:
    # All weights are zero, so each token of a vocabulary of V words costs ln(V) and its spelling.
    words = [f"w{n:03}" for n in range(300)]
    book = tmp_path / "book.txt"
    order = np.random.default_rng(0).choice(words, 6000, p=np.arange(1, 301) / 45150)
    book.write_text(" ".join(order), "utf-8")
    bits = []
    for size in (301, 30, 2):
        run = fabricate(f"run{size}", book, level="word", max_vocabulary=size)
        run.save_weights({name: np.zeros(s, np.float32) for name, s in run.weight_shapes.items()})
        model = textgen.load(run.path)
        found = model.evaluate(" ".join(order[5400:]))  # the validation part
        bits.append(found.bits_per_character)
        nats = found.loss + run.means.spelling_per_token
        expected = nats / math.log(2) / run.means.characters_per_token
        assert found.bits_per_character == pytest.approx(expected, rel=0.002)
        assert found.unknown == pytest.approx(run.means.unknown_per_token, abs=0.002)
    assert bits == sorted(bits)


@pytest.mark.parametrize("level", ["char", "byte"])
def test_the_test_part_is_evaluated_as_a_text(level: str, tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("The café saw the goose. " * 50, "utf-8")
    run = fabricate("run", book, level=level, test=0.2)
    text = run.tokenizer.decode(run.corpus().split(run.settings.reading)[2].ids)
    found, expected = textgen.load("run").evaluate_test(), textgen.load("run").evaluate(text)
    assert found.loss == pytest.approx(expected.loss)
    assert (found.tokens, found.unknown) == (expected.tokens, 0)
    assert found.characters == pytest.approx(expected.characters, abs=1)
    assert found.bits_per_character == pytest.approx(expected.bits_per_character, rel=0.002)


def test_each_document_of_the_test_part_is_read_from_a_zero_state(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("|".join(["The lamp.", "A goose!", "Storms saw the ferry."] * 30), "utf-8")
    run = fabricate("run", book, delimiter="|", test=0.1)
    model, (*_, part) = textgen.load("run"), run.corpus().split(run.settings.reading)
    nats, states = 0.0, model.network.zero_state(1)
    for place, (token, target) in enumerate(pairwise(part.ids)):
        if place in part.documents:
            states = model.network.zero_state(1)
        logits, states = model.network.step(np.array([token]), states)
        p = np.exp(logits[0].astype(np.float64))
        nats -= math.log(p[target] / p.sum())
    assert len(part.documents) > 3
    assert model.evaluate_test().loss == pytest.approx(nats / (len(part) - 1), rel=1e-5)


def test_runs_whose_test_part_cannot_be_evaluated(model: Model, book: Path) -> None:
    with pytest.raises(RunError, match="has no test part; name a text, or train it with test"):
        model.evaluate_test()
    fabricate("one", book, test=0.2)
    shutil.rmtree("one/corpus")
    with pytest.raises(RunError, match="one has no corpus/; copy it from where the run was"):
        textgen.load("one").evaluate_test()


def test_an_ensemble_is_evaluated_on_the_test_part_of_its_runs(book: Path) -> None:
    run = fabricate("one", book, test=0.2)
    fabricate("two", book, seed=1, test=0.2, validation=0.3)
    *_, part = run.corpus().split(run.settings.reading)
    members = [textgen.load(name).network for name in ("one", "two")]
    states, nats = [network.zero_state(1) for network in members], 0.0
    for token, target in pairwise(part.ids):
        mixture = 0.0
        for place, (share, network) in enumerate(zip((0.25, 0.75), members, strict=True)):
            logits, states[place] = network.step(np.array([token]), states[place])
            p = np.exp(logits[0].astype(np.float64))
            mixture += share * p[target] / p.sum()
        nats -= math.log(mixture)
    model = textgen.load("one", "two", weights=[1, 3])
    assert model.evaluate_test().loss == pytest.approx(nats / (len(part) - 1), rel=1e-5)


def test_an_ensemble_with_a_run_that_may_have_read_the_test_part(book: Path) -> None:
    text = book.read_text("utf-8")
    Path("turned.txt").write_text(text[500:] + text[:500], "utf-8")
    fabricate("run", book, test=0.2)
    fabricate("none", book)
    fabricate("less", book, test=0.1)
    fabricate("turned", "turned.txt", test=0.2)
    for other in ("none", "less", "turned"):
        with pytest.raises(RunError, match=f"{other} does not hold out the test part of run; name"):
            textgen.load("run", other).evaluate_test()


def test_texts_that_begin_with_what_has_no_token_of_its_own(models: dict[str, Model]) -> None:
    found = models["word"].evaluate("Zanzibar lamp")
    assert (found.tokens, found.characters) == (1, len(" lamp"))
    assert found.bits_per_character > 0
    with pytest.raises(VocabularyError, match="'Zanzibar' is not in the vocabulary"):
        models["word"].evaluate("Zanzibar lamp", strict=True)
    with pytest.raises(BookError, match="nothing to predict"):
        models["byte"].evaluate("é")


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_what_is_read_is_reported_in_bytes(level: str, book: Path) -> None:
    run = fabricate("run", book, level=level, delimiter=".")
    model, texts = textgen.load(run.path), ["“café!” ☃ said the lamp " * 50, "The goose saw the "]
    size, evaluated, inspected = len("".join(texts).encode()), list[float](), list[float]()
    stretches = [Stretch(texts, True)]
    evaluate(model.network, model.tokenizer, stretches, on_read=evaluated.append)
    inspect_texts(model, texts, on_read=inspected.append)
    for parts in (evaluated, inspected):
        assert sum(parts) == pytest.approx(size)
        assert max(parts) < size
