"""Store tokens as numbers in a temporary file, until all are known and ids can be assigned."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from textgen.preprocess.tokenizers import Ids
from textgen.preprocess.vocabulary import Block, Counts, Token


class Numbering:
    """Numbers tokens in the order in which they first occur.

    The file has two arrays for each block: the numbers of its distinct tokens, and the place of
    each of its tokens among these.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._length = 0
        self._blocks = 0
        self.numbers: dict[Token, int] = {}
        self.counts = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return self._length

    def append(self, block: Block) -> None:
        numbers = self.numbers
        table = np.array([numbers.setdefault(t, len(numbers)) for t in block.tokens], np.uint32)
        self.counts = np.pad(self.counts, (0, len(numbers) - len(self.counts)))
        self.counts[table] += block.counts
        np.save(self._file, table)
        np.save(self._file, block.places)
        self._length += len(block.places)
        self._blocks += 1

    def blocks(self) -> Iterator[tuple[Ids, Ids]]:
        """Yield the table and the places of each block."""
        self._file.seek(0)
        for _ in range(self._blocks):
            yield np.load(self._file), np.load(self._file)

    def counts_between(self, start: int, stop: int) -> Counts:
        """Return how often each token occurs from the position `start` up to `stop`."""
        counts, position = np.zeros_like(self.counts), 0
        for table, places in self.blocks() if start < stop else ():
            inside = places[max(start - position, 0) : max(stop - position, 0)]
            counts[table] += np.bincount(inside, minlength=len(table))
            position += len(places)
        return counts
