"""The network that is trained: embedding -> recurrent layers -> logits, state in and state out."""

from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textgen.checkpoint import STATES, Arrays, weight_shapes
from textgen.options import TrainingOptions
from textgen.training.products import Tensor, look_up, product
from textgen.training.recurrent import State, gru, lstm

States: TypeAlias = list[State]
Weights: TypeAlias = dict[str, Tensor]


class Network:
    """Weights as Keras variables by name, and the function they define."""

    def __init__(self, options: TrainingOptions, vocabulary_size: int) -> None:
        self.options = options
        self._parts = STATES[options.cell]
        seeds = keras.random.SeedGenerator(options.seed)
        self.variables = {
            name: keras.Variable(
                _initial(name, shape, options.units, seeds), dtype="float32", name=name
            )
            for name, shape in weight_shapes(options, vocabulary_size).items()
        }

    def weights(self) -> Arrays:
        return {name: variable.value.numpy().copy() for name, variable in self.variables.items()}

    def assign(self, weights: Arrays) -> None:
        for name, variable in self.variables.items():
            variable.assign(weights[name])

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
        return product(hidden, weights["output.kernel"], tf.float32) + weights[
            "output.bias"
        ], states

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
        keep = None if resets is None else tf.cast(~resets, tf.float32)[:, :, None]
        states_after = []
        hidden = weights["embedding"]
        tokens_first = len(hidden) > tokens.shape[0] * tokens.shape[1]
        if tokens_first:
            hidden = tf.gather(hidden, tokens)
        for layer, state in enumerate(states):
            kernel, recurrent_kernel, bias = (
                weights[f"layers.{layer}.{part}"] for part in ("kernel", "recurrent_kernel", "bias")
            )
            biases = tf.unstack(bias) if self.options.cell == "gru" else [bias]
            projected = product(hidden, kernel, precision) + biases[0]
            if layer == 0 and not tokens_first:  # a small vocabulary: project all of it once
                projected = look_up(projected, tokens, precision)
            if self.options.cell == "gru":
                hidden, state = gru(projected, state, recurrent_kernel, biases[1], keep, precision)
            else:
                hidden, state = lstm(projected, state, recurrent_kernel, keep, precision)
            states_after.append(state)
            if dropout is not None:
                hidden = tf.where(dropout[layer], 0.0, hidden / (1 - self.options.dropout))
        return hidden, states_after


def _initial(
    name: str, shape: tuple[int, ...], units: int, seed: keras.random.SeedGenerator
) -> Tensor:
    """Draw a weight: wide embeddings, orthogonal recurrence, forget gates open."""
    match name.rpartition(".")[2]:
        case "embedding":
            return keras.initializers.RandomNormal(stddev=1.0, seed=seed)(shape)
        case "recurrent_kernel":
            orthogonal = keras.initializers.Orthogonal(seed=seed)
            return tf.concat([orthogonal((units, units)) for _ in range(shape[1] // units)], axis=1)
        case "kernel":
            return keras.initializers.GlorotUniform(seed=seed)(shape)
    bias = np.zeros(shape, np.float32)
    if shape == (4 * units,) and name.startswith("layers"):
        bias[units : 2 * units] = 1
    return tf.constant(bias)
