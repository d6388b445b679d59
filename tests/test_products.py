"""Products in both precisions against NumPy's, through XLA, for any shape."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.training.products import look_up, product

SIZES = st.integers(1, 70)


@pytest.mark.parametrize("precision", [tf.float32, tf.bfloat16])
@settings(max_examples=12, deadline=None)
@given(n=SIZES, k=SIZES, m=SIZES)
def test_values_and_gradients(precision: tf.DType, n: int, k: int, m: int) -> None:
    rng = np.random.default_rng(n * k * m)
    a, b, d = (rng.normal(size=s).astype(np.float32) for s in ((2, n, k), (k, m), (2, n, m)))

    @tf.function(jit_compile=True)
    def run(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            outputs = product(a, b, precision)
        return outputs, tape.gradient(outputs, [a, b], d)

    outputs, (da, db) = run(tf.constant(a), tf.constant(b))
    expected = [(outputs, a @ b, k), (da, d @ b.T, m), (db, np.einsum("tnk,tnm->km", a, d), 2 * n)]
    for ours, theirs, terms in expected:
        # bfloat16 keeps 8 bits of each factor; the errors of a sum's terms add up like noise.
        error = 1e-5 if precision == tf.float32 else 0.02 * np.sqrt(terms)
        np.testing.assert_allclose(ours, theirs, atol=10 * error if error < 1e-4 else error)
        assert ours.dtype == tf.float32


@pytest.mark.parametrize("precision", [tf.float32, tf.bfloat16])
def test_looking_up_is_a_gather(precision: tf.DType) -> None:
    rng = np.random.default_rng(0)
    table, d = rng.normal(size=(5, 8)), rng.normal(size=(7, 3, 8))
    ids = rng.integers(5, size=(7, 3), dtype=np.int32)

    @tf.function(jit_compile=True)
    def run(table: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(table)
            rows = look_up(table, tf.constant(ids), precision)
        return rows, tape.gradient(rows, table, tf.constant(d, tf.float32))

    rows, gradient = run(tf.constant(table, tf.float32))
    np.testing.assert_array_equal(rows, table.astype(np.float32)[ids])
    expected = np.zeros_like(table)
    np.add.at(expected, ids, d)
    np.testing.assert_allclose(gradient, expected, atol=1e-5 if precision == tf.float32 else 0.05)
