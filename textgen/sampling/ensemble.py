"""An ensemble: several networks whose probabilities are mixed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from textgen.preprocess.tokenizers import Ids
from textgen.sampling.filters import Logits, softmax
from textgen.sampling.network import Network


class Ensemble:
    """Networks with one vocabulary, used as one `Network`. Its state is a list of their states."""

    def __init__(self, networks: Sequence[Network], weights: Sequence[float]) -> None:
        """`weights` are the networks' shares in the mixture; they need not add up to 1."""
        self._networks = networks
        self._weights = np.array(weights) / np.sum(weights)

    def zero_state(self, rows: int) -> list[Any]:
        return [network.zero_state(rows) for network in self._networks]

    def take(self, state: list[Any], rows: Sequence[int]) -> list[Any]:
        return [n.take(part, rows) for n, part in zip(self._networks, state, strict=True)]

    def join(self, states: Sequence[list[Any]]) -> list[Any]:
        parts = zip(*states, strict=True)
        return [n.join(part) for n, part in zip(self._networks, parts, strict=True)]

    def step(self, tokens: Ids, state: list[Any], alone: int = 0) -> tuple[Logits, list[Any]]:
        """Return the logarithms of the mixed probabilities, (B, V), and the state."""
        results = [
            n.step(tokens, part, alone) for n, part in zip(self._networks, state, strict=True)
        ]
        return self._mixed([logits for logits, _ in results]), [after for _, after in results]

    def forward(self, tokens: Ids, state: list[Any]) -> tuple[list[Any], list[Any]]:
        results = [n.forward(tokens, part) for n, part in zip(self._networks, state, strict=True)]
        return [hidden for hidden, _ in results], [after for _, after in results]

    def logits(self, hidden: list[Any]) -> Logits:
        """Return the logarithms of the mixed probabilities, (T, B, V)."""
        return self._mixed([n.logits(h) for n, h in zip(self._networks, hidden, strict=True)])

    def _mixed(self, logits: Sequence[Logits]) -> Logits:
        mixture = sum(w * softmax(part) for w, part in zip(self._weights, logits, strict=True))
        return np.log(np.maximum(mixture, np.finfo(np.float32).tiny))
