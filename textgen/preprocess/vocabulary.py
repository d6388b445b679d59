"""Which tokens a corpus is made of, found out while it is read for the first and only time.

Text is taken apart in blocks, each with tokens numbered on their own, so that blocks are
independent of each other. When all is read, a vocabulary is chosen, and ids take the place of
the numbers.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.options.training import TrainingOptions
from textgen.preprocess.tokenizers import (
    END,
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

_splitter = cache(word_splitter)  # one for each process


class Block(NamedTuple):
    """A text in tokens: which they are, how often each stands there, and in which order."""

    tokens: Sequence[str]  # (distinct,); bytes as the characters of that number
    counts: Counts  # (distinct,)
    places: Ids  # (tokens,), of each among the distinct ones, the smallest unsigned type

    def positions(self, token: str) -> NDArray[np.int64]:
        """Return where a token stands."""
        is_token = np.array([other == token for other in self.tokens], np.bool_)
        return np.flatnonzero(is_token[self.places])


def between_tokens(blocks: Iterable[str], level: str) -> Iterator[str]:
    """Regroup blocks of a text so that each can be taken apart on its own."""
    return cut_between_tokens(blocks) if level == "word" else iter(blocks)


def take_apart(text: str, level: str) -> Block:
    if level == "word":
        numbers: defaultdict[str, int] = defaultdict(count().__next__)
        places = np.array([numbers[word] for word in _splitter()(text)], np.int64)
        return Block(list(numbers), np.bincount(places), _smallest(places, len(numbers)))
    codes = code_points(text) if level == "char" else _octets(text)
    counts = np.bincount(codes)
    found = np.flatnonzero(counts)
    table = _smallest(np.cumsum(counts > 0) - 1, len(found))
    return Block([chr(code) for code in found], counts[found], table[codes])


def _octets(text: str) -> Ids:
    """The bytes of UTF-8, but END as the one number that it is among characters."""
    pieces = utf8(text).split(utf8(END))
    octets = np.frombuffer(b"\0".join(pieces), np.uint8).astype(np.uint16)
    ends = np.cumsum([len(piece) + 1 for piece in pieces[:-1]], dtype=np.int64) - 1
    octets[ends] = ord(END)
    return octets


def _smallest(numbers: Ids, count: int) -> Ids:
    return numbers.astype(np.min_scalar_type(max(count - 1, 0)))


def choose(
    tokens: Sequence[str],
    training_counts: Counts,
    options: TrainingOptions,
    documents: bool,
    known: Tokenizer | None = None,
) -> tuple[Tokenizer, Ids]:
    """Choose a vocabulary; return its tokenizer, and a table from the places of `tokens` to ids.

    Args:
        tokens: all there are, END among them where there are `documents`.
        training_counts: how often each stands in the training part.
        options: the level, and which words are too rare.
        documents: whether the vocabulary has a token for the end of a document.
        known: a tokenizer whose tokens come first, or in any case.
    """
    before = known.vocabulary or () if known else ()
    if options.level == "byte":
        tokenizer: Tokenizer = ByteTokenizer(documents)
        ids = {chr(octet): octet for octet in range(256)}
    elif options.level == "char":
        vocabulary = sorted({*tokens, *before} - {END})
        tokenizer = CharacterTokenizer("".join(vocabulary), documents)
        ids = {character: i for i, character in enumerate(vocabulary)}
    else:
        words = np.array([token != END for token in tokens])
        order = np.argsort(-training_counts * words, kind="stable")[: options.max_vocabulary - 1]
        order = order[(training_counts * words)[order] >= options.min_count]
        chosen = list(dict.fromkeys([*before, *(tokens[i] for i in order)]))
        tokenizer = WordTokenizer(chosen, documents)
        ids = {word: i for i, word in enumerate(chosen, 1)}  # all others are unknown
    if tokenizer.end is not None:
        ids[END] = tokenizer.end
    return tokenizer, np.array([ids.get(token, 0) for token in tokens])


def characters(tokens: Sequence[str], level: str) -> Counts:
    """Return how many characters each token stands for."""
    if level == "byte":  # all but continuations
        return np.array([token != END and ord(token) & 0xC0 != 0x80 for token in tokens], np.int64)
    return np.array([len(token) if token != END else 0 for token in tokens])
