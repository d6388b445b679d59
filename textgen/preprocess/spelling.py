"""What it costs to spell a token that is not in a vocabulary."""

import math
from collections import Counter
from collections.abc import Iterable

_CODE_POINTS = 0x110000  # of Unicode
_BORDER = ""  # stands before and after a token


class Spelling:
    """Bigrams of the characters of a vocabulary's tokens, each token counted once.

    A network gives the unknown token one probability, whichever token it stands for. To predict a
    text exactly, the token must be spelled as well. Bigrams are interpolated with the frequencies
    of characters, and these with all of Unicode, by the method of Witten and Bell (1991). So every
    token can be spelled, and the probabilities of all tokens add up to 1.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._pairs: Counter[tuple[str, str]] = Counter()
        for token in tokens:
            self._pairs.update(zip([_BORDER, *token], [*token, _BORDER], strict=True))
        self._before: Counter[str] = Counter()  # how often a character stands before another
        self._followers: Counter[str] = Counter()  # how many different ones follow it
        self._singles: Counter[str] = Counter()
        for (before, after), count in self._pairs.items():
            self._before[before] += count
            self._followers[before] += 1
            self._singles[after] += count
        self._total = sum(self._singles.values())

    def cost(self, token: str) -> float:
        """Return the negative log-probability of a token, in nats."""
        steps = zip([_BORDER, *token], [*token, _BORDER], strict=True)
        return -sum(math.log(self._probability(before, after)) for before, after in steps)

    def _probability(self, before: str, after: str) -> float:
        kinds = len(self._singles) or 1
        single = (self._singles[after] + kinds / (_CODE_POINTS + 1)) / (self._total + kinds)
        followers = self._followers[before]
        if not followers:
            return single
        counted = self._pairs[before, after] + followers * single
        return counted / (self._before[before] + followers)
