"""Matrix products with factors in float32 or bfloat16, and sums in float32.

On processors with bfloat16 instructions, a bfloat16 product takes XLA about half the time.
"""

from typing import TypeAlias

from textgen.training.backend import tf

Tensor: TypeAlias = tf.Tensor


def multiply(a: Tensor, b: Tensor, precision: tf.DType) -> Tensor:
    """Return a @ b, (N, K), (K, M) -> (N, M), without a custom gradient."""
    if precision != tf.bfloat16:
        return tf.matmul(a, b)
    a, b = tf.cast(a, precision), tf.cast(b, precision)
    return tf.raw_ops.BatchMatMulV3(x=a, y=b, Tout=tf.float32)


def multiply_over_rows(a: Tensor, b: Tensor, precision: tf.DType) -> Tensor:
    """Return a.T @ b, (N, K), (N, M) -> (K, M).

    This is the gradient of a kernel, from its inputs and the gradients of its outputs.
    """
    if precision != tf.bfloat16:
        return tf.matmul(a, b, transpose_a=True)
    # XLA has no bfloat16 product with a transposed left side and would use float32. The rows of
    # zeros keep it from merging the transposition into the product.
    a = tf.pad(tf.transpose(tf.cast(a, precision)), [[0, 0], [0, 8]])
    return multiply(a, tf.pad(tf.cast(b, precision), [[0, 8], [0, 0]]), precision)


def product(a: Tensor, b: Tensor, precision: tf.DType) -> Tensor:
    """Return a @ b, (..., K), (K, M) -> (..., M)."""

    @tf.custom_gradient
    def run(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        def gradient(dc: Tensor) -> tuple[Tensor, Tensor]:
            return (
                multiply(dc, tf.transpose(b), precision),
                multiply_over_rows(a, dc, precision),
            )

        return multiply(a, b, precision), gradient

    outputs = run(tf.reshape(a, (-1, a.shape[-1])), b)
    return tf.reshape(outputs, (*a.shape[:-1], b.shape[1]))


def look_up(table: Tensor, ids: Tensor, precision: tf.DType) -> Tensor:
    """Return rows of a small table, (V, W), ids (T, B) -> (T, B, W).

    The gradient is a product, too. That of a gather adds up rows one by one, which takes much
    longer.
    """

    @tf.custom_gradient
    def run(table: Tensor) -> tuple[Tensor, ...]:
        def gradient(d_rows: Tensor) -> Tensor:
            size, width = table.shape
            hot = tf.range(size)[:, None] == tf.reshape(ids, (1, -1))
            return multiply(tf.cast(hot, table.dtype), tf.reshape(d_rows, (-1, width)), precision)

        return tf.gather(table, ids), gradient

    return run(table)
