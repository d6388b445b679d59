"""Which tokens a corpus is made of, found out while it is read for the first and only time.

Tokens get provisional numbers as they come: a character its code point, a word its place in
the order of first appearance, a byte its value. When all is read, a vocabulary is chosen and
the numbers are mapped to ids.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from textgen.options import TrainingOptions
from textgen.preprocess.tokenizers import (
    ByteTokenizer,
    CharacterTokenizer,
    Ids,
    Tokenizer,
    WordTokenizer,
    code_points,
    cut_between_tokens,
    utf8,
    word_splitter,
)

Counts = NDArray[np.int64]


class Vocabulary(Protocol):
    """A vocabulary in the making."""

    def number(self, blocks: Iterable[str]) -> Iterator[Ids]:
        """Yield the provisional numbers of the tokens of one document."""

    def choose(self, counts: Counts, training_counts: Counts) -> tuple[Tokenizer, Ids]:
        """Return the tokenizer, and the table from provisional numbers to its ids.

        `counts` tells how often each number stands in the corpus, `training_counts` in the
        training part. Both are long enough for all numbers met.
        """

    def characters(self, numbers: int) -> Counts:
        """Return how many characters each of the first provisional numbers stands for."""


class Characters:
    def number(self, blocks: Iterable[str]) -> Iterator[Ids]:
        return map(code_points, blocks)

    def choose(self, counts: Counts, training_counts: Counts) -> tuple[Tokenizer, Ids]:
        known = counts > 0
        vocabulary = "".join(map(chr, np.flatnonzero(known)))
        return CharacterTokenizer(vocabulary), np.cumsum(known) - 1

    def characters(self, numbers: int) -> Counts:
        return np.ones(numbers, np.int64)


class Words:
    def __init__(self, min_count: int, max_vocabulary: int) -> None:
        self._numbers: defaultdict[str, int] = defaultdict(count().__next__)
        self._min_count = min_count
        self._max_vocabulary = max_vocabulary

    def number(self, blocks: Iterable[str]) -> Iterator[Ids]:
        split = word_splitter()
        for text in cut_between_tokens(blocks):
            yield np.array([self._numbers[word] for word in split(text)], np.uint32)

    def choose(self, counts: Counts, training_counts: Counts) -> tuple[Tokenizer, Ids]:
        order = np.argsort(-training_counts, kind="stable")[: self._max_vocabulary - 1]
        order = order[training_counts[order] >= self._min_count]
        ids = np.zeros(len(counts), np.int64)  # all others are unknown
        ids[order] = np.arange(1, len(order) + 1)
        words = list(self._numbers)
        return WordTokenizer([words[i] for i in order]), ids

    def characters(self, numbers: int) -> Counts:
        return np.array([len(word) for word in self._numbers])


class Bytes:
    def number(self, blocks: Iterable[str]) -> Iterator[Ids]:
        for text in blocks:
            yield np.frombuffer(utf8(text), np.uint8)

    def choose(self, counts: Counts, training_counts: Counts) -> tuple[Tokenizer, Ids]:
        return ByteTokenizer(), np.arange(256)

    def characters(self, numbers: int) -> Counts:
        return (np.arange(numbers) & 0xC0 != 0x80).astype(np.int64)  # all but continuations


def new_vocabulary(options: TrainingOptions) -> Vocabulary:
    if options.level == "word":
        return Words(options.min_count, options.max_vocabulary)
    return Characters() if options.level == "char" else Bytes()
