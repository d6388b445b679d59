"""The operations of a C kernel in TensorFlow: the loss of a network and its gradients, AdamW."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from textgen.kernels import Kernel, kernels
from textgen.options.architecture import STATES, Architecture
from textgen.runs.files import Arrays
from textgen.sampling.filters import log_softmax
from textgen.sampling.network import Array, NumpyNetwork
from textgen.training.backend import tf
from textgen.training.network import States, Weights
from textgen.training.products import Tensor
from textgen.training.streams import Batch

_LARGEST_ERROR = {"float32": 0.01, "bfloat16": 0.05}  # relative


class Operations(NamedTuple):
    """The operations of a kernel; `kernels/tensorflow.c` names their inputs and outputs."""

    loss: Any
    update: Any


@dataclass(frozen=True)
class CompiledLoss:
    """Computes what `Stepper` needs of some rows of a batch, in one operation."""

    name: str  # of the kernel
    operations: Operations
    architecture: Architecture

    def gradients(
        self, weights: Weights, batch: Batch, states: States, masks: Sequence[Tensor] | None
    ) -> tuple[Tensor, Weights, States]:
        """Return the summed loss of some rows, its gradients, and the states after them."""
        loss, states, gradients = self._run(weights, batch, states, masks, True)
        *layers, d_kernel, d_bias = gradients
        names = [*self._layer_weights(), "output.kernel", "output.bias"]
        named = dict(zip(names, [*layers, d_kernel, d_bias], strict=True))
        if "output.kernel" not in weights:  # it is the embedding
            named["embedding"] += named.pop("output.kernel")
        return loss, named, states

    def total_loss(
        self, weights: Weights, batch: Batch, states: States, masks: Sequence[Tensor] | None
    ) -> tuple[Tensor, States]:
        """Return the cross-entropy in nats, summed over counted targets, and the states after."""
        loss, states, _ = self._run(weights, batch, states, masks, False)
        return loss, states

    def _layer_weights(self) -> list[str]:
        parts = ("kernel", "recurrent_kernel", "bias")
        layers = range(self.architecture.layers)
        return ["embedding", *(f"layers.{layer}.{part}" for layer in layers for part in parts)]

    def _run(
        self,
        weights: Weights,
        batch: Batch,
        states: States,
        masks: Sequence[Tensor] | None,
        with_gradients: bool,
    ) -> tuple[Tensor, States, list[Tensor]]:
        kernel = weights.get("output.kernel", weights["embedding"])
        inputs = [weights[name] for name in self._layer_weights()]
        inputs += [kernel, weights["output.bias"]]
        parts = tf.nest.flatten(states)
        loss, after, gradients = self.operations.loss(
            weights=inputs,
            states=parts,
            masks=[] if masks is None else list(masks),
            tokens=batch.inputs,
            targets=batch.targets,
            counts=batch.counts,
            resets=[] if batch.resets is None else [batch.resets],
            cell=list(STATES).index(self.architecture.cell),
            transposed=int(self.architecture.tie),
            gradient_count=len(inputs) if with_gradients else 0,
        )
        loss = tf.ensure_shape(loss, ())
        for outputs, like in ((after, parts), (gradients, inputs)):
            for output, tensor in zip(outputs, like, strict=False):
                output.set_shape(tensor.shape)
        return loss, tf.nest.pack_sequence_as(states, after), list(gradients)


def compiled_loss(precision: str, architecture: Architecture) -> CompiledLoss | None:
    """Return the best kernel that multiplies in a precision, or None if there is none."""
    for kernel in kernels(precision):
        operations = trusted_operations(kernel)
        if operations is not None:
            return CompiledLoss(kernel.name, operations, architecture)
    return None


@cache
def trusted_operations(kernel: Kernel) -> Operations | None:
    """Return the operations of a kernel, or None if they cannot be loaded or compute nonsense."""
    try:
        operations = load_operations(kernel)
        right = all(_loss_is_right(operations, cell, kernel) for cell in STATES)
        right = right and _update_is_right(operations.update)
    except Exception:  # nobody knows how another release of TensorFlow fails
        return None
    return operations if right else None


def load_operations(kernel: Kernel) -> Operations:
    """Return the operations of a kernel.

    Raises OpError or AttributeError if the library or TensorFlow lacks what the other needs.
    """
    library = tf.load_op_library(str(kernel.path))
    return Operations(*(getattr(library, f"textgen_{o}_{kernel.name}") for o in Operations._fields))


def _update_is_right(operation: Any) -> bool:
    """Compare an update of a few weights, plain and cautious, with that by NumPy."""
    gradient, weight, mean, square = np.random.default_rng(0).normal(size=(4, 19))
    square **= 2
    scale, rate, kept, forgotten, forgotten_squares, epsilon = 0.5, 0.1, 0.9, 0.2, 0.3, 1.0
    mean_after = mean + (gradient * scale - mean) * forgotten
    square_after = square + ((gradient * scale) ** 2 - square) * forgotten_squares
    agrees = mean_after * gradient > 0
    for cautious, moved in ((0.0, np.ones(19)), (1.0, agrees / agrees.mean())):
        step = rate * moved * mean_after / (np.sqrt(square_after) + epsilon)
        figures = scale, rate, kept, forgotten, forgotten_squares, epsilon, cautious
        found = operation(
            gradients=[gradient.astype(np.float32)],
            weights=[weight.astype(np.float32)],
            means=[mean.astype(np.float32)],
            squares=[square.astype(np.float32)],
            figures=np.array(figures, np.float32),
        )
        right = weight * kept - step, mean_after, square_after
        if not all(np.allclose(x, y, 1e-4, 1e-5) for (x,), y in zip(found, right, strict=True)):
            return False
    return True


def _loss_is_right(operations: Operations, cell: str, kernel: Kernel) -> bool:
    """Compare the loss of a tiny network, and its slope, with those by NumPy."""
    size, rows, steps = 5, 2, 3
    architecture = Architecture(cell, (3, 2), 4, False)
    rng = np.random.default_rng(0)
    shapes = architecture.weight_shapes(size)
    weights, direction = (
        {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
        for _ in range(2)
    )
    tokens, targets = rng.integers(0, size, (2, steps, rows), np.int32)
    batch = Batch(tokens, targets, np.ones((steps, rows), np.bool_), None)
    states: States = [
        tuple(tf.zeros((rows, units)) for _ in STATES[cell]) for units in architecture.units
    ]

    def expected(shift: float) -> float:
        moved = {name: weights[name] + np.float32(shift) * direction[name] for name in weights}
        return _summed_loss(architecture, moved, tokens, targets)[0]

    loss = CompiledLoss(kernel.name, operations, architecture)
    tensors = {name: tf.constant(array) for name, array in weights.items()}
    total, gradients, after = loss.gradients(tensors, batch, states, None)
    slope = sum(float(np.sum(gradients[name] * direction[name])) for name in weights)
    right, right_after = _summed_loss(architecture, weights, tokens, targets)
    step = 1e-2
    right_slope = (expected(step) - expected(-step)) / (2 * step)
    allowed = _LARGEST_ERROR[kernel.precision]
    return (
        math.isclose(total, right, rel_tol=allowed)
        and math.isclose(slope, right_slope, rel_tol=allowed)
        and np.allclose(np.hstack(sum(after, ())), right_after, atol=allowed)
    )


def _summed_loss(
    architecture: Architecture, weights: Arrays, tokens: Any, targets: Any
) -> tuple[float, Array]:
    """Return the loss and, side by side, the parts of the state after the last step."""
    network = NumpyNetwork(architecture, weights)
    layers, _ = network.trace(tokens, network.zero_state(tokens.shape[1]))
    logs = log_softmax(network.logits(layers[-1].output).astype(np.float64))
    loss = -float(np.take_along_axis(logs, targets[..., None], -1).sum())
    parts = [part[-1] for layer in layers for part in layer[:2] if part is not None]
    return loss, np.hstack(parts)
