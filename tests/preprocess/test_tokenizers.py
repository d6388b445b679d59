"""Text to ids and back, at all three levels."""

import json
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.errors import VocabularyError
from textgen.preprocess.tokenizers import (
    ByteTokenizer,
    CharacterTokenizer,
    Tokenizer,
    WordTokenizer,
    tokenizer_from_json,
)
from textgen.preprocess.words import word_splitter

prose = st.text(st.sampled_from(string.ascii_letters[:4] + " '’“!-_\n\t\r\u3000é\u0301"))
texts = st.one_of(st.text(), prose)


def tokenizer_for(level: str, text: str) -> Tokenizer:
    """A tokenizer whose vocabulary has all tokens of `text`."""
    if level == "char":
        return CharacterTokenizer("".join(sorted(set(text + "a"))))
    if level == "word":
        return WordTokenizer(sorted(set(word_splitter()(text))))
    return ByteTokenizer()


@pytest.mark.parametrize("level", ["char", "word", "byte"])
@given(text=texts)
def test_decoding_gives_the_text_back(level: str, text: str) -> None:
    tokenizer = tokenizer_for(level, text)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == tokenizer.decode(ids.astype(np.int64)) == text
    assert all(0 <= i < len(tokenizer) for i in ids)
    decode = tokenizer.decoder()
    assert "".join(decode(int(i)) for i in ids) == text
    again = tokenizer_from_json(json.dumps(tokenizer.to_json()))
    assert again.decode(again.encode(text)) == text


@pytest.mark.parametrize("level", ["char", "word", "byte"])
@given(text=st.text(st.sampled_from("lamp é’☃\n\udc80\ud83d")))
def test_pieces_concatenate_to_the_text(level: str, text: str) -> None:
    tokenizer = tokenizer_for(level, "a lamp")
    ids, pieces = tokenizer.pieces(text)
    known, unknown = tokenizer.encode_known(text)
    assert "".join(pieces) == text
    assert len(ids) == len(pieces)
    assert ids[ids >= 0].tolist() == known.tolist()
    assert [pieces[place] for place in tokenizer.unknown_places(ids)] == unknown


def test_the_last_byte_of_a_character_completes_it() -> None:
    assert ByteTokenizer().pieces("aé\udc80")[1] == ["a", "", "é", "", "", "\udc80"]


def test_unknown_words_become_the_unknown_token() -> None:
    tokenizer = WordTokenizer(["The", " lamp"])
    assert tokenizer.encode("The old lamp").tolist() == [1, 0, 2]
    assert tokenizer.unknown == 0
    assert WordTokenizer(["<", "unk", ">"]).encode("<unk>").tolist() == [1, 2, 3]


def test_unknown_characters_are_named() -> None:
    with pytest.raises(VocabularyError, match=r"never seen '☃', 'é'|never seen 'é', '☃'"):
        CharacterTokenizer("abc").encode("a☃bé")
    with pytest.raises(VocabularyError, match=r"'\\x00'"):
        CharacterTokenizer("abc").encode("\0")
    with pytest.raises(VocabularyError, match=r"'\\udc80'"):
        CharacterTokenizer("abc").encode("\udc80")


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert ByteTokenizer().decode([0x61, 0xFF, 0x62]) == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    "damaged",
    [
        "{}",
        "[]",
        "no JSON",
        '{"level": "char", "vocabulary": "ba"}',
        '{"level": "char", "vocabulary": "aa"}',
        '{"level": "char", "vocabulary": ""}',
        '{"level": "char", "vocabulary": ["a"]}',
        '{"level": "word", "vocabulary": ["a", "a"]}',
        '{"level": "word", "vocabulary": ["a", 1]}',
        '{"level": "word", "vocabulary": ["a", ["b"]]}',
        '{"level": "syllable", "vocabulary": "ab"}',
    ],
)
def test_damaged_vocabularies_are_refused(damaged: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        tokenizer_from_json(damaged)
