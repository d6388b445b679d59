"""The network for generation, in NumPy, which imports quickly and is fast for single steps."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from textgen.options.architecture import Architecture
from textgen.preprocess.tokenizers import Ids
from textgen.runs.files import Arrays
from textgen.sampling.filters import Logits

Array = NDArray[np.float32]
NumpyState = list[tuple[Array, Array]]

_HALF = np.float32(0.5)
_LARGEST_TABLE = 4096  # tokens; embeddings of a larger vocabulary are projected at each step
_LARGEST_SHARE = 0.5  # of the logits in a product that computes them besides the recurrent part
_FEW_ROWS = 12  # up to this many, a product for each row is faster than one for all


class Network(Protocol):
    """What generation and evaluation need from a network; T steps, B rows, V tokens.

    The state is a value: calls return a new state, and never modify the one they are given.
    """

    def zero_state(self, rows: int) -> Any:
        """Return the state at the start of a text."""

    def take(self, state: Any, rows: Sequence[int]) -> Any:
        """Return the state of these rows, which may repeat."""

    def join(self, states: Sequence[Any]) -> Any:
        """Return the states concatenated by rows."""

    def step(self, tokens: Ids, state: Any, alone: int = 0) -> tuple[Logits, Any]:
        """Read one token in each row, (B,); return the logits, (B, V), and the state.

        The results for the first `alone` rows do not depend on the other rows. Those of the rest
        may, by rounding: a product of many rows is faster than one for each.
        """

    def forward(self, tokens: Ids, state: Any) -> tuple[Any, Any]:
        """Read tokens, (T, B); return what `logits` needs for each of them, and the state."""

    def logits(self, hidden: Any) -> Logits:
        """Return the logits after each token, (T, B, V)."""


class LayerTrace(NamedTuple):
    """The activations of a layer at every step; each array is (T, B, U)."""

    hidden: Array  # h
    memory: Array | None  # c; None for a GRU
    output: Array  # that of the last layer is what `Network.logits` needs
    gates: dict[str, Array]  # by the names in GATES, which are Keras's


@runtime_checkable
class TracedNetwork(Network, Protocol):
    """One network, whose activations can be seen."""

    def trace(self, tokens: Ids, state: Any) -> tuple[list[LayerTrace], Any]:
        """Read tokens, (T, B); return the activations of each layer, and the state."""


class NumpyNetwork:
    """Embedding -> recurrent layers -> logits; T steps, B rows, U units of a layer, V tokens.

    The output of a layer is multiplied by two kernels: its own recurrent kernel, for the next
    step, and the kernel of the layer above. One product computes both. The state of a layer is
    therefore its recurrent product for the next step, (B, gates), and its memory, (B, U).

    One row has the same state to the last bit, however its tokens are divided between `step` and
    `forward`.
    """

    def __init__(self, architecture: Architecture, weights: Arrays) -> None:
        self._units = architecture.units
        kinds: dict[str, type[_LSTM | _GRU]] = {"lstm": _LSTM, "gru": _GRU, "cifg": _CIFG}
        layer_type = kinds[architecture.cell]
        self._layers: list[_LSTM | _GRU] = []
        scale = np.float32(1)  # of the inputs of a layer, folded into its kernel
        for i in range(architecture.layers):
            kernel, recurrent_kernel, bias = (
                weights[f"layers.{i}.{part}"] for part in ("kernel", "recurrent_kernel", "bias")
            )
            self._layers.append(layer_type(kernel * scale, recurrent_kernel, bias))
            scale = layer_type.scale
        output = weights["embedding"].T if architecture.tie else weights["output.kernel"]
        above = [(layer.kernel, layer.bias) for layer in self._layers[1:]]
        above.append((output * scale, weights["output.bias"]))
        self._kernels, self._biases = [], []
        for layer, (kernel, bias) in zip(self._layers, above, strict=True):
            both = np.concatenate([layer.recurrent_kernel, kernel], axis=1)
            self._kernels.append(np.asfortranarray(both))  # a fifth faster for one row
            self._biases.append(np.concatenate([layer.recurrent_bias, bias]))
        width = self._layers[-1].width
        self._output = self._kernels[-1][:, width:], self._biases[-1][width:]
        # `forward` would compute unused logits.
        self._output_apart = output.shape[1] > width * _LARGEST_SHARE
        if self._output_apart:
            self._kernels[-1], self._biases[-1] = both[:, :width], self._biases[-1][:width]
        self._embedding = weights["embedding"]
        self._table: Array | None = None  # the first layer's projection of each token
        if len(self._embedding) <= _LARGEST_TABLE:
            self._table = self._layers[0].project(self._embedding)

    def zero_state(self, rows: int) -> NumpyState:
        return [
            (np.tile(layer.recurrent_bias, (rows, 1)), np.zeros((rows, units), np.float32))
            for layer, units in zip(self._layers, self._units, strict=True)
        ]

    def take(self, state: NumpyState, rows: Sequence[int]) -> NumpyState:
        return [(recurrent[rows], memory[rows]) for recurrent, memory in state]

    def join(self, states: Sequence[NumpyState]) -> NumpyState:
        return [
            (np.concatenate([part[0] for part in layer]), np.concatenate([p[1] for p in layer]))
            for layer in zip(*states, strict=True)
        ]

    def step(self, tokens: Ids, state: NumpyState, alone: int = 0) -> tuple[Array, NumpyState]:
        inputs, state_after = self._projected(tokens), []
        for layer, kernel, bias, (recurrent, memory) in zip(
            self._layers, self._kernels, self._biases, state, strict=True
        ):
            h, memory = layer.advance(inputs, recurrent, memory)
            product = _multiply_rows(h, kernel, alone)
            product += bias
            state_after.append((product[:, : layer.width], memory))
            inputs = product[:, layer.width :]
        if self._output_apart:
            kernel, bias = self._output
            inputs = _multiply_rows(h, kernel, alone)
            inputs += bias
        return inputs, state_after

    def forward(self, tokens: Ids, state: NumpyState) -> tuple[Array, NumpyState]:
        """Return the last layer's output (h / `scale`), (T, B, U), and the state."""
        inputs, hidden, state_after = self._projected(tokens), np.empty(0, np.float32), []
        for number, (recurrent, memory) in enumerate(state):
            layer, above = self._layers[number], self._room_above(number, tokens)
            hidden = np.empty((*tokens.shape, self._units[number]), np.float32)
            for t, projected in enumerate(inputs):
                hidden[t], memory = layer.advance(projected, recurrent, memory)
                recurrent = self._rise(number, hidden[t], above[t])
            state_after.append((recurrent, memory))
            inputs = above
        return hidden, state_after

    def logits(self, hidden: Array) -> Array:
        kernel, bias = self._output
        return hidden @ kernel + bias

    def trace(self, tokens: Ids, state: NumpyState) -> tuple[list[LayerTrace], NumpyState]:
        """Read tokens, (T, B); return the activations of each layer, and the state.

        Takes little longer than `forward`, and memory for all gates.
        """
        inputs, traces, state_after = self._projected(tokens), list[LayerTrace](), []
        for number, (recurrent, memory) in enumerate(state):
            layer, above = self._layers[number], self._room_above(number, tokens)
            output = np.empty((*tokens.shape, self._units[number]), np.float32)
            memories, gates = np.empty_like(output), np.empty_like(inputs)
            for t, projected in enumerate(inputs):
                layer.activate(projected, recurrent, gates[t])
                output[t], memories[t] = layer.update(gates[t], memory)
                memory = memories[t]
                recurrent = self._rise(number, output[t], above[t])
            state_after.append((recurrent, memory))
            traces.append(
                LayerTrace(
                    output * layer.scale,
                    memories if layer.has_memory else None,
                    output,
                    layer.gates(gates),
                )
            )
            inputs = above
        return traces, state_after

    def _room_above(self, number: int, tokens: Ids) -> Array:
        """Return room for the inputs of the layer above layer `number`, (T, B, gates)."""
        above = self._layers[number + 1 : number + 2]
        return np.empty((*tokens.shape, above[0].width if above else 0), np.float32)

    def _rise(self, number: int, h: Array, above: Array) -> Array:
        """Multiply the output of layer `number`, (B, U), by its two kernels, as `step` does.

        Fill the inputs of the layer above, and return the recurrent part of the next step.
        """
        width = self._layers[number].width
        product = h @ self._kernels[number]
        product += self._biases[number]
        if above.size:
            above[:] = product[:, width:]
        return product[:, :width]

    def _projected(self, tokens: Ids) -> Array:
        """Return the first layer's projection of tokens, (...), as (..., gates)."""
        if self._table is None:
            return self._layers[0].project(self._embedding[tokens])
        return self._table.take(tokens, axis=0)


def _multiply_rows(h: Array, kernel: Array, alone: int) -> Array:
    """Multiply (B, U) by (U, W): the first `alone` rows one by one, or all if they are few."""
    rows = len(h)
    if rows == 1:
        return h @ kernel
    if rows <= _FEW_ROWS or alone == rows:
        return (h[:, None] @ kernel)[:, 0]
    if not alone:
        return h @ kernel
    product = np.empty((rows, kernel.shape[1]), np.float32)
    np.matmul(h[:alone, None], kernel, out=product[:alone, None])
    np.matmul(h[alone:], kernel, out=product[alone:])
    return product


class _Layer:
    """The weights that all kinds of layers have."""

    kernel: Array  # (inputs, width)
    bias: Array  # (width,)
    scale: ClassVar[np.float32]  # h is the output multiplied by this
    has_memory: ClassVar[bool]
    recurrent_kernel: Array  # (U, width)
    recurrent_bias: Array  # (width,)
    width: int

    def project(self, inputs: Array) -> Array:
        """(..., inputs) -> (..., width)"""
        return inputs @ self.kernel + self.bias


class _LSTM(_Layer):
    """Gates i, f, c, o in Keras's order. All weights but those of c are halved: see `activate`."""

    scale = np.float32(0.5)
    has_memory = True
    halves: ClassVar[tuple[float, ...]] = (0.5, 0.5, 1, 0.5)

    def __init__(self, kernel: Array, recurrent_kernel: Array, bias: Array) -> None:
        self._units = units = len(recurrent_kernel)
        halves = np.repeat(np.array(self.halves, np.float32), units)
        self.kernel = kernel * halves
        self.bias = bias * halves
        self.recurrent_kernel = recurrent_kernel * halves * self.scale
        self.recurrent_bias = np.zeros_like(bias)
        self.width = len(bias)

    def advance(self, projected: Array, recurrent: Array, c: Array) -> tuple[Array, Array]:
        """Return 2 h and c after a step, each (B, U).

        `projected` and `recurrent` are (B, width).
        """
        gates = np.empty_like(projected)
        self.activate(projected, recurrent, gates)
        return self.update(gates, c)

    def activate(self, projected: Array, recurrent: Array, gates: Array) -> None:
        """Fill `gates`, (B, width), with 2 i - 1, 2 f - 1, g and 2 o - 1.

        One tanh serves all gates, because sigmoid(x) = (1 + tanh(x / 2)) / 2.
        """
        np.add(projected, recurrent, out=gates)
        np.tanh(gates, out=gates)

    def update(self, gates: Array, c: Array) -> tuple[Array, Array]:
        """2 c' = (1 + f) c + (1 + i) g and 2 h = (1 + o) tanh(c'), with f, i, o as activated."""
        i, f, g, o = self._parts(gates)
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

    def gates(self, activated: Array) -> dict[str, Array]:
        """Return the gates by Keras's names, each (..., U), from what `activate` filled."""
        i, f, g, o = self._parts(activated)
        return {"i": (1 + i) * _HALF, "f": (1 + f) * _HALF, "c": g, "o": (1 + o) * _HALF}

    def _parts(self, gates: Array) -> list[Array]:
        units = self._units
        return [gates[..., start : start + units] for start in range(0, self.width, units)]


class _CIFG(_LSTM):
    """Gates f, c, o; i is 1 - f."""

    halves = (0.5, 1, 0.5)

    def gates(self, activated: Array) -> dict[str, Array]:
        gates = super().gates(activated)
        del gates["i"]
        return gates

    def _parts(self, gates: Array) -> list[Array]:
        f, g, o = super()._parts(gates)
        return [-f, f, g, o]  # 2 i - 1 = -(2 f - 1)


class _GRU(_Layer):
    """Gates z, r, h in Keras's order; the weights of z and r are halved, as for an LSTM."""

    scale = np.float32(1)
    has_memory = False

    def __init__(self, kernel: Array, recurrent_kernel: Array, bias: Array) -> None:
        self._units = units = len(recurrent_kernel)
        halves = np.repeat(np.array([0.5, 0.5, 1], np.float32), units)
        self.kernel = kernel * halves
        self.recurrent_kernel = recurrent_kernel * halves
        self.bias, self.recurrent_bias = bias * halves
        self.width = len(self.bias)

    def advance(self, projected: Array, recurrent: Array, h: Array) -> tuple[Array, Array]:
        """Return h after a step, (B, U), twice; `projected` and `recurrent` are (B, 3U)."""
        gates = np.empty_like(projected)
        self.activate(projected, recurrent, gates)
        return self.update(gates, h)

    def activate(self, projected: Array, recurrent: Array, gates: Array) -> None:
        """Fill `gates`, (B, 3U), with z, r and the candidate."""
        both = 2 * self._units
        sigmoids, g = gates[:, :both], gates[:, both:]
        np.add(projected[:, :both], recurrent[:, :both], out=sigmoids)
        np.tanh(sigmoids, out=sigmoids)
        sigmoids *= 0.5
        sigmoids += 0.5
        np.multiply(sigmoids[:, self._units :], recurrent[:, both:], out=g)
        g += projected[:, both:]
        np.tanh(g, out=g)

    def update(self, gates: Array, h: Array) -> tuple[Array, Array]:
        """h' = z h + (1 - z) g = g + z (h - g)"""
        g = gates[:, 2 * self._units :]
        h = h - g
        h *= gates[:, : self._units]
        h += g
        return h, h

    def gates(self, activated: Array) -> dict[str, Array]:
        """Return the gates by Keras's names, each (..., U), from what `activate` filled."""
        z, r, g = np.split(activated, 3, axis=-1)
        return {"z": z, "r": r, "h": g}
