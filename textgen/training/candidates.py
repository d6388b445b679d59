"""Which tokens the softmax is over while training with a large vocabulary.

The normaliser of the softmax is estimated without bias: the most frequent tokens and the right
ones of the batch are counted in full, and a uniform draw from all others stands for them, each
weighted with how many it stands for. After Jean, Cho, Memisevic and Bengio (2015), where the
draw is weighted by frequency instead.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGE = 20_000
"""The largest vocabulary, in tokens, over which the softmax is computed in full."""

_FREQUENT = 4096  # tokens that are always candidates; ids are in the order of frequency
_DRAWN = 4096  # candidates besides these and the right ones


class Candidates(NamedTuple):
    """C tokens out of V, and how much each adds to its logit."""

    ids: NDArray[np.int32]  # (C,)
    places: NDArray[np.int32]  # (V,): where a token is among them; C for those that are not
    offsets: NDArray[np.float32]  # (C,)


def draw(
    targets: NDArray[np.int32], size: int, rng: np.random.Generator
) -> tuple[Candidates, NDArray[np.int32]]:
    """Choose candidates for `targets`, (T, B), out of a vocabulary of `size` tokens.

    Returns them and the place of each target among them. Their number depends on the shape of
    `targets` alone.
    """
    right = np.unique(targets)
    right = right[right >= _FREQUENT]
    others = size - _FREQUENT - len(right)
    count = min(_DRAWN + targets.size, size - _FREQUENT) - len(right)
    drawn = np.sort(rng.choice(others, count, replace=False, shuffle=False))
    # The k-th of the others is an id that leaves the right ones out.
    drawn += np.searchsorted(right - _FREQUENT - np.arange(len(right)), drawn, side="right")
    ids = np.concatenate([np.arange(_FREQUENT), right, drawn + _FREQUENT])
    offsets = np.zeros(len(ids), np.float32)
    offsets[len(ids) - count :] = np.log(others / count) if count else 0
    places = np.full(size, len(ids), np.int32)
    places[ids] = np.arange(len(ids))
    return Candidates(ids.astype(np.int32), places, offsets), places[targets]
