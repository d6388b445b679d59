"""Build the vocabulary of a corpus, which is read only once.

The text is split into blocks, which number their tokens independently of each other. When all
blocks are read, a vocabulary is chosen, and ids replace the numbers.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate, count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.options.reading import ReadingOptions
from textgen.preprocess.documents import Boundary, Stretch
from textgen.preprocess.tokenizers import (
    ByteTokenizer,
    CharacterTokenizer,
    Ids,
    Tokenizer,
    WordTokenizer,
    code_points,
    utf8,
)
from textgen.preprocess.words import last_border, word_splitter

Counts = NDArray[np.int64]
Token = str | Boundary
"""A character, a word, a byte (as the character of that number), or a document boundary."""

_process_splitter = cache(word_splitter)  # one in each process


class Block(NamedTuple):
    """The tokens of a stretch: the distinct ones, their counts, and their order."""

    tokens: Sequence[Token]  # (distinct,)
    counts: Counts  # (distinct,)
    places: Ids  # (tokens,), index of each in `tokens`, of the smallest unsigned type

    def positions(self, token: Token) -> NDArray[np.int64]:
        """Return the positions of a token."""
        is_token = np.array([other == token for other in self.tokens], np.bool_)
        return np.flatnonzero(is_token[self.places])


BOUNDARY = Block([Boundary.DOCUMENT], np.ones(1, np.int64), np.zeros(1, np.uint8))


def regroup(stretches: Iterable[Stretch], level: str) -> Iterator[Stretch]:
    """Move the borders of stretches so that none lies inside a token.

    Takes linear time, even if a long text has no place to cut it.
    """
    if level != "word":
        yield from stretches
        return
    rest: list[str] = []  # the last text, from its last cut on
    begins = False  # whether `rest` begins a document
    for (first, *others), first_begins in stretches:
        if first_begins:
            if rest:
                yield Stretch(["".join(rest)], begins)
            rest, begins = [], True
        if others:
            yield Stretch(["".join([*rest, first]), *others[:-1]], begins)
            rest, begins, first = [], True, others[-1]
        if border := last_border(first):
            yield Stretch(["".join([*rest, first[:border]])], begins)
            rest, begins = [first[border:]], False
        else:
            rest.append(first)
    yield Stretch(["".join(rest)], begins)


def split_tokens(stretch: Stretch, level: str) -> Block:
    """Split a stretch into tokens, with a boundary before each document."""
    if level == "word":
        return _split_words(stretch)
    text = "".join(stretch.texts)
    codes = code_points(text) if level == "char" else np.frombuffer(utf8(text), np.uint8)
    counts = np.bincount(codes)
    found = np.flatnonzero(counts)
    tokens: list[Token] = list(map(chr, found))
    table = _smallest(np.cumsum(counts > 0) - 1, len(found) + 1)
    places, counts = table[codes], counts[found]
    if len(stretch.texts) > 1 or stretch.begins:
        lengths = [len(part if level == "char" else utf8(part)) for part in stretch.texts]
        starts = list(accumulate(lengths[:-1], initial=0))[0 if stretch.begins else 1 :]
        places = np.insert(places, starts, len(tokens))
        tokens.append(Boundary.DOCUMENT)
        counts = np.append(counts, len(starts))
    return Block(tokens, counts, places)


def _split_words(stretch: Stretch) -> Block:
    numbers: defaultdict[Token, int] = defaultdict(count().__next__)
    split, places = _process_splitter(), list[int]()
    for number, text in enumerate(stretch.texts):
        if number or stretch.begins:
            places.append(numbers[Boundary.DOCUMENT])
        places.extend([numbers[word] for word in split(text)])
    array = _smallest(np.array(places, np.int64), len(numbers))
    return Block(list(numbers), np.bincount(array), array)


def _smallest(numbers: Ids, count: int) -> Ids:
    return numbers.astype(np.min_scalar_type(max(count - 1, 0)))


def choose_vocabulary(
    tokens: Sequence[Token],
    training_counts: Counts,
    options: ReadingOptions,
    documents: bool,
    known: Tokenizer | None = None,
) -> tuple[Tokenizer, Ids]:
    """Choose a vocabulary; return its tokenizer, and a table from indices of `tokens` to ids.

    Args:
        tokens: all tokens that occur.
        training_counts: how often each occurs in the training part.
        options: the level, and which words are too rare.
        documents: whether the vocabulary has a token for the end of a document.
        known: a tokenizer whose tokens are always kept; its words come first.
    """
    before = known.vocabulary or () if known else ()
    ids: dict[Token, int]
    if options.level == "byte":
        tokenizer: Tokenizer = ByteTokenizer(documents)
        ids = {chr(octet): octet for octet in range(256)}
    elif options.level == "char":
        vocabulary = sorted({*(t for t in tokens if isinstance(t, str)), *before})
        tokenizer = CharacterTokenizer("".join(vocabulary), documents)
        ids = {character: i for i, character in enumerate(vocabulary)}
    else:
        counts = training_counts * np.array([isinstance(token, str) for token in tokens])
        order = np.argsort(-counts, kind="stable")[: options.max_vocabulary - 1]
        frequent = (tokens[i] for i in order if counts[i] >= options.min_count)
        words = list(dict.fromkeys([*before, *(w for w in frequent if isinstance(w, str))]))
        tokenizer = WordTokenizer(words, documents)
        ids = {word: i for i, word in enumerate(words, 1)}  # all others are unknown
    if tokenizer.end is not None:
        ids[Boundary.DOCUMENT] = tokenizer.end
    return tokenizer, np.array([ids.get(token, 0) for token in tokens])


def character_counts(tokens: Sequence[Token], level: str) -> Counts:
    """Return how many characters each token stands for."""

    def characters(token: Token) -> int:
        if isinstance(token, Boundary):
            return 0
        if level == "byte":  # the first byte of a character counts, the others do not
            return int(ord(token) & 0xC0 != 0x80)
        return len(token)

    return np.array(list(map(characters, tokens)), np.int64)
