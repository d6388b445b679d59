"""The trained network in NumPy: faster at one stream than a framework, and there at once."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from textgen.options.training import TrainingOptions
from textgen.preprocess.tokenizers import Ids
from textgen.runs.folder import Arrays

Array = NDArray[np.float32]
State = list[tuple[Array, Array]]

_HALF = np.float32(0.5)
_TABLE_LIMIT = 4096  # tokens; a larger vocabulary is projected as its tokens come


class Network:
    """Embedding -> recurrent layers -> logits; T steps, B rows, U units, V tokens.

    What a layer's output is multiplied with next is known before the next token is: its own
    recurrent kernel, and the kernel of the layer above. So both are one product, and the state
    of a layer is what came of it for the next step, (B, gates), beside its memory, (B, U).

    State is a value: a call returns the state to go on with and leaves the one it was given as
    it was, so a state that is kept can be gone back to.
    """

    def __init__(self, options: TrainingOptions, weights: Arrays) -> None:
        self._units = options.units
        layer_type = _LSTM if options.cell == "lstm" else _GRU
        self._layers: list[_LSTM | _GRU] = []
        scale = np.float32(1)  # of the inputs, to be folded into the kernel that they meet
        for i in range(options.layers):
            kernel, recurrent_kernel, bias = (
                weights[f"layers.{i}.{part}"] for part in ("kernel", "recurrent_kernel", "bias")
            )
            self._layers.append(layer_type(kernel * scale, recurrent_kernel, bias))
            scale = layer_type.scale
        output = weights["embedding"].T if options.tie else weights["output.kernel"]
        above = [(layer.kernel, layer.bias) for layer in self._layers[1:]]
        above.append((output * scale, weights["output.bias"]))
        self._kernels, self._biases = [], []
        for layer, (kernel, bias) in zip(self._layers, above, strict=True):
            both = np.concatenate([layer.recurrent_kernel, kernel], axis=1)
            self._kernels.append(np.asfortranarray(both))  # a fifth faster at one row
            self._biases.append(np.concatenate([layer.recurrent_bias, bias]))
        self._embedding = weights["embedding"]
        self._table: Array | None = None  # what the first layer makes of each token
        if len(self._embedding) <= _TABLE_LIMIT:
            self._table = self._layers[0].project(self._embedding)

    def zero_state(self, rows: int) -> State:
        """The state at the start of a text."""
        memory = np.zeros((rows, self._units), np.float32)
        return [(np.tile(layer.recurrent_bias, (rows, 1)), memory) for layer in self._layers]

    def rows(self, state: State, rows: Sequence[int]) -> State:
        """Return the state of these rows, each as often as it is named."""
        return [(recurrent[rows], memory[rows]) for recurrent, memory in state]

    def step(self, tokens: Ids, state: State) -> tuple[Array, State]:
        """Return the logits after one token in each row, (B,), as (B, V), and the state."""
        inputs, state_after = self._projected(tokens), []
        for layer, kernel, bias, (recurrent, memory) in zip(
            self._layers, self._kernels, self._biases, state, strict=True
        ):
            h, memory = layer.advance(inputs, recurrent, memory)
            product = h @ kernel
            product += bias
            state_after.append((product[:, : layer.width], memory))
            inputs = product[:, layer.width :]
        return inputs, state_after

    def forward(self, tokens: Ids, state: State) -> tuple[Array, State]:
        """Return what `logits` makes logits of, for each of (T, B) tokens, and the state.

        The inputs of each layer are projected at all steps in one product.
        """
        inputs, state_after = self._projected(tokens), []
        hidden = np.empty((*tokens.shape, self._units), np.float32)
        for number, (layer, (recurrent, memory)) in enumerate(
            zip(self._layers, state, strict=True)
        ):
            if number:
                inputs = layer.project(hidden)
            for t, projected in enumerate(inputs):
                hidden[t], memory = layer.advance(projected, recurrent, memory)
                recurrent = hidden[t] @ layer.recurrent_kernel
                recurrent += layer.recurrent_bias
            state_after.append((recurrent, memory))
        return hidden, state_after

    def logits(self, hidden: Array) -> Array:
        """Return the logits, (..., V), that the last layer's outputs, (..., U), lead to."""
        width = self._layers[-1].width
        return hidden @ self._kernels[-1][:, width:] + self._biases[-1][width:]

    def _projected(self, tokens: Ids) -> Array:
        """What the first layer makes of tokens, (...), as (..., gates)."""
        if self._table is None:
            return self._layers[0].project(self._embedding[tokens])
        return self._table[tokens]


class _Layer:
    """What LSTM and GRU layers share: their weights."""

    kernel: Array  # (inputs, width)
    bias: Array  # (width,)
    scale: ClassVar[np.float32]  # what h is to be multiplied with
    recurrent_kernel: Array  # (U, width)
    recurrent_bias: Array  # (width,)

    @property
    def width(self) -> int:
        return len(self.bias)

    def project(self, inputs: Array) -> Array:
        """(..., inputs) -> (..., width)"""
        return inputs @ self.kernel + self.bias


class _LSTM(_Layer):
    """Gates i, f, c, o as Keras keeps them, all but c halved: see `advance`."""

    scale = np.float32(0.5)

    def __init__(self, kernel: Array, recurrent_kernel: Array, bias: Array) -> None:
        self._units = units = len(recurrent_kernel)
        halves = np.repeat(np.array([0.5, 0.5, 1, 0.5], np.float32), units)
        self.kernel = kernel * halves
        self.bias = bias * halves
        self.recurrent_kernel = recurrent_kernel * halves * self.scale
        self.recurrent_bias = np.zeros_like(bias)

    def advance(self, projected: Array, recurrent: Array, c: Array) -> tuple[Array, Array]:
        """Return 2 h and c after a step, (B, U), from both parts of the gates, (B, 4U), and c.

        As sigmoid(x) = (1 + tanh(x / 2)) / 2, one tanh serves all gates:
        2 c' = (1 + f) c + (1 + i) g and 2 h = (1 + o) tanh(c').
        """
        gates = projected + recurrent
        np.tanh(gates, out=gates)
        i, f, g, o = gates.reshape(len(gates), 4, self._units).swapaxes(0, 1)
        after = f * c
        after += c
        new = i * g
        new += g
        after += new
        after *= _HALF
        bounded = np.tanh(after)
        h = bounded * o
        h += bounded
        return h, after


class _GRU(_Layer):
    """Gates z, r, h as Keras keeps them, the first two halved: see `_LSTM.advance`."""

    scale = np.float32(1)

    def __init__(self, kernel: Array, recurrent_kernel: Array, bias: Array) -> None:
        self._units = units = len(recurrent_kernel)
        halves = np.repeat(np.array([0.5, 0.5, 1], np.float32), units)
        self.kernel = kernel * halves
        self.recurrent_kernel = recurrent_kernel * halves
        self.bias, self.recurrent_bias = bias * halves

    def advance(self, projected: Array, recurrent: Array, h: Array) -> tuple[Array, Array]:
        """Return h after a step, (B, U), twice, from both parts of the gates, (B, 3U), and h."""
        both = 2 * self._units
        sigmoids = projected[:, :both] + recurrent[:, :both]
        np.tanh(sigmoids, out=sigmoids)
        sigmoids *= 0.5
        sigmoids += 0.5
        g = sigmoids[:, self._units :] * recurrent[:, both:]
        g += projected[:, both:]
        np.tanh(g, out=g)
        h = h - g  # z h + (1 - z) g = g + z (h - g)
        h *= sigmoids[:, : self._units]
        h += g
        return h, h
