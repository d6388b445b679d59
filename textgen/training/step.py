"""One update of the weights, and one look at the loss without an update."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textgen.runs.folder import Arrays
from textgen.system.processor import cores
from textgen.training.candidates import LARGE, Candidates, draw
from textgen.training.loss import cross_entropy
from textgen.training.network import Network, States, Weights
from textgen.training.products import Tensor
from textgen.training.streams import Batch, Streams
from textgen.training.workers import Workers

_CLIP = 5.0  # the largest global norm of the gradients
_LARGE_KERNEL = 768  # units
_ROWS_OF_LARGE_KERNEL = 32  # in a part, at least


class Stepper:
    """A network and its optimizer, AdamW; each kind of step is one call into a compiled graph.

    The rows of a batch are independent of each other, so they are cut into parts, about one for
    each core, and the parts run side by side, each as one program of XLA. In the same way the
    weights are shared out between the cores when they are updated.

    All batches are padded to the same number of steps, so that each compiles once. What
    follows the end of a stream counts for nothing, and its state is never used.

    Of several workers each computes the gradients of its own rows, and all make the same update
    of the sum. On several GPUs the parts are shared out among them.
    """

    def __init__(
        self,
        network: Network,
        chunk_length: int,
        workers: Workers | None = None,
        rows: slice = slice(None),
    ) -> None:
        """`rows` are this worker's of a batch."""
        self._network = network
        self._chunk_length = chunk_length
        self._workers = workers
        self._rows = rows
        self._on_gpu = network.on_gpu
        gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
        self._devices = (gpus or [None]) if self._on_gpu else [None] * cores()
        self._precision = tf.float32 if self._on_gpu else tf.as_dtype(network.options.precision)
        self._shares = _shares(network.variables, cores())
        decay = network.options.weight_decay
        self._optimizers = [keras.optimizers.AdamW(weight_decay=decay) for _ in self._shares]
        for optimizer, names in zip(self._optimizers, self._shares, strict=True):
            optimizer.build([network.variables[name] for name in names])
        compiled = partial(tf.function, jit_compile=not self._on_gpu)  # XLA knows no cuDNN
        self._train = tf.function(self._train_on)
        self._evaluate = tf.function(self._evaluate_on)
        self._gradients = compiled(self._gradients_of)
        self._total_loss = compiled(self._total_loss_of)
        self._mean = compiled(_mean)
        self._updates = [
            compiled(partial(self._update_by, optimizer, names))
            for optimizer, names in zip(self._optimizers, self._shares, strict=True)
        ]

    @property
    def hardware(self) -> str:
        """What the steps are computed on, and in which precision."""
        where = "the GPU" if self._on_gpu else f"{cores()} cores"
        return f"{self._precision.name} on {where}"

    @property
    def slots(self) -> dict[str, keras.Variable]:
        """The optimizer's moving averages by name."""
        variables = [v for optimizer in self._optimizers for v in optimizer.variables]
        return {v.name: v for v in variables if len(v.shape)}

    def optimizer_state(self) -> Arrays:
        return {name: slot.value.numpy().copy() for name, slot in self.slots.items()}

    def restore(self, optimizer: Arrays, step: int) -> None:
        """Put back what `optimizer_state` gave after `step` updates."""
        for name, slot in self.slots.items():
            slot.assign(optimizer[name])
        for part in self._optimizers:
            part.iterations.assign(step)

    def train(
        self, batch: Batch, states: States, learning_rate: float, rng: np.random.Generator
    ) -> tuple[float, States]:
        """Update the weights by one chunk; return its mean loss and the states to carry on.

        The batch is that of all workers, the states are those of this one's rows. `rng` decides
        what dropout drops, and over which tokens a large softmax is computed.
        """
        batch, options = self._padded(batch), self._network.options
        dropout = candidates = None
        if options.dropout:
            shape = (options.layers, batch.inputs.shape[1], options.units)
            dropout = (rng.random(shape, np.float32) < options.dropout)[:, self._rows]
        if (size := self._network.vocabulary_size) > LARGE:
            candidates, targets = draw(batch.targets, size, rng)
            batch = batch._replace(targets=targets)
        batch = batch.of_rows(self._rows)
        # As an array: TensorFlow keeps every Python number that it ever made a tensor of.
        rate = tf.constant(np.array(learning_rate, np.float32))
        loss, states = self._train(batch, states, rate, dropout, candidates)
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
        self,
        batch: Batch,
        states: States,
        learning_rate: Tensor,
        dropout: Tensor | None,
        candidates: Candidates | None,
    ) -> tuple[Tensor, States]:
        weights = self._network.tensors()
        if candidates is not None:
            weights = self._narrowed(weights, candidates)
        parts = self._on_each(self._gradients, weights, batch, states, dropout)
        totals, results, states_after = zip(*parts, strict=True)
        gradients = {name: [result[name] for result in results] for name in results[0]}
        total = tf.add_n(totals)
        count = tf.reduce_sum(tf.cast(batch.counts, tf.float32))
        if self._workers and not self._workers.alone:
            sums = {name: tf.add_n(parts) for name, parts in gradients.items()}
            total, count, sums = self._workers.sum((total, count, sums))
            gradients = {name: [part] for name, part in sums.items()}
        if candidates is not None:
            gradients = self._widened(gradients, candidates)
        means, squares = zip(
            *(self._mean([gradients[name] for name in names], count) for names in self._shares),
            strict=True,
        )
        scale = tf.minimum(1.0, _CLIP / tf.sqrt(tf.add_n(squares)))
        for update, gradient in zip(self._updates, means, strict=True):
            update(gradient, scale, learning_rate)
        return total / count, _joined(states_after)

    def _evaluate_on(self, batch: Batch, states: States) -> tuple[Tensor, States]:
        weights = self._network.tensors()
        parts = self._on_each(self._total_loss, weights, batch, states, None)
        totals, states_after = zip(*parts, strict=True)
        return tf.add_n(totals), _joined(states_after)

    def _gradients_of(
        self,
        weights: Weights,
        batch: Batch,
        states: States,
        dropout: Tensor | None,
    ) -> tuple[Tensor, Weights, States]:
        """The summed loss of some rows, its gradients, and the states after."""
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss, states = self._total_loss_of(weights, batch, states, dropout, self._precision)
        return loss, tape.gradient(loss, weights), states

    def _total_loss_of(
        self,
        weights: Weights,
        batch: Batch,
        states: States,
        dropout: Tensor | None = None,
        precision: tf.DType = tf.float32,
    ) -> tuple[Tensor, States]:
        """Cross-entropy in nats, summed over what counts, and the states after."""
        hidden, states = self._network.hidden(
            weights, batch.inputs, states, batch.resets, dropout, precision
        )
        rows = tf.reshape(hidden, (-1, hidden.shape[-1]))
        targets, counts = (tf.reshape(x, [-1]) for x in (batch.targets, batch.counts))
        tied = self._network.options.tie
        kernel = weights.get("output.kernel", weights["embedding"])
        bias = weights["output.bias"]
        return cross_entropy(rows, kernel, bias, targets, counts, precision, tied), states

    def _on_each(
        self,
        compute: Callable[..., Any],
        weights: Weights,
        batch: Batch,
        states: States,
        dropout: Tensor | None,
    ) -> list[Any]:
        """Cut the rows of a batch into equal parts and compute each on a core or GPU of its own."""
        rows = batch.inputs.shape[1]
        # XLA rearranges a kernel for every product: with a large one, few rows are not worth it.
        least = 1 if self._network.options.units < _LARGE_KERNEL else _ROWS_OF_LARGE_KERNEL
        most = len(self._devices)
        if not self._on_gpu:
            most = min(most, rows // least)
        count = next(n for n in range(max(most, 1), 0, -1) if rows % n == 0)

        def cut(x: Any, axis: int) -> Sequence[Any]:
            return [None] * count if x is None else tf.split(x, count, axis)

        batches = zip(*(cut(x, 1) for x in batch), strict=True)
        flat = zip(*(cut(x, 0) for x in tf.nest.flatten(states)), strict=True)
        results = []
        for number, (rows_of_batch, rows_of_states, mask) in enumerate(
            zip(batches, flat, cut(dropout, 1), strict=True)
        ):
            with tf.device(self._devices[number]):
                part = Batch(*rows_of_batch), tf.nest.pack_sequence_as(states, rows_of_states)
                results.append(compute(weights, *part, mask))
        return results

    def _narrowed(self, weights: Weights, candidates: Candidates) -> Weights:
        """Of the output's weights only those of the candidates."""
        tied = self._network.options.tie
        kernel = weights["embedding"] if tied else weights["output.kernel"]
        return weights | {
            "output.kernel": tf.gather(kernel, candidates.ids, axis=0 if tied else 1),
            "output.bias": tf.gather(weights["output.bias"], candidates.ids) + candidates.offsets,
        }

    def _widened(
        self, gradients: dict[str, list[Tensor]], candidates: Candidates
    ) -> dict[str, list[Tensor]]:
        """The gradients of the whole output from those of `_narrowed` weights."""

        def widened(name: str, axis: int) -> Tensor:
            total = tf.add_n(gradients[name])
            zero = tf.zeros_like(tf.gather(total, [0], axis=axis))
            return tf.gather(tf.concat([total, zero], axis), candidates.places, axis=axis)

        tied = self._network.options.tie
        kernel, bias = widened("output.kernel", 0 if tied else 1), widened("output.bias", 0)
        if tied:
            return gradients | {
                "embedding": [*gradients["embedding"], kernel],
                "output.bias": [bias],
            }
        return gradients | {"output.kernel": [kernel], "output.bias": [bias]}

    def _update_by(
        self,
        optimizer: keras.optimizers.Optimizer,
        names: Sequence[str],
        gradients: Sequence[Tensor],
        scale: Tensor,
        learning_rate: Tensor,
    ) -> None:
        optimizer.learning_rate.assign(learning_rate)
        optimizer.apply(
            [gradient * scale for gradient in gradients],
            [self._network.variables[name] for name in names],
        )


def _joined(parts: Sequence[States]) -> States:
    return tf.nest.map_structure(lambda *rows: tf.concat(rows, 0), *parts)


def _shares(variables: dict[str, keras.Variable], count: int) -> list[list[str]]:
    """Deal the names of the weights out in at most `count` shares of about equal size."""
    shares: list[list[str]] = [[] for _ in range(count)]
    sizes = [0] * count
    for name in sorted(variables, key=lambda name: -int(np.prod(variables[name].shape))):
        least = sizes.index(min(sizes))
        shares[least].append(name)
        sizes[least] += int(np.prod(variables[name].shape))
    return [share for share in shares if share]


def _mean(gradients: Sequence[Sequence[Tensor]], count: Tensor) -> tuple[list[Tensor], Tensor]:
    """Add up what the parts of a batch gave, over `count`; return it and its squared norm."""
    means = [tf.add_n(parts) / count for parts in gradients]
    return means, tf.add_n([tf.reduce_sum(mean * mean) for mean in means])
