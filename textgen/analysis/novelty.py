"""Novelty: how much of a text is copied from the text that a model was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgen.preprocess.tokenizers import utf8

# These bytes never occur in UTF-8, so no match spans them.
_TEXT_END, _AFTER, _BETWEEN = b"\xfd", b"\xfe", b"\xff"
LONGEST_COMPARABLE = 10_000_000
"""Characters of a training text to compare with. Each million takes about 0.2 s and 15 MB."""

_CONTEXT = 200  # characters of the source before and after a passage


@dataclass(frozen=True)
class Passage:
    """A passage of a text that also occurs in a source. Positions are in characters.

    `before` and `after` are up to 200 characters of the source around the passage.
    """

    text: str
    position: int
    source: str
    source_position: int
    before: str
    after: str


@dataclass(frozen=True)
class Novelty:
    """The share of characters that are copied, and the longest copied passages, longest first."""

    characters: int
    copied: float
    longest: list[Passage]


def find_copies(
    text: str, sources: Sequence[tuple[str, str]], least: int = 20, most: int = 10
) -> Novelty:
    """Find the passages of `text` that occur verbatim in one of `sources`, (name, text) each.

    Args:
        least: the minimum length of a copied passage, in characters.
        most: the maximum number of passages to return, longest first; they do not overlap.

    Memory use is linear, and time almost linear, in the total length of all texts. The method
    is a suffix array (Manber and Myers, 1990) with the longest common prefixes of neighbouring
    suffixes (Kasai et al., 2001).
    """
    return find_copies_in_each([text], sources, least, most)[0]


def find_copies_in_each(
    texts: Sequence[str], sources: Sequence[tuple[str, str]], least: int = 20, most: int = 10
) -> list[Novelty]:
    """Find copies in several texts as `find_copies` does, in about the time of one."""
    encoded = [utf8(text) for text in texts]
    corpus = [utf8(content) for _, content in sources]
    lengths, places = _longest_matches(_TEXT_END.join(encoded), _BETWEEN.join(corpus))
    borders = np.cumsum([len(text) + 1 for text in encoded])[:-1]
    return [
        _novelty_of(*each, sources, corpus, least, most)
        for each in zip(
            texts, encoded, np.split(lengths, borders), np.split(places, borders), strict=True
        )
    ]


def _novelty_of(
    text: str,
    encoded: bytes,
    lengths: NDArray[np.int64],
    places: NDArray[np.int64],
    sources: Sequence[tuple[str, str]],
    corpus: Sequence[bytes],
    least: int,
    most: int,
) -> Novelty:
    """Return the copies of a text, from the longest match at each byte of it."""
    # Matches start at every byte. Keep those at characters, with lengths in characters.
    starts = _starts(encoded)
    lengths, places = lengths[: len(encoded)], places[: len(encoded)]
    ends = np.flatnonzero(starts) + lengths[starts]
    index = np.concatenate([[0], np.cumsum(starts)])
    cut = np.append(~starts, False)[ends]  # the match ends inside a character
    lengths = index[ends] - cut - np.arange(len(text))
    places = places[starts]

    counts = np.zeros(len(text) + 1, np.int64)
    copying = np.flatnonzero(lengths >= least)
    np.add.at(counts, copying, 1)
    np.add.at(counts, copying + lengths[copying], -1)
    copied = np.cumsum(counts[:-1]) > 0

    longest: list[Passage] = []
    taken = np.zeros(len(text), np.bool_)
    for start in copying[np.argsort(-lengths[copying], kind="stable")].tolist():
        if len(longest) == most:
            break
        stop = start + int(lengths[start])
        # Passages taken before are not shorter, so checking both ends finds every overlap.
        if not taken[start] and not taken[stop - 1]:
            taken[start:stop] = True
            source, first = _place(int(places[start]), corpus)
            name, content = sources[source]
            last = first + stop - start
            before, after = (
                content[max(first - _CONTEXT, 0) : first],
                content[last : last + _CONTEXT],
            )
            longest.append(Passage(text[start:stop], start, name, first, before, after))
    return Novelty(len(text), float(copied.mean()) if len(text) else 0.0, longest)


def _longest_matches(text: bytes, corpus: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the length and place of the longest match in `corpus` at each byte of `text`."""
    from pydivsufsort import divsufsort, kasai  # takes 0.1 s to import

    size = len(text)
    joined = np.frombuffer(text + _AFTER + corpus, np.uint8).copy()
    order = divsufsort(joined)
    common = kasai(joined, order)  # length of the prefix shared with the next suffix; ends with 0
    ours = np.flatnonzero(order <= size)
    lengths, places = np.zeros(size + 1, np.int64), np.zeros(size + 1, np.int64)
    # In sorted order, the best match is the nearest suffix of the corpus, before or after.
    for step in (-1, 1):
        away = ours[::-step]  # in the order of their distances, in each stretch of neighbours
        begins = np.abs(np.diff(away, prepend=-2)) != 1
        stretch = np.cumsum(begins) - 1
        # The length shared with the suffix of the corpus is a running minimum. Moving each
        # stretch below the one before restarts the minimum.
        below = stretch * (len(joined) + 1)
        least = np.minimum.accumulate(common[away + min(step, 0)] - below) + below
        nearest = (away[begins] + step)[stretch]
        suffixes = order[away]
        better = least > lengths[suffixes]
        lengths[suffixes[better]] = least[better]
        places[suffixes[better]] = order[nearest[better]] - size - 1
    return lengths[:size], places[:size]


def _place(position: int, corpus: Sequence[bytes]) -> tuple[int, int]:
    """Return the number of the source at a byte of the joined corpus, and the character in it."""
    for number, content in enumerate(corpus):
        if position < len(content):
            return number, int(_starts(content[:position]).sum())
        position -= len(content) + len(_BETWEEN)
    raise IndexError(position)


def _starts(encoded: bytes) -> NDArray[np.bool_]:
    """Return whether each byte of UTF-8 starts a character."""
    return np.frombuffer(encoded, np.uint8) & 0xC0 != 0x80
