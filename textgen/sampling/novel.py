"""Novel text: find out whether a passage is copied from the training text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.preprocess.tokenizers import code_points

_BASE = 0x9E3779B97F4A7C15  # odd, so that multiplying by it is invertible


class Guard:
    """A set of all substrings of `length` characters of some texts, as 64-bit hashes.

    A hash collision only rules out one extra token.
    """

    def __init__(self, texts: Sequence[str], length: int) -> None:
        self.length = length
        self._known = np.concatenate([_hashes(code_points(text), length) for text in texts])
        self._known.sort()

    def tail(self, text: str) -> str:
        """Return the end of `text` that can still be part of a copy."""
        return text[-(self.length - 1) :]

    def copies(self, text: str, piece: str) -> bool:
        """Return whether `piece`, appended to `text`, completes a known substring."""
        found = _hashes(code_points(self.tail(text) + piece), self.length)
        return bool(self._knows(found).any())

    def copying(self, text: str, pieces: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of `pieces`, appended to `text`, would complete one, (pieces,)."""
        joined = [self.tail(text) + piece for piece in pieces]
        owners = np.repeat(np.arange(len(pieces)), list(map(len, joined)))
        found = self._knows(_hashes(code_points("".join(joined)), self.length))
        firsts, lasts = owners[: len(found)], owners[self.length - 1 :]
        copying = np.zeros(len(pieces), np.bool_)
        copying[firsts[found & (firsts == lasts)]] = True
        return copying

    def _knows(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        if not len(self._known):
            return np.zeros(len(hashes), np.bool_)
        places = np.minimum(np.searchsorted(self._known, hashes), len(self._known) - 1)
        return self._known[places] == hashes


def _hashes(codes: NDArray[Any], length: int) -> NDArray[np.uint64]:
    """Return the polynomial hash, modulo 2 ** 64, of every substring of `length` code points.

    The hash of a substring is computed from those of its two halves, down to single characters.
    """
    if len(codes) < length:
        return np.empty(0, np.uint64)
    if length == 1:
        return codes.astype(np.uint64) + np.uint64(1)
    half = length // 2
    front = _hashes(codes, half)
    back = front if length == 2 * half else _hashes(codes, length - half)
    factor = np.uint64(pow(_BASE, length - half, 1 << 64))
    count = len(codes) - length + 1
    return front[:count] * factor + back[half : half + count]
