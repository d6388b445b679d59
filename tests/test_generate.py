"""The generation loop with networks whose next token is known: exact strings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.options import SamplingOptions
from textgen.preprocess.tokenizers import (
    ByteTokenizer,
    CharacterTokenizer,
    Tokenizer,
    WordTokenizer,
)
from textgen.sampling.generate import Generation, prime

ALPHABET = CharacterTokenizer("abcdefghijklmnopqrstuvwxyz")


class Next:
    """A network that always expects the id after the last one; it counts its calls."""

    def __init__(self, vocabulary: int = 26) -> None:
        self.vocabulary = vocabulary
        self.calls: list[list[int]] = []

    def zero_state(self, rows: int) -> int:
        assert rows == 1
        return 0

    def __call__(self, tokens: np.ndarray, state: int) -> tuple[np.ndarray, int]:
        assert state == sum(map(len, self.calls))  # the state given is the one returned last
        self.calls.append(tokens[:, 0].tolist())
        logits = np.zeros((1, self.vocabulary))
        logits[0, (int(tokens[-1, 0]) + 1) % self.vocabulary] = 50
        return logits, state + len(tokens)


class Script(Next):
    """A network that expects a given text, token by token, whatever was drawn."""

    def __init__(self, ids: np.ndarray, vocabulary: int) -> None:
        super().__init__(vocabulary)
        self.ids = ids

    def __call__(self, tokens: np.ndarray, state: int) -> tuple[np.ndarray, int]:
        _, after = super().__call__(tokens, state)
        logits = np.zeros((1, self.vocabulary))
        logits[0, self.ids[(len(self.calls) - 1) % len(self.ids)]] = 50
        return logits, after


def generation(
    network: Next, tokenizer: Tokenizer = ALPHABET, prompt: str = "a", **options: object
) -> Generation:
    rng = np.random.default_rng(0)
    primed = prime(network, tokenizer.encode(prompt))
    return Generation(network, tokenizer, primed, SamplingOptions(**options), rng)


def scripted(text: str, tokenizer: Tokenizer, **options: object) -> Generation:
    ids = tokenizer.encode(text)
    options = {"length": len(ids)} | options
    return generation(Script(ids, len(tokenizer)), tokenizer, text[:1], **options)


def test_the_alphabet() -> None:
    network = Next()
    text = generation(network, prompt="xyz", length=8)
    assert list(text) == list("abcdefgh")
    assert (text.tokens, text.finish_reason) == (8, "length")
    # The prompt goes through in one piece, then each token once, the last never.
    assert network.calls == [[23, 24, 25], *([i] for i in range(7))]


def test_no_length_no_text() -> None:
    text = generation(Next(), length=0)
    assert list(text) == []
    assert list(text) == []  # an iterator that is used up
    assert (text.tokens, text.finish_reason) == (0, "length")


@pytest.mark.parametrize("temperature", [0, 0.5, 1.0])
def test_a_likely_token_is_drawn_at_any_moderate_temperature(temperature: float) -> None:
    assert "".join(generation(Next(), length=5, temperature=temperature)) == "bcdef"


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (("fgh",), "bcde"),
        (("b",), ""),
        (("k", "fgh"), "bcde"),
        (("xyzz",), "bcdefghijk"),
        (("jkl",), "bcdefghijk"),  # begun at the end, but not completed
    ],
)
def test_stops_across_token_borders(stop: tuple[str, ...], expected: str) -> None:
    text = generation(Next(), length=10, stop=stop)
    assert "".join(text) == expected
    assert text.finish_reason == ("length" if len(expected) == 10 else "stop")


def test_a_stop_is_found_after_a_false_start() -> None:
    text = scripted("zaabz", ALPHABET, stop=("ab",))
    assert "".join(text) == "za"
    assert text.finish_reason == "stop"
    assert text.tokens == 4
    assert "".join(scripted("xababac", ALPHABET, stop=("abac",))) == "xab"


def test_a_stop_inside_a_word() -> None:
    words = WordTokenizer(["The", " lamp", " burnt", ".", " low"])
    text = scripted("The lamp burnt low.", words, stop=("mp bu",))
    assert "".join(text) == "The la"


def test_the_earliest_stop_wins() -> None:
    words = WordTokenizer(["The", " lamp", " burnt"])
    assert "".join(scripted("The lamp burnt", words, stop=("rn", "bu"))) == "The lamp "


def test_only_what_may_begin_a_stop_is_held_back() -> None:
    pieces = iter(scripted("xyabq", ALPHABET, stop=("abc",)))
    assert list(pieces) == ["x", "y", "abq"]


@given(
    text=st.text(st.sampled_from("ab"), min_size=1, max_size=30),
    stops=st.lists(st.text(st.sampled_from("ab"), min_size=1, max_size=4), max_size=3),
)
def test_a_text_ends_where_the_first_stop_is_completed(text: str, stops: list[str]) -> None:
    generated = scripted(text, CharacterTokenizer("ab"), stop=tuple(stops))
    ends = [n for n in range(1, len(text) + 1) if any(text[:n].endswith(s) for s in stops)]
    if ends:
        head = text[: ends[0]]
        expected = min((head[: head.find(s)] for s in stops if s in head), key=len)
        assert ("".join(generated), generated.finish_reason) == (expected, "stop")
    else:
        assert ("".join(generated), generated.finish_reason) == (text, "length")


def test_bytes_come_out_as_whole_characters() -> None:
    assert list(scripted("né☃!", ByteTokenizer())) == ["n", "é", "☃", "!"]


def test_the_unknown_token_is_never_drawn() -> None:
    words = WordTokenizer(["one", "two"])
    script = Script(np.array([0]), 3)  # always expects the unknown token
    text = "".join(generation(script, words, "one", length=50, temperature=1.0))
    assert "unk" not in text
    assert {"one", "two"} == {text[i : i + 3] for i in range(0, len(text), 3)}
