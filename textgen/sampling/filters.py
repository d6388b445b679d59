"""Filters: change the distribution before a token is drawn.

They are pure functions on logits, (..., V). A token that is ruled out gets the logit -inf. At least
one token always remains. Among tied tokens, those with lower ids come first.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from textgen.options.sampling import SamplingOptions

_Float = TypeVar("_Float", bound=np.floating[Any])
Logits: TypeAlias = NDArray[np.floating[Any]]
Mask: TypeAlias = NDArray[np.bool_]

_LEAST_TEMPERATURE = 1e-300  # avoids division by zero; smaller ones give the same weights


@dataclass(frozen=True)
class Filter:
    """The settings of all filters but the temperature.

    The order is: bias, banned tokens, repetition penalty, temperature, top-k, top-p, min-p.
    """

    banned: tuple[int, ...] = ()
    bias: tuple[tuple[int, float], ...] = ()  # tokens, and what is added to their logits
    repetition_penalty: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    @classmethod
    def of(
        cls,
        options: SamplingOptions,
        banned: tuple[int, ...] = (),
        bias: tuple[tuple[int, float], ...] = (),
    ) -> "Filter":
        names = ("repetition_penalty", "top_k", "top_p", "min_p")
        return cls(banned, bias, **{name: getattr(options, name) for name in names})

    def weights(
        self, logits: Logits, temperature: float | NDArray[np.float64], seen: Mask | None = None
    ) -> NDArray[np.float64]:
        """Return the unnormalized probabilities of the tokens, (..., V); the largest is 1.

        Args:
            temperature: one for all rows, or one for each, (..., 1).
            seen: the tokens that the repetition penalty applies to, (..., V).
        """
        logits = logits.astype(np.float64)
        for token, value in self.bias:
            logits[..., token] += value
        if self.banned:
            logits[..., list(self.banned)] = -np.inf
        if self.repetition_penalty != 1 and seen is not None:
            logits = repetition_penalty(logits, seen, self.repetition_penalty)
        logits = apply_temperature(logits, temperature)
        if self.top_k is not None:
            logits = top_k(logits, self.top_k)
        if self.top_p is not None:
            logits = top_p(logits, self.top_p)
        if self.min_p is not None:
            logits = min_p(logits, self.min_p)
        return np.exp(logits, out=logits)


def softmax(logits: Logits) -> NDArray[np.floating[Any]]:
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def log_softmax(logits: NDArray[_Float]) -> NDArray[_Float]:
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def repetition_penalty(logits: Logits, seen: Mask, penalty: float) -> Logits:
    """Divide the positive logits of tokens in `seen` by `penalty`, multiply the negative ones.

    Keskar et al. (2019), "CTRL".
    """
    return np.where(seen, np.where(logits > 0, logits / penalty, logits * penalty), logits)


def apply_temperature(logits: Logits, value: float | NDArray[np.float64]) -> Logits:
    """Subtract the largest logit, and divide by the temperature.

    At 0 only the likeliest token remains. `value` is one for all rows, or one for each, (..., 1).
    """
    logits = logits - np.maximum.reduce(logits, axis=-1, keepdims=True)  # `max` takes twice as long
    if isinstance(value, np.ndarray):
        greedy = value == 0
        scaled = logits / np.maximum(value, _LEAST_TEMPERATURE)
        return np.where(greedy, top_k(logits, 1), scaled) if greedy.any() else scaled
    if value == 0:
        return top_k(logits, 1)
    logits /= max(value, _LEAST_TEMPERATURE)
    return logits


def top_k(logits: Logits, k: int) -> Logits:
    """Keep the `k` likeliest tokens. Fan, Lewis and Dauphin (2018)."""
    size = logits.shape[-1]
    if k >= size:
        return logits
    return _at_least(logits, np.partition(logits, size - k)[..., size - k, None], k)


def top_p(logits: Logits, p: float) -> Logits:
    """Keep the fewest of the likeliest tokens whose probabilities add up to `p` or more.

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
    """Keep `count` logits: those above `threshold`, and the first of those equal to it."""
    above, equal = logits > threshold, logits == threshold
    room = count - above.sum(-1, keepdims=True)
    return np.where(above | (equal & (np.cumsum(equal, axis=-1) <= room)), logits, -np.inf)


def draw(weights: NDArray[np.float64], numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return an index for each row, (B,), drawn in proportion to its weights, (B, V).

    `numbers`, (B,), are uniform random numbers, at least 0 and below 1.
    """
    cumulative = np.add.accumulate(weights, axis=-1)
    # The factor keeps the product below the sum in spite of rounding.
    points = numbers * (1 - 2**-52) * cumulative[:, -1]
    return (cumulative > points[:, None]).argmax(axis=-1)
