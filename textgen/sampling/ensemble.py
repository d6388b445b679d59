"""Several networks that write one text: their probabilities mixed."""

from collections.abc import Sequence

import numpy as np

from textgen.preprocess.tokenizers import Ids
from textgen.sampling.filters import Logits, softmax
from textgen.sampling.network import Array, Network, State


class Ensemble:
    """Networks over one vocabulary as one; its state is the list of theirs."""

    def __init__(self, networks: Sequence[Network], weights: Sequence[float]) -> None:
        """`weights` are the share that each network has in the mixture, in any scale."""
        self._networks = networks
        self._weights = np.array(weights) / np.sum(weights)

    def zero_state(self, rows: int) -> list[State]:
        """The state at the start of a text."""
        return [network.zero_state(rows) for network in self._networks]

    def rows(self, state: list[State], rows: Sequence[int]) -> list[State]:
        """Return the state of these rows, each as often as it is named."""
        return [n.rows(part, rows) for n, part in zip(self._networks, state, strict=True)]

    def forward(self, tokens: Ids, state: list[State]) -> tuple[list[Array], list[State]]:
        """Return what `logits` makes logits of, for each of `tokens`, (T, B), and the state."""
        results = [n.forward(tokens, part) for n, part in zip(self._networks, state, strict=True)]
        return [hidden for hidden, _ in results], [after for _, after in results]

    def logits(self, hidden: list[Array]) -> Logits:
        """Return the logarithms of the mixed probabilities."""
        return self._mixed([n.logits(h) for n, h in zip(self._networks, hidden, strict=True)])

    def step(self, tokens: Ids, state: list[State]) -> tuple[Logits, list[State]]:
        """Return the logits after one token in each row, (B,), as (B, V), and the state."""
        results = [n.step(tokens, part) for n, part in zip(self._networks, state, strict=True)]
        return self._mixed([logits for logits, _ in results]), [after for _, after in results]

    def _mixed(self, logits: Sequence[Logits]) -> Logits:
        mixture = sum(w * softmax(part) for w, part in zip(self._weights, logits, strict=True))
        return np.log(np.maximum(mixture, np.finfo(np.float32).tiny))
