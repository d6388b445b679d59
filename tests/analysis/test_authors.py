"""Who wrote a text: losses of extracts, calibration, passages, and what cannot be judged."""

import math
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import fabricate, make_book
from hypothesis import given
from hypothesis import strategies as st
from markov import Chain

import textgen
from textgen.analysis.calibration import AuthorCalibration, Losses
from textgen.analysis.extracts import Extract, spans_of, validation_extracts
from textgen.analysis.reading import character_losses
from textgen.errors import BookError, OptionError, RunError, TextgenError
from textgen.model import Model
from textgen.runs.folder import Run
from textgen.sampling.filters import log_softmax
from textgen.sampling.sampler import Sampler

CHAINS = [Chain(" abc", seed) for seed in range(3)]
NAMES = ["austen", "byron", "carroll"]
TEXTS = [chain.text(4000) for chain in CHAINS]


@pytest.fixture
def chains(once: Callable[[str, Callable[[Path], Any]], Path]) -> list[str]:
    """Return runs with the same alphabet whose networks have the probabilities of `CHAINS`."""

    def make(folder: Path) -> None:
        for chain, name in zip(CHAINS, NAMES, strict=True):
            chain.run(folder / name)

    folder = once("chains", make)
    for name in NAMES:
        shutil.copytree(folder / name, name)
    return NAMES


def losses_one_by_one(sampler: Sampler, context: str, text: str) -> list[float]:
    """Return what each character costs, by single steps of the network."""
    tokenizer, network = sampler.tokenizer, sampler.network
    losses, place = [0.0] * len(text), -len(context)
    begin = sampler.opening().tolist() if tokenizer.end is None else [tokenizer.end]
    state, logits = network.zero_state(1), np.empty(0)
    for token in begin:
        logits, state = network.step(np.array([token]), state)
    for token, part in zip(*tokenizer.pieces(context + text), strict=True):
        cost = 0.0
        if token in (-1, tokenizer.unknown):
            cost += tokenizer.spelling.cost(part)
        if token >= 0:
            cost -= float(log_softmax(logits.astype(np.float64))[0, token])
            logits, state = network.step(np.array([token]), state)
        if place >= 0:
            losses[place] += cost
        place += len(part)
    return losses


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_losses_are_those_of_single_steps(models: dict[str, Model], level: str) -> None:
    extracts = [
        Extract("The lamp saw ", "the ferry. The ß goose"),
        Extract("", "“café!” said the storm.\n"),
        Extract("ß", "x"),
    ]
    found = character_losses(models[level], extracts)
    for (context, text, _), losses in zip(extracts, found, strict=True):
        assert losses == pytest.approx(losses_one_by_one(models[level], context, text), abs=1e-4)


def test_losses_of_documents_begin_at_the_end_token(book: Path) -> None:
    run = fabricate("letters", book, delimiter=".")
    assert run.tokenizer.end is not None
    sampler = Sampler([run])
    (losses,) = character_losses(sampler, [Extract("", "The lamp")])
    assert losses == pytest.approx(losses_one_by_one(sampler, "", "The lamp"), abs=1e-4)


def synthetic_losses(
    rng: np.random.Generator, author: int, means: Losses, gap: float, length: int
) -> Losses:
    """Return independent normal losses of all networks, (R, n); the author's are lower."""
    own = gap * (np.arange(len(means)) == author)
    return rng.normal((means - own)[:, None], 1.0, (len(means), length))


def test_calibration_finds_the_probabilities_of_a_known_distribution() -> None:
    rng, means, gap = np.random.default_rng(0), np.array([2.0, 2.3, 1.9]), 0.2
    known = [[synthetic_losses(rng, k, means, gap, 16_000)] for k in range(3)]
    calibration = AuthorCalibration(known)
    for length in (20, 125, 300):
        lengths = np.full(300, length)
        losses = np.array(
            [synthetic_losses(rng, k % 3, means, gap, length).mean(1) for k in range(300)]
        )
        # By Bayes's rule, for normal losses of variance 1.
        logits = -length * gap * (losses - means)
        exact = np.exp(log_softmax(logits))
        doubt = 1 / 5  # from 3 passages
        expected = (1 - doubt) * exact + doubt / 3
        assert np.abs(calibration.probabilities(losses, lengths) - expected).mean() < 0.02


def test_authors_with_much_text_are_not_likelier() -> None:
    rng, means = np.random.default_rng(1), np.zeros(2)
    known = [
        [synthetic_losses(rng, k, means, 0.05, 1000) for _ in range(count)]
        for k, count in enumerate((30, 6))
    ]
    even = np.zeros((1, 2))
    p = AuthorCalibration(known).probabilities(even, np.array([500]))
    assert p[0] == pytest.approx([0.5, 0.5], abs=0.15)


@pytest.mark.parametrize("passages", [1, 8])
def test_certainty_is_bounded_by_the_number_of_known_passages(passages: int) -> None:
    losses = np.repeat([[1.0], [3.0]], 1000, 1)
    calibration = AuthorCalibration([[losses] * passages, [losses[::-1]] * passages])
    p = calibration.probabilities(np.array([[1.0, 3.0]]), np.array([10**6]))
    doubt = 1 / (2 * passages + 2)
    assert p[0] == pytest.approx([1 - doubt / 2, doubt / 2], abs=1e-3)


def test_networks_that_do_not_differ_tell_nothing() -> None:
    losses = np.ones((3, 1000))
    p = AuthorCalibration([[losses]] * 3).probabilities(np.ones((1, 3)), np.array([100]))
    assert p[0] == pytest.approx([1 / 3] * 3)


@given(st.text("ab. \n", min_size=50, max_size=3000), st.integers(50, 400))
def test_spans_divide_a_text(text: str, length: int) -> None:
    spans = spans_of(text, length)
    assert "".join(text[start:stop] for start, stop in spans) == text
    if len(text) >= length:
        assert all(length / 3 < stop - start < 2.3 * length for start, stop in spans)


def test_spans_stop_at_paragraphs_then_sentences_then_words() -> None:
    text = "a" * 90 + "\n\n" + "b" * 100 + ". c " + "d" * 95 + " e" + "f" * 107
    assert len(text) == 400
    assert [text[:stop][-4:] for _, stop in spans_of(text, 100)] == [
        "aa\n\n",
        "bb. ",
        "ddd ",
        "ffff",
    ]


def test_spans_of_a_long_text_are_spread_evenly() -> None:
    spans = spans_of("x" * 1_000_000, 1000)
    assert len(spans) == 200
    assert spans[0] == (0, 1000)
    assert spans[-1] == (999_000, 1_000_000)
    assert set(np.diff([start for start, _ in spans]).tolist()) == {5000, 6000}


def test_extracts_are_the_validation_part() -> None:
    text = make_book(9000)
    Path("book.txt").write_text(text, "utf-8")
    run = fabricate("run", "book.txt", validation=0.1)
    end = text[int(0.9 * len(text)) :]
    assert 2000 < len(end) < 3000
    first, last = validation_extracts(run, 10, 50)
    assert first.text == end[:1000]
    assert first.context == text[-len(end) - 200 : -len(end)]
    assert last == Extract(text[-1200:-1000], text[-1000:])


@pytest.mark.parametrize("test", [0.0, 0.1])
@pytest.mark.parametrize("shift", range(10))
def test_bytes_are_not_cut_inside_a_character(test: float, shift: int) -> None:
    text = "b" * shift + "é☃a😀" * 5000
    Path("book.txt").write_text(text, "utf-8")
    run = fabricate("run", "book.txt", level="byte", test=test)
    for each in validation_extracts(run, 10, 50):
        assert each.context + each.text in text
        assert len(each.text) == pytest.approx(1000, abs=2)


def test_documents_in_an_extract_stand_apart() -> None:
    Path("poems.txt").write_text("lamp\ngoose\n###\n" * 60)
    run = fabricate("poems", "poems.txt", delimiter="###")
    (only,) = validation_extracts(run, 10, 50)
    assert "goose\n\nlamp\ngoose\n\nlamp" in only.text


def test_probabilities_are_close_to_those_of_bayes(chains: list[str]) -> None:
    texts = [text[start : start + 60] for text in TEXTS for start in range(0, 3000, 60)]
    losses = np.array([[chain.loss(text) for chain in CHAINS] for text in texts])
    exact = np.exp(log_softmax(-losses))
    found = textgen.authors(*chains).judge_all(texts)
    doubt = 1 / (2 + 3 * 2)  # two passages of 1,000 characters of each author are known
    expected = (1 - doubt) * exact + doubt / 3
    difference = np.array([each.probabilities for each in found]) - expected
    assert np.abs(difference).mean() < 0.03
    bits = np.array([each.bits_per_character for each in found])
    assert bits == pytest.approx(losses / 60 / math.log(2), rel=1e-4)


def test_a_long_text_is_as_certain_as_what_is_known(chains: list[str]) -> None:
    authors = textgen.authors(*chains)
    for right, text in enumerate(TEXTS):
        found = authors.judge(text)
        likeliest = found.probabilities.pop(right)
        assert likeliest == pytest.approx(1 - 1 / 8 * 2 / 3, abs=1e-3)
        assert found.probabilities == pytest.approx([1 / 24] * 2, abs=1e-3)
        assert found.names == chains
        assert found.characters == 4000


def test_own_bits_are_those_of_the_validation_parts(chains: list[str]) -> None:
    found = textgen.authors(*chains).judge(TEXTS[0])
    for name, chain, bits in zip(chains, CHAINS, found.own_bits_per_character, strict=True):
        run = Run.open(name)
        validation = run.corpus().split(run.settings.reading)[1].ids
        assert len(validation) == 2000
        text = run.tokenizer.decode(validation)
        assert bits == pytest.approx(chain.loss(text) / math.log(2) / 2000, abs=0.002)


def predicting_by_chance(level: str, validation: str) -> str:
    """Create a run whose network gives each token a fixed probability; return its name."""
    training = "lamp" + " ferry goose  storm lamp" * 400
    Path(f"{level}.txt").write_text(training + validation)
    if level == "word":  # each token but the first begins with a space
        known, held_out = 1 + training.count(" "), validation.count(" ")
    else:
        known, held_out = len(training), len(validation)
    share = (held_out - 0.5) / (known + held_out)
    run = fabricate(f"{level}s", f"{level}.txt", level=level, validation=share)
    weights = {name: np.zeros(shape, np.float32) for name, shape in run.weight_shapes.items()}
    weights["output.bias"] = np.random.default_rng(0).normal(size=len(run.tokenizer))
    run.save_weights({name: weight.astype(np.float32) for name, weight in weights.items()})
    return run.path.name


def test_words_that_a_run_does_not_know_count_for_no_network() -> None:
    plain = " ferry goose  storm lamp" * 12
    strange = plain.replace(" storm", " zebra storm")
    others = [predicting_by_chance(level, plain) for level in ("char", "byte")]
    judged = []
    for validation in (plain, strange):
        runs = [predicting_by_chance("word", validation), *others]
        found = textgen.authors(*runs).judge(" ferry lamp  storm goose" * 10)
        own = [
            textgen.load(run).evaluate("p" + text).bits_per_character  # "p" is not predicted
            for run, text in zip(runs, (validation, plain, plain), strict=True)
        ]
        assert found.own_bits_per_character == pytest.approx(own, rel=1e-5)
        judged.append(found.probabilities)
    assert judged[1] == pytest.approx(judged[0], rel=1e-5)


def test_two_hands_are_found_where_they_meet(chains: list[str]) -> None:
    text = TEXTS[0][:2998] + "\n\n" + TEXTS[2][:2000]
    found = textgen.authors(*chains).judge(text, passage=500)
    starts = [each.start for each in found.passages]
    assert starts[1:] == [each.start + each.length for each in found.passages[:-1]]
    assert len(starts) == 10
    assert 3000 in starts
    for each in found.passages:
        assert np.argmax(each.probabilities) == (2 if each.start >= 3000 else 0)
    lengths = [each.length for each in found.passages]
    every = [each.probabilities for each in found.passages]
    assert found.shares == pytest.approx(np.average(every, axis=0, weights=lengths))
    assert found.shares == pytest.approx([0.57, 0.04, 0.39], abs=0.02)


@pytest.mark.parametrize("level", ["char", "word"])
def test_vocabularies_and_levels_may_differ(level: str) -> None:
    Path("latin.txt").write_text(make_book(2000), "utf-8")
    russian = make_book(2000).translate({65 + i: 0x410 + i for i in range(58)})
    Path("cyrillic.txt").write_text(russian, "utf-8")
    fabricate("latin", "latin.txt", level="char")
    fabricate("cyrillic", "cyrillic.txt", level=level)
    authors = textgen.authors("latin", "cyrillic")
    assert np.argmax(authors.judge(make_book(90, seed=3)).probabilities) == 0
    assert np.argmax(authors.judge(russian[:500]).probabilities) == 1


def test_several_texts_are_judged_as_each_alone(chains: list[str]) -> None:
    authors, texts = textgen.authors(*chains), [TEXTS[0], TEXTS[1][3:80], TEXTS[2][:99] + "?"]
    for together, text in zip(authors.judge_all(texts, 100), texts, strict=True):
        alone = asdict(authors.judge(text, 100))
        for name, value in asdict(together).items():
            if name != "passages":
                assert value == pytest.approx(alone[name]) if name != "names" else True
        assert [each.start for each in together.passages] == [
            each["start"] for each in alone["passages"]
        ]


def test_only_the_beginning_of_a_long_file_is_judged(
    chains: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textgen.analysis.authors._LONGEST_FILE", 80)
    Path("long.txt").write_text(TEXTS[0])
    found = textgen.authors(*chains).judge_file("long.txt")
    assert (found.characters, found.left_out) == (80, 3920)
    assert found.passages[0].length == 80


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (["one/book", "two/book"], ["one/book", "two/book"]),
        (["one/book", "byron"], ["book", "byron"]),
    ],
)
def test_runs_of_the_same_name_are_told_apart_by_their_paths(
    chains: list[str], runs: list[str], names: list[str]
) -> None:
    for folder in ("one", "two"):
        shutil.copytree("austen", Path(folder) / "book")
    assert textgen.authors(*runs).judge(TEXTS[0][:99]).names == names


def without_corpus() -> None:
    shutil.rmtree("austen/corpus")


def without_validation() -> None:
    Path("lamp.txt").write_text(TEXTS[0])
    fabricate("austen", "lamp.txt", validation=0)


def with_little_text() -> None:
    Path("lamp.txt").write_text(TEXTS[0][:280])
    fabricate("austen", "lamp.txt")


def with_damaged_weights() -> None:
    Path("austen/model.safetensors").write_bytes(b"damaged")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_corpus, "austen has no corpus/; copy it from where"),
        (without_validation, "austen has no validation part to calibrate with; train it"),
        (with_little_text, "validation part of austen has only 28 characters, too few"),
        (with_damaged_weights, "austen/model.safetensors is damaged"),
    ],
)
def test_a_run_that_cannot_be_used_is_named(
    chains: list[str], change: Callable[[], None], message: str
) -> None:
    change()
    with pytest.raises(RunError, match=message):
        textgen.authors(*chains)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "name two runs or more"),
        (["austen"], "name two runs or more"),
        (["austen", "byron", "./austen"], "austen is named twice"),
        (["austen", "none"], "none is not a run"),
    ],
)
def test_there_must_be_two_different_runs(chains: list[str], runs: list[str], message: str) -> None:
    with pytest.raises(RunError, match=message):
        textgen.authors(*runs)


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ("", {}, BookError, "a text of 0 characters is too short to tell its author"),
        ("lamp", {}, BookError, "a text of 4 characters is too short .* give at least 50"),
        (TEXTS[0], {"passage": 49}, OptionError, "passage must be a whole number, at least 50"),
    ],
)
def test_a_text_that_cannot_be_judged(
    chains: list[str],
    text: str,
    options: dict[str, Any],
    error: type[TextgenError],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        textgen.authors(*chains).judge(text, **options)
