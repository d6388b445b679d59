"""Words, punctuation marks and white space, in every script."""

import re
import sys
import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from textgen.preprocess import words
from textgen.preprocess.tokenizers import WordTokenizer
from textgen.preprocess.words import last_border, word_pattern, word_splitter

# Latin, Cyrillic, Devanagari, Thai, Han, Hiragana, emoji; marks, joiners, numbers and white space.
MIXED = "aé'’_ \n\t\x1c.,-“—жहि\u094dกา\u0e48漢ごが\u3099、❤\ufe0f👩\u200d²½٣Ⓐ\u0301\u3000\u203f"
mixed = st.text(st.sampled_from(MIXED), max_size=60)
FLAGS = re.MULTILINE | re.DOTALL  # NLTK's


@given(text=st.text() | mixed)
def test_words_join_to_the_text(text: str) -> None:
    assert "".join(word_splitter()(text)) == text


def test_what_a_word_is() -> None:
    text = "“Don’t stop,” he said -- twice.\n\n  Then\tit rained."
    assert word_splitter()(text) == [
        *("“", "Don’t", " stop", ",", "”", " he", " said", " -", "-", " twice", ".", "\n\n"),
        *(" ", " Then", "\t", "it", " rained", "."),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("漢字かな。カナー", ["漢", "字", "か", "な", "。", "カ", "ナ", "ー"]),
        ("か\u3099 漢 字", ["か\u3099", " 漢", " 字"]),
        ("Das 漢字ist\n字", ["Das", " 漢", "字", "ist", "\n", "字"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("ພາສາ", ["ພ", "າ", "ສ", "າ"]),
        ("ភាសា", ["ភា", "សា"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("한국어 글", ["한국어", " 글"]),
    ],
)
def test_scripts_without_spaces_have_a_token_for_each_character(
    text: str, expected: list[str]
) -> None:
    assert word_splitter()(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("हिन्दी भाषा", ["हिन्दी", " भाषा"]),
        ("cafe\u0301s, e\u0301te\u0301", ["cafe\u0301s", ",", " e\u0301te\u0301"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("за\u0301мок", ["за\u0301мок"]),
        ("m² ½ ٣ Ⓐb", ["m²", " ½", " ٣", " Ⓐb"]),
        ("I ❤\ufe0fyou", ["I", " ❤\ufe0f", "you"]),
        ("a\x1cb", ["a", "\x1c", "b"]),
    ],
)
def test_words_keep_their_marks(text: str, expected: list[str]) -> None:
    assert word_splitter()(text) == expected


@given(text=mixed)
def test_both_engines_find_the_same_tokens(text: str) -> None:
    found = re.compile(word_pattern(), FLAGS).findall(text)
    assert regex.compile(word_pattern(), FLAGS).findall(text) == found


def test_both_engines_agree_on_every_character() -> None:
    # Without the inner parts of the three largest blocks, whose characters are alike.
    codes = [
        *range(0x4E10),
        *range(0x9FF0, 0xAC10),
        *range(0xFA00, 0x20010),
        *range(0xE0000, 0xE0200),
    ]
    known = [chr(c) for c in codes if unicodedata.category(chr(c)) not in ("Cn", "Co")]
    text = "".join(f"a{c}b, {c}\n" for c in known)
    found = re.compile(word_pattern(), FLAGS).findall(text)
    assert "".join(found) == text
    assert regex.compile(word_pattern(), FLAGS).findall(text) == found


def test_every_mark_belongs_to_the_character_before_it() -> None:
    marks = [
        c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c).startswith("M")
    ]
    expected = [token for mark in marks for token in (f"a{mark}b", f" 字{mark}", f"!{mark}", "\n")]
    assert word_splitter()("".join(expected)) == expected


@given(text=mixed, size=st.integers(1, 9))
def test_long_texts_are_split_in_parts(text: str, size: int) -> None:
    expected = word_splitter()(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "_SPLIT_AT_ONCE", size)
        assert word_splitter()(text) == expected


def test_a_text_without_spaces_can_be_cut() -> None:
    assert last_border("漢字" * 50) == 99


def test_vocabularies_of_other_words_are_still_read() -> None:
    tokenizer = WordTokenizer(["日本語", " cafe", "\u0301", "a"])
    assert tokenizer.decode(tokenizer.encode("日本語")) == "日本語"
    assert tokenizer.encode("a cafe a").tolist() == [4, 2, 0]
