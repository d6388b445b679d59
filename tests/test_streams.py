"""How a corpus is cut into streams and chunks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.preprocess.corpus import Corpus
from textgen.training.streams import Streams


def corpus(tokens: int, *documents: int) -> Corpus:
    return Corpus(np.arange(tokens, dtype=np.uint16), np.array(documents, np.int64))


sizes = st.tuples(st.integers(2, 200), st.integers(1, 7), st.integers(1, 9))


@given(sizes)
def test_chunks_of_a_stream_join_to_the_corpus(size: tuple[int, int, int]) -> None:
    tokens, batch_size, chunk_length = size
    streams = Streams(corpus(tokens), batch_size, chunk_length)
    batches = list(streams)
    inputs = np.concatenate([b.inputs for b in batches])
    targets = np.concatenate([b.targets for b in batches])
    counts = np.concatenate([b.counts for b in batches])
    # Row after row, the inputs are all tokens but the last, the targets all but the first.
    np.testing.assert_array_equal(inputs.T[counts.T], np.arange(tokens - 1))
    np.testing.assert_array_equal(targets.T[counts.T], np.arange(1, tokens))
    assert streams.predictions == counts.sum() == tokens - 1
    assert len(batches) == len(streams)
    assert all(len(b.inputs) == chunk_length for b in batches[:-1])
    assert 1 <= len(batches[-1].inputs) <= chunk_length


@given(sizes)
def test_each_row_goes_on_where_it_stopped(size: tuple[int, int, int]) -> None:
    tokens, batch_size, chunk_length = size
    streams = Streams(corpus(tokens), batch_size, chunk_length)
    for before, after in zip(streams, list(streams)[1:], strict=False):
        going_on = after.counts[0]
        np.testing.assert_array_equal(before.targets[-1][going_on], after.inputs[0][going_on])


@given(sizes, st.integers(1, 20))
def test_an_overlap_warms_up_without_predicting_twice(
    size: tuple[int, int, int], overlap: int
) -> None:
    tokens, batch_size, chunk_length = size
    tokens += batch_size * (overlap + batch_size)  # rows longer than the overlap
    streams = Streams(corpus(tokens), batch_size, chunk_length, overlap)
    batches = list(streams)
    inputs = np.concatenate([b.inputs for b in batches]).T
    counts = np.concatenate([b.counts for b in batches]).T
    np.testing.assert_array_equal(inputs[counts], np.arange(tokens - 1))
    for row in range(1, batch_size):
        start = int(np.argmax(counts[row]))
        assert start == overlap
        np.testing.assert_array_equal(
            inputs[row, :start], np.arange(inputs[row, start] - overlap, inputs[row, start])
        )


@given(sizes, st.sets(st.integers(0, 199)))  # a part of a corpus need not begin a document
def test_documents_are_reset_and_never_run_together(
    size: tuple[int, int, int], starts: set[int]
) -> None:
    tokens, batch_size, chunk_length = size
    documents = sorted(s for s in starts if s < tokens)
    streams = Streams(corpus(tokens, *documents), batch_size, chunk_length)
    predicted = []
    for k, batch in enumerate(streams):
        resets = np.zeros_like(batch.counts) if batch.resets is None else batch.resets
        expected = np.isin(batch.inputs, documents) & batch.counts
        if k == 0:
            expected[0] = False  # all rows start from zero there
        np.testing.assert_array_equal(resets & batch.counts, expected)
        assert batch.resets is None or batch.resets.any()
        predicted.extend(batch.targets[batch.counts].tolist())
    assert sorted(predicted) == sorted(set(range(1, tokens)) - set(documents))  # 0 is no target
    assert streams.predictions == len(predicted)


def test_there_are_no_other_chunks() -> None:
    streams = Streams(corpus(100), 4, 10)
    for k in (-1, len(streams)):
        with pytest.raises(IndexError):
            streams[k]


def test_a_part_that_holds_the_beginning_of_one_document() -> None:
    part = corpus(100, 0, 80).part(60, 100)
    streams = Streams(part, 1, 40)
    (batch,) = streams
    assert batch.resets is not None
    assert batch.inputs[batch.resets].tolist() == [80]
    assert 80 not in batch.targets[batch.counts]
    assert streams.predictions == batch.counts.sum() == 38
