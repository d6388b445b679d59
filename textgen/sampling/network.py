"""The trained network in NumPy: faster at one stream than a framework, and there at once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from textgen.checkpoint import Arrays
from textgen.options import TrainingOptions
from textgen.preprocess.tokenizers import Ids

Array = NDArray[np.float32]
State = list[tuple[Array, Array]]

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
        self._layers = [
            layer_type(
                *(weights[f"layers.{i}.{part}"] for part in ("kernel", "recurrent_kernel", "bias"))
            )
            for i in range(options.layers)
        ]
        output = weights["embedding"].T if options.tie else weights["output.kernel"]
        above = [(layer.kernel, layer.bias) for layer in self._layers[1:]]
        above.append((output, weights["output.bias"]))
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
        """Return the last layer's output after each of (T, B) tokens, (T, B, U), and the state.

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
        """Return the logits, (..., V), that outputs of the last layer, (..., U), lead to."""
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
    recurrent_kernel: Array  # (U, width)
    recurrent_bias: Array  # (width,)

    @property
    def width(self) -> int:
        return len(self.bias)

    def project(self, inputs: Array) -> Array:
        """(..., inputs) -> (..., width)"""
        return inputs @ self.kernel + self.bias


class _LSTM(_Layer):
    """Gates are kept in the order i, f, o, c and the first three halved.

    One tanh then serves them all, as sigmoid(x) = (1 + tanh(x / 2)) / 2.
    """

    def __init__(self, kernel: Array, recurrent_kernel: Array, bias: Array) -> None:
        self._units = units = len(recurrent_kernel)
        i, f, c, o = np.arange(4 * units).reshape(4, units)
        order = np.concatenate([i, f, o, c])
        scale = np.repeat(np.array([0.5, 0.5, 0.5, 1], np.float32), units)
        self.kernel = kernel[:, order] * scale
        self.bias = bias[order] * scale
        self.recurrent_kernel = recurrent_kernel[:, order] * scale
        self.recurrent_bias = np.zeros_like(bias)

    def advance(self, projected: Array, recurrent: Array, c: Array) -> tuple[Array, Array]:
        """Return h and c after a step, (B, U), from both parts of the gates, (B, 4U), and c."""
        units = self._units
        gates = projected + recurrent
        np.tanh(gates, out=gates)
        sigmoids = gates[:, : 3 * units]
        sigmoids *= 0.5
        sigmoids += 0.5
        c = c * gates[:, units : 2 * units]
        g = gates[:, 3 * units :]
        g *= gates[:, :units]
        c += g
        h = np.tanh(c)
        h *= gates[:, 2 * units : 3 * units]
        return h, c


class _GRU(_Layer):
    """Gates z, r, h as Keras keeps them, the first two halved: see `_LSTM`."""

    def __init__(self, kernel: Array, recurrent_kernel: Array, bias: Array) -> None:
        self._units = units = len(recurrent_kernel)
        scale = np.repeat(np.array([0.5, 0.5, 1], np.float32), units)
        self.kernel = kernel * scale
        self.recurrent_kernel = recurrent_kernel * scale
        self.bias, self.recurrent_bias = bias * scale

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
