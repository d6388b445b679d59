"""One update of the weights, and one look at the loss without an update."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textgen.checkpoint import Arrays
from textgen.training.network import Network, States
from textgen.training.recurrent import Tensor
from textgen.training.streams import Batch, Streams

_CLIP = 5.0  # the largest global norm of the gradients


class Stepper:
    """A network and its Adam optimizer, each kind of step compiled into one call.

    All batches are padded to the same number of steps, so that each compiles once. What
    follows the end of a stream counts for nothing, and its state is never used.
    """

    def __init__(self, network: Network, chunk_length: int) -> None:
        self._network = network
        self._chunk_length = chunk_length
        self._variables = list(network.variables.values())
        self._optimizer = keras.optimizers.Adam(global_clipnorm=_CLIP)
        self._optimizer.build(self._variables)
        self._train = tf.function(self._train_on, jit_compile=True)
        self._evaluate = tf.function(self._evaluate_on, jit_compile=True)

    @property
    def slots(self) -> dict[str, keras.Variable]:
        """The optimizer's moving averages by name."""
        return {v.name: v for v in self._optimizer.variables if len(v.shape)}

    def optimizer_state(self) -> Arrays:
        return {name: slot.value.numpy().copy() for name, slot in self.slots.items()}

    def restore(self, optimizer: Arrays, step: int) -> None:
        """Put back what `optimizer_state` gave after `step` updates."""
        for name, slot in self.slots.items():
            slot.assign(optimizer[name])
        self._optimizer.iterations.assign(step)

    def train(
        self, batch: Batch, states: States, learning_rate: float, rng: np.random.Generator
    ) -> tuple[float, States]:
        """Update the weights by one chunk; return its mean loss and the states to carry on.

        `rng` decides what dropout drops.
        """
        batch, options = self._padded(batch), self._network.options
        dropout = None
        if options.dropout:
            # Drawn here: XLA's own generator takes longer than the whole step.
            shape = (options.layers, *batch.inputs.shape, options.units)
            numbers = rng.integers(1 << 16, size=shape, dtype=np.uint16)
            dropout = numbers < options.dropout * (1 << 16)
        loss, states = self._train(batch, states, tf.constant(learning_rate), dropout)
        return float(loss), states

    def loss(self, streams: Streams) -> float:
        """Return the mean loss over all of a text, its state carried from zero.

        With the option `stateless` every chunk starts from zero, as in training.
        """
        zero = states = self._network.zero_state(streams.batch_size)
        total = 0.0
        for batch in streams:
            if self._network.options.stateless:
                states = zero
            loss, states = self._evaluate(self._padded(batch), states)
            total += float(loss)
        return total / streams.predictions

    def _padded(self, batch: Batch) -> Batch:
        missing = self._chunk_length - len(batch.inputs)
        if not missing:
            return batch

        def pad(part: NDArray[Any]) -> NDArray[Any]:
            return np.pad(part, ((0, missing), (0, 0)))

        resets = None if batch.resets is None else pad(batch.resets)
        return Batch(pad(batch.inputs), pad(batch.targets), pad(batch.counts), resets)

    def _train_on(
        self, batch: Batch, states: States, learning_rate: Tensor, dropout: Tensor | None
    ) -> tuple[Tensor, States]:
        with tf.GradientTape() as tape:
            logits, states = self._network(batch.inputs, states, batch.resets, dropout)
            total = _total_loss(logits, batch)
            # A chunk may have nothing to predict, where it is one step long.
            loss = total / tf.maximum(tf.reduce_sum(tf.cast(batch.counts, total.dtype)), 1.0)
        gradients = tape.gradient(loss, [variable.value for variable in self._variables])
        self._optimizer.learning_rate.assign(learning_rate)
        self._optimizer.apply(gradients, self._variables)
        return loss, states

    def _evaluate_on(self, batch: Batch, states: States) -> tuple[Tensor, States]:
        logits, states = self._network(batch.inputs, states, batch.resets)
        return _total_loss(logits, batch), states


def _total_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy in nats, summed over what counts."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch.targets, logits)
    return tf.reduce_sum(tf.where(batch.counts, losses, 0.0))
