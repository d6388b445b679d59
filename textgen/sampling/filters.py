"""What changes a distribution before a token is drawn: pure functions on logits, (..., V).

A token that is ruled out gets the logit -inf; at least one token always stays in. Where
tokens are tied, those with lower ids go first.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textgen.options.training import SamplingOptions

Logits: TypeAlias = NDArray[np.floating[Any]]
Mask: TypeAlias = NDArray[np.bool_]


def distribution(
    logits: Logits,
    options: SamplingOptions,
    position: int = 0,
    banned: Sequence[int] = (),
    seen: Mask | None = None,
) -> NDArray[np.float64]:
    """Return the weights, (..., V), that the token at `position` is drawn by, the largest 1.

    In this order: banned tokens, repetition penalty for tokens seen, temperature, top-k,
    top-p, min-p. `banned` are ids, `seen` is a mask, (..., V).
    """
    logits = logits.astype(np.float64)
    if banned:
        logits[..., list(banned)] = -np.inf
    if options.repetition_penalty != 1 and seen is not None:
        logits = repetition_penalty(logits, seen, options.repetition_penalty)
    logits = temperature(logits, options.temperature.at(position, options.length))
    if options.top_k is not None:
        logits = top_k(logits, options.top_k)
    if options.top_p is not None:
        logits = top_p(logits, options.top_p)
    if options.min_p is not None:
        logits = min_p(logits, options.min_p)
    return np.exp(logits, out=logits)


def softmax(logits: Logits) -> NDArray[np.floating[Any]]:
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def log_softmax(logits: Logits) -> Logits:
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def repetition_penalty(logits: Logits, seen: Mask, penalty: float) -> Logits:
    """Divide the positive logits of tokens in `seen` by `penalty`, multiply the negative.

    Keskar et al. (2019), "CTRL".
    """
    return np.where(seen, np.where(logits > 0, logits / penalty, logits * penalty), logits)


def temperature(logits: Logits, value: float) -> Logits:
    """Divide by the temperature, the largest moved to 0; at 0 only the likeliest token stays."""
    logits = logits - logits.max(-1, keepdims=True)
    if value == 0:
        return top_k(logits, 1)
    logits /= max(value, 1e-300)  # below that every difference is out of reach anyway
    return logits


def top_k(logits: Logits, k: int) -> Logits:
    """Keep the `k` likeliest tokens. Fan, Lewis and Dauphin (2018)."""
    size = logits.shape[-1]
    if k >= size:
        return logits
    return _at_least(logits, np.partition(logits, size - k)[..., size - k, None], k)


def top_p(logits: Logits, p: float) -> Logits:
    """Keep the fewest likeliest tokens whose probabilities add up to `p` or more.

    Holtzman et al. (2020), "The Curious Case of Neural Text Degeneration".
    """
    ordered = np.sort(logits)[..., ::-1]
    reached = np.cumsum(softmax(ordered), axis=-1)
    last = np.minimum((reached < p).sum(-1, keepdims=True), logits.shape[-1] - 1)
    return _at_least(logits, np.take_along_axis(ordered, last, -1), last + 1)


def min_p(logits: Logits, p: float) -> Logits:
    """Keep tokens at least `p` times as likely as the likeliest. Nguyen et al. (2024)."""
    relative = np.exp(logits - logits.max(-1, keepdims=True))
    return np.where(relative >= p, logits, -np.inf)


def _at_least(logits: Logits, threshold: Logits, count: Any) -> Logits:
    """Keep the `count` logits that are at least `threshold`, the first of those that equal it."""
    above, equal = logits > threshold, logits == threshold
    room = count - above.sum(-1, keepdims=True)
    return np.where(above | (equal & (np.cumsum(equal, axis=-1) <= room)), logits, -np.inf)
