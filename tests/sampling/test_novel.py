"""Texts that copy nothing from the book."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from predictable import Bigrams, bigrams, request, texts

from textgen.preprocess.tokenizers import CharacterTokenizer, WordTokenizer
from textgen.sampling.engine import Engine
from textgen.sampling.novel import Guard


@given(
    known=st.lists(st.text(st.sampled_from("ab☃"), max_size=30), min_size=1, max_size=3),
    text=st.text(st.sampled_from("ab☃"), max_size=12),
    pieces=st.lists(st.text(st.sampled_from("ab☃"), max_size=4), max_size=5),
    length=st.integers(2, 6),
)
def test_a_guard_knows_every_stretch(
    known: list[str], text: str, pieces: list[str], length: int
) -> None:
    guard, expected = Guard(known, length), []
    for piece in pieces:
        joined = text + piece
        ends = range(max(length, len(text) + 1), len(joined) + 1)
        expected.append(any(joined[end - length : end] in book for end in ends for book in known))
        assert guard.copies(text, piece) == expected[-1]
    assert guard.copying(text, pieces).tolist() == expected


def test_what_would_copy_is_not_drawn() -> None:
    tokenizer, book = CharacterTokenizer("abcd"), "abcabcabcabd"
    network = Bigrams(np.log(np.full((4, 4), 0.02) + np.roll(np.eye(4), 1, axis=1)))
    for top_k in (None, 1):  # with top-k 1 the only token left may be a copy
        options = {"length": 200, "temperature": 1, "top_k": top_k, "guard": Guard([book], 4)}
        (text,) = texts(network, [0], tokenizer, "a", **options)
        written = "a" + "".join(text)
        assert len(written) == 201
        assert not [i for i in range(198) if written[i : i + 4] in book]
        assert any(written[i : i + 3] in book for i in range(199))


def test_the_novel_texts_of_a_seed() -> None:
    letters = CharacterTokenizer("abcdefgh")
    book = "".join(np.random.default_rng(1).choice(list("abcdefgh"), 400))
    for top_k, expected in (
        (None, ["aefaaaaccfebbbbbhaahaaaaaaafhc", "cbbbbbhccfhgfhccbbbbbbbbbbbbbb"]),
        (2, ["accccfhccfhccfhccfhcccfhccfhcc", "aaaaaaccfhccfhccfhccfhccccfhcc"]),
    ):
        options = {"length": 30, "top_k": top_k, "guard": Guard([book], 3)}
        found = texts(bigrams(3, 8), range(2), letters, "a", **options)
        assert ["".join(text) for text in found] == expected


def test_a_text_ends_where_everything_would_copy() -> None:
    network = Bigrams(np.zeros((2, 2)))
    guard = Guard([a + b + c for a, b, c in product("ab", repeat=3)], 3)
    for text in texts(network, range(3), CharacterTokenizer("ab"), "a", guard=guard):
        assert len("".join(text)) == 1
        assert (text.tokens, text.finish_reason) == (1, "novel")


class CountingGuard(Guard):
    comparisons = 0

    def copies(self, text: str, piece: str) -> bool:
        self.comparisons += 1
        return super().copies(text, piece)


@pytest.mark.parametrize(
    ("banned", "written"), [((), "bbaaaaaaaaaa"), ((2,), "a" * 12), ((1, 2), "")]
)
def test_many_words_that_would_copy_are_compared_at_once(
    banned: tuple[int, ...], written: str
) -> None:
    words = WordTokenizer(["a", "b", *(f"w{number}" for number in range(10_000, 30_000))])
    network = Bigrams(np.broadcast_to(np.zeros(len(words)), (len(words), len(words))))
    guard = CountingGuard(["".join(words.vocabulary[2:]), "bbb", "aab"], 3)
    options = {"length": 12, "banned": (0, *banned), "guard": guard}
    (text,) = texts(network, [0], words, "a", **options)
    assert "".join(text) == written
    assert guard.comparisons < 35 * max(1, len(written))


def test_many_words_that_go_on_from_a_part_of_a_word() -> None:
    """What the prompt has of them is no copy."""
    words = WordTokenizer(["a", "lamp", *(f"la{number}" for number in range(10, 100))])
    logits = np.zeros(len(words))
    logits[2] = -50
    network = Bigrams(np.tile(logits, (len(words), 1)))
    guard = Guard(["la", *(f"a{digit}" for digit in range(10))], 2)
    asked = request(network, words, "a", "la", length=1, guard=guard)
    assert "".join(Engine(network, words).join(asked, np.random.default_rng(0))) == "mp"


def test_the_guard_sees_the_space_that_a_prompt_ends_with() -> None:
    # The token after "The " is " lamp" or " ."; either way the text has the space once.
    words = WordTokenizer(["The", " lamp", " .", "."])
    network = Bigrams(np.zeros((5, 5)))
    for banned, expected in (((0, 1), "lamp"), ((0, 1, 2), "")):
        guard = Guard(["The ."], 5)
        asked = request(network, words, "The", " ", length=1, guard=guard, banned=banned)
        text = Engine(network, words).join(asked, np.random.default_rng(0))
        assert "".join(text) == expected
