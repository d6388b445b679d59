"""The trained network in NumPy: faster at one stream than a framework, and there at once."""

import numpy as np
from numpy.typing import NDArray

from textgen.checkpoint import STATES, Arrays
from textgen.options import TrainingOptions
from textgen.preprocess.tokenizers import Ids

Array = NDArray[np.float32]
LayerState = tuple[Array, ...]
States = list[LayerState]

_TABLE_LIMIT = 4096  # tokens; a larger vocabulary is projected as its tokens come


class Network:
    """Embedding -> recurrent layers -> logits; T steps, B rows, U units, V tokens.

    State is a value: a call returns the state to go on with and leaves the one it was given
    as it was, so a state that is kept can be gone back to.
    """

    def __init__(self, options: TrainingOptions, weights: Arrays) -> None:
        self._units = options.units
        self._parts = len(STATES[options.cell])
        layer_type = _LSTM if options.cell == "lstm" else _GRU
        self._layers = [
            layer_type(
                *(weights[f"layers.{i}.{part}"] for part in ("kernel", "recurrent_kernel", "bias"))
            )
            for i in range(options.layers)
        ]
        self._embedding = weights["embedding"]
        self._table: Array | None = None  # what the first layer makes of each token
        if len(self._embedding) <= _TABLE_LIMIT:
            self._table = self._layers[0].project(self._embedding)
        self._kernel = weights["embedding"].T if options.tie else weights["output.kernel"]
        self._bias = weights["output.bias"]

    def zero_state(self, rows: int) -> States:
        """The state at the start of a text."""
        zeros = np.zeros((rows, self._units), np.float32)
        return [(zeros,) * self._parts for _ in self._layers]

    def __call__(self, tokens: Ids, states: States) -> tuple[Array, States]:
        """Return the logits after the last of `tokens`, (T, B), as (B, V), and the states."""
        hidden, states = self.forward(tokens, states)
        return self.logits(hidden[-1]), states

    def forward(self, tokens: Ids, states: States) -> tuple[Array, States]:
        """Return the last layer's output after each of `tokens`, (T, B, U), and the states."""
        first = self._layers[0]
        if self._table is None:
            projected = first.project(self._embedding[tokens])
        else:
            projected = self._table[tokens]
        hidden, state = first.run(projected, states[0])
        states_after = [state]
        for layer, state in zip(self._layers[1:], states[1:], strict=True):
            hidden, state = layer.run(layer.project(hidden), state)
            states_after.append(state)
        return hidden, states_after

    def logits(self, hidden: Array) -> Array:
        """Return the logits, (..., V), that outputs of the last layer, (..., U), lead to."""
        return hidden @ self._kernel + self._bias


class _Layer:
    """What LSTM and GRU layers share: the part of their inputs, of all steps in one product."""

    _kernel: Array  # (inputs, gates)
    _bias: Array  # (gates,)

    def project(self, inputs: Array) -> Array:
        """(..., inputs) -> (..., gates)"""
        return inputs @ self._kernel + self._bias


class _LSTM(_Layer):
    """Gates are kept in the order i, f, o, c and the first three halved.

    One tanh then serves them all, as sigmoid(x) = (1 + tanh(x / 2)) / 2.
    """

    def __init__(self, kernel: Array, recurrent_kernel: Array, bias: Array) -> None:
        units = len(recurrent_kernel)
        i, f, c, o = np.arange(4 * units).reshape(4, units)
        order = np.concatenate([i, f, o, c])
        scale = np.repeat(np.array([0.5, 0.5, 0.5, 1], np.float32), units)
        self._kernel = kernel[:, order] * scale
        self._recurrent_kernel = recurrent_kernel[:, order] * scale
        self._bias = bias[order] * scale

    def run(self, projected: Array, state: LayerState) -> tuple[Array, LayerState]:
        """(T, B, 4U) and h, c -> outputs (T, B, U) and h, c."""
        h, c = state[0], state[1].copy()
        steps, rows, units = *projected.shape[:2], h.shape[-1]
        outputs = np.empty((steps, rows, units), np.float32)
        gates = np.empty((rows, 4 * units), np.float32)
        sigmoids, g = gates[:, : 3 * units], gates[:, 3 * units :]
        i, f, o = (sigmoids[:, k * units : (k + 1) * units] for k in range(3))
        for projection, output in zip(projected, outputs, strict=True):
            np.matmul(h, self._recurrent_kernel, out=gates)
            gates += projection
            np.tanh(gates, out=gates)
            sigmoids *= 0.5
            sigmoids += 0.5
            c *= f
            g *= i
            c += g
            h = np.tanh(c, out=output)
            h *= o
        return outputs, (h, c)


class _GRU(_Layer):
    """Gates z, r, h as Keras keeps them, the first two halved: see `_LSTM`."""

    def __init__(self, kernel: Array, recurrent_kernel: Array, bias: Array) -> None:
        scale = np.repeat(np.array([0.5, 0.5, 1], np.float32), len(recurrent_kernel))
        self._kernel = kernel * scale
        self._recurrent_kernel = recurrent_kernel * scale
        self._bias, self._recurrent_bias = bias * scale

    def run(self, projected: Array, state: LayerState) -> tuple[Array, LayerState]:
        """(T, B, 3U) and h -> outputs (T, B, U) and h."""
        (h,) = state
        steps, rows, units = *projected.shape[:2], h.shape[-1]
        outputs = np.empty((steps, rows, units), np.float32)
        for projection, output in zip(projected, outputs, strict=True):
            recurrent = h @ self._recurrent_kernel
            recurrent += self._recurrent_bias
            gates = np.tanh(projection[:, : 2 * units] + recurrent[:, : 2 * units])
            gates *= 0.5
            gates += 0.5
            z, r = gates[:, :units], gates[:, units:]
            g = np.tanh(projection[:, 2 * units :] + r * recurrent[:, 2 * units :])
            np.subtract(h, g, out=output)  # z h + (1 - z) g = g + z (h - g)
            output *= z
            output += g
            h = output
        return outputs, (h,)
