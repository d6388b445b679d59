"""The architecture of a network: which layers it has, and the shapes of its arrays."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Shapes = dict[str, tuple[int, ...]]

GATES = {"lstm": "ifco", "gru": "zrh", "cifg": "fco"}  # Keras's names, in its order
STATES = {"lstm": ("h", "c"), "gru": ("h",), "cifg": ("h", "c")}


@dataclass(frozen=True)
class Architecture:
    """Embedding -> recurrent layers -> logits."""

    cell: str  # a key of GATES
    units: tuple[int, ...]  # of each layer, from the input to the output
    embedding: int  # size of a token's embedding
    tie: bool  # whether the output layer uses the transposed embedding

    @property
    def layers(self) -> int:
        return len(self.units)

    @property
    def inputs(self) -> tuple[int, ...]:
        """The size of each layer's input."""
        return (self.embedding, *self.units[:-1])

    def weight_shapes(self, vocabulary_size: int) -> Shapes:
        """Return the shape of every weight by name, in Keras's layout.

        The gates of an LSTM are i, f, c, o. A CIFG has no weights for i, which is 1 - f. The gates
        of a GRU are z, r, h; its bias has a row for the input and one for the recurrent product.
        """
        shapes: Shapes = {"embedding": (vocabulary_size, self.embedding)}
        for layer, (inputs, units) in enumerate(zip(self.inputs, self.units, strict=True)):
            width = len(GATES[self.cell]) * units
            shapes[f"layers.{layer}.kernel"] = (inputs, width)
            shapes[f"layers.{layer}.recurrent_kernel"] = (units, width)
            shapes[f"layers.{layer}.bias"] = (2, width) if self.cell == "gru" else (width,)
        if not self.tie:
            shapes["output.kernel"] = (self.units[-1], vocabulary_size)
        shapes["output.bias"] = (vocabulary_size,)
        return shapes

    def weight_count(self, vocabulary_size: int) -> int:
        return sum(map(math.prod, self.weight_shapes(vocabulary_size).values()))

    def state_shapes(self, rows: int) -> Shapes:
        """Return the shape of each part of the state by name, for a batch of `rows`."""
        return {
            f"layers.{layer}.{part}": (rows, units)
            for layer, units in enumerate(self.units)
            for part in STATES[self.cell]
        }

    def __str__(self) -> str:
        sizes = {f"{self.layers}x{self.units[0]}"} if len(set(self.units)) == 1 else None
        return f"{self.cell.upper()} {sizes.pop() if sizes else '-'.join(map(str, self.units))}"


def as_lstm(weights: Any, concatenate: Callable[[list[Any], int], Any]) -> Any:
    """Return the weights of a CIFG's layer, (..., 3U), as those of an LSTM, (..., 4U).

    1 - sigmoid(x) = sigmoid(-x), so the input gate has the weights of the forget gate, negated.
    `weights` are a kernel, a recurrent kernel or a bias. `concatenate` is `np.concatenate` for
    arrays, and `tf.concat` for tensors.
    """
    units = weights.shape[-1] // 3
    return concatenate([-weights[..., :units], weights], -1)
