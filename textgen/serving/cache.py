"""A cache of states, so that a text that goes on is not read again."""

from collections import OrderedDict
from hashlib import blake2b
from typing import Any

import numpy as np

from textgen.preprocess.tokenizers import Ids
from textgen.sampling.prompt import CHECKPOINT_EVERY, Reading

_OVERHEAD = 240  # bytes of the objects around an array, and again of those around a state


class StateCache:
    """The states of networks after texts, those used last up to a number of bytes.

    A state is found by the digest of the tokens before it, which include those of all blocks of
    CHECKPOINT_EVERY tokens. The digest of a block covers the digest of the one before. vLLM finds
    its cached prefixes in this way, too.
    """

    def __init__(self, limit: int) -> None:
        """Keep at most `limit` bytes."""
        self._limit = limit
        self._readings: OrderedDict[bytes, Reading] = OrderedDict()  # the one used last is last
        self.size = 0  # bytes

    def add(self, digest: bytes, reading: Reading) -> None:
        """Keep a state, unless there is a better one for the same tokens."""
        old = self._readings.get(digest)
        if old is not None:
            self._readings.move_to_end(digest)
            if old.exact or not reading.exact:
                return
            self.size -= _size(old)
        self._readings[digest] = reading
        self.size += _size(reading)
        while self.size > self._limit:
            _, oldest = self._readings.popitem(last=False)
            self.size -= _size(oldest)

    def longest(self, digests: list[bytes], exact: bool) -> Reading | None:
        """Return the state after the most blocks of a text; if `exact`, an exact one."""
        for digest in reversed(digests):
            reading = self._readings.get(digest)
            if reading is not None and (reading.exact or not exact):
                self._readings.move_to_end(digest)
                return reading
        return None


def block_digests(start: bytes, tokens: Ids) -> list[bytes]:
    """Return a digest for each whole block of CHECKPOINT_EVERY tokens.

    `start` is the digest of what is before, or identifies the network.
    """
    data, size, found = tokens.astype(np.int64).tobytes(), 8 * CHECKPOINT_EVERY, list[bytes]()
    for first in range(0, len(data) - size + 1, size):
        start = blake2b(start + data[first : first + size], digest_size=16).digest()
        found.append(start)
    return found


def _size(reading: Reading) -> int:
    """Return the memory of a state, in bytes."""
    return _OVERHEAD + _size_of_arrays(reading.state)


def _size_of_arrays(state: Any) -> int:
    """Return the memory of the arrays of a state. A view keeps the whole array it is part of."""
    if isinstance(state, np.ndarray):
        whole = state if state.base is None else state.base
        return whole.nbytes + _OVERHEAD
    return sum(map(_size_of_arrays, state))
