"""Recurrent layers over a chunk, with a gradient written by hand.

Automatic differentiation of a loop adds up the gradient of the recurrent kernel at every step,
which costs a product and an addition of the size of the weights. Here the backward loop computes
only the gradients of the gates, and the kernel's gradient is one product over all steps. The state
is passed in and returned, and gradients flow through it, so the caller decides where to stop them.

T steps, B rows, U units. Formulas: LSTM with forget gate after Gers, Schmidhuber and Cummins
(2000); CIFG, the coupled LSTM, after Greff et al. (2015); GRU after Cho et al. (2014), with the
reset gate applied after the product, as in cuDNN. The order of the gates and the layout of the
weights are Keras's.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from textgen.options.architecture import as_lstm
from textgen.training.backend import keras, tf
from textgen.training.products import Tensor, multiply, multiply_over_rows

LayerState: TypeAlias = tuple[Tensor, ...]
_Tensors: TypeAlias = tuple[Tensor, ...]


def lstm(
    projected: Tensor,
    state: LayerState,
    kernel: Tensor,
    keep: Tensor | None = None,
    precision: tf.DType = tf.float32,
) -> tuple[Tensor, LayerState]:
    """Run an LSTM or a CIFG over a chunk.

    Args:
        projected: the inputs times the input kernel, plus bias: (T, B, 4U) with the gates i, f, c,
            o of an LSTM, or (T, B, 3U) with the gates f, c, o of a CIFG, whose i is 1 - f.
        state: h and c before the first step, each (B, U).
        kernel: the recurrent kernel, (U, 4U) or (U, 3U).
        keep: (T, B, 1), 0 where the state is set to zero before a step, else 1.
        precision: of the products.

    Returns:
        h after each step, (T, B, U), and the state after the last.
    """

    @tf.custom_gradient
    def run(
        projected: Tensor, h0: Tensor, c0: Tensor, kernel: Tensor
    ) -> tuple[_Tensors, Callable[..., _Tensors]]:
        units = h0.shape[-1]
        count = kernel.shape[-1] // units
        kept = [] if keep is None else [keep]
        kernel = _cast(kernel, precision)
        # One tanh serves all gates, as sigmoid(x) = (1 + tanh(x / 2)) / 2.
        half = tf.repeat(tf.constant([0.5, 0.5, 1, 0.5][-count:], h0.dtype), units)

        def named(gates: Tensor) -> list[Tensor]:
            *i, f, g, o = _gates(gates, count)
            return [*(i or [1 - f]), f, g, o]

        def forward(inputs: Sequence[Tensor], carry: _Tensors) -> tuple[_Tensors, _Tensors]:
            projected, *kept = inputs
            h, c = _kept(carry, kept)
            gates = half * tf.tanh(half * (projected + multiply(h, kernel, precision))) + (1 - half)
            i, f, g, o = named(gates)
            c_next = f * c + i * g
            h_next = o * tf.tanh(c_next)
            return (h_next, c_next), (gates, c_next, h_next)

        (h, c), (gates, cs_next, outputs) = _scan(
            forward, (h0, c0), (projected, *kept), (count * units, units, units)
        )

        def gradient(d_outputs: Tensor, dh: Tensor, dc: Tensor) -> _Tensors:
            transposed = tf.split(tf.transpose(kernel), count)
            hs, cs = _kept((_before(h0, outputs), _before(c0, cs_next)), kept)

            def backward(inputs: Sequence[Tensor], carry: _Tensors) -> tuple[_Tensors, _Tensors]:
                d_output, gates, c, c_next, *kept = inputs
                dh, dc = carry
                i, f, g, o = named(gates)
                tanh_c = tf.tanh(c_next)
                dh += d_output
                dc += dh * o * (1 - tanh_c * tanh_c)
                dz = [
                    dc * g * i * (1 - i),
                    dc * c * f * (1 - f),
                    dc * i * (1 - g * g),
                    dh * tanh_c * o * (1 - o),
                ]
                if count == 3:  # what moves f moves i the other way
                    dz[:2] = [dz[1] - dz[0]]
                dh = _products(dz, transposed, precision)
                return _kept((dh, dc * f), kept), (tf.concat(dz, axis=-1),)

            (dh0, dc0), (dzs,) = _scan(
                backward, (dh, dc), (d_outputs, gates, cs, cs_next, *kept), (count * units,), -1
            )
            return dzs, dh0, dc0, _kernel_gradient(hs, dzs, precision)

        return (outputs, h, c), gradient

    outputs, *state_after = run(projected, *state, kernel)
    return outputs, tuple(state_after)


def gru(
    projected: Tensor,
    state: LayerState,
    kernel: Tensor,
    bias: Tensor,
    keep: Tensor | None = None,
    precision: tf.DType = tf.float32,
) -> tuple[Tensor, LayerState]:
    """Run a GRU over a chunk.

    Args:
        projected: the inputs times the input kernel, plus its bias, (T, B, 3U); gates z, r, h.
        state: h before the first step, (B, U), as a tuple of one.
        kernel: the recurrent kernel, (U, 3U).
        bias: the bias of the recurrent product, (3U,).
        keep: (T, B, 1), 0 where the state is set to zero before a step, else 1.
        precision: of the products.

    Returns:
        h after each step, (T, B, U), and the state after the last.
    """

    @tf.custom_gradient
    def run(
        projected: Tensor, h0: Tensor, kernel: Tensor, bias: Tensor
    ) -> tuple[_Tensors, Callable[..., _Tensors]]:
        units = h0.shape[-1]
        kept = [] if keep is None else [keep]
        kernel = _cast(kernel, precision)

        def forward(inputs: Sequence[Tensor], carry: _Tensors) -> tuple[_Tensors, _Tensors]:
            projected, *kept = inputs
            (h,) = _kept(carry, kept)
            xz, xr, xh = _gates(projected, 3)
            rz, rr, rh = _gates(multiply(h, kernel, precision) + bias, 3)
            z, r = tf.sigmoid(xz + rz), tf.sigmoid(xr + rr)
            g = tf.tanh(xh + r * rh)
            h_next = z * h + (1 - z) * g
            return (h_next,), (tf.concat([z, r, g, rh], axis=-1), h_next)

        (h,), (gates, outputs) = _scan(forward, (h0,), (projected, *kept), (4 * units, units))

        def gradient(d_outputs: Tensor, dh: Tensor) -> _Tensors:
            transposed = tf.split(tf.transpose(kernel), 3)
            (hs,) = _kept((_before(h0, outputs),), kept)

            def backward(inputs: Sequence[Tensor], carry: _Tensors) -> tuple[_Tensors, _Tensors]:
                d_output, gates, h, *kept = inputs
                z, r, g, rh = _gates(gates)
                dh = carry[0] + d_output
                dz = dh * (h - g) * z * (1 - z)
                dg = dh * (1 - z) * (1 - g * g)
                dr = dg * rh * r * (1 - r)
                dh = dh * z + _products([dz, dr, dg * r], transposed, precision)
                return _kept((dh,), kept), (tf.concat([dz, dr, dg, dg * r], axis=-1),)

            (dh0,), (ds,) = _scan(backward, (dh,), (d_outputs, gates, hs, *kept), (4 * units,), -1)
            dz, dr, dg, d_recurrent = _gates(ds)
            d_products = tf.concat([dz, dr, d_recurrent], axis=-1)
            return (
                tf.concat([dz, dr, dg], axis=-1),
                dh0,
                _kernel_gradient(hs, d_products, precision),
                tf.reduce_sum(d_products, axis=[0, 1]),
            )

        return (outputs, h), gradient

    outputs, *state_after = run(projected, *state, kernel, bias)
    return outputs, tuple(state_after)


class KerasLayer:
    """A Keras layer as a function of its weights. On a GPU it uses cuDNN, faster than ours."""

    def __init__(self, cell: str, inputs: int, units: int) -> None:
        kind = keras.layers.GRU if cell == "gru" else keras.layers.LSTM
        self._is_coupled = cell == "cifg"
        self._layer = kind(units, return_sequences=True, return_state=True)
        self._layer.build((None, None, inputs))

    def __call__(
        self, inputs: Tensor, state: LayerState, weights: Sequence[Tensor]
    ) -> tuple[Tensor, LayerState]:
        """Run over inputs, (T, B, ...); weights are kernel, recurrent kernel and bias."""
        if self._is_coupled:
            weights = [as_lstm(part, tf.concat) for part in weights]
        (outputs, *state_after), _ = self._layer.stateless_call(
            list(weights),
            self._layer.non_trainable_variables,
            tf.transpose(inputs, (1, 0, 2)),
            initial_state=list(state),
        )
        return tf.transpose(outputs, (1, 0, 2)), tuple(state_after)


def _cast(kernel: Tensor, precision: tf.DType) -> Tensor:
    """Round a kernel once instead of at every step."""
    return tf.cast(kernel, precision) if precision == tf.bfloat16 else kernel


def _gates(x: Tensor, count: int = 4) -> list[Tensor]:
    return tf.split(x, count, axis=-1)


def _kept(state: _Tensors, keep: Sequence[Tensor]) -> _Tensors:
    return tuple(part * keep[0] for part in state) if keep else state


def _before(first: Tensor, after: Tensor) -> Tensor:
    """Return the state before each step from that after each, (B, U), (T, B, U) -> (T, B, U)."""
    return tf.concat([first[None], after[:-1]], axis=0)


def _products(parts: Sequence[Tensor], kernels: Sequence[Tensor], precision: tf.DType) -> Tensor:
    """Multiply by a kernel that is split by gates, and add up.

    A single product would have longer sums, for which XLA takes twice the time in bfloat16.
    """
    return tf.add_n([multiply(x, k, precision) for x, k in zip(parts, kernels, strict=True)])


def _kernel_gradient(hs: Tensor, dzs: Tensor, precision: tf.DType) -> Tensor:
    """Return the gradient of a kernel used at every step, (T, B, U), (T, B, W) -> (U, W)."""
    hs, dzs = (tf.reshape(x, (-1, x.shape[-1])) for x in (hs, dzs))
    return multiply_over_rows(hs, dzs, precision)


def _scan(
    step: Callable[[Sequence[Tensor], _Tensors], tuple[_Tensors, _Tensors]],
    carry: _Tensors,
    inputs: Sequence[Tensor],
    widths: Sequence[int],
    direction: int = 1,
) -> tuple[_Tensors, list[Tensor]]:
    """Carry a state through the steps of the inputs, each (T, B, ...), and stack the outputs.

    `widths` are the sizes of the outputs' last axes. With direction -1 the last step comes first.
    """
    steps, rows = inputs[0].shape[:2]
    stacks = [tf.TensorArray(carry[0].dtype, steps, element_shape=(rows, w)) for w in widths]
    first = 0 if direction == 1 else steps - 1

    def body(k: Tensor, ahead: _Tensors, carry: _Tensors, stacks: list[tf.TensorArray]) -> Any:
        t = first + direction * k
        carry, outputs = step(ahead, carry)
        # Read one step ahead: XLA fuses a slice with the arithmetic that uses it, and then computes
        # element by element, at a tenth of the speed.
        t_next = tf.clip_by_value(t + direction, 0, steps - 1)
        ahead = tuple(x[t_next] for x in inputs)
        return k + 1, ahead, carry, [s.write(t, o) for s, o in zip(stacks, outputs, strict=True)]

    ahead = tuple(x[first] for x in inputs)
    _, _, carry, stacks = tf.while_loop(
        lambda k, *_: k < steps, body, (0, ahead, carry, stacks), maximum_iterations=steps
    )
    return carry, [stack.stack() for stack in stacks]
