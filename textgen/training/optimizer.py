"""AdamW: Adam with a weight decay that is separate from the gradients, and cautious steps."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.runs.files import Arrays
from textgen.system.processor import cores
from textgen.training.backend import keras, tf
from textgen.training.products import Tensor

# What the moving averages of the gradients and of their squares keep in a step.
_KEPT = {"adamw": (0.9, 0.999), "cautious": (0.9, 0.95)}
_EPSILON = 1e-7
_SMALLEST_SHARE = 1e-3  # of the weights that agree


class AdamW:
    """The optimizer of Loshchilov and Hutter (2019), with the moving averages that it keeps.

    A cautious step (Liang et al. 2024) leaves out the weights whose average gradient has another
    sign than the gradient of this step, and is larger for the others in turn.

    The weights are split into shares of about equal size, which are updated in parallel.
    """

    def __init__(
        self,
        variables: Mapping[str, keras.Variable],
        kind: str,
        decay: float,
        operation: Any,
        by_xla: bool,
    ) -> None:
        """Begin with averages of zero.

        Args:
            variables: the weights by name.
            kind: "adamw" or "cautious".
            decay: the share of each weight that is subtracted in a step of learning rate 1.
            operation: of a C kernel; None for TensorFlow's own operations.
            by_xla: whether XLA compiles these.
        """
        self._variables = {name: variable.value for name, variable in variables.items()}
        self._means, self._squares = (
            {name: tf.Variable(tf.zeros_like(v)) for name, v in self._variables.items()}
            for _ in range(2)
        )
        self._decay = decay
        self._cautious = kind == "cautious"
        self._kept = _KEPT[kind]
        self._step = 0
        self._shares = _shares(self._variables, cores())
        self._update: Callable[..., Any] = partial(_updated_by, operation)
        if operation is None:
            self._update = tf.function(_updated, autograph=False, jit_compile=by_xla)

    @property
    def slots(self) -> dict[str, tf.Variable]:
        """The moving averages by name."""
        kinds = {"momentum": self._means, "velocity": self._squares}
        return {
            f"{name}_{kind}": averages[name]
            for name in self._variables
            for kind, averages in kinds.items()
        }

    def arrays(self) -> Arrays:
        return {name: slot.numpy().copy() for name, slot in self.slots.items()}

    def restore(self, arrays: Arrays, step: int) -> None:
        """Restore what `arrays` returned after `step` updates."""
        for name, slot in self.slots.items():
            slot.assign(arrays[name])
        self._step = step

    def next_figures(self, learning_rate: float) -> NDArray[np.float32]:
        """Return the numbers that the next update needs.

        They are the size of the step, corrected for averages that began with zero; what is kept
        of a weight; what the averages forget; epsilon; and whether the step is cautious.
        """
        self._step += 1
        mean, square = self._kept
        correction = math.sqrt(1 - square**self._step) / (1 - mean**self._step)
        step, kept = learning_rate * correction, 1 - learning_rate * self._decay
        figures = step, kept, 1 - mean, 1 - square, _EPSILON, self._cautious
        return np.array(figures, np.float32)

    def update(self, gradients: Mapping[str, Tensor], scale: Tensor, figures: Tensor) -> None:
        """Update the weights by their gradients, times `scale`, inside a graph."""
        figures = tf.concat([[scale], figures], 0)
        for names in self._shares:
            kinds = self._variables, self._means, self._squares
            before = [[tf.convert_to_tensor(kind[name]) for name in names] for kind in kinds]
            after = self._update([gradients[name] for name in names], *before, figures)
            for kind, values in zip(kinds, after, strict=True):
                for name, value in zip(names, values, strict=True):
                    kind[name].assign(value)


def _updated(
    gradients: Sequence[Tensor],
    weights: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    figures: Tensor,
) -> list[list[Tensor]]:
    """Return the weights and the averages after a step."""
    scale, rate, kept, forgotten, forgotten_squares, epsilon, cautious = tf.unstack(figures)
    gradients = [gradient * scale for gradient in gradients]
    means = [m + (g - m) * forgotten for m, g in zip(means, gradients, strict=True)]
    squares = [s + (g * g - s) * forgotten_squares for s, g in zip(squares, gradients, strict=True)]
    after = []
    for weight, mean, square, gradient in zip(weights, means, squares, gradients, strict=True):
        agreeing = tf.maximum(tf.cast(mean * gradient > 0, tf.float32), 1 - cautious)
        share = tf.maximum(tf.reduce_mean(agreeing), _SMALLEST_SHARE)
        step = rate / share * agreeing * mean / (tf.sqrt(square) + epsilon)
        after.append(weight * kept - step)
    return [after, means, squares]


def _updated_by(operation: Any, *inputs: Any) -> list[list[Tensor]]:
    """Return the same by the operation of a C kernel."""
    names = "gradients", "weights", "means", "squares", "figures"
    after = [list(part) for part in operation(**dict(zip(names, inputs, strict=True)))]
    for part in after:
        for output, gradient in zip(part, inputs[0], strict=True):
            output.set_shape(gradient.shape)
    return after


def _shares(variables: Mapping[str, tf.Variable], count: int) -> list[list[str]]:
    """Distribute the names of the weights over at most `count` shares of about equal size."""
    shares: list[list[str]] = [[] for _ in range(count)]
    sizes = [0] * count
    for name in sorted(variables, key=lambda name: -int(np.prod(variables[name].shape))):
        least = sizes.index(min(sizes))
        shares[least].append(name)
        sizes[least] += int(np.prod(variables[name].shape))
    return [share for share in shares if share]
