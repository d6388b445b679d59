"""What carrying the state is worth: the loss if the state begins shortly before a token."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgen.analysis.evaluation import LARGEST_LOGITS, steps_at_once
from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.sampling.network import Network
from textgen.sampling.scores import surprisals

_LENGTHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000)
_NEARBY = 1.2  # a length stands for those that are up to so many times as long, or as short
# Tokens to read from a zero state, and from how many places. The first few vary most, and the
# loss of each token of a long reading counts, so fewer long ones are enough.
_READINGS = ((20, 512), (200, 64), (1000, 16))


@dataclass(frozen=True)
class MemoryWorth:
    """The loss with a state that was zero some tokens before, and with a carried state.

    The losses are in nats per token.
    """

    lengths: list[int]  # tokens that are read from a zero state
    losses: list[float]  # for each length
    samples: list[int]  # for each length, the predictions that the loss is measured on
    carried: float


def worth_of_memory(
    network: Network,
    tokenizer: Tokenizer,
    ids: Ids,
    documents: Sequence[int],
    carried: NDArray[np.float64],
) -> MemoryWorth | None:
    """Measure the loss at places of a text that are read from a zero state.

    Each loss is that of the whole text plus the mean difference to the carried state in a sample.
    This varies less than the mean of the sample. Returns None if the text is too short.

    Args:
        ids: the tokens of the text, (T,).
        documents: where its documents begin. None is read together with the one before it.
        carried: the loss of each token with the carried state, (T,), in nats; NaN for none.
    """
    differences = np.zeros(max(_LENGTHS) + 1)
    samples = np.zeros(len(differences), np.int64)
    borders = np.append(documents, len(ids))
    left = np.repeat(borders[1:], np.diff(borders)) - np.arange(len(ids))  # in the document
    for length, rows in _READINGS:
        room = np.flatnonzero(left > length)
        if not len(room):
            continue
        rows = min(rows, len(room), max(1, LARGEST_LOGITS // len(tokenizer)))
        starts = room[np.linspace(0, len(room) - 1, rows).astype(np.int64)]
        state, steps = network.zero_state(rows), steps_at_once(tokenizer, rows)
        for first in range(0, length, steps):
            read = np.arange(first, min(first + steps, length))
            places = starts + read[:, None]
            hidden, state = network.forward(ids[places], state)
            from_zero = surprisals(network.logits(hidden), ids[places + 1])
            differences[read + 1] += (from_zero - carried[places + 1]).sum(1)
            samples[read + 1] += rows
    lengths, losses, counts = list[int](), list[float](), list[int]()
    for length in _LENGTHS:
        near = slice(math.ceil(length / _NEARBY), math.floor(length * _NEARBY) + 1)
        if count := int(samples[near].sum()):
            lengths.append(length)
            losses.append(float(np.nanmean(carried) + differences[near].sum() / count))
            counts.append(count)
    return MemoryWorth(lengths, losses, counts, float(np.nanmean(carried))) if lengths else None
