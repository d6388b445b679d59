"""Training steps, and the loss of a text."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.kernels import are_missing, kernels
from textgen.options.training import TrainingSettings
from textgen.system.processor import cores
from textgen.system.terminal import counted
from textgen.training.backend import tf
from textgen.training.candidates import (
    LARGEST_FULL_SOFTMAX,
    Candidates,
    choose_candidates,
    narrowed,
    widened,
)
from textgen.training.compiled import CompiledLoss, compiled_loss
from textgen.training.loss import cross_entropy
from textgen.training.network import States, TrainingNetwork, Weights
from textgen.training.optimizer import AdamW
from textgen.training.products import Tensor
from textgen.training.streams import Batch, Streams
from textgen.training.workers import Workers

_CLIP = 5.0  # the largest global norm of the gradients
# A C kernel takes nearly as long for one row as for two.
_FEWEST_ROWS = 2
# XLA rearranges the kernel for every product. With a large kernel this is too slow for a part of
# few rows.
_LARGE_KERNEL, _ROWS_OF_LARGE_KERNEL = 768, 32  # units, rows


class Stepper:
    """A network and its optimizer, AdamW. Each kind of step is one call of a compiled graph.

    The rows of a batch are independent. They are split into parts, about one for each core. The
    parts run in parallel, each by a C kernel or as one XLA program. The weight update is split
    among the cores in the same way.

    All batches are padded to the same number of steps, so that each graph is compiled once. The
    padding does not count, and the state after it is never used.

    With several workers, each computes the gradients of its own rows, and all make the same
    update with the sum. With several GPUs, each computes some of the parts.
    """

    def __init__(
        self,
        network: TrainingNetwork,
        settings: TrainingSettings,
        workers: Workers | None = None,
        counts: NDArray[np.int64] | None = None,
    ) -> None:
        """Build the optimizer; nothing is compiled before the first step.

        `counts`, (V,), is how often each token occurs. It decides which tokens of a large
        vocabulary are always in the softmax; by default they are those with the lowest ids.
        """
        size = network.vocabulary_size
        self._order = np.argsort(-(np.zeros(size) if counts is None else counts), kind="stable")
        self.network = network
        self._settings = settings
        self._workers = workers or Workers()
        self.rows = self._workers.rows(settings.batch_size)
        self._on_gpu = network.on_gpu
        gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
        self._devices = (gpus or [None]) if self._on_gpu else [None] * cores()
        self._precision = tf.float32 if self._on_gpu else tf.as_dtype(settings.precision)
        compiled = partial(_graph, jit_compile=not self._on_gpu)  # XLA cannot call cuDNN
        self._train = _Graphs(self._train_on)
        self._evaluate = _Graphs(self._evaluate_on)
        self._kernel = self._compiled_loss(self._precision)
        evaluation = self._compiled_loss(tf.float32)
        self._gradients = compiled(self._gradients_of)
        self._total_loss = compiled(self._total_loss_of)
        if self._kernel is not None:
            self._gradients = self._kernel.gradients
        if evaluation is not None:
            self._total_loss = evaluation.total_loss
        update = None if self._kernel is None else self._kernel.operations.update
        self.optimizer = AdamW(
            network.variables,
            settings.optimizer,
            settings.weight_decay,
            update,
            by_xla=not self._on_gpu,
        )

    @property
    def hardware(self) -> str:
        """The hardware and the precision of the steps."""
        where = "the GPU" if self._on_gpu else counted(cores(), "core")
        if self._on_gpu:
            return f"{self._precision.name} on {where}"
        how = "XLA" if self._kernel is None else f"the {self._kernel.name} kernel"
        return f"{self._precision.name} on {where}, by {how}"

    @property
    def evaluation_cost(self) -> float:
        """The seconds to evaluate a token, in those to train on one; about, and rather too many.

        There are no gradients to compute. But evaluation is in float32, by one worker or GPU, and
        over the whole vocabulary.
        """
        if self._workers.several or self._on_gpu or self._precision != tf.float32:
            return 1.0
        return 0.6 if self.network.vocabulary_size <= LARGEST_FULL_SOFTMAX else 1.0

    @property
    def advice(self) -> str | None:
        """Why the steps are slower than they could be, and what helps; None if they are not."""
        if self._on_gpu or self._kernel is not None:
            return None
        if are_missing(self._precision.name):
            return "the C kernels are missing; with a C compiler, reinstall textgen to train faster"
        if broken := kernels(self._precision.name):
            return f"the {broken[0].name} kernel does not work with this TensorFlow; XLA is slower"
        return None

    def train(
        self, batch: Batch, states: States, learning_rate: float, rng: np.random.Generator
    ) -> tuple[float, float, States]:
        """Update the weights on one chunk.

        Returns its mean loss, the global norm of its gradients before clipping, and the states
        after it.

        Args:
            batch: of all workers.
            states: of this worker's rows.
            rng: draws the dropout masks, and the candidates of a sampled softmax.
        """
        batch = self._padded(batch)
        masks = self._dropout_masks(batch.inputs.shape[1], rng)
        candidates = None
        if self.network.vocabulary_size > LARGEST_FULL_SOFTMAX:
            candidates, targets = choose_candidates(batch.targets, self._order, rng)
            batch = batch._replace(targets=targets)
        batch = batch.of_rows(self.rows)
        # An array avoids a memory leak: TensorFlow never frees a tensor made of a Python number.
        figures = tf.constant(self.optimizer.next_figures(learning_rate))
        result, states = self._train(batch, states, figures, masks, candidates)
        loss, norm = result.numpy().tolist()
        return loss, norm, states

    def loss(self, streams: Streams, chunks: int | None = None) -> float:
        """Return the mean loss over a text, or over its first chunks.

        The state starts at zero and is carried. With the option `stateless` every chunk starts at
        zero, as in training.
        """
        chunks = len(streams) if chunks is None else chunks
        zero = states = self.network.zero_state(streams.batch_size)
        total = 0.0
        for batch in islice(streams, chunks):
            if self._settings.stateless:
                states = zero
            loss, states = self._evaluate(self._padded(batch), states)
            total += float(loss)
        return total / streams.predicted(chunks)

    def _compiled_loss(self, precision: tf.DType) -> CompiledLoss | None:
        if self._on_gpu:
            return None
        return compiled_loss(precision.name, self.network.architecture)

    def _dropout_masks(
        self, rows: int, rng: np.random.Generator
    ) -> list[NDArray[np.float32]] | None:
        """Return the dropout mask of each layer's outputs, (B, U), for this worker's rows.

        The outputs kept are scaled up in training, so that sampling does not need to scale them.
        """
        share = self._settings.dropout
        if not share:
            return None
        scale = np.float32(1 / (1 - share))
        return [
            ((rng.random((rows, units), np.float32) >= share) * scale)[self.rows]
            for units in self.network.architecture.units
        ]

    def _padded(self, batch: Batch) -> Batch:
        missing = self._settings.chunk_length - len(batch.inputs)
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
        figures: Tensor,
        masks: Sequence[Tensor] | None,
        candidates: Candidates | None,
    ) -> tuple[Tensor, States]:
        weights, tied = self.network.tensors(), self.network.architecture.tie
        if candidates is not None:
            weights = narrowed(weights, candidates, tied)
        parts = self._on_each(self._gradients, weights, batch, states, masks)
        losses, results, states_after = zip(*parts, strict=True)
        sums = self._workers.sum_parts(
            {name: [result[name] for result in results] for name in results[0]}
            | {"loss": list(losses), "count": [tf.reduce_sum(tf.cast(batch.counts, tf.float32))]}
        )
        total, (count,) = tf.add_n(sums.pop("loss")), sums.pop("count")
        gradients = sums if candidates is None else widened(sums, candidates, tied)
        totals = {name: tf.add_n(parts) for name, parts in gradients.items()}
        norm = tf.linalg.global_norm(list(totals.values())) / count
        self.optimizer.update(totals, tf.minimum(1.0, _CLIP / norm) / count, figures)
        return tf.stack([total / count, norm]), _joined(states_after)

    def _evaluate_on(self, batch: Batch, states: States) -> tuple[Tensor, States]:
        weights = self.network.tensors()
        parts = self._on_each(self._total_loss, weights, batch, states, None)
        totals, states_after = zip(*parts, strict=True)
        return tf.add_n(totals), _joined(states_after)

    def _gradients_of(
        self, weights: Weights, batch: Batch, states: States, masks: Sequence[Tensor] | None
    ) -> tuple[Tensor, Weights, States]:
        """Return the summed loss of some rows, its gradients, and the states after them."""
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss, states = self._total_loss_of(weights, batch, states, masks, self._precision)
        return loss, tape.gradient(loss, weights), states

    def _total_loss_of(
        self,
        weights: Weights,
        batch: Batch,
        states: States,
        masks: Sequence[Tensor] | None = None,
        precision: tf.DType = tf.float32,
    ) -> tuple[Tensor, States]:
        """Return the cross-entropy in nats, summed over counted targets, and the states after."""
        hidden, states = self.network.hidden(
            weights, batch.inputs, states, batch.resets, masks, precision
        )
        rows = tf.reshape(hidden, (-1, hidden.shape[-1]))
        targets, counts = (tf.reshape(x, [-1]) for x in (batch.targets, batch.counts))
        tied = self.network.architecture.tie
        kernel = weights.get("output.kernel", weights["embedding"])
        bias = weights["output.bias"]
        return cross_entropy(rows, kernel, bias, targets, counts, precision, tied), states

    def _on_each(
        self,
        compute: Callable[..., Any],
        weights: Weights,
        batch: Batch,
        states: States,
        masks: Sequence[Tensor] | None,
    ) -> list[Any]:
        """Split the rows of a batch into equal parts; compute each on its own core or GPU."""
        rows = batch.inputs.shape[1]
        most = len(self._devices)
        if self._kernel is not None:
            most = min(most, rows // _FEWEST_ROWS)
        elif not self._on_gpu and max(self.network.architecture.units) >= _LARGE_KERNEL:
            most = min(most, rows // _ROWS_OF_LARGE_KERNEL)
        count = next(n for n in range(max(most, 1), 0, -1) if rows % n == 0)

        def cut(x: Any, axis: int) -> Sequence[Any]:
            return [None] * count if x is None else tf.split(x, count, axis)

        batches = zip(*(cut(x, 1) for x in batch), strict=True)
        flat = zip(*(cut(x, 0) for x in tf.nest.flatten(states)), strict=True)
        masks_of_parts: Sequence[Any] = [None] * count
        if masks is not None:
            masks_of_parts = list(zip(*(cut(mask, 0) for mask in masks), strict=True))
        results = []
        for device, rows_of_batch, rows_of_states, rows_of_masks in zip(
            self._devices, batches, flat, masks_of_parts, strict=False
        ):
            with tf.device(device):
                part = Batch(*rows_of_batch), tf.nest.pack_sequence_as(states, rows_of_states)
                results.append(compute(weights, *part, rows_of_masks))
        return results


# AutoGraph takes seconds and would find nothing to convert.
_graph = partial(tf.function, autograph=False)


class _Graphs:
    """A function of a batch and more, as a graph for each kind of batch.

    TensorFlow looks for a graph that fits all arguments at each call, which takes half a
    millisecond. Here, only the shape of the batch, and whether it has resets, may differ.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = _graph(function)
        self._graphs = dict[Any, Callable[..., Any]]()

    def __call__(self, batch: Batch, *others: Any) -> Any:
        kind = batch.inputs.shape, batch.resets is None
        if kind not in self._graphs:
            self._graphs[kind] = self._function.get_concrete_function(batch, *others)
        return self._graphs[kind](batch, *others)


def _joined(parts: Sequence[States]) -> States:
    return tf.nest.map_structure(lambda *rows: tf.concat(rows, 0), *parts)
