"""The network in training: embedding -> recurrent layers -> logits."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from textgen.options.architecture import GATES, STATES, Architecture
from textgen.runs.files import Arrays
from textgen.training.backend import keras, tf
from textgen.training.products import Tensor, look_up, product
from textgen.training.recurrent import KerasLayer, LayerState, gru, lstm

States: TypeAlias = list[LayerState]
Weights: TypeAlias = dict[str, Tensor]


class TrainingNetwork:
    """Weights as Keras variables by name, and the function they define.

    The state is an explicit value: it is passed in and returned. T steps, B rows, U units of a
    layer, V tokens.
    """

    def __init__(
        self,
        architecture: Architecture,
        vocabulary_size: int,
        seed: int = 0,
        on_gpu: bool | None = None,
    ) -> None:
        """Draw random weights; by default, `on_gpu` is true if there is a GPU."""
        self.architecture = architecture
        self.vocabulary_size = vocabulary_size
        self.on_gpu = bool(tf.config.list_physical_devices("GPU")) if on_gpu is None else on_gpu
        seeds = keras.random.SeedGenerator(seed)
        self.variables = {
            name: keras.Variable(
                _initial(name, shape, architecture, seeds), dtype="float32", name=name
            )
            for name, shape in architecture.weight_shapes(vocabulary_size).items()
        }
        self._parts = STATES[architecture.cell]
        sizes = zip(architecture.inputs, architecture.units, strict=True)
        self._keras_layers = [
            KerasLayer(architecture.cell, inputs, units) for inputs, units in sizes if self.on_gpu
        ]

    def weights(self) -> Arrays:
        return {name: variable.value.numpy().copy() for name, variable in self.variables.items()}

    def assign(self, weights: Arrays) -> None:
        """Set weights by name; leave the others unchanged."""
        for name, values in weights.items():
            self.variables[name].assign(values)

    def zero_state(self, rows: int) -> States:
        """Return the state at the start of a text."""
        return [(tf.zeros((rows, units)),) * len(self._parts) for units in self.architecture.units]

    def reset_rows(self, states: States, rows: NDArray[np.bool_]) -> States:
        """Return the states with those of the marked rows, (B,), set to zero."""
        if not rows.any():
            return states
        keep = tf.constant(~rows[:, None], tf.float32)
        return [tuple(part * keep for part in state) for state in states]

    def state_arrays(self, states: States) -> Arrays:
        """Return the states as arrays by name; `states_from` is the inverse."""
        return {
            f"layers.{layer}.{part}": np.array(values)
            for layer, state in enumerate(states)
            for part, values in zip(self._parts, state, strict=True)
        }

    def states_from(self, arrays: Arrays) -> States:
        return [
            tuple(tf.constant(arrays[f"layers.{layer}.{part}"]) for part in self._parts)
            for layer in range(self.architecture.layers)
        ]

    def __call__(
        self, tokens: Tensor, states: States, resets: Tensor | None = None
    ) -> tuple[Tensor, States]:
        """Return the logits after each token, (T, B, V), and the state after the last."""
        weights = self.tensors()
        hidden, states = self.hidden(weights, tokens, states, resets)
        tied = self.architecture.tie
        kernel = weights["embedding"] if tied else weights["output.kernel"]
        return tf.matmul(hidden, kernel, transpose_b=tied) + weights["output.bias"], states

    def tensors(self) -> Weights:
        """Return the current values of the weights."""
        return {name: tf.convert_to_tensor(v) for name, v in self.variables.items()}

    def hidden(
        self,
        weights: Weights,
        tokens: Tensor,
        states: States,
        resets: Tensor | None = None,
        masks: Sequence[Tensor] | None = None,
        precision: tf.DType = tf.float32,
    ) -> tuple[Tensor, States]:
        """Return the last layer's output after each token, and the state after the last.

        Args:
            weights: by name.
            tokens: (T, B).
            states: of each layer, before the first step; each part (B, U).
            resets: (T, B), true where the state of a row is set to zero before a step.
            masks: the dropout mask of each layer, (B, U), a factor of its outputs at all steps.
            precision: of the matrix products.

        Returns:
            outputs (T, B, U) and the states.
        """
        embedding = weights["embedding"]
        # Keras's layer, which uses cuDNN on a GPU, cannot reset the state inside a chunk.
        by_keras = self.on_gpu and resets is None
        keep = None if resets is None else tf.cast(~resets, tf.float32)[:, :, None]
        # With a small vocabulary it is faster to project every token once and look up the results.
        table = not by_keras and embedding.shape[0] <= tokens.shape[0] * tokens.shape[1]
        hidden = embedding if table else tf.gather(embedding, tokens)
        states_after = []
        for layer, state in enumerate(states):
            kernel, recurrent_kernel, bias = (
                weights[f"layers.{layer}.{part}"] for part in ("kernel", "recurrent_kernel", "bias")
            )
            if by_keras:
                own = (kernel, recurrent_kernel, bias)
                hidden, state = self._keras_layers[layer](hidden, state, own)
            else:
                is_gru = self.architecture.cell == "gru"
                projected = product(hidden, kernel, precision) + (bias[0] if is_gru else bias)
                if table and layer == 0:
                    projected = look_up(projected, tokens, precision)
                if is_gru:
                    hidden, state = gru(
                        projected, state, recurrent_kernel, bias[1], keep, precision
                    )
                else:
                    hidden, state = lstm(projected, state, recurrent_kernel, keep, precision)
            states_after.append(state)
            if masks is not None:
                hidden = hidden * masks[layer]
        return hidden, states_after


def _initial(
    name: str, shape: tuple[int, ...], architecture: Architecture, seed: keras.random.SeedGenerator
) -> Tensor:
    """Draw a weight: normal embeddings, orthogonal recurrent kernels, forget-gate biases of 1."""
    match name.rpartition(".")[2]:
        case "embedding":
            # A tied embedding is also the output's kernel. With a standard deviation of 1 its
            # logits would be too large.
            deviation = architecture.units[-1] ** -0.5 if architecture.tie else 1.0
            return keras.initializers.RandomNormal(stddev=deviation, seed=seed)(shape)
        case "recurrent_kernel":
            units, width = shape
            orthogonal = keras.initializers.Orthogonal(seed=seed)
            return tf.concat([orthogonal((units, units)) for _ in range(width // units)], axis=1)
        case "kernel":
            return keras.initializers.GlorotUniform(seed=seed)(shape)
    bias = np.zeros(shape, np.float32)
    gates = GATES[architecture.cell]
    if name.startswith("layers") and "f" in gates:
        bias.reshape(len(gates), -1)[gates.index("f")] = 1
    return tf.constant(bias)
