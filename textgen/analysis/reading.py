"""Read extracts of texts with a network: what each character of them costs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.analysis.evaluation import steps_at_once
from textgen.analysis.extracts import Extract
from textgen.preprocess.tokenizers import Ids
from textgen.sampling.sampler import Sampler
from textgen.sampling.scores import surprisals

_ROWS_AT_ONCE = 64


def character_losses(sampler: Sampler, extracts: Sequence[Extract]) -> list[NDArray[np.float64]]:
    """Return the loss of each character of each extract, in nats.

    The loss of a token is that of its first character; its others have none. The losses include
    what it costs to spell unknown tokens, except gaps, so those of all networks can be compared.
    """
    losses = list[NDArray[np.float64]]()
    for start in range(0, len(extracts), _ROWS_AT_ONCE):
        group = [_Tokens(sampler, extract) for extract in extracts[start : start + _ROWS_AT_ONCE]]
        _read_together(sampler, group)
        losses += [row.losses for row in group]
    return losses


class _Tokens:
    """The tokens of an extract, and the losses of its n characters."""

    def __init__(self, sampler: Sampler, extract: Extract) -> None:
        tokenizer = sampler.tokenizer
        ids, tokens = tokenizer.pieces(extract.context + extract.text)
        lengths = np.array([len(token) for token in tokens], np.int64)
        starts = np.cumsum(lengths) - lengths - len(extract.context)
        before = sampler.opening() if tokenizer.end is None else np.array([tokenizer.end])
        is_read = ids >= 0  # the network does not read a character that is not in the vocabulary
        self.ids: Ids = np.concatenate([before, ids[is_read]])
        # Where each token but the first begins; negative in the context.
        self._starts = np.concatenate([np.full(len(before) - 1, -1), starts[is_read]])
        self.losses = np.zeros(len(extract.text))
        for place in tokenizer.unknown_places(ids):
            if starts[place] >= 0 and tokens[place] != extract.gap:
                self.losses[starts[place]] += tokenizer.spelling.cost(tokens[place])

    def add(self, losses: NDArray[np.float64], start: int) -> None:
        """Add the losses of the tokens from `start` on; those after the last are left out."""
        places = self._starts[start : start + len(losses)]
        counted = places >= 0
        np.add.at(self.losses, places[counted], losses[: len(places)][counted])


def _read_together(sampler: Sampler, rows: Sequence[_Tokens]) -> None:
    """Read rows as one batch, each from a zero state and the start of a paragraph."""
    ids = np.zeros((max(len(row.ids) for row in rows), len(rows)), np.int64)
    for number, row in enumerate(rows):
        ids[: len(row.ids), number] = row.ids
    network = sampler.network
    state: Any = network.zero_state(len(rows))
    steps = steps_at_once(sampler.tokenizer, len(rows))
    for start in range(0, len(ids) - 1, steps):
        targets = ids[start + 1 : start + 1 + steps]
        hidden, state = network.forward(ids[start : start + len(targets)], state)
        losses = surprisals(network.logits(hidden), targets)
        for number, row in enumerate(rows):
            row.add(losses[:, number], start)
