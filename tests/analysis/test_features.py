"""Features of a text, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.analysis.features import features_of


def values(name: str, text: str, lengths: list[int] | None = None, level: str = "char") -> str:
    """Return the values of a feature as digits; "" if the feature is left out."""
    lengths = [1] * len(text) if lengths is None else lengths
    found = {feature.name: feature.values for feature in features_of(text, lengths, level)}
    return "".join(str(int(value)) for value in found.get(name, ()))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("inside quotation marks", 'a "b" c', "0011000"),
        ("inside quotation marks", "a “b ‘c’ d” e", "0011111111000"),
        ("inside quotation marks", "‘don’t’ a", "111111000"),
        ("inside quotation marks", "“a\n\n“b” c", "110011000"),  # speech of two paragraphs
        ("inside brackets", "a (b [c] d) e", "0011111111000"),
        ("inside brackets", "a) b) (c", ""),
        ("inside brackets", "(a [b) c", "11111000"),
        ("depth of brackets", "((a)b)c", "1221100"),
        ("depth of brackets", "(a)", ""),  # never deeper than one
        ("in a speaker's name or a heading", "ANN.\nHi.\n\nBOB:\nNo.", "111100000011110000"),
        ("capital letter", "aBÉ1", "0110"),
        ("digit", "a1b22", "01011"),
        ("punctuation", "a, b.", "01001"),
        ("white space", "a b\n", "0101"),
        ("position in the word", "ab, cd", "010001"),
        ("position in the line", "ab\ncd\n", "012012"),
        ("in the first line after a blank line", "a\n\nbc\nd", "0001100"),
        ("characters since the end of a sentence", "A. Bc.", "010123"),
    ],
)
def test_a_feature_is_that_of_the_text(name: str, text: str, expected: str) -> None:
    assert values(name, text) == expected


def test_a_word_has_the_features_of_its_end_and_the_capitals_and_digits_in_it() -> None:
    tokens = ["Ann", " said", " “", "It", " is", " 1st", "”", "."]
    lengths = list(map(len, tokens))
    text = "".join(tokens)
    assert values("inside quotation marks", text, lengths, "word") == "00111100"
    assert values("capital letter", text, lengths, "word") == "10010000"
    assert values("digit", text, lengths, "word") == "00000100"
    assert values("position in the word", text, lengths, "word") == ""


@given(st.text(st.sampled_from('aB1 "“”‘’()[]{}.\n'), max_size=60))
def test_every_token_has_a_value(text: str) -> None:
    found = features_of(text, [1] * len(text), "char")
    for feature in found:
        assert len(feature.values) == len(text)
        assert (feature.values >= 0).all()
        assert np.ptp(feature.values) > 0
        assert feature.holds == set(feature.values.tolist()).issubset({0, 1})
    names = [feature.name for feature in found]
    assert len(names) == len(set(names))
