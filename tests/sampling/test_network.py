"""The NumPy network: its state is a value, and its activations can be traced."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from textgen.kernels import kernels
from textgen.options.architecture import GATES, STATES, Architecture, as_lstm
from textgen.sampling.compiled import CompiledNetwork
from textgen.sampling.network import NumpyNetwork, TracedNetwork

V, B, T = 11, 3, 7
ARCHITECTURES = [
    Architecture("lstm", (6, 4), 5, False),
    Architecture("gru", (6, 4), 5, False),
    Architecture("gru", (4,), 4, True),
    Architecture("cifg", (6, 4), 5, False),
]
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
RNG = np.random.default_rng(0)
IDS = RNG.integers(V, size=(T, B))


def weights(architecture: Architecture, vocabulary: int = V) -> dict[str, np.ndarray]:
    shapes = architecture.weight_shapes(vocabulary).items()
    return {name: RNG.normal(0, 0.8, shape).astype(np.float32) for name, shape in shapes}


def network_of(architecture: Architecture, vocabulary: int = V) -> NumpyNetwork:
    return NumpyNetwork(architecture, weights(architecture, vocabulary))


def arrays(state: list[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    return [part for layer in state for part in layer]


@architectures
def test_rows_are_taken_and_joined(architecture: Architecture) -> None:
    network = network_of(architecture)
    _, state = network.forward(IDS, network.zero_state(B))
    parts = [network.take(state, [row]) for row in range(B)]
    for ours, theirs in zip(arrays(network.join(parts)), arrays(state), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    twice = network.take(state, [2, 2, 0])
    logits, _ = network.step(np.array([1, 1, 1]), twice)
    np.testing.assert_array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


@pytest.mark.parametrize("rows", [2, 12, 13, 40])
@architectures
def test_rows_that_are_alone_do_not_depend_on_others(architecture: Architecture, rows: int) -> None:
    network = network_of(architecture)
    tokens = RNG.integers(V, size=(T, rows))
    state = network.zero_state(rows)
    alone = [network.zero_state(1) for _ in range(rows)]
    for number in range(T):
        count = rows if number % 2 else rows // 2 + 1
        logits, state = network.step(tokens[number], state, count)
        for row in range(count):
            expected, alone[row] = network.step(tokens[number, row : row + 1], alone[row])
            np.testing.assert_array_equal(logits[row], expected[0])
        state = network.take(state, range(count))
        tokens = tokens[:, :count]
        rows = count


@pytest.mark.parametrize("units", [(1,), (7,), (16,), (33, 17), (333,), (512,), (100, 60)], ids=str)
@pytest.mark.parametrize("cell", sorted(STATES))
def test_a_state_does_not_depend_on_how_a_text_is_read(cell: str, units: tuple[int, ...]) -> None:
    network = network_of(Architecture(cell, units, 8, False))
    tokens = RNG.integers(V, size=40)
    stepped = network.zero_state(1)
    for token in tokens:
        _, stepped = network.step(np.array([token]), stepped)
    for blocks in ([40], [13, 27], [1, 38, 1]):
        state, first = network.zero_state(1), 0
        for count in blocks:
            _, state = network.forward(tokens[first : first + count, None], state)
            first += count
        for ours, theirs in zip(arrays(state), arrays(stepped), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_logits_of_a_large_vocabulary() -> None:
    """They have a product of their own."""
    network = network_of(Architecture("lstm", (8,), 8, True), 100)
    tokens = RNG.integers(100, size=20)
    hidden, _ = network.forward(tokens[:, None], network.zero_state(1))
    state = network.zero_state(1)
    for token, logits in zip(tokens, network.logits(hidden), strict=True):
        stepped, state = network.step(np.array([token]), state)
        np.testing.assert_allclose(stepped, logits, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [NumpyNetwork, *(partial(CompiledNetwork, kernel) for kernel in kernels("float32"))],
    ids=["numpy", *(kernel.name for kernel in kernels("float32"))],
)
@architectures
def test_a_trace_is_what_keras_cells_compute(
    architecture: Architecture, make: Callable[..., TracedNetwork]
) -> None:
    import keras
    import tensorflow as tf

    own = weights(architecture)
    network = make(architecture, own)
    _, before = network.forward(IDS, network.zero_state(B))
    traces, after = network.trace(IDS, network.zero_state(B))
    for ours, theirs in zip(arrays(after), arrays(before), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    inputs = own["embedding"][IDS]
    for layer, (units, trace) in enumerate(zip(architecture.units, traces, strict=True)):
        is_gru = architecture.cell == "gru"
        cell: Any = keras.layers.GRUCell(units) if is_gru else keras.layers.LSTMCell(units)
        cell.build((B, inputs.shape[-1]))
        parts = [own[f"layers.{layer}.{part}"] for part in ("kernel", "recurrent_kernel", "bias")]
        if architecture.cell == "cifg":
            parts = [as_lstm(part, np.concatenate) for part in parts]
        kernel, recurrent_kernel, bias = parts
        cell.set_weights(parts)
        state = [np.zeros((B, units), np.float32)] * len(STATES[architecture.cell])
        for t in range(T):
            h = state[0]
            output, state = cell(tf.constant(inputs[t]), state)
            np.testing.assert_allclose(trace.hidden[t], output, atol=1e-5)
            if not is_gru:
                assert trace.memory is not None
                np.testing.assert_allclose(trace.memory[t], state[1], atol=1e-5)
                projected = inputs[t] @ kernel + h @ recurrent_kernel + bias
                gates = dict(zip("ifco", np.split(np.asarray(projected), 4, axis=1), strict=True))
                gates = {n: np.tanh(g) if n == "c" else tf.sigmoid(g) for n, g in gates.items()}
            else:
                assert trace.memory is None
                x = np.split(inputs[t] @ kernel + bias[0], 3, axis=1)
                r = np.split(np.asarray(h @ recurrent_kernel + bias[1]), 3, axis=1)
                gates = {"z": tf.sigmoid(x[0] + r[0]), "r": tf.sigmoid(x[1] + r[1])}
                gates["h"] = np.tanh(x[2] + gates["r"] * r[2])
            assert list(trace.gates) == list(GATES[architecture.cell])
            for name, gate in trace.gates.items():
                np.testing.assert_allclose(gate[t], gates[name], atol=1e-5)
        inputs = trace.hidden
