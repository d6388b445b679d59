"""Features of a text that the units of a network may watch, computed from the text alone."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.sampling.generation import SENTENCE_END

Values = NDArray[np.float32]

_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_FARTHEST = 10_000  # characters from a bracket to the one that closes it
_QUOTES = {'"': '"', "“": "”", "„": "“”", "«": "»", "‘": "’"}
_BLANK_LINE = re.compile(r"\n(?=\n)")
_FIRST_LINE = re.compile(r"(?<=\n\n)[^\n]+")
# A short line in title case or capitals, alone or at the top of a paragraph.
_SPEAKER = re.compile(
    r"(?:\A|(?<=\n\n))(?:[^\W\d_a-z][^\n.:!?]{0,30}[:.]|[^\W\d_a-z][^\na-z]{1,30})(?=\n)"
)


class Feature(NamedTuple):
    """Whether something holds after each token of a text, or how much of it there is."""

    name: str
    values: Values  # (tokens,)
    holds: bool  # the values are 0 and 1


def features_of(text: str, lengths: Sequence[int], level: str) -> list[Feature]:
    """Return the features of a text that is divided into tokens of these lengths.

    A feature that is the same everywhere, or the same as another, is left out.
    """
    if not text:
        return []
    ends = np.cumsum(np.asarray(lengths, np.int64))
    last = np.maximum(ends - 1, 0)
    depth = _depth(text)
    after = {
        "inside quotation marks": _inside_quotes(text),
        "inside brackets": np.minimum(depth, 1),
        "depth of brackets": depth,
        "in a speaker's name or a heading": _within(_SPEAKER, text),
        "punctuation": _each(text, _is_punctuation),
        "white space": _each(text, str.isspace),
        "position in the word": _since(_word_starts(text)),
        "position in the line": _since(_starts_after(text, "\n")),
        "in the first line after a blank line": _within(_FIRST_LINE, text),
        "characters since the end of a sentence": _since(_sentence_starts(text)),
    }
    if level == "word":
        del after["position in the word"]
    values = {name: found[last] for name, found in after.items()}
    for name, holds in (("capital letter", str.isupper), ("digit", str.isdigit)):
        before = np.concatenate([[0], np.cumsum(_each(text, holds))])
        values[name] = np.minimum(before[ends] - before[ends - lengths], 1).astype(np.float32)
    features = list[Feature]()
    for name, found in values.items():
        known = any(np.array_equal(found, feature.values) for feature in features)
        if np.ptp(found) and not known:
            features.append(Feature(name, found, bool(np.isin(found, (0, 1)).all())))
    return features


def _each(text: str, holds: Callable[[str], bool]) -> Values:
    """Return whether a condition holds for each character."""
    known = {character: float(holds(character)) for character in set(text)}
    return np.fromiter(map(known.__getitem__, text), np.float32, len(text))


def _is_punctuation(character: str) -> bool:
    return character.isprintable() and not (character.isalnum() or character.isspace())


def _within(pattern: re.Pattern[str], text: str) -> Values:
    """Return whether each character is in a match of a pattern."""
    values = np.zeros(len(text), np.float32)
    for match in pattern.finditer(text):
        values[match.start() : match.end()] = 1
    return values


def _depth(text: str) -> Values:
    """Return how many brackets are open after each character.

    Brackets without a partner, as in a list a), b), do not count.
    """
    change = np.zeros(len(text), np.float32)
    opened = list[tuple[int, str]]()  # places, and what closes them
    for place, character in enumerate(text):
        if character in _BRACKETS:
            opened.append((place, _BRACKETS[character]))
        elif character in ")]}":
            partners = [
                number
                for number, (opening, closer) in enumerate(opened)
                if closer == character and place - opening <= _FARTHEST
            ]
            if partners:
                change[opened[partners[-1]][0]] += 1
                change[place] -= 1
                del opened[partners[-1] :]
    return np.cumsum(change)


def _inside_quotes(text: str) -> Values:
    """Return whether a quotation is open after each character.

    A quotation that is not closed ends with its paragraph: speech of several paragraphs opens each
    of them, and closes the last.
    """
    values = np.zeros(len(text), np.float32)
    start = 0
    for paragraph in _BLANK_LINE.split(text):
        opened = list[tuple[int, str]]()  # places, and what closes them
        for place, character in enumerate(paragraph):
            if opened and character in opened[-1][1]:
                if character != "’" or not paragraph[place + 1 : place + 2].isalpha():
                    opening, _ = opened.pop()
                    values[start + opening : start + place] = 1
            elif character in _QUOTES:
                opened.append((place, _QUOTES[character]))
        if opened:
            values[start + opened[0][0] : start + len(paragraph)] = 1
        start += len(paragraph) + 1
    return values


def _since(starts: NDArray[np.bool_]) -> Values:
    """Return the distance of each character from the last start; 0 everywhere without any."""
    if not starts.any():
        return np.zeros(len(starts), np.float32)
    places = np.arange(len(starts))
    return (places - np.maximum.accumulate(np.where(starts, places, 0))).astype(np.float32)


def _starts_after(text: str, character: str) -> NDArray[np.bool_]:
    """Return whether `character` stands before each place."""
    return np.concatenate([[False], _each(text, character.__eq__)[:-1] > 0])[: len(text)]


def _word_starts(text: str) -> NDArray[np.bool_]:
    """Return whether each character is the first of a word, or not in a word."""
    inside = _each(text, str.isalnum) > 0
    return ~inside | ~np.concatenate([[False], inside[:-1]])[: len(text)]


def _sentence_starts(text: str) -> NDArray[np.bool_]:
    starts = np.zeros(len(text) + 1, np.bool_)
    for pattern in (SENTENCE_END, _BLANK_LINE):
        for match in pattern.finditer(text):
            starts[match.end()] = True
    return starts[:-1]
