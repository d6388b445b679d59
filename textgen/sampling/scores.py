"""How likely each token of a text was, and which tokens were likelier."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.preprocess.tokenizers import Ids
from textgen.sampling.filters import Logits, log_softmax


class ScoredToken(NamedTuple):
    """A token and its log-probability, in nats, before any filter.

    `likeliest` has the likeliest tokens at its place with their log-probabilities, best first.
    """

    token: int
    log_probability: float
    likeliest: tuple[tuple[int, float], ...] = ()


def score(logs: Logits, token: int, count: int = 0) -> ScoredToken:
    """Score a token with the log-probabilities of all tokens, (V,), and the `count` likeliest."""
    return next(iter(score_all(logs[None], np.array([token]), count)))


def score_all(logs: Logits, tokens: Ids, count: int = 0) -> Iterable[ScoredToken]:
    """Score tokens, (T,), with the log-probabilities of all tokens at each place, (T, V)."""
    own = logs[np.arange(len(tokens)), tokens].tolist()
    if not count:
        return map(ScoredToken, tokens.tolist(), own)
    best, values = likeliest_tokens(logs, count)
    pairs = (
        tuple(zip(ids, logs_, strict=True))
        for ids, logs_ in zip(best.tolist(), values.tolist(), strict=True)
    )
    return map(ScoredToken, tokens.tolist(), own, pairs)


def likeliest_tokens(logs: Logits, count: int) -> tuple[Ids, Logits]:
    """Return the `count` likeliest tokens at each place and their logits, each (T, `count`).

    `logs` is (T, V). The best come first, and of equal ones that with the lower id. A vocabulary
    of fewer tokens returns all of them.
    """
    count = min(count, logs.shape[-1])
    best = np.argpartition(-logs, count - 1, axis=-1)[:, :count]
    values = np.take_along_axis(logs, best, -1)
    order = np.lexsort((best, -values))
    return np.take_along_axis(best, order, -1), np.take_along_axis(values, order, -1)


def surprisals(logits: Logits, tokens: Ids) -> NDArray[np.float64]:
    """Return the negative log-probability of each token, (...), in nats; `logits` is (..., V)."""
    logs = log_softmax(logits.astype(np.float64))
    return -np.take_along_axis(logs, tokens[..., None], -1)[..., 0]
