"""Export to ONNX: the operators LSTM and GRU, with the state as inputs and outputs.

The gates of ONNX's LSTM are i, o, f, c; those of its GRU are z, r, h, as Keras's.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.errors import OptionError, OutputError
from textgen.exporting.portable import PortableNetwork, RecurrentWeights, reorder_gates
from textgen.sampling.network import Array

_OPSET = 17
_IR_VERSION = 8  # the format of the file, which came with this opset
_LARGEST_FILE = 2**31 - 1  # bytes of a file, because it is one message of Protocol Buffers


def onnx_file(network: PortableNetwork) -> bytes:
    """Return an ONNX model; its metadata have the tokenizer.

    Raises OptionError if the package onnx or onnxruntime is missing, OutputError if the network is
    too large for the format, or if ONNX Runtime computes other logits.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise OptionError(
            "to",
            f"onnx needs two packages ({error}); install them with: pip install onnx onnxruntime",
        ) from None
    arrays = _initializers(network)
    size = len(network.tokenizer) + sum(array.nbytes for array in arrays.values())
    if size > _LARGEST_FILE - (1 << 20):  # the rest of the file is small
        raise OutputError("the network is too large for ONNX, whose files have at most 2 GB")
    model = _model(onnx, network, arrays)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def forward(tokens: NDArray[np.int64], state: list[Array]) -> tuple[Array, list[Array]]:
        inputs = {"tokens": tokens, **dict(zip(network.state_names, state, strict=True))}
        logits, *after = session.run(None, inputs)
        return logits, after

    network.check(forward)
    return data


def _initializers(network: PortableNetwork) -> dict[str, Array]:
    """Return the weights by name, in ONNX's layout."""
    arrays = {"embedding": network.embedding}
    for n, layer in enumerate(network.layers):
        kernel, recurrent_kernel, bias = _layer_weights(network.cell, layer)
        arrays |= {f"kernel{n}": kernel, f"recurrent_kernel{n}": recurrent_kernel, f"bias{n}": bias}
    return arrays | {"output_kernel": network.output_kernel, "output_bias": network.output_bias}


def _layer_weights(cell: str, layer: RecurrentWeights) -> tuple[Array, Array, Array]:
    """Return W, (1, gates U, I), R, (1, gates U, U), and B, (1, 2 gates U)."""
    order = [0, 3, 1, 2] if cell == "lstm" else [0, 1, 2]
    kernel, recurrent_kernel, bias = (reorder_gates(part, order) for part in layer)
    if cell == "lstm":
        bias = np.stack([bias, np.zeros_like(bias)])
    return kernel.T[None], recurrent_kernel.T[None], bias.reshape(1, -1)


def _model(onnx: Any, network: PortableNetwork, arrays: dict[str, Array]) -> Any:
    """Build the graph: (B, T) -> (B, T, V)."""
    helper, floats, ids = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    nodes = [
        helper.make_node("Gather", ["embedding", "tokens"], ["embedded"]),
        helper.make_node("Transpose", ["embedded"], ["inputs0"], perm=[1, 0, 2]),  # (T, B, E)
    ]
    parts = network.state_parts
    operator = "LSTM" if network.cell == "lstm" else "GRU"
    options = {} if network.cell == "lstm" else {"linear_before_reset": 1}
    for n, layer in enumerate(network.layers):
        names = network.state_names[n * parts : (n + 1) * parts]
        for name in names:  # (B, U) -> (1, B, U)
            nodes.append(helper.make_node("Unsqueeze", [name, "first"], [f"{name}_before"]))
        weights = [f"{part}{n}" for part in ("kernel", "recurrent_kernel", "bias")]
        nodes.append(
            helper.make_node(
                operator,
                [f"inputs{n}", *weights, "", *(f"{name}_before" for name in names)],
                [f"directed{n}", *(f"{name}_after" for name in names)],
                hidden_size=layer.units,
                **options,
            )
        )
        for name in names:
            nodes.append(helper.make_node("Squeeze", [f"{name}_after", "first"], [f"{name}_next"]))
        # (T, 1, B, U) -> (T, B, U): there is one direction.
        nodes.append(helper.make_node("Squeeze", [f"directed{n}", "second"], [f"inputs{n + 1}"]))
    nodes += [
        helper.make_node("Transpose", [f"inputs{len(network.layers)}"], ["hidden"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["hidden", "output_kernel"], ["product"]),
        helper.make_node("Add", ["product", "output_bias"], ["logits"]),
    ]
    sizes = list(zip(network.state_names, network.state_sizes, strict=True))
    initializers = {"first": np.array([0]), "second": np.array([1]), **arrays}
    graph = helper.make_graph(
        nodes,
        "textgen",
        [
            helper.make_tensor_value_info("tokens", ids, ["batch", "time"]),
            *(helper.make_tensor_value_info(name, floats, ["batch", u]) for name, u in sizes),
        ],
        [
            helper.make_tensor_value_info(
                "logits", floats, ["batch", "time", len(network.embedding)]
            ),
            *(
                helper.make_tensor_value_info(f"{name}_next", floats, ["batch", u])
                for name, u in sizes
            ),
        ],
        [
            onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
            for name, array in initializers.items()
        ],
    )
    opsets = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    helper.set_model_props(model, {"tokenizer": network.tokenizer})
    return model
