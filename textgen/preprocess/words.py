"""Split a text into words, punctuation marks and white space."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache

from textgen.errors import BookError

_SPLIT_AT_ONCE = 1 << 18  # characters

# Blocks of scripts that are written without spaces between words, so that each character is a
# token: Thai and Lao, Burmese, Khmer, Chinese and Japanese.
_ALONE = (
    "\u0e01-\u0eff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff"
    "\u2e80-\u2fdf\u3001-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
# NLTK matches with the module `regex` or, in older releases, with `re`. Their \w and \s differ in
# the characters below, so the pattern names them.
_SPACE = r"\s\x1c-\x1f"
_CIRCLED = "\u24b6-\u24e9\U0001f130-\U0001f149\U0001f150-\U0001f169\U0001f170-\U0001f189"
_JOINERS = "\u200c\u200d"
_MARK_CATEGORIES = ("Mn", "Mc", "Me")
_NUMBER_CATEGORIES = ("No", "Pc")
# Common characters that are in none of these categories. It is slow to look for one there.
_COMMON = (
    r"\0-\xb1\u0904-\u0939\u0e01-\u0e30\u0e40-\u0e46\u0e81-\u0eb0\u1000-\u102a\u1780-\u17b3"
    r"\u2010-\u203e\u3001-\u3029\u3041-\u3096\u30a1-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uac00-\ud7a3\uff01-\uff0f"
)
_LATIN_OR_CYRILLIC = r"A-Za-z\xc0-\xd6\xd8-\xf6\xf8-\u024f\u0400-\u0481"
_BREAKS = r"\s!-&(-/:-@\[-^`{-~"  # white space and ASCII's punctuation, except ' and _

# A text up to the last position that is certainly between two tokens: after anything but white
# space, before a character that continues no word.
_UP_TO_BORDER = re.compile(
    rf"(?s).*\S(?=[{_BREAKS}\u3001-\u3029\u3041-\u3096\u30a1-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"，；：？！])"
)


@cache
def word_pattern() -> str:
    """Return a pattern that matches the same tokens with the modules `re` and `regex`.

    A word includes the single space before it, as in GPT-2's tokenizer. Concatenating the tokens
    therefore gives the text, and a space is not a step of its own. Every character matches a
    branch.
    """
    marks = _characters_of(_MARK_CATEGORIES) + _JOINERS
    others = _characters_of(_NUMBER_CATEGORIES) + _CIRCLED
    rare = f"(?=[^{_COMMON}])"
    word = rf"(?:[{_LATIN_OR_CYRILLIC}]+|[^\W{_ALONE}]+|{rare}[{others}{marks}]+)+"
    branches = (
        rf" ?[{_LATIN_OR_CYRILLIC}]{{1,40}}(?=[{_BREAKS}“”—…])",  # as the next branch, but fast
        rf" ?{word}(?:['’]{word})*",
        rf" ?[^{_SPACE}](?:{rare}[{marks}])*",
        r"\n+",
        r" +(?= )",
        rf"[{_SPACE}]",
    )
    return "|".join(branches)


def word_splitter() -> Callable[[str], list[str]]:
    """Return a function that splits a text into words, punctuation marks and white space.

    It raises BookError if that takes too long.
    """
    from nltk.tokenize import RegexpTokenizer  # 0.4 s to import, and only words need it

    tokenize = RegexpTokenizer(word_pattern()).tokenize

    def split(text: str) -> list[str]:
        # NLTK raises an error if one text takes it more than 5 s, so split in parts.
        words, done = list[str](), 0
        try:
            for start in range(0, len(text), _SPLIT_AT_ONCE):
                if border := last_border(text[start : start + _SPLIT_AT_ONCE]):
                    words += tokenize(text[done : start + border])
                    done = start + border
            return words + tokenize(text[done:])
        except TimeoutError:
            raise BookError(
                "splitting a text into words takes too long; try again when the computer is less "
                "busy, or use a network of characters"
            ) from None

    return split


def disable_time_limit() -> None:
    """Disable NLTK's time limit in a process that matches only our patterns.

    Checking the time makes matching three times as slow.
    """
    with suppress(ImportError):  # older releases have no limit
        from nltk import redos

        redos.DEFAULT_TIMEOUT = None


def last_border(text: str) -> int:
    """Return the last position in `text` certainly between two tokens; 0 if there is none."""
    match = _UP_TO_BORDER.match(text)
    return match.end() if match else 0


def _characters_of(categories: Iterable[str]) -> str:
    """Return the ranges of the characters of some categories, for a set in a pattern."""
    ranges: list[tuple[int, int]] = []
    for code in (*range(0x20000), *range(0xE0100, 0xE01F0)):  # other planes have none
        if unicodedata.category(chr(code)) in categories:
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1] = (ranges[-1][0], code)
            else:
                ranges.append((code, code))
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
