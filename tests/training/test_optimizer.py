"""AdamW is Keras's, and cautious on demand, by XLA, by TensorFlow and by C kernels."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from textgen.kernels import kernels
from textgen.training.compiled import load_operations
from textgen.training.optimizer import AdamW

SHAPES = {"embedding": (5, 3), "kernel": (7, 40), "bias": (1,)}
SCALE, DECAY, RATES = 0.5, 0.1, [0.03, 0.02, 0.01]


def cautious(before: Any, after: Any, gradient: Any, mean: Any, rate: float) -> Any:
    """Return the weights after a step that leaves out where average and gradient disagree."""
    kept = before * (1 - rate * DECAY)
    agrees = mean * gradient > 0
    return kept + (after - kept) * agrees / max(agrees.mean(), 1e-3)


@pytest.mark.parametrize("kind", ["adamw", "cautious"])
@pytest.mark.parametrize("how", ["xla", "tensorflow", *(kernel.name for kernel in kernels())])
def test_updates_are_those_of_keras(how: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    first = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    ours, theirs = ({n: keras.Variable(x, name=n) for n, x in first.items()} for _ in range(2))
    kernel = next((kernel for kernel in kernels() if kernel.name == how), None)
    operation = load_operations(kernel).update if kernel else None

    def made() -> AdamW:
        return AdamW(ours, kind, DECAY, operation, by_xla=how == "xla")

    optimizer = made()
    expected = keras.optimizers.AdamW(
        beta_2=0.95 if kind == "cautious" else 0.999, weight_decay=DECAY
    )
    expected.build(list(theirs.values()))
    slots = {variable.name: variable for variable in expected.variables[2:]}
    update = tf.function(optimizer.update)
    for step, rate in enumerate(RATES):
        if step == 1:  # as for a run that is resumed
            arrays = optimizer.arrays()
            optimizer = made()
            optimizer.restore(arrays, step)
            update = tf.function(optimizer.update)
        gradients = {name: rng.normal(size=x.shape).astype(np.float32) for name, x in first.items()}
        update(gradients, np.float32(SCALE), optimizer.next_figures(rate))
        before = {name: variable.numpy() for name, variable in theirs.items()}
        expected.learning_rate = rate
        expected.apply([gradients[name] * SCALE for name in theirs], list(theirs.values()))
        for name, variable in theirs.items():
            if kind == "cautious":
                mean = slots[f"{name}_momentum"].numpy()
                after = variable.numpy()
                variable.assign(cautious(before[name], after, gradients[name], mean, rate))
            np.testing.assert_allclose(ours[name], variable, 1e-5, 1e-6)
    assert optimizer.slots.keys() == slots.keys()
    for name, slot in optimizer.slots.items():
        np.testing.assert_allclose(slot, slots[name], 1e-5, 1e-6)
