"""From the losses of several networks to the probability of each author."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.sampling.filters import log_softmax

Losses = NDArray[np.float64]

SHORTEST = 50
"""Characters of the shortest passages; the lengths to fit double from here."""

_FEWEST_PARTS = 4  # of each author, at the longest length to fit
_POWERS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_PENALTY = 0.1
_NEWTON_STEPS = 50  # more than enough


class AuthorCalibration:
    """Multinomial logistic regression of the author on the losses of R networks.

    For a passage of n characters that network r predicts with the loss l_r, in nats per character,
    the logit of its author is n^p (b_r - s l_r). Independent characters would have p = 1. The
    losses of neighbours go together, so p is lower. The three are fitted by maximum likelihood,
    with a small penalty on s and b, to passages of known authors. Before a passage is read, all
    authors are equally likely.

    A probability is never nearer to 0 or 1 than the number of these passages can show: by Laplace's
    rule of succession, N passages without an error leave 1 / (N + 2) for one.
    """

    def __init__(self, authors: Sequence[Sequence[Losses]]) -> None:
        """Fit to passages of each of R authors; a passage has the losses of all networks, (R, n).

        The losses are those of its characters, in nats.
        """
        self._doubt = 1 / (2 + sum(map(len, authors)))
        samples = _samples(authors)
        self.longest = samples[-1].length
        """Length of the longest passages that it is fitted to, in characters."""
        self._fit = min((_fit_power(samples, power) for power in _POWERS), key=lambda fit: fit.loss)

    def probabilities(self, losses: Losses, lengths: NDArray[np.int64]) -> Losses:
        """Return the probabilities of the authors of N passages, (N, R).

        Args:
            losses: of each network, (N, R), in nats per character.
            lengths: of the passages, (N,), in characters. Passages above `longest` are judged as
                if they had this length.
        """
        fit = self._fit
        sizes = np.minimum(lengths, self.longest)[:, None] / SHORTEST
        logs = log_softmax(sizes**fit.power * (fit.offsets - fit.scale * losses))
        return (1 - self._doubt) * np.exp(logs) + self._doubt / losses.shape[1]


class _Sample(NamedTuple):
    """Passages of one length by known authors."""

    length: int  # characters
    losses: Losses  # (N, R), in nats per character
    authors: NDArray[np.int64]  # (N,)
    weights: Losses  # (N,); those of each author have the same sum


def _samples(authors: Sequence[Sequence[Losses]]) -> list[_Sample]:
    """Cut the passages of each author into parts of several lengths."""
    joined = [np.concatenate(passages, axis=1) for passages in authors]
    least = min(losses.shape[1] for losses in joined)
    lengths = [min(SHORTEST, least)]
    while 2 * lengths[-1] * _FEWEST_PARTS <= least:
        lengths.append(2 * lengths[-1])
    samples = []
    for length in lengths:
        parts = []  # of each author, (parts, R)
        for losses in joined:
            count = losses.shape[1] // length
            parts.append(losses[:, : count * length].reshape(-1, count, length).mean(2).T)
        counts = np.array(list(map(len, parts)))
        samples.append(
            _Sample(
                length,
                np.concatenate(parts),
                np.repeat(np.arange(len(parts)), counts),
                np.repeat(counts.mean() / counts, counts),
            )
        )
    return samples


class _Fit(NamedTuple):
    loss: float
    power: float
    scale: float
    offsets: Losses  # (R,)


def _fit_power(samples: Sequence[_Sample], power: float) -> _Fit:
    """Fit the scale and the offsets for one power by Newton's method."""
    losses = np.concatenate([sample.losses for sample in samples])
    spread = losses - losses.mean(1, keepdims=True)
    unit = float(spread.std()) or 1.0  # makes the penalty independent of the unit of the losses
    lengths = np.repeat([sample.length for sample in samples], [len(s.losses) for s in samples])
    sizes = (lengths / SHORTEST) ** power
    inputs = spread / unit * sizes[:, None]
    authors = np.concatenate([sample.authors for sample in samples])
    weights = np.concatenate([sample.weights for sample in samples])
    each = np.arange(len(authors))

    def penalized(values: Losses) -> tuple[float, Losses]:
        """Return the penalized loss, and the probabilities, (N, R)."""
        logs = log_softmax(sizes[:, None] * values[1:] - values[0] * inputs)
        loss = -(weights * logs[each, authors]).sum() + _PENALTY / 2 * (values**2).sum()
        return float(loss), np.exp(logs)

    values = np.zeros(1 + losses.shape[1])  # the scale, and the offsets
    loss, p = penalized(values)
    hessian = np.empty((len(values), len(values)))
    for _ in range(_NEWTON_STEPS):
        errors = p.copy()
        errors[each, authors] -= 1
        errors *= weights[:, None]
        gradient = np.append(-(errors * inputs).sum(), sizes @ errors) + _PENALTY * values
        # The second derivatives by the logits are diag(p) - p p'.
        mean = (p * inputs).sum(1)
        hessian[0, 0] = weights @ ((p * inputs**2).sum(1) - mean**2)
        hessian[0, 1:] = hessian[1:, 0] = -(weights * sizes) @ (p * (inputs - mean[:, None]))
        scaled = (np.sqrt(weights) * sizes)[:, None] * p
        hessian[1:, 1:] = np.diag((weights * sizes**2) @ p) - scaled.T @ scaled
        step = np.linalg.solve(hessian + _PENALTY * np.eye(len(values)), gradient)
        while (after := penalized(values - step))[0] > loss and np.abs(step).max() > 1e-9:
            step /= 2
        values, (loss, p) = values - step, after
        if np.abs(step).max() < 1e-6:
            break
    return _Fit(loss, power, float(values[0]) / unit, values[1:])
