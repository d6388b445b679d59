"""How a corpus is cut into streams and chunks."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.preprocess.corpus import Corpus
from textgen.training.streams import Streams


def corpus(tokens: int) -> Corpus:
    return Corpus(np.arange(tokens, dtype=np.uint16), np.zeros(1, np.int64))


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
    for k in range(len(batches) + 1):
        assert streams.predicted(k) == sum(b.counts.sum() for b in batches[:k])
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
    for k in range(len(batches) + 1):
        assert streams.predicted(k) == sum(b.counts.sum() for b in batches[:k])
    np.testing.assert_array_equal(inputs[counts], np.arange(tokens - 1))
    for row in range(1, batch_size):
        start = int(np.argmax(counts[row]))
        assert start == overlap
        np.testing.assert_array_equal(
            inputs[row, :start], np.arange(inputs[row, start] - overlap, inputs[row, start])
        )


def in_documents(lengths: list[int]) -> Corpus:
    """Return a corpus whose documents begin with end token 0; other ids equal their positions."""
    starts = np.cumsum([0, *(1 + n for n in lengths)])
    ids = np.arange(starts[-1] + 1)
    ids[starts] = 0
    return Corpus(ids.astype(np.uint16), starts[:-1].astype(np.int64))


@given(sizes, st.lists(st.integers(1, 30), min_size=1, max_size=20), st.randoms())
def test_documents_follow_each_other_in_any_order(
    size: tuple[int, int, int], lengths: list[int], random: Random
) -> None:
    _, batch_size, chunk_length = size
    whole = in_documents(lengths)
    order = list(range(len(lengths)))
    random.shuffle(order)
    streams = Streams(whole, batch_size, chunk_length, order=np.array(order))
    batches = list(streams)
    inputs, targets, counts = (
        np.concatenate([batch[part] for batch in batches]).T for part in range(3)
    )
    documents = np.split(whole.ids[:-1], whole.documents[1:])
    np.testing.assert_array_equal(inputs[counts], np.concatenate([documents[i] for i in order]))
    # The target is the next token of the same document, or the end token.
    np.testing.assert_array_equal(
        targets[counts], np.concatenate([np.append(documents[i][1:], 0) for i in order])
    )
    assert streams.predictions == counts.sum() == len(whole) - 1
    # The ends of documents waste no steps: only the last step may have unused rows.
    assert sum(len(batch.inputs) for batch in batches) == -(-streams.predictions // batch_size)


@given(sizes, st.lists(st.integers(1, 30), min_size=2, max_size=20))
def test_documents_are_reset_where_they_begin_and_nowhere_else(
    size: tuple[int, int, int], lengths: list[int]
) -> None:
    _, batch_size, chunk_length = size
    order = np.arange(len(lengths))[::-1]
    for k, batch in enumerate(
        Streams(in_documents(lengths), batch_size, chunk_length, order=order)
    ):
        resets = np.zeros_like(batch.counts) if batch.resets is None else batch.resets
        expected = batch.inputs == 0
        if k == 0:
            expected[0] = False  # all rows start from zero there
        np.testing.assert_array_equal(resets[batch.counts], expected[batch.counts])
        assert batch.resets is None or batch.resets.any()


def test_there_are_no_other_chunks() -> None:
    streams = Streams(corpus(100), 4, 10)
    for k in (-1, len(streams)):
        with pytest.raises(IndexError):
            streams[k]


def test_a_part_that_begins_inside_a_document() -> None:
    part = in_documents([79, 19]).part(60, 101)
    assert part.documents.tolist() == [0, 20]
    (batch,) = Streams(part, 1, 40)
    assert batch.resets is not None
    assert np.flatnonzero(batch.resets).tolist() == [20]
    assert batch.targets[-1] == 0
    assert batch.counts.all()


def test_a_document_that_is_cut_is_not_ended() -> None:
    part = in_documents([9, 9, 9]).part(0, 25)
    (batch,) = Streams(part, 1, 40, order=np.array([2, 0, 1]))
    # The cut document has no target after its last token: that token is in another part.
    assert batch.inputs.ravel().tolist() == [0, *range(21, 24), 0, *range(1, 10), 0, *range(11, 20)]
    assert batch.targets.ravel().tolist() == [*range(21, 25), *range(1, 10), 0, *range(11, 20), 0]


@given(st.lists(st.integers(1, 30), min_size=2, max_size=20), st.integers(1, 9), st.data())
def test_a_sample_is_spread_evenly_from_the_first_token_to_the_last(
    lengths: list[int], pieces: int, data: st.DataObject
) -> None:
    whole = in_documents(lengths)
    length = data.draw(st.integers(1, len(whole)))
    sample = whole.sample(pieces, length)
    numbered = Corpus(np.arange(len(whole)), whole.documents).sample(pieces, length)
    places = numbered.ids.reshape(pieces, length)
    np.testing.assert_array_equal(whole.ids[numbered.ids], sample.ids)
    assert (np.diff(places) == 1).all()
    assert places[0, 0] == 0
    assert pieces == 1 or places[-1, -1] == len(whole) - 1
    assert np.ptp(np.diff(places[:, 0])) <= 1 if pieces > 1 else True
    begins = np.isin(numbered.ids, whole.documents)
    begins[::length] = True
    np.testing.assert_array_equal(np.flatnonzero(begins), sample.documents)
