"""A trained network as the arrays that all exports write, and the check that they compute it."""

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textgen.errors import OutputError
from textgen.options.architecture import STATES, as_lstm
from textgen.runs.files import Arrays
from textgen.runs.folder import Run
from textgen.sampling.compiled import make_network
from textgen.sampling.network import Array, Network

Forward: TypeAlias = Callable[[NDArray[np.int64], list[Array]], tuple[Array, list[Array]]]
"""Reads tokens, (B, T), from a state; returns the logits, (B, T, V), and the state after them."""

_CHUNKS, _ROWS, _STEPS = 3, 2, 8  # of the text that an export is checked on
_LARGEST_DIFFERENCE = 1e-4


class RecurrentWeights(NamedTuple):
    """The weights of a layer with U units and I inputs, in Keras's layout.

    The gates of an LSTM are i, f, c, o. Those of a GRU are z, r, h.
    """

    kernel: Array  # (I, gates U)
    recurrent_kernel: Array  # (U, gates U)
    bias: Array  # (gates U,); (2, gates U) for a GRU: of the input, and of the recurrent product

    @property
    def units(self) -> int:
        return len(self.recurrent_kernel)


class PortableNetwork:
    """Embedding -> LSTM or GRU layers -> logits; V tokens, E numbers of an embedding.

    A CIFG becomes the LSTM that computes the same. The state is a list: h of each layer, and after
    each h the c of an LSTM, all (B, U).
    """

    def __init__(self, run: Run, weights: Arrays) -> None:
        architecture = run.settings.architecture
        self.cell = "gru" if architecture.cell == "gru" else "lstm"
        self.embedding = weights["embedding"]  # (V, E)
        self.layers = []
        for n in range(architecture.layers):
            names = "kernel", "recurrent_kernel", "bias"
            own = [weights[f"layers.{n}.{name}"] for name in names]
            if architecture.cell == "cifg":
                own = [as_lstm(part, np.concatenate) for part in own]
            self.layers.append(RecurrentWeights(*own))
        tied = architecture.tie
        self.output_kernel = self.embedding.T if tied else weights["output.kernel"]  # (U, V)
        self.output_bias = weights["output.bias"]  # (V,)
        self.tokenizer = json.dumps(run.tokenizer.to_json())
        parts = STATES[self.cell]
        self.state_parts = len(parts)  # of each layer
        self.state_names = [f"{part}{n}" for n in range(architecture.layers) for part in parts]
        self._network: Network = make_network(architecture, weights)

    @property
    def state_sizes(self) -> list[int]:
        """The size U of each part of the state."""
        return [layer.units for layer in self.layers for _ in range(self.state_parts)]

    def check(self, forward: Forward) -> None:
        """Raise OutputError unless `forward` computes the logits of the weights.

        Three chunks of random tokens are read, with the state carried from one to the next.
        """
        rng = np.random.default_rng(0)
        own = self._network.zero_state(_ROWS)
        state = [np.zeros((_ROWS, size), np.float32) for size in self.state_sizes]
        for _ in range(_CHUNKS):
            tokens = rng.integers(len(self.embedding), size=(_ROWS, _STEPS))
            hidden, own = self._network.forward(tokens.T, own)
            expected = self._network.logits(hidden).transpose(1, 0, 2)
            found, state = forward(tokens, state)
            if not np.allclose(found, expected, _LARGEST_DIFFERENCE, _LARGEST_DIFFERENCE):
                raise OutputError(
                    "the exported network computes other logits than the run; nothing is written"
                )


def reorder_gates(weights: Array, order: Sequence[int]) -> Array:
    """Return weights, whose last axis has the gates, with the gates in another order."""
    gates = np.split(weights, len(order), axis=-1)
    return np.concatenate([gates[gate] for gate in order], axis=-1)
