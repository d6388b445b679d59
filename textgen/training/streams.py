"""Cut a corpus into contiguous chunks, so that the state is carried from batch to batch.

The corpus is cut into `batch_size` streams; stream r is its r-th contiguous stretch. Batch k is
chunk k of every stream, so row r of batch k + 1 continues row r of batch k. Targets are the same
ids one step ahead. Documents can be put in another order first; there are no gaps between them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.preprocess.corpus import Corpus


class Batch(NamedTuple):
    """One chunk of every stream; T steps of B rows.

    `counts` is true where the target is predicted. It is false past the end of the corpus, and
    where another row predicts the same target because streams overlap. `resets` is true where a
    document begins after the stream's first step: the row's state is set to zero before that
    step. It is None if no document begins.
    """

    inputs: NDArray[np.int32]  # (T, B)
    targets: NDArray[np.int32]  # (T, B)
    counts: NDArray[np.bool_]  # (T, B)
    resets: NDArray[np.bool_] | None  # (T, B)

    def of_rows(self, rows: slice) -> "Batch":
        resets = None if self.resets is None else self.resets[:, rows]
        return Batch(self.inputs[:, rows], self.targets[:, rows], self.counts[:, rows], resets)


class Streams:
    """A corpus as a sequence of batches; `streams[k]` is chunk k of every stream.

    No token is left out: the last chunk is shorter if the streams do not divide evenly, and the
    last stream may end before the others.
    """

    def __init__(
        self,
        corpus: Corpus,
        batch_size: int,
        chunk_length: int,
        overlap: int = 0,
        order: NDArray[np.int64] | None = None,
    ) -> None:
        """Cut a corpus into streams.

        Args:
            overlap: number of tokens by which every stream but the first begins early. It does
                not predict them; they bring its state close to that of one pass.
            order: numbers of the documents in the order to use; by default that of the corpus.
        """
        self.batch_size = batch_size
        self._corpus = corpus
        self._chunk_length = chunk_length
        self._overlap = overlap
        self.predictions = len(corpus) - 1  # the last token has no target
        self._ends: NDArray[np.int64] | None = None  # of the documents in their order
        if order is not None:
            lengths = np.diff(corpus.documents, append=self.predictions)[order]
            self._ends = np.cumsum(lengths)
            self._moved = corpus.documents[order] - (self._ends - lengths)
        stretch = self.predictions + (batch_size - 1) * overlap
        self._steps = -(-stretch // batch_size)  # of each stream
        self._starts = np.arange(batch_size) * (self._steps - overlap)

    def __len__(self) -> int:
        return -(-self._steps // self._chunk_length)

    def __iter__(self) -> Iterator[Batch]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, k: int) -> Batch:
        if not 0 <= k < len(self):
            raise IndexError(k)
        first = k * self._chunk_length
        steps = np.arange(first, min(first + self._chunk_length, self._steps))[:, None]
        places = self._starts + steps  # (T, B)
        counts = places < self.predictions
        counts &= (steps >= self._overlap) | (self._starts == 0)
        positions = self._positions(np.minimum(places, self.predictions - 1))
        ids = self._corpus.ids
        inputs, targets = (ids[p].astype(np.int32) for p in (positions, positions + 1))
        resets = None
        if len(self._corpus.documents) > 1:
            begins = self._begins(positions) & (steps > 0)
            resets = begins if begins.any() else None
        return Batch(inputs, targets, counts, resets)

    def predicted(self, k: int) -> int:
        """Return how many tokens the first `k` batches predict."""
        steps = min(k * self._chunk_length, self._steps)
        skipped = np.where(self._starts == 0, 0, self._overlap)
        steps_of_rows = np.minimum(steps, self.predictions - self._starts) - skipped
        return int(np.maximum(steps_of_rows, 0).sum())

    def _positions(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions in the corpus of places in the streams."""
        if self._ends is None:
            return places
        return places + self._moved[np.searchsorted(self._ends, places, side="right")]

    def _begins(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether a document begins at each of the positions."""
        documents = self._corpus.documents
        return documents.take(np.searchsorted(documents, positions), mode="clip") == positions
