"""The loss against TensorFlow's, whole and in blocks, and the candidates of sampled softmax."""

import numpy as np
import pytest
import tensorflow as tf

from textgen.training import loss
from textgen.training.candidates import LARGEST_FULL_SOFTMAX, choose_candidates
from textgen.training.loss import cross_entropy

N, U, V = 24, 6, 50
RNG = np.random.default_rng(0)


def numbers(*shape: int) -> tf.Tensor:
    return tf.constant(RNG.normal(size=shape), tf.float32)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("block", [1, 5 * V, 1 << 20])
def test_loss_and_gradients_are_those_of_tensorflow(
    tied: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "_LOGITS_AT_ONCE", block)
    hidden, kernel, bias = numbers(N, U), numbers(V, U) if tied else numbers(U, V), numbers(V)
    targets = tf.constant(RNG.integers(V, size=N), tf.int32)
    counts = tf.constant(RNG.random(N) < 0.7)
    weights = [hidden, kernel, bias]

    @tf.function(jit_compile=True, autograph=False)
    def ours() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            total = 3 * cross_entropy(hidden, kernel, bias, targets, counts, tied=tied)
        return total, tape.gradient(total, weights)

    with tf.GradientTape() as tape:
        tape.watch(weights)
        logits = tf.matmul(hidden, kernel, transpose_b=tied) + bias
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        expected = 3 * tf.reduce_sum(tf.boolean_mask(losses, counts))
    total, gradients = ours()
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    for gradient, theirs in zip(gradients, tape.gradient(expected, weights), strict=True):
        np.testing.assert_allclose(gradient, theirs, atol=1e-4)


def test_candidates_estimate_the_normaliser_without_bias() -> None:
    size, rng = LARGEST_FULL_SOFTMAX + 5000, np.random.default_rng(0)
    weights, order = np.exp(rng.normal(size=size)), rng.permutation(size)
    targets = rng.integers(size, size=(4, 6), dtype=np.int32)
    estimates = []
    for _ in range(200):
        candidates, places = choose_candidates(targets, order, rng)
        ids = candidates.ids
        assert set(order[:4096]) <= set(ids)
        assert len(np.unique(ids)) == len(ids) < size
        np.testing.assert_array_equal(ids[places], targets)
        np.testing.assert_array_equal(candidates.offsets[places], 0)
        known = candidates.places < len(ids)
        np.testing.assert_array_equal(np.flatnonzero(known), np.sort(ids))
        np.testing.assert_array_equal(ids[candidates.places[known]], np.flatnonzero(known))
        estimates.append(np.sum(weights[ids] * np.exp(candidates.offsets)))
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - weights.sum()) < 4 * error
    assert np.std(estimates) < 0.02 * weights.sum()


def test_as_many_candidates_whatever_the_targets() -> None:
    rng = np.random.default_rng(0)
    few = np.zeros((8, 4), np.int32)
    many = np.arange(LARGEST_FULL_SOFTMAX, LARGEST_FULL_SOFTMAX + 32, dtype=np.int32).reshape(8, 4)
    lengths = {
        len(choose_candidates(targets, np.arange(LARGEST_FULL_SOFTMAX + 50), rng)[0].ids)
        for targets in (few, many)
    }
    assert len(lengths) == 1
