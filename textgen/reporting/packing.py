"""Pack arrays into JSON for the page."""

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PACKED_TYPES = ("uint8", "uint16", "uint32", "int8", "float32")


def packed(array: NDArray[Any]) -> dict[str, str]:
    """Return an array of any shape as JSON, flattened in C order.

    `type` is its type; `data` is base64 of its little-endian bytes compressed by zlib (RFC 1950).
    Raises TypeError for a type that the page does not read.
    """
    if array.dtype.name not in _PACKED_TYPES:
        raise TypeError(f"the page reads no {array.dtype.name}")
    data = np.asarray(array, array.dtype.newbyteorder("<")).tobytes()
    return {"type": array.dtype.name, "data": base64.b64encode(zlib.compress(data)).decode()}
