"""The generation loop, with networks whose next token is known: expected strings are exact."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from predictable import (
    ALPHABET,
    Bigrams,
    Next,
    Script,
    bigrams,
    generation,
    request,
    scripted,
    texts,
)

from textgen.options.architecture import Architecture
from textgen.preprocess.tokenizers import ByteTokenizer, CharacterTokenizer, WordTokenizer
from textgen.sampling.engine import Engine
from textgen.sampling.generation import Generation
from textgen.sampling.network import NumpyNetwork
from textgen.sampling.novel import Guard
from textgen.sampling.prompt import Request


def test_the_alphabet() -> None:
    network = Next()
    text = generation(network, prompt="xyz", length=8)
    assert list(text) == list("abcdefgh")
    assert (text.tokens, text.finish_reason) == (8, "length")
    # The prompt is read as one block except for its last token. Then each token drawn is read
    # once, except for the last.
    assert network.calls == [[23, 24], [25], *([i] for i in range(7))]


def test_no_length_no_text() -> None:
    text = generation(Next(), length=0)
    assert list(text) == []
    assert list(text) == []  # the iterator stays exhausted
    assert (text.tokens, text.finish_reason) == (0, "length")


@pytest.mark.parametrize("temperature", [0, 0.5, 1.0])
def test_a_likely_token_is_drawn_at_any_moderate_temperature(temperature: float) -> None:
    assert "".join(generation(Next(), length=5, temperature=temperature)) == "bcdef"


def test_bytes_come_out_as_whole_characters() -> None:
    assert list(scripted("né☃!", ByteTokenizer())) == ["n", "é", "☃", "!"]


def test_the_unknown_token_is_never_drawn() -> None:
    words = WordTokenizer(["one", "two"])
    script = Script(np.array([0]), 3)  # always expects the unknown token
    text = "".join(generation(script, words, "one", length=50, temperature=1.0))
    assert "unk" not in text
    assert {"one", "two"} == {text[i : i + 3] for i in range(0, len(text), 3)}


def test_texts_written_side_by_side_are_those_written_alone() -> None:
    tokenizer = CharacterTokenizer("abcd")
    options = {"length": 40, "temperature": 1.5, "stop": ("dd", "bca"), "repetition_penalty": 1.3}
    network = bigrams()
    together = texts(network, range(5), tokenizer, **options)
    found = [("".join(text), text.tokens, text.finish_reason) for text in together]
    # A text that has ended takes no part in later steps.
    assert network.steps[1] == 5
    assert network.steps[-1] < 5
    assert sorted(network.steps[1:], reverse=True) == network.steps[1:]
    for row, expected in enumerate(found):
        (alone,) = texts(bigrams(), [row], tokenizer, **options)
        assert ("".join(alone), alone.tokens, alone.finish_reason) == expected
    assert len({text for text, _, _ in found}) > 1


def numpy_network(cell: str = "lstm", units: tuple[int, ...] = (24, 16)) -> NumpyNetwork:
    """Return a network with random weights, large enough for its logits to differ."""
    architecture = Architecture(cell, units, 8, False)
    rng = np.random.default_rng(1)
    shapes = architecture.weight_shapes(len(ALPHABET)).items()
    weights = {name: rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes}
    return NumpyNetwork(architecture, weights)


def various_requests(network: NumpyNetwork, count: int, exact: bool) -> list[Request]:
    """Return requests that differ in prompt, length and every option."""
    rng, every = np.random.default_rng(2), []
    for number in range(count):
        prompt = "".join(rng.choice(list(ALPHABET.vocabulary), size=1 + 37 * (number % 20)))
        options: dict[str, Any] = {"length": 20 + number}
        options["temperature"] = ["0.5,1.5", 0, 1, 1.3, "1.2:0.4"][number % 5]
        options |= [{}, {"top_k": 7}, {"top_p": 0.8}, {"min_p": 0.1}][number % 4]
        options |= [{}, {"stop": ("ab", "q")}, {"repetition_penalty": 1.4}][number % 3]
        options |= [{}, {"guard": Guard([prompt * 2], 3)}][number % 7 == 0]
        options |= [{}, {"banned": (3, 4)}][number % 11 == 0]
        every.append(request(network, ALPHABET, prompt, exact=exact, **options))
    return every


def text_and_figures(text: Generation) -> tuple[str, int, str | None, list[float]]:
    return "".join(text), text.tokens, text.finish_reason, text.log_probabilities


@pytest.mark.parametrize("cell", ["lstm", "gru", "cifg"])
def test_64_requests_alone_and_together_give_the_same_texts(cell: str) -> None:
    network = numpy_network(cell)

    def rng(number: int) -> np.random.Generator:
        return np.random.default_rng([5, number])

    alone = [
        text_and_figures(Engine(network, ALPHABET).join(asked, rng(number)))
        for number, asked in enumerate(various_requests(network, 64, exact=False))
    ]
    engine = Engine(network, ALPHABET)
    together = []
    for number, asked in enumerate(various_requests(network, 64, exact=True)):
        together.append(engine.join(asked, rng(number)))
        # Inexact requests, at other positions in their texts, share the batch.
        engine.join(various_requests(network, number % 5 + 1, exact=False)[-1], rng(number))
        for _ in range(number % 4):
            engine.step()
    assert [text_and_figures(text) for text in together] == alone
    assert len({text for text, *_ in alone}) > 60


def test_texts_join_and_leave_between_steps() -> None:
    network, tokenizer = bigrams(), CharacterTokenizer("abcd")
    engine = Engine(network, tokenizer)
    options = {"length": 9, "temperature": 1.5}

    def join(row: int, **more: Any) -> Generation:
        asked = request(network, tokenizer, "a", **options | more)
        return engine.join(asked, np.random.default_rng([7, row]))

    first = join(0)
    begun = next(first) + next(first)
    second, third = join(1, top_k=3), join(2, length=2)
    found = [begun + "".join(first), "".join(second), "".join(third)]
    # A prompt is read in a step of one row. All three texts then share a step.
    assert network.steps[:2] == [1, 1]
    assert sorted(network.steps)[-1] == 3
    expected = [
        "".join(texts(bigrams(), [0], tokenizer, **options)[0]),
        "".join(texts(bigrams(), [1], tokenizer, **options | {"top_k": 3})[0]),
        "".join(texts(bigrams(), [2], tokenizer, **options | {"length": 2})[0]),
    ]
    assert found == expected


def test_a_text_that_is_ended_from_outside_frees_its_row() -> None:
    network, tokenizer = bigrams(), CharacterTokenizer("abcd")
    engine = Engine(network, tokenizer)
    asked = request(network, tokenizer, "a", length=50)
    one, other, waiting = (engine.join(asked, np.random.default_rng(row)) for row in range(3))
    next(one)
    assert network.steps[-1] == 3
    other.end("cancelled")
    next(one)
    assert network.steps[-1] == 2
    late = engine.join(request(network, tokenizer, "ab" * 300, length=50), np.random.default_rng(4))
    late.end("cancelled")  # before its prompt is read
    rest = "".join(one)
    assert max(network.steps[-40:]) == 2
    assert len(rest) == 48
    assert len("".join(waiting)) == 50
    assert "".join(late) == ""


def test_a_long_prompt_does_not_hold_others_up() -> None:
    network = bigrams(vocabulary=26)
    engine = Engine(network, ALPHABET)
    short = engine.join(request(network, ALPHABET, "a", length=40), np.random.default_rng(0))
    next(short)
    long = engine.join(request(network, ALPHABET, "ab" * 2000, length=5), np.random.default_rng(1))
    also_short = engine.join(request(network, ALPHABET, "b", length=3), np.random.default_rng(2))
    assert "".join(also_short)  # though it came later
    before = short.tokens
    assert before < 10
    next(long)
    assert before + 10 < short.tokens < 40  # 4,000 tokens are 16 blocks, read one per step


def test_texts_may_be_read_in_any_order_and_in_part() -> None:
    tokenizer = CharacterTokenizer("abcd")
    plain = ["".join(t) for t in texts(bigrams(), range(3), tokenizer, length=9)]
    first, second, third = texts(bigrams(), range(3), tokenizer, length=9)
    begun = next(second)
    assert "".join(third) == plain[2]
    assert begun + "".join(second) == plain[1]
    assert "".join(first) == plain[0]


def test_log_probabilities_are_the_networks_own() -> None:
    network = bigrams()
    (text,) = texts(network, [0], CharacterTokenizer("abcd"), length=6, temperature=0.3, top_k=2)
    ids = [0, *("abcd".index(c) for c in "".join(text))]
    table = np.exp(network.table) / np.exp(network.table).sum(axis=1, keepdims=True)
    expected = [np.log(table[a, b]) for a, b in pairwise(ids)]
    np.testing.assert_allclose(text.log_probabilities, expected)


@pytest.mark.parametrize("stop", ["efg", ("yy", "e")])
def test_log_probabilities_are_those_of_the_text_that_is_returned(stop: str) -> None:
    text = generation(Next(), length=20, stop=stop)
    assert "".join(text) == "bcd"
    assert len(text.log_probabilities) == 3 < text.tokens


def test_a_word_that_is_cut_in_two_keeps_its_log_probability() -> None:
    tokenizer = WordTokenizer(["The", " lamp", " saw", "."])
    text = scripted("The lamp saw.", tokenizer, stop="mp", banned=())
    assert "".join(text) == "The la"
    assert len(text.log_probabilities) == 2


def test_a_sentence_has_the_log_probabilities_up_to_its_end() -> None:
    tokenizer = CharacterTokenizer(" .abcd")
    text = scripted("ab. cd. ab", tokenizer, length=2, until_sentence=True)
    assert "".join(text) == "ab."
    assert len(text.log_probabilities) == 3 < text.tokens


@pytest.mark.parametrize(
    ("last", "expected"),
    [(None, "bcdaaaaa"), (3, "bcdabcda"), (1, "babababa"), (99, "bcdaaaaa")],
)
def test_the_repetition_penalty_sees_so_many_tokens_back(last: int | None, expected: str) -> None:
    # All tokens not seen are equally likely; of these the lowest id is drawn.
    (text,) = texts(
        Bigrams(np.ones((4, 4))),
        [0],
        CharacterTokenizer("abcd"),
        temperature=0,
        repetition_penalty=2,
        repeat_last_n=last,
        length=8,
    )
    assert "".join(text) == expected


def test_a_seed_gives_the_same_text_everywhere() -> None:
    # Recorded texts: the draws of a seed must not depend on the platform or on versions.
    tokenizer = CharacterTokenizer("abcd")
    network = Bigrams(np.log([[1, 2, 3, 4], [4, 1, 2, 3], [3, 4, 1, 2], [2, 3, 4, 1.0]]))
    found = ["".join(t) for t in texts(network, range(2), tokenizer, length=40, temperature=1)]
    assert found == [
        "dccacdadcbabacbcdcbdbadaacbdcbbaabcacada",
        "dabacbdbacaaddcbacadbcacaacabaddadcbabcb",
    ]
