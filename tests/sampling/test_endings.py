"""A text ends at a stop text, or with a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from predictable import ALPHABET, Next, generation, scripted

from textgen.preprocess.tokenizers import CharacterTokenizer, WordTokenizer

LETTERS = CharacterTokenizer(" .abcd")


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (("fgh",), "bcde"),
        (("b",), ""),
        (("k", "fgh"), "bcde"),
        (("xyzz",), "bcdefghijk"),
        (("jkl",), "bcdefghijk"),  # starts at the end, but is not completed
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


@pytest.mark.parametrize(
    ("text", "length", "expected", "reason"),
    [
        ("abc. dab. cab.", 2, "abc.", "sentence"),
        ("abc. dab. cab.", 4, "abc.", "sentence"),  # ends exactly at the length
        ("abc. dab. cab.", 5, "abc.", "sentence"),
        ("abc. dab. cab.", 6, "abc. dab.", "sentence"),
        ("ab.cd. d", 3, "ab.cd.", "sentence"),  # a period inside a word ends no sentence
        ("abcdabcd. ", 3, "abcdab", "length"),  # at most twice the length
        ("abcd", 2, "abcd", "length"),
    ],
)
def test_until_the_sentence_ends(text: str, length: int, expected: str, reason: str) -> None:
    generated = scripted(text, LETTERS, length=length, until_sentence=True)
    assert ("".join(generated), generated.finish_reason) == (expected, reason)


def test_sentences_of_scripts_without_spaces() -> None:
    tokenizer = CharacterTokenizer("。」日本")
    generated = scripted("日本。」本日", tokenizer, length=1, until_sentence=True)
    assert ("".join(generated), generated.finish_reason) == ("日本", "length")
    generated = scripted("日本。」本日", tokenizer, length=3, until_sentence=True)
    assert ("".join(generated), generated.finish_reason) == ("日本。」", "sentence")


def test_a_word_brings_its_own_space() -> None:
    words = WordTokenizer(["One", " two", ".", " It", " is", "\n"])
    generated = scripted("One two. It is.\nOne", words, length=4, until_sentence=True)
    assert "".join(generated) == "One two. It is."


def test_what_a_stop_holds_back_ends_no_sentence_too_soon() -> None:
    generated = scripted("a. abc d.", LETTERS, length=4, until_sentence=True, stop=(". abd",))
    assert "".join(generated) == "a. abc d"


def test_quotation_marks_belong_to_the_sentence() -> None:
    tokenizer = CharacterTokenizer(" !.ab”")
    assert "".join(scripted("a!” b.", tokenizer, length=1, until_sentence=True)) == "a!"
    assert "".join(scripted("a!” b.", tokenizer, length=2, until_sentence=True)) == "a!”"
