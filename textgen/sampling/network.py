"""The trained network in NumPy: faster at one stream than a framework, and there at once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.checkpoint import STATES, Arrays
from textgen.options import TrainingOptions
from textgen.preprocess.tokenizers import Ids

Array = NDArray[np.float32]

_TABLE_LIMIT = 4096  # tokens; a larger vocabulary is projected as its tokens come


class Network:
    """Embedding -> recurrent layers -> logits; T steps, B rows, L layers, U units, V tokens.

    The state is one array, (L, P, B, U), of P parts: h, and c of an LSTM. It is a value: a call
    returns the state to go on with and leaves the one it was given as it was, so a state that
    is kept can be gone back to.
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
        first, embedding = self._layers[0], weights["embedding"]
        # What each layer makes of its inputs; the first looks its tokens up.
        table = first.project(embedding) if len(embedding) <= _TABLE_LIMIT else None
        self._projections: list[Callable[[Any], Array]] = [
            lambda tokens: first.project(embedding[tokens]) if table is None else table[tokens],
            *(layer.project for layer in self._layers[1:]),
        ]
        self._kernel = weights["embedding"].T if options.tie else weights["output.kernel"]
        self._bias = weights["output.bias"]

    def zero_state(self, rows: int) -> Array:
        """The state at the start of a text."""
        return np.zeros((len(self._layers), self._parts, rows, self._units), np.float32)

    def rows(self, state: Array, rows: Sequence[int]) -> Array:
        """Return the state of these rows, each as often as it is named."""
        return state[:, :, rows]

    def __call__(self, tokens: Ids, state: Array) -> tuple[Array, Array]:
        """Return the logits after the last of `tokens`, (T, B), as (B, V), and the state."""
        hidden, state = self.forward(tokens, state)
        return self.logits(hidden[-1]), state

    def step(self, tokens: Ids, state: Array) -> tuple[Array, Array]:
        """Return the logits after one token in each row, (B,), as (B, V), and the state."""
        state = state.copy()
        inputs: NDArray[Any] = tokens
        for project, layer, part in zip(self._projections, self._layers, state, strict=True):
            layer.advance(project(inputs), part)
            inputs = part[0]
        return self.logits(inputs), state

    def forward(self, tokens: Ids, state: Array) -> tuple[Array, Array]:
        """Return the last layer's output after each of (T, B) tokens, (T, B, U), and the state.

        The inputs of each layer are projected at all steps in one product.
        """
        state = state.copy()
        inputs: NDArray[Any] = tokens
        for project, layer, part in zip(self._projections, self._layers, state, strict=True):
            projected = project(inputs)
            inputs = np.empty((*tokens.shape, self._units), np.float32)
            for step, output in zip(projected, inputs, strict=True):
                layer.advance(step, part)
                output[:] = part[0]
        return inputs, state

    def logits(self, hidden: Array) -> Array:
        """Return the logits, (..., V), that outputs of the last layer, (..., U), lead to."""
        return hidden @ self._kernel + self._bias


class _Layer:
    """What LSTM and GRU layers share: the part of their inputs."""

    _kernel: Array  # (inputs, gates)
    _bias: Array  # (gates,)

    def project(self, inputs: Array) -> Array:
        """(..., inputs) -> (..., gates)"""
        projected = inputs @ self._kernel
        projected += self._bias
        return projected


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

    def advance(self, gates: Array, state: Array) -> None:
        """Advance h and c, (2, B, U), in place by a step with projected inputs, (B, 4U)."""
        h, c = state
        units = h.shape[-1]
        gates += h @ self._recurrent_kernel
        np.tanh(gates, out=gates)
        sigmoids, g = gates[:, : 3 * units], gates[:, 3 * units :]
        sigmoids *= 0.5
        sigmoids += 0.5
        c *= sigmoids[:, units : 2 * units]
        g *= sigmoids[:, :units]
        c += g
        np.tanh(c, out=h)
        h *= sigmoids[:, 2 * units :]


class _GRU(_Layer):
    """Gates z, r, h as Keras keeps them, the first two halved: see `_LSTM`."""

    def __init__(self, kernel: Array, recurrent_kernel: Array, bias: Array) -> None:
        scale = np.repeat(np.array([0.5, 0.5, 1], np.float32), len(recurrent_kernel))
        self._kernel = kernel * scale
        self._recurrent_kernel = recurrent_kernel * scale
        self._bias, self._recurrent_bias = bias * scale

    def advance(self, gates: Array, state: Array) -> None:
        """Advance h, (1, B, U), in place by a step with projected inputs, (B, 3U)."""
        (h,) = state
        units = h.shape[-1]
        recurrent = h @ self._recurrent_kernel
        recurrent += self._recurrent_bias
        sigmoids, g = gates[:, : 2 * units], gates[:, 2 * units :]
        sigmoids += recurrent[:, : 2 * units]
        np.tanh(sigmoids, out=sigmoids)
        sigmoids *= 0.5
        sigmoids += 0.5
        g += sigmoids[:, units:] * recurrent[:, 2 * units :]
        np.tanh(g, out=g)
        h -= g  # z h + (1 - z) g = g + z (h - g)
        h *= sigmoids[:, :units]
        h += g
