"""What changes a distribution before a token is drawn: pure functions on logits of shape (V,).

A token that is ruled out gets the logit -inf; at least one token always stays in. Where
tokens are tied, those with lower ids go first.
"""

from collections.abc import Collection
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textgen.options import SamplingOptions

Logits: TypeAlias = NDArray[np.floating[Any]]
Probabilities: TypeAlias = NDArray[np.float64]


def distribution(
    logits: Logits, previous: Collection[int], options: SamplingOptions, banned: int | None = None
) -> Probabilities:
    """Return the probabilities, (V,), that the next token is drawn by.

    In this order: the banned token, repetition penalty, temperature, top-k, top-p, min-p.
    """
    logits = logits.astype(np.float64)
    if banned is not None:
        logits[banned] = -np.inf
    if options.repetition_penalty != 1:
        logits = repetition_penalty(logits, previous, options.repetition_penalty)
    logits = temperature(logits, options.temperature)
    if options.top_k is not None:
        logits = top_k(logits, options.top_k)
    if options.top_p is not None:
        logits = top_p(logits, options.top_p)
    if options.min_p is not None:
        logits = min_p(logits, options.min_p)
    return softmax(logits)


def softmax(logits: Logits) -> Probabilities:
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def repetition_penalty(logits: Logits, previous: Collection[int], penalty: float) -> Logits:
    """Divide the positive logits of tokens in `previous` by `penalty`, multiply the negative.

    Keskar et al. (2019), "CTRL".
    """
    seen = np.fromiter(previous, np.int64)
    penalised = logits.copy()
    penalised[seen] = np.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
    return penalised


def temperature(logits: Logits, value: float) -> Logits:
    """Divide by the temperature; at 0 only the likeliest token stays."""
    if value == 0:
        return top_k(logits, 1)
    with np.errstate(over="ignore"):  # to -inf: what is out of reach
        return (logits - logits.max()) / value


def top_k(logits: Logits, k: int) -> Logits:
    """Keep the `k` likeliest tokens. Fan, Lewis and Dauphin (2018)."""
    return _keep(logits, _descending(logits)[:k])


def top_p(logits: Logits, p: float) -> Logits:
    """Keep the fewest likeliest tokens whose probabilities add up to `p` or more.

    Holtzman et al. (2020), "The Curious Case of Neural Text Degeneration".
    """
    order = _descending(logits)
    reached = np.cumsum(softmax(logits)[order])
    return _keep(logits, order[: np.searchsorted(reached, p) + 1])


def min_p(logits: Logits, p: float) -> Logits:
    """Keep tokens at least `p` times as likely as the likeliest. Nguyen et al. (2024)."""
    probabilities = softmax(logits)
    return _keep(logits, np.flatnonzero(probabilities >= p * probabilities.max()))


def _descending(logits: Logits) -> NDArray[np.intp]:
    return np.argsort(-logits, kind="stable")


def _keep(logits: Logits, ids: NDArray[np.intp]) -> Logits:
    kept = np.full_like(logits, -np.inf)
    kept[ids] = logits[ids]
    return kept
