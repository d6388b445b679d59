"""Store weights in 16 or 8 bits."""

import numpy as np

from textgen.options.architecture import Shapes
from textgen.runs.files import Arrays
from textgen.sampling.network import Array

_LARGEST_INT8 = 127  # of int8


def quantize(weights: Arrays, bits: int) -> bytes:
    """Return weights in little-endian bytes, one array after the other.

    16 bits are float16. 8 bits are int8, after a scale in float32 for each column of a matrix, or
    for each token of the embedding; biases are float16. A number beyond float16 becomes infinite.
    """
    with np.errstate(over="ignore"):
        return b"".join(
            array.astype("<f2").tobytes() if _is_half(name, bits) else _scaled(array, _axis(name))
            for name, array in weights.items()
        )


def dequantize(data: bytes, shapes: Shapes, bits: int) -> Arrays:
    """Return the weights that `quantize` stored, in float32."""
    weights, place = Arrays(), 0

    def take(kind: str, shape: tuple[int, ...]) -> Array:
        nonlocal place
        part = np.frombuffer(data, kind, np.prod(shape, dtype=int), place)
        place += part.nbytes
        return part.astype(np.float32).reshape(shape)

    for name, shape in shapes.items():
        if _is_half(name, bits):
            weights[name] = take("<f2", shape)
        else:
            scales = (shape[0], 1) if _axis(name) else (1, shape[1])
            weights[name] = take("<f4", scales) * take("i1", shape)
    return weights


def _is_half(name: str, bits: int) -> bool:
    return bits == 16 or name.endswith("bias")


def _axis(name: str) -> int:
    """Return the axis of a matrix along which its numbers share a scale."""
    return 1 if name == "embedding" else 0


def _scaled(matrix: Array, axis: int) -> bytes:
    scales = np.abs(matrix).max(axis=axis, keepdims=True) / np.float32(_LARGEST_INT8)
    numbers = np.rint(matrix / np.where(scales, scales, np.float32(1)))
    return scales.astype("<f4").tobytes() + numbers.astype(np.int8).tobytes()
