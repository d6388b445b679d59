"""The recurrent kernels against Keras's layers and against finite differences, in float64."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from textgen.options.architecture import GATES, STATES, as_lstm
from textgen.training.recurrent import gru, lstm

T, B, U, INPUTS = 7, 3, 5, 4
RNG = np.random.default_rng(0)


def numbers(*shape: int) -> tf.Tensor:
    return tf.constant(RNG.normal(size=shape))


def weights(cell: str) -> dict[str, tf.Tensor]:
    width = len(GATES[cell]) * U
    return {
        "inputs": numbers(T, B, INPUTS),
        "kernel": numbers(INPUTS, width),
        "recurrent_kernel": numbers(U, width),
        "bias": numbers(2, width) if cell == "gru" else numbers(width),
        **{part: numbers(B, U) for part in STATES[cell]},
    }


def ours(cell: str, w: dict[str, tf.Tensor], keep: tf.Tensor | None = None) -> list[tf.Tensor]:
    projected = tf.tensordot(w["inputs"], w["kernel"], 1)
    if cell == "gru":
        outputs, state = gru(
            projected + w["bias"][0], (w["h"],), w["recurrent_kernel"], w["bias"][1], keep
        )
    else:
        outputs, state = lstm(projected + w["bias"], (w["h"], w["c"]), w["recurrent_kernel"], keep)
    return [outputs, *state]


def keras_layer(cell: str, w: dict[str, tf.Tensor]) -> list[tf.Tensor]:
    kind = keras.layers.GRUCell if cell == "gru" else keras.layers.LSTMCell
    layer = kind(U, dtype="float64")
    layer.build((B, INPUTS))
    # The layer computes with the given tensors, so that a tape can watch them.
    for variable in ("kernel", "recurrent_kernel", "bias"):
        own = as_lstm(w[variable], tf.concat) if cell == "cifg" else w[variable]
        object.__setattr__(layer, variable, own)
    state = [w[part] for part in STATES[cell]]
    outputs = []
    for inputs in tf.unstack(w["inputs"]):
        output, state = layer(inputs, state)
        outputs.append(output)
    return [tf.stack(outputs), *state]


def loss_and_gradients(
    function: Callable[[dict[str, tf.Tensor]], list[tf.Tensor]], w: dict[str, tf.Tensor]
) -> tuple[float, dict[str, NDArray[np.float64]]]:
    """Return a loss in which every output and last state has its own weight, and its gradients."""
    rng = np.random.default_rng(1)
    with tf.GradientTape() as tape:
        tape.watch(w)
        loss = tf.add_n([tf.reduce_sum(o * rng.normal(size=o.shape)) for o in function(w)])
    return float(loss), {k: g.numpy() for k, g in tape.gradient(loss, w).items()}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("cell", sorted(STATES))
def test_values_and_gradients_are_those_of_keras(cell: str, compiled: bool) -> None:
    w = weights(cell)
    function = tf.function(lambda w: ours(cell, w), jit_compile=compiled, autograph=False)
    loss, gradients = loss_and_gradients(function, w)
    expected_loss, expected = loss_and_gradients(lambda w: keras_layer(cell, w), w)
    assert loss == pytest.approx(expected_loss, rel=1e-9)
    for name in w:
        np.testing.assert_allclose(gradients[name], expected[name], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("cell", sorted(STATES))
def test_gradients_with_resets_are_finite_differences(cell: str) -> None:
    w = weights(cell)
    keep = tf.constant((RNG.random((T, B, 1)) > 0.3).astype(float))
    _, gradients = loss_and_gradients(lambda w: ours(cell, w, keep), w)
    for name, tensor in w.items():
        direction = RNG.normal(size=tensor.shape)
        moved = [
            loss_and_gradients(
                lambda w: ours(cell, w, keep), w | {name: tensor + sign * 1e-6 * direction}
            )[0]
            for sign in (1, -1)
        ]
        slope = (moved[0] - moved[1]) / 2e-6
        assert slope == pytest.approx(np.sum(gradients[name] * direction), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("cell", sorted(STATES))
def test_a_reset_in_the_middle_starts_from_zero(cell: str) -> None:
    w = weights(cell)
    keep = np.ones((T, B, 1))
    keep[4, 1] = 0
    outputs = ours(cell, w, tf.constant(keep))[0].numpy()
    whole = ours(cell, w)[0].numpy()
    zero = {name: tf.zeros((B, U), tf.float64) for name in ("h", "c") if name in w}
    fresh = ours(cell, w | zero | {"inputs": w["inputs"][4:]})[0].numpy()
    np.testing.assert_allclose(outputs[4:, 1], fresh[:, 1], rtol=1e-12)
    np.testing.assert_allclose(outputs[:, [0, 2]], whole[:, [0, 2]], rtol=1e-12)
    np.testing.assert_allclose(outputs[:4], whole[:4], rtol=1e-12)
