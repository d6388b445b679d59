"""Recurrent layers over a chunk, with a gradient written by hand.

Automatic differentiation of a loop over steps adds up the gradient of the recurrent kernel
once a step: a product and an addition the size of the weights each. Here the backward loop
computes only the gradients of the gates; the kernel's follows from one product over all
steps. State comes in and goes out as values, and gradients flow into and out of it, so that
whoever calls decides where they are cut.

T steps, B rows, U units. Formulas: LSTM with forget gate after Gers, Schmidhuber and Cummins
(2000); GRU after Cho et al. (2014) in the form with the reset gate behind the product, as in
cuDNN. Gate order and layout of the weights are Keras's.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

Tensor: TypeAlias = tf.Tensor
State: TypeAlias = tuple[Tensor, ...]


def lstm(
    projected: Tensor, state: State, kernel: Tensor, keep: Tensor | None = None
) -> tuple[Tensor, State]:
    """Run an LSTM over a chunk.

    Args:
        projected: the inputs times the input kernel, plus bias, (T, B, 4U); gates i, f, c, o.
        state: h and c before the first step, each (B, U).
        kernel: the recurrent kernel, (U, 4U).
        keep: (T, B, 1), 0 where the state is to be zero before a step, 1 elsewhere.

    Returns:
        h after each step, (T, B, U), and the state after the last.
    """

    @tf.custom_gradient
    def run(
        projected: Tensor, h0: Tensor, c0: Tensor, kernel: Tensor
    ) -> tuple[State, Callable[..., State]]:
        units = h0.shape[-1]

        def forward(t: Tensor, carry: State) -> tuple[State, State]:
            h, c = _kept(carry, keep, t)
            i, f, g, o = tf.split(projected[t] + tf.matmul(h, kernel), 4, axis=-1)
            i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
            c_next = f * c + i * g
            h_next = o * tf.tanh(c_next)
            return (h_next, c_next), (h, c, tf.concat([i, f, g, o], axis=-1), c_next, h_next)

        (h, c), (hs, cs, gates, cs_next, outputs) = _scan(
            forward, (h0, c0), projected, (units, units, 4 * units, units, units)
        )

        def gradient(d_outputs: Tensor, dh: Tensor, dc: Tensor) -> State:
            transposed = tf.transpose(kernel)

            def backward(t: Tensor, carry: State) -> tuple[State, State]:
                dh, dc = carry
                i, f, g, o = tf.split(gates[t], 4, axis=-1)
                tanh_c = tf.tanh(cs_next[t])
                dh += d_outputs[t]
                dc += dh * o * (1 - tanh_c * tanh_c)
                dz = tf.concat(
                    [
                        dc * g * i * (1 - i),
                        dc * cs[t] * f * (1 - f),
                        dc * i * (1 - g * g),
                        dh * tanh_c * o * (1 - o),
                    ],
                    axis=-1,
                )
                return _kept((tf.matmul(dz, transposed), dc * f), keep, t), (dz,)

            (dh0, dc0), (dzs,) = _scan(backward, (dh, dc), projected, (4 * units,), reverse=True)
            return dzs, dh0, dc0, _product_over_steps(hs, dzs)

        return (outputs, h, c), gradient

    outputs, *state_after = run(projected, *state, kernel)
    return outputs, tuple(state_after)


def gru(
    projected: Tensor,
    state: State,
    kernel: Tensor,
    bias: Tensor,
    keep: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Run a GRU over a chunk.

    Args:
        projected: the inputs times the input kernel, plus its bias, (T, B, 3U); gates z, r, h.
        state: h before the first step, (B, U), as a tuple of one.
        kernel: the recurrent kernel, (U, 3U).
        bias: the bias of the recurrent product, (3U,).
        keep: (T, B, 1), 0 where the state is to be zero before a step, 1 elsewhere.

    Returns:
        h after each step, (T, B, U), and the state after the last.
    """

    @tf.custom_gradient
    def run(
        projected: Tensor, h0: Tensor, kernel: Tensor, bias: Tensor
    ) -> tuple[State, Callable[..., State]]:
        units = h0.shape[-1]

        def forward(t: Tensor, carry: State) -> tuple[State, State]:
            (h,) = _kept(carry, keep, t)
            xz, xr, xh = tf.split(projected[t], 3, axis=-1)
            rz, rr, rh = tf.split(tf.matmul(h, kernel) + bias, 3, axis=-1)
            z, r = tf.sigmoid(xz + rz), tf.sigmoid(xr + rr)
            g = tf.tanh(xh + r * rh)
            h_next = z * h + (1 - z) * g
            return (h_next,), (h, tf.concat([z, r, g, rh], axis=-1), h_next)

        (h,), (hs, gates, outputs) = _scan(forward, (h0,), projected, (units, 4 * units, units))

        def gradient(d_outputs: Tensor, dh: Tensor) -> State:
            transposed = tf.transpose(kernel)

            def backward(t: Tensor, carry: State) -> tuple[State, State]:
                z, r, g, rh = tf.split(gates[t], 4, axis=-1)
                dh = carry[0] + d_outputs[t]
                dz = dh * (hs[t] - g) * z * (1 - z)
                dg = dh * (1 - z) * (1 - g * g)
                dr = dg * rh * r * (1 - r)
                d_product = tf.concat([dz, dr, dg * r], axis=-1)
                d_projected = tf.concat([dz, dr, dg], axis=-1)
                dh = dh * z + tf.matmul(d_product, transposed)
                return _kept((dh,), keep, t), (d_projected, d_product)

            (dh0,), (d_projected, d_products) = _scan(
                backward, (dh,), projected, (3 * units, 3 * units), reverse=True
            )
            d_kernel = _product_over_steps(hs, d_products)
            return d_projected, dh0, d_kernel, tf.reduce_sum(d_products, axis=[0, 1])

        return (outputs, h), gradient

    outputs, *state_after = run(projected, *state, kernel, bias)
    return outputs, tuple(state_after)


def _kept(state: State, keep: Tensor | None, t: Tensor) -> State:
    return state if keep is None else tuple(part * keep[t] for part in state)


def _product_over_steps(hs: Tensor, dzs: Tensor) -> Tensor:
    """(T, B, U), (T, B, W) -> (U, W): the gradient of a kernel used at every step."""
    hs, dzs = (tf.reshape(x, (-1, x.shape[-1])) for x in (hs, dzs))
    return tf.matmul(hs, dzs, transpose_a=True)


def _scan(
    step: Callable[[Tensor, State], tuple[State, State]],
    carry: State,
    like: Tensor,
    widths: Sequence[int],
    reverse: bool = False,
) -> tuple[State, list[Tensor]]:
    """Thread `carry` through the steps of `like`, (T, B, ...), stacking what each returns.

    `widths` are the sizes of the last axis of what is stacked.
    """
    steps, rows = like.shape[:2]
    stacks = [tf.TensorArray(like.dtype, steps, element_shape=(rows, w)) for w in widths]

    def body(k: Tensor, carry: State, stacks: list[tf.TensorArray]) -> tuple[Any, ...]:
        t = steps - 1 - k if reverse else k
        carry, outputs = step(t, carry)
        return k + 1, carry, [s.write(t, o) for s, o in zip(stacks, outputs, strict=True)]

    _, carry, stacks = tf.while_loop(
        lambda k, *_: k < steps, body, (0, carry, stacks), maximum_iterations=steps
    )
    return carry, [stack.stack() for stack in stacks]
