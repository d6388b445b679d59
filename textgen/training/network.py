"""The network that is trained: embedding -> recurrent layers -> logits, state in and state out."""

from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textgen.options.training import TrainingOptions
from textgen.runs.folder import STATES, Arrays, weight_shapes
from textgen.training.products import Tensor, look_up, product
from textgen.training.recurrent import KerasLayer, State, gru, lstm

States: TypeAlias = list[State]
Weights: TypeAlias = dict[str, Tensor]


class Network:
    """Weights as Keras variables by name, and the function they define."""

    def __init__(
        self, options: TrainingOptions, vocabulary_size: int, on_gpu: bool | None = None
    ) -> None:
        """Draw the weights; `on_gpu` is for what is there where it is not said."""
        self.options = options
        self.on_gpu = bool(tf.config.list_physical_devices("GPU")) if on_gpu is None else on_gpu
        self.vocabulary_size = vocabulary_size
        self._parts = STATES[options.cell]
        seeds = keras.random.SeedGenerator(options.seed)
        self.variables = {
            name: keras.Variable(_initial(name, shape, options, seeds), dtype="float32", name=name)
            for name, shape in weight_shapes(options, vocabulary_size).items()
        }

        self._keras_layers = [
            KerasLayer(options.cell, options.units if layer else options.embedding, options.units)
            for layer in range(options.layers if self.on_gpu else 0)
        ]

    def weights(self) -> Arrays:
        return {name: variable.value.numpy().copy() for name, variable in self.variables.items()}

    def assign(self, weights: Arrays) -> None:
        """Set weights by name; the others stay as they are."""
        for name, values in weights.items():
            self.variables[name].assign(values)

    def zero_state(self, batch_size: int) -> States:
        """The state at the start of a text."""
        zeros = tf.zeros((batch_size, self.options.units))
        return [(zeros,) * len(self._parts) for _ in range(self.options.layers)]

    def forget(self, states: States, rows: NDArray[np.bool_]) -> States:
        """Set the state of these rows, (B,), to zero."""
        if not rows.any():
            return states
        keep = tf.constant(~rows[:, None], tf.float32)
        return [tuple(part * keep for part in state) for state in states]

    def state_arrays(self, states: States) -> Arrays:
        """The states as arrays by name, and `states_from` for the way back."""
        return {
            f"layers.{layer}.{part}": np.array(values)
            for layer, state in enumerate(states)
            for part, values in zip(self._parts, state, strict=True)
        }

    def states_from(self, arrays: Arrays) -> States:
        return [
            tuple(tf.constant(arrays[f"layers.{layer}.{part}"]) for part in self._parts)
            for layer in range(self.options.layers)
        ]

    def __call__(
        self, tokens: Tensor, states: States, resets: Tensor | None = None
    ) -> tuple[Tensor, States]:
        """Return logits for the token after each, (T, B, V), and the state after the last."""
        weights = self.tensors()
        hidden, states = self.hidden(weights, tokens, states, resets)
        tied = self.options.tie
        kernel = weights["embedding"] if tied else weights["output.kernel"]
        return tf.matmul(hidden, kernel, transpose_b=tied) + weights["output.bias"], states

    def tensors(self) -> Weights:
        """The weights as they are."""
        return {name: tf.convert_to_tensor(v) for name, v in self.variables.items()}

    def hidden(
        self,
        weights: Weights,
        tokens: Tensor,
        states: States,
        resets: Tensor | None = None,
        dropout: Tensor | None = None,
        precision: tf.DType = tf.float32,
    ) -> tuple[Tensor, States]:
        """Return the last layer's output after each token, and the state after the last.

        Args:
            weights: by name.
            tokens: (T, B).
            states: for each layer, its state before the first step; each part (B, U).
            resets: (T, B), true where a row's state is zero before a step.
            dropout: (L, B, U), true where an output of a layer is dropped, at all
                steps; without it nothing is.
            precision: of the products.

        Returns:
            outputs (T, B, U) and the states.
        """
        embedding = weights["embedding"]
        # cuDNN, which Keras's layer comes down to, knows no resets inside a chunk.
        by_keras = self.on_gpu and resets is None
        keep = None if resets is None else tf.cast(~resets, tf.float32)[:, :, None]
        # A small vocabulary is projected as a whole, and the projections looked up.
        table = not by_keras and len(embedding) <= tokens.shape[0] * tokens.shape[1]
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
                is_lstm = self.options.cell == "lstm"
                projected = product(hidden, kernel, precision) + (bias if is_lstm else bias[0])
                if table and layer == 0:
                    projected = look_up(projected, tokens, precision)
                if is_lstm:
                    hidden, state = lstm(projected, state, recurrent_kernel, keep, precision)
                else:
                    hidden, state = gru(
                        projected, state, recurrent_kernel, bias[1], keep, precision
                    )
            states_after.append(state)
            if dropout is not None:
                hidden = tf.where(dropout[layer], 0.0, hidden / (1 - self.options.dropout))
        return hidden, states_after


def _initial(
    name: str,
    shape: tuple[int, ...],
    options: TrainingOptions,
    seed: keras.random.SeedGenerator,
) -> Tensor:
    """Draw a weight: wide embeddings, orthogonal recurrence, forget gates open."""
    units = options.units
    match name.rpartition(".")[2]:
        case "embedding":
            # Tied, it is the output's kernel as well, and as wide it would swamp the softmax.
            deviation = units**-0.5 if options.tie else 1.0
            return keras.initializers.RandomNormal(stddev=deviation, seed=seed)(shape)
        case "recurrent_kernel":
            orthogonal = keras.initializers.Orthogonal(seed=seed)
            return tf.concat([orthogonal((units, units)) for _ in range(shape[1] // units)], axis=1)
        case "kernel":
            return keras.initializers.GlorotUniform(seed=seed)(shape)
    bias = np.zeros(shape, np.float32)
    if shape == (4 * units,) and name.startswith("layers"):
        bias[units : 2 * units] = 1
    return tf.constant(bias)
