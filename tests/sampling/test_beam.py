"""Beam search, compared with all texts there are."""

from itertools import pairwise, product
from typing import Any

import numpy as np
from predictable import bigrams, request, texts

from textgen.preprocess.tokenizers import CharacterTokenizer, Tokenizer, WordTokenizer
from textgen.sampling.beam import Hypothesis
from textgen.sampling.engine import Engine
from textgen.sampling.prompt import Request


def found_by_beam(network: Any, tokenizer: Tokenizer, asked: Request) -> list[Hypothesis]:
    engine = Engine(network, tokenizer)
    beam = engine.search(asked)
    while not beam.finished:
        engine.step()
    return beam.found


def exhaustive(table: np.ndarray, length: int, temperature: float) -> list[tuple[int, ...]]:
    """Return all texts that follow token 0, likeliest first."""
    scaled = np.exp(table / temperature)
    logs = np.log(scaled / scaled.sum(axis=1, keepdims=True))

    def score(text: tuple[int, ...]) -> float:
        return sum(float(logs[a, b]) for a, b in pairwise((0, *text)))

    return sorted(product(range(len(table)), repeat=length), key=score, reverse=True)


def test_a_wide_beam_finds_the_likeliest_texts() -> None:
    network, tokenizer = bigrams(3), CharacterTokenizer("abcd")
    asked = request(network, tokenizer, "a", beam=4**3, length=4, temperature=0.7)
    found = [text.tokens for text in found_by_beam(network, tokenizer, asked)]
    assert found[:10] == exhaustive(network.table, 4, 0.7)[:10]


def test_a_beam_of_one_is_greedy() -> None:
    network, tokenizer = bigrams(5), CharacterTokenizer("abcd")
    asked = request(network, tokenizer, "a", beam=1, length=20)
    (found,) = found_by_beam(network, tokenizer, asked)
    (greedy,) = texts(network, [0], tokenizer, length=20, temperature=0)
    assert tokenizer.decode(found.tokens) == "".join(greedy)
    np.testing.assert_allclose(found.log_probabilities, greedy.log_probabilities)


def test_a_beam_heeds_the_repetition_penalty() -> None:
    options = {"length": 12, "repetition_penalty": 3, "repeat_last_n": 2}
    network, tokenizer = bigrams(5), CharacterTokenizer("abcd")
    (found,) = found_by_beam(
        network, tokenizer, request(network, tokenizer, "a", beam=1, **options)
    )
    (greedy,) = texts(network, [0], tokenizer, temperature=0, **options)
    assert tokenizer.decode(found.tokens) == "".join(greedy)


def test_a_beam_ends_at_a_stop_that_begins_in_the_prompt() -> None:
    words = WordTokenizer(["The", " lamp", " burnt"])

    def found(**options: Any) -> list[Hypothesis]:
        network = bigrams()
        return found_by_beam(network, words, request(network, words, "The", " ", beam=8, **options))

    followed = found(length=2, stop=(" lamp", "lamp"))
    assert {text.ended for text in followed if text.tokens[0] == 2} == {True}
    # The space before the word belongs to the prompt.
    assert not any(text.ended for text in found(length=1, stop=(" lamp",)))


def test_beams_end_at_stops_and_never_hold_what_is_banned() -> None:
    network, tokenizer = bigrams(3), CharacterTokenizer("abcd")
    asked = request(network, tokenizer, "a", beam=6, length=9, stop=("c",), banned=(1,))
    for text in found_by_beam(network, tokenizer, asked):
        written = tokenizer.decode(text.tokens)
        assert "b" not in written
        assert text.ended == ("c" in written)
        assert "c" not in written[:-1]
        assert text.ended or len(written) == 9


def test_a_beam_is_searched_beside_other_texts() -> None:
    tokenizer = CharacterTokenizer("abcd")
    network = bigrams(3)
    asked = request(network, tokenizer, "a", beam=5, length=6, temperature=0.7)
    alone = found_by_beam(network, tokenizer, asked)
    engine = Engine(network, tokenizer)
    before = engine.join(request(network, tokenizer, "b", length=9), np.random.default_rng(0))
    beam = engine.search(request(network, tokenizer, "a", beam=5, length=6, temperature=0.7))
    after = engine.join(request(network, tokenizer, "c", length=12), np.random.default_rng(1))
    while not beam.finished:
        engine.step()
    assert beam.found == alone
    assert (len("".join(before)), len("".join(after))) == (9, 12)
