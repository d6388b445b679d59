"""A network whose probabilities are a table set by hand: a Markov chain of characters."""

from pathlib import Path

import numpy as np
from helpers import fabricate
from numpy.typing import NDArray

from textgen.runs.folder import Run


class Chain:
    """Random probabilities of the next character after each, and texts drawn from them."""

    def __init__(self, alphabet: str, seed: int) -> None:
        """The characters of `alphabet` are in order."""
        self.alphabet = alphabet
        self._rng = np.random.default_rng(seed)
        logits = self._rng.normal(0, 1, (len(alphabet), len(alphabet)))
        self.logs: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(1, keepdims=True))

    def text(self, length: int) -> str:
        """Draw a text, as if a space stood before it."""
        sums = np.exp(self.logs).cumsum(1)
        token, tokens = self.alphabet.index(" "), list[int]()
        for number in self._rng.random(length).tolist():
            token = min(int(sums[token].searchsorted(number)), len(self.alphabet) - 1)
            tokens.append(token)
        return "".join(self.alphabet[token] for token in tokens)

    def loss(self, text: str) -> float:
        """Return the loss of a text after a space, in nats."""
        ids = [self.alphabet.index(c) for c in " " + text]
        return -float(self.logs[ids[:-1], ids[1:]].sum())

    def run(self, out: str | Path, length: int = 20_000) -> Run:
        """Create a run on a text of the chain, with weights that give exactly its probabilities.

        The units of the LSTM hold the last character: one is above 0, the others are below.
        """
        book, size = Path(out).with_suffix(".txt"), len(self.alphabet)
        book.write_text(self.text(length), "utf-8")
        run = fabricate(out, book, units=size, embedding=size)
        weights = {name: np.zeros(shape, np.float32) for name, shape in run.weight_shapes.items()}
        weights["embedding"] = np.eye(size, dtype=np.float32)
        # The gates are in Keras's order: input, forget, candidate, output.
        weights["layers.0.kernel"][:, 2 * size : 3 * size] = 100 * np.eye(size)
        weights["layers.0.bias"][:] = np.repeat([50, -50, -50, 50], size)
        held = np.tanh(1)
        weights["output.kernel"] = (self.logs / (2 * held)).astype(np.float32)
        weights["output.bias"] = (self.logs.sum(0) / 2).astype(np.float32)
        run.save_weights(weights)
        return run
