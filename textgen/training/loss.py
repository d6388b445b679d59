"""Cross-entropy over the vocabulary in blocks, so that memory does not grow with the batch."""

import tensorflow as tf

from textgen.training.products import Tensor, multiply, multiply_over_rows

_BLOCK = 1 << 24  # logits at once, at most: 64 MB


def cross_entropy(
    hidden: Tensor,
    kernel: Tensor,
    bias: Tensor,
    targets: Tensor,
    counts: Tensor,
    precision: tf.DType = tf.float32,
) -> Tensor:
    """Return the cross-entropy of softmax(hidden @ kernel + bias) in nats, summed.

    The gradient is computed along with the loss, block by block of rows; of the logits there
    is never more than one block.

    Args:
        hidden: (N, U).
        kernel: (U, V).
        bias: (V,).
        targets: the right token of each row, (N,).
        counts: (N,), true where a row counts.
        precision: of the products.
    """

    @tf.custom_gradient
    def run(hidden: Tensor, kernel: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        rows, size = len(hidden), len(bias)
        blocks = _blocks(rows, size)
        transposed = tf.transpose(kernel)

        def block(hidden: Tensor, targets: Tensor, counts: Tensor) -> tuple[Tensor, ...]:
            logits = multiply(hidden, kernel, precision) + bias
            right = tf.range(size, dtype=targets.dtype) == targets[:, None]
            logits -= tf.reduce_max(logits, axis=1, keepdims=True)
            powers = tf.exp(logits)
            totals = tf.reduce_sum(powers, axis=1, keepdims=True)
            losses = tf.math.log(totals[:, 0]) - tf.reduce_sum(tf.where(right, logits, 0.0), axis=1)
            weights = tf.cast(counts, hidden.dtype)
            d_logits = (powers / totals - tf.cast(right, hidden.dtype)) * weights[:, None]
            return (
                tf.reduce_sum(losses * weights),
                multiply(d_logits, transposed, precision),
                multiply_over_rows(hidden, d_logits, precision),
                tf.reduce_sum(d_logits, axis=0),
            )

        if blocks == 1:
            total, d_hidden, d_kernel, d_bias = block(hidden, targets, counts)
        else:
            parts = [
                tf.reshape(x, (blocks, rows // blocks, *x.shape[1:]))
                for x in (hidden, targets, counts)
            ]

            def body(k, total, d_hiddens, d_kernel, d_bias):
                loss, d_hidden, kernel_part, bias_part = block(*(part[k] for part in parts))
                return (
                    k + 1,
                    total + loss,
                    d_hiddens.write(k, d_hidden),
                    d_kernel + kernel_part,
                    d_bias + bias_part,
                )

            d_hiddens = tf.TensorArray(hidden.dtype, blocks, element_shape=parts[0].shape[1:])
            start = (
                0,
                tf.zeros((), hidden.dtype),
                d_hiddens,
                tf.zeros_like(kernel),
                tf.zeros_like(bias),
            )
            _, total, d_hiddens, d_kernel, d_bias = tf.while_loop(
                lambda k, *_: k < blocks, body, start, maximum_iterations=blocks
            )
            d_hidden = tf.reshape(d_hiddens.stack(), hidden.shape)

        def gradient(scale: Tensor) -> tuple[Tensor, ...]:
            return d_hidden * scale, d_kernel * scale, d_bias * scale

        return total, gradient

    return run(hidden, kernel, bias)


def _blocks(rows: int, size: int) -> int:
    """The fewest equal blocks of rows that keep the logits of one small enough."""
    return next(
        n for n in range(1, rows + 1) if (rows % n == 0 and rows // n * size <= _BLOCK) or n == rows
    )
