"""Sampled softmax: choose the tokens of the softmax when training with a large vocabulary.

The normaliser of the softmax is estimated without bias. The most frequent tokens and the targets
of the batch are counted in full. A uniform sample represents all other tokens; each token in it is
weighted by the number of tokens it represents. After Jean, Cho, Memisevic and Bengio (2015), who
sample by frequency instead.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.training.backend import tf
from textgen.training.network import Weights
from textgen.training.products import Tensor

LARGEST_FULL_SOFTMAX = 20_000
"""The largest vocabulary over which the softmax is computed in full."""

_FREQUENT = 4096  # tokens that are always candidates
_SAMPLED = 4096  # candidates besides these and the targets


class Candidates(NamedTuple):
    """C of V tokens, and the offset added to the logit of each."""

    ids: NDArray[np.int32]  # (C,)
    places: NDArray[np.int32]  # (V,), index of each token in `ids`; C if it is no candidate
    offsets: NDArray[np.float32]  # (C,)


def choose_candidates(
    targets: NDArray[np.int32], order: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Candidates, NDArray[np.int32]]:
    """Choose candidates for `targets`, (T, B), from the ids in `order`, (V,).

    `order` begins with the most frequent tokens. Returns the candidates and the index of each
    target among them, (T, B). The number of candidates does not depend on the values of `targets`.
    """
    size = len(order)
    ranks = np.empty(size, np.int64)
    ranks[order] = np.arange(size)
    right = np.unique(ranks[targets])
    right = right[right >= _FREQUENT]
    others = size - _FREQUENT - len(right)
    count = min(_SAMPLED + targets.size, size - _FREQUENT) - len(right)
    sampled = np.sort(rng.choice(others, count, replace=False, shuffle=False))
    # Indices among the other tokens become ranks by skipping the targets.
    sampled += np.searchsorted(right - _FREQUENT - np.arange(len(right)), sampled, side="right")
    ids = order[np.concatenate([np.arange(_FREQUENT), right, sampled + _FREQUENT])]
    offsets = np.zeros(len(ids), np.float32)
    offsets[len(ids) - count :] = np.log(others / count) if count else 0
    places = np.full(size, len(ids), np.int32)
    places[ids] = np.arange(len(ids))
    return Candidates(ids.astype(np.int32), places, offsets), places[targets]


def narrowed(weights: Weights, candidates: Candidates, tied: bool) -> Weights:
    """Return the weights with the output layer reduced to the candidates."""
    kernel = weights["embedding"] if tied else weights["output.kernel"]
    return weights | {
        "output.kernel": tf.gather(kernel, candidates.ids, axis=0 if tied else 1),
        "output.bias": tf.gather(weights["output.bias"], candidates.ids) + candidates.offsets,
    }


def widened(
    gradients: dict[str, list[Tensor]], candidates: Candidates, tied: bool
) -> dict[str, list[Tensor]]:
    """Return the gradients of the whole output layer from those of `narrowed` weights."""

    def full(name: str, axis: int) -> Tensor:
        total = tf.add_n(gradients[name])
        zero = tf.zeros_like(tf.gather(total, [0], axis=axis))
        return tf.gather(tf.concat([total, zero], axis), candidates.places, axis=axis)

    kernel, bias = full("output.kernel", 0 if tied else 1), full("output.bias", 0)
    if tied:
        return gradients | {"embedding": [*gradients["embedding"], kernel], "output.bias": [bias]}
    return gradients | {"output.kernel": [kernel], "output.bias": [bias]}
