"""Novelty: how much of a text is copied from the text that a model was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgen.preprocess.tokenizers import utf8

_AFTER, _BETWEEN = b"\xfe", b"\xff"  # are not in UTF-8, so no match lies across them


@dataclass(frozen=True)
class Passage:
    """A passage of a text that a source has, too; positions are in characters."""

    text: str
    position: int
    source: str
    source_position: int


@dataclass(frozen=True)
class Novelty:
    """What is copied: a share of the characters, and the longest passages, the longest first."""

    characters: int
    copied: float
    longest: list[Passage]


def find_copies(
    text: str, sources: Sequence[tuple[str, str]], least: int = 20, most: int = 10
) -> Novelty:
    """Find the passages of `text` that one of `sources`, (name, text) each, has word for word.

    Args:
        least: the length, in characters, from which a passage counts as copied.
        most: how many of the longest passages to return; they do not overlap.

    Takes time and memory linear in the length of all texts together: a suffix array (Manber and
    Myers, 1990) and the longest common prefixes of neighbouring suffixes (Kasai et al., 2001).
    """
    encoded = utf8(text)
    corpus = [(name, utf8(content)) for name, content in sources]
    lengths, places = _longest_matches(encoded, _BETWEEN.join(content for _, content in corpus))
    # Both are in bytes; convert them to characters.
    starts = _starts(encoded)
    ends = np.flatnonzero(starts) + lengths[starts]
    index = np.concatenate([[0], np.cumsum(starts)])
    cut = np.append(~starts, False)[ends]  # only a part of the last character matches
    lengths = index[ends] - cut - np.arange(len(text))
    places = places[starts]

    counts = np.zeros(len(text) + 1, np.int64)
    copying = np.flatnonzero(lengths >= least)
    np.add.at(counts, copying, 1)
    np.add.at(counts, copying + lengths[copying], -1)
    copied = np.cumsum(counts[:-1]) > 0

    longest: list[tuple[int, int]] = []
    taken = np.zeros(len(text), np.bool_)
    for start in copying[np.argsort(-lengths[copying], kind="stable")]:
        if len(longest) == most:
            break
        stop = start + lengths[start]
        if not taken[start] and not taken[stop - 1]:  # those taken are at least as long
            taken[start:stop] = True
            longest.append((int(start), int(stop)))
    return Novelty(
        characters=len(text),
        copied=float(copied.mean()) if len(text) else 0.0,
        longest=[
            Passage(text[start:stop], start, *_place(int(places[start]), corpus))
            for start, stop in longest
        ],
    )


def _longest_matches(text: bytes, corpus: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the longest match in `corpus` from each byte of `text` on: its length and place."""
    from pydivsufsort import divsufsort, kasai  # takes 0.1 s to import

    size = len(text)
    joined = np.frombuffer(text + _AFTER + corpus, np.uint8).copy()
    order = divsufsort(joined).astype(np.int64)
    # The length of the prefix that each suffix shares with the one before it.
    common = np.concatenate([[0], kasai(joined, order)[:-1]]).astype(np.int64)
    lengths, places = np.zeros(size, np.int64), np.zeros(size, np.int64)
    # In the order of the suffixes, the best match is the nearest suffix of the corpus on one side.
    for suffixes, shared in ((order, common), (order[::-1], np.append(common[1:], 0)[::-1])):
        theirs = suffixes > size
        # The minimum of what is shared since the last suffix of the corpus. It starts anew for
        # each stretch between such suffixes, as each is moved below the one before.
        stretch = np.cumsum(np.concatenate([[False], theirs[:-1]])) * -(len(joined) + 1)
        least = np.minimum.accumulate(shared + stretch) - stretch
        last = np.maximum.accumulate(np.where(theirs, np.arange(len(joined)), -1))
        ours = np.flatnonzero((suffixes < size) & (last >= 0))
        better = ours[least[ours] > lengths[suffixes[ours]]]
        lengths[suffixes[better]] = least[better]
        places[suffixes[better]] = suffixes[last[better]] - size - 1
    return lengths, places


def _place(position: int, corpus: Sequence[tuple[str, bytes]]) -> tuple[str, int]:
    """Return the name of the source at a byte of all of them, and the character in it."""
    for name, content in corpus:
        if position < len(content):
            return name, int(_starts(content[:position]).sum())
        position -= len(content) + len(_BETWEEN)
    raise IndexError(position)


def _starts(encoded: bytes) -> NDArray[np.bool_]:
    """Return whether a character begins at each byte of UTF-8."""
    return np.frombuffer(encoded, np.uint8) & 0xC0 != 0x80
