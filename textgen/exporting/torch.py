"""Export to PyTorch: a safetensors file in the names and the layout of its modules.

The gates of PyTorch's LSTM are i, f, g, o, as Keras's; those of its GRU are r, z, n, where Keras
has z, r, h. PyTorch is not needed: the check computes its documented formulas in NumPy.
"""

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from textgen.exporting.portable import PortableNetwork, reorder_gates
from textgen.runs.files import Arrays
from textgen.sampling.network import Array


def torch_file(network: PortableNetwork) -> bytes:
    """Return a safetensors file with an embedding, layers of `nn.LSTM` or `nn.GRU`, and an output.

    Its metadata have the cell and the tokenizer. Raises OutputError if the arrays give other logits
    by PyTorch's formulas.
    """
    metadata = {"cell": network.cell, "tokenizer": network.tokenizer}
    data = save({name: np.ascontiguousarray(a) for name, a in _arrays(network).items()}, metadata)
    arrays = load(data)

    def forward(tokens: NDArray[np.int64], state: list[Array]) -> tuple[Array, list[Array]]:
        hidden, after = arrays["embedding.weight"][tokens.T], []
        parts = network.state_parts
        for n in range(len(network.layers)):
            weights = {
                name: arrays[f"layers.{n}.{name}_l0"]
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
            own, outputs = state[n * parts : (n + 1) * parts], []
            for inputs in hidden:
                own = _step(network.cell, weights, inputs, own)
                outputs.append(own[0])
            hidden = np.stack(outputs)
            after += own
        logits = hidden @ arrays["output.weight"].T + arrays["output.bias"]
        return logits.transpose(1, 0, 2), after

    network.check(forward)
    return data


def _arrays(network: PortableNetwork) -> Arrays:
    arrays = {"embedding.weight": network.embedding}
    for n, layer in enumerate(network.layers):
        order = [0, 1, 2, 3] if network.cell == "lstm" else [1, 0, 2]
        kernel, recurrent_kernel, bias = (reorder_gates(part, order) for part in layer)
        of_input, of_product = bias if network.cell == "gru" else (bias, np.zeros_like(bias))
        arrays |= {
            f"layers.{n}.weight_ih_l0": kernel.T,
            f"layers.{n}.weight_hh_l0": recurrent_kernel.T,
            f"layers.{n}.bias_ih_l0": of_input,
            f"layers.{n}.bias_hh_l0": of_product,
        }
    return arrays | {"output.weight": network.output_kernel.T, "output.bias": network.output_bias}


def _step(cell: str, weights: Arrays, inputs: Array, state: list[Array]) -> list[Array]:
    """Return the state after a step, by the formulas in the documentation of PyTorch."""
    h = state[0]
    x = inputs @ weights["weight_ih"].T + weights["bias_ih"]
    y = h @ weights["weight_hh"].T + weights["bias_hh"]
    if cell == "lstm":
        i, f, g, o = np.split(x + y, 4, axis=-1)
        c = _sigmoid(f) * state[1] + _sigmoid(i) * np.tanh(g)
        return [_sigmoid(o) * np.tanh(c), c]
    (xr, xz, xn), (hr, hz, hn) = np.split(x, 3, axis=-1), np.split(y, 3, axis=-1)
    n, z = np.tanh(xn + _sigmoid(xr + hr) * hn), _sigmoid(xz + hz)
    return [(1 - z) * n + z * h]


def _sigmoid(x: Array) -> Array:
    half = np.float32(0.5)
    return half * np.tanh(half * x) + half
