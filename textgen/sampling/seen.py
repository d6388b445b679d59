"""Count the tokens that texts already have, for the repetition penalty."""

from collections import deque
from collections.abc import Sequence

import numpy as np

from textgen.preprocess.tokenizers import Ids
from textgen.sampling.filters import Mask


class SeenTokens:
    """The counts of each token in each of several texts, or in their last tokens."""

    def __init__(self, vocabulary_size: int, last: int | None = None) -> None:
        """Start without texts. Count the `last` tokens of each text, or all if it is None."""
        self._last = last
        self._counts = np.zeros((0, vocabulary_size), np.int64)
        self._recent: list[deque[int]] = []  # the tokens counted; empty if all count

    @property
    def mask(self) -> Mask:
        """Whether each token occurs, (B, V)."""
        return self._counts > 0

    def join(self, ids: Ids) -> None:
        """Add a text."""
        ids = ids if self._last is None else ids[-self._last :]
        counts = np.bincount(ids, minlength=self._counts.shape[1])
        self._counts = np.concatenate([self._counts, counts[None]])
        self._recent.append(deque(ids.tolist() if self._last is not None else ()))

    def add(self, tokens: Ids) -> None:
        """Add the next token of each text, (B,)."""
        self._counts[np.arange(len(tokens)), tokens] += 1
        if self._last is None:
            return
        for row, (recent, token) in enumerate(zip(self._recent, tokens.tolist(), strict=True)):
            recent.append(token)
            if len(recent) > self._last:
                self._counts[row, recent.popleft()] -= 1

    def take(self, rows: Sequence[int]) -> None:
        """Keep these texts, which may repeat."""
        self._counts = self._counts[rows]
        self._recent = [self._recent[row].copy() for row in rows]
