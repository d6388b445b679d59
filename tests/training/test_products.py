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

    @tf.function(jit_compile=True, autograph=False)
    def run(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            outputs = product(a, b, precision)
        return outputs, tape.gradient(outputs, [a, b], d)

    outputs, (da, db) = run(tf.constant(a), tf.constant(b))
    # bfloat16 keeps 8 bits, so rounding changes each of the two factors by 1 / 512 at most. XLA
    # multiplies small matrices element by element, and then rounds the terms and the sum, too.
    relative = 1e-6 if precision == tf.float32 else 4.03 / 512
    over_rows = "tnk,tnm->km"
    for ours, theirs, size in (
        (outputs, a @ b, abs(a) @ abs(b)),
        (da, d @ b.T, abs(d) @ abs(b.T)),
        (db, np.einsum(over_rows, a, d), np.einsum(over_rows, abs(a), abs(d))),
    ):
        assert ours.dtype == tf.float32
        assert np.all(abs(ours.numpy() - theirs) <= relative * size + 1e-5)


@pytest.mark.parametrize("precision", [tf.float32, tf.bfloat16])
def test_looking_up_is_a_gather(precision: tf.DType) -> None:
    rng = np.random.default_rng(0)
    table, d = rng.normal(size=(5, 8)), rng.normal(size=(7, 3, 8))
    ids = rng.integers(5, size=(7, 3), dtype=np.int32)

    @tf.function(jit_compile=True, autograph=False)
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
