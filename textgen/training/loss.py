"""Cross-entropy over the vocabulary, in blocks, to limit the memory use of the logits."""

from collections.abc import Callable
from typing import Any

from textgen.training.backend import tf
from textgen.training.products import Tensor, multiply, multiply_over_rows

_LOGITS_AT_ONCE = 1 << 24  # 64 MB


def cross_entropy(
    hidden: Tensor,
    kernel: Tensor,
    bias: Tensor,
    targets: Tensor,
    counts: Tensor,
    precision: tf.DType = tf.float32,
    tied: bool = False,
) -> Tensor:
    """Return the cross-entropy of softmax(hidden @ kernel + bias) in nats, summed.

    The gradient is computed along with the loss, in blocks of rows. Only one block of logits is
    in memory at a time.

    Args:
        hidden: (N, U).
        kernel: (U, V), or the embedding, (V, U), if tied.
        bias: (V,).
        targets: the next token of each row, (N,).
        counts: (N,), whether a row counts.
        precision: of the products.
    """

    @tf.custom_gradient
    def run(hidden: Tensor, kernel: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        rows, size = hidden.shape[0], bias.shape[0]
        blocks = _block_count(rows, size)
        transposed = tf.transpose(kernel)
        forward, back = (transposed, kernel) if tied else (kernel, transposed)

        def block(hidden: Tensor, targets: Tensor, counts: Tensor) -> tuple[Tensor, ...]:
            logits = multiply(hidden, forward, precision) + bias
            right = tf.range(size, dtype=targets.dtype) == targets[:, None]
            logits -= tf.reduce_max(logits, axis=1, keepdims=True)
            powers = tf.exp(logits)
            totals = tf.reduce_sum(powers, axis=1, keepdims=True)
            losses = tf.math.log(totals[:, 0]) - tf.reduce_sum(tf.where(right, logits, 0.0), axis=1)
            weights = tf.cast(counts, hidden.dtype)
            d_logits = (powers / totals - tf.cast(right, hidden.dtype)) * weights[:, None]
            inputs_and_outputs = (d_logits, hidden) if tied else (hidden, d_logits)
            return (
                tf.reduce_sum(losses * weights),
                multiply(d_logits, back, precision),
                multiply_over_rows(*inputs_and_outputs, precision),
                tf.reduce_sum(d_logits, axis=0),
            )

        if blocks == 1:
            total, d_hidden, d_kernel, d_bias = block(hidden, targets, counts)
        else:
            total, d_hidden, d_kernel, d_bias = _over_blocks(
                block, blocks, (hidden, targets, counts), (kernel, bias)
            )

        def gradient(scale: Tensor) -> tuple[Tensor, ...]:
            return d_hidden * scale, d_kernel * scale, d_bias * scale

        return total, gradient

    return run(hidden, kernel, bias)


def _over_blocks(
    block: Callable[..., tuple[Tensor, ...]],
    blocks: int,
    rows: tuple[Tensor, ...],
    weights: tuple[Tensor, Tensor],
) -> tuple[Tensor, ...]:
    """Call `block` on each block of rows; sum the results, but join the gradients of the rows."""
    parts = [tf.reshape(x, (blocks, -1, *x.shape[1:])) for x in rows]
    dtype = rows[0].dtype

    def body(k: Tensor, total: Tensor, d_rows: tf.TensorArray, *d_weights: Tensor) -> Any:
        loss, d_row, *d_parts = block(*(part[k] for part in parts))
        sums = [total + part for total, part in zip(d_weights, d_parts, strict=True)]
        return k + 1, total + loss, d_rows.write(k, d_row), *sums

    d_rows = tf.TensorArray(dtype, blocks, element_shape=parts[0].shape[1:])
    _, total, d_rows, *d_weights = tf.while_loop(
        lambda k, *_: k < blocks,
        body,
        (0, tf.zeros((), dtype), d_rows, *map(tf.zeros_like, weights)),
        maximum_iterations=blocks,
    )
    return total, tf.reshape(d_rows.stack(), rows[0].shape), *d_weights


def _block_count(rows: int, size: int) -> int:
    """Return the smallest number of equal blocks with at most `_LOGITS_AT_ONCE` logits each."""
    least = -(-rows * size // _LOGITS_AT_ONCE)
    return next(n for n in range(min(least, rows), rows + 1) if rows % n == 0)
