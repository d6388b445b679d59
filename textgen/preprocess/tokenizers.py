"""Text to ids and back: characters, words and bytes."""

import codecs
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from textgen.errors import VocabularyError

Ids = NDArray[np.integer[Any]]

END = "\udfff"
"""Stands in a text where a document begins; half a surrogate pair, which no text holds."""

# A word takes the single space before it along, as GPT-2's tokens do, so that joining the
# tokens gives the text back and a space costs no step of its own. Every character matches
# one of the branches.
WORD_PATTERN = rf" ?\w+(?:['’]\w+)*| ?[^\w\s{END}]|\n+| +(?= )|\s|{END}"

# A text up to its last place where one token is sure to end and another to begin: before
# white space, or a mark that no word holds, if it follows anything but white space.
_UP_TO_BORDER = re.compile(r"(?s).*\S(?=[\s!-&(-/:-@\[-^`{-~、。，；：？！])")

_BLOCK = 1 << 20  # characters
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # stands for a word that is not in the vocabulary


class Tokenizer(ABC):
    """Turns text into ids from 0 to len(tokenizer) - 1, and back."""

    level: ClassVar[str]
    unknown: ClassVar[int | None] = None
    """The id of the token for what is not in the vocabulary, where there is one."""

    def __init__(self, size: int, documents: bool) -> None:
        self._size = size
        self.end = size if documents else None
        """The id of the token between documents, which stands for no text; None in one book.

        A document begins after it and ends with it.
        """

    def __len__(self) -> int:
        """The number of distinct ids."""
        return self._size + (self.end is not None)

    @abstractmethod
    def encode(self, text: str) -> Ids:
        """Return the ids of `text`, shape (tokens,).

        Raises VocabularyError where the text has tokens without an id.
        """

    def encode_prompt(self, text: str) -> tuple[Ids, str]:
        """Return the ids of `text`, and what of its end the next token is to begin with."""
        return self.encode(text), ""

    def first(self, text: str) -> str:
        """Return what the first token of `text` stands for."""
        return text[:1]

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`."""

    def spell(self, ids: Iterable[int]) -> str:
        """Like `decode`, but so that what is joined is what its parts were: bytes one by one."""
        return self.decode(ids)

    def ids_of(self, token: str) -> list[int]:
        """Return the ids of what a user would call the token `token`; none if there is no such."""
        try:
            ids = self.encode(token)
        except VocabularyError:
            return []
        return ids.tolist() if len(ids) == 1 else []

    @abstractmethod
    def decoder(self) -> Callable[[int], str]:
        """Return a function from each next id to the text that it completes."""

    @property
    @abstractmethod
    def vocabulary(self) -> Sequence[str] | None:
        """The tokens in the order of their ids, as JSON keeps them."""

    def to_json(self) -> dict[str, Any]:
        documents = {} if self.end is None else {"documents": True}
        return {"level": self.level, "vocabulary": self.vocabulary, **documents}

    def _texts(self, ids: Iterable[int]) -> Ids:
        """The ids that stand for text."""
        array = ids if isinstance(ids, np.ndarray) else np.fromiter(ids, np.int64)
        return array if self.end is None else array[array != self.end]


class CharacterTokenizer(Tokenizer):
    """One token for each Unicode code point."""

    level = "char"

    def __init__(self, vocabulary: str, documents: bool = False) -> None:
        """`vocabulary` holds each character once, in the order of code points."""
        self._codes = code_points(vocabulary)
        if not len(self._codes) or np.any(np.diff(self._codes.astype(np.int64)) <= 0):
            raise ValueError("the characters of the vocabulary are not in order, each once")
        super().__init__(len(self._codes), documents)

    @property
    def vocabulary(self) -> str:
        return self.decode(range(self._size))

    def encode(self, text: str) -> Ids:
        codes = code_points(text)
        ids = np.searchsorted(self._codes, codes)
        known = self._codes.take(ids, mode="clip") == codes
        if not known.all():
            strange = sorted({chr(code) for code in codes[~known]})
            shown = ", ".join(ascii(c) if not c.isprintable() else repr(c) for c in strange[:8])
            raise VocabularyError(
                f"the model has never seen {shown}{', ...' if len(strange) > 8 else ''}; "
                "leave such characters out, or train on a text that has them"
            )
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        codes = self._codes[self._texts(ids)]
        return codes.tobytes().decode("utf-32-le", "surrogatepass")

    def decoder(self) -> Callable[[int], str]:
        return [*self.vocabulary, ""].__getitem__


class WordTokenizer(Tokenizer):
    """Words, punctuation marks and white space; id 0 is the unknown token."""

    level = "word"
    unknown = 0

    def __init__(self, words: Sequence[str], documents: bool = False) -> None:
        """`words` are the known tokens, in the order of their ids from 1."""
        super().__init__(1 + len(words), documents)
        self._words = [_UNKNOWN, *words, ""]
        self._ids = {word: i for i, word in enumerate(words, 1)}
        if len(self._ids) < len(words) or not all(isinstance(w, str) and w for w in words):
            raise ValueError("the words of the vocabulary are not distinct texts")

    @property
    def vocabulary(self) -> list[str]:
        return self._words[1:-1]

    @cached_property
    def split(self) -> Callable[[str], list[str]]:
        """From a text to its tokens; joined, they are the text."""
        return word_splitter()

    def encode(self, text: str) -> Ids:
        alone = text in self._ids and text.strip(" ")  # NLTK takes long to import
        words = [text] if alone else self.split(text)
        return np.array([self._ids.get(word, 0) for word in words], np.int64)

    def encode_prompt(self, text: str) -> tuple[Ids, str]:
        """A space at the end is the beginning of the next word."""
        ahead = " " if text[-1:] == " " and text[-2:-1].strip() else ""
        return self.encode(text.removesuffix(ahead)), ahead

    def first(self, text: str) -> str:
        return next(iter(self.split(text)), "")

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self._words[i] for i in ids)

    def decoder(self) -> Callable[[int], str]:
        return self._words.__getitem__

    def ids_of(self, token: str) -> list[int]:
        """A word stands in the vocabulary with a space before it, or without one, or both."""
        return [self._ids[word] for word in (token, " " + token) if word in self._ids]


class ByteTokenizer(Tokenizer):
    """The 256 bytes of UTF-8; no text is unknown to it."""

    level = "byte"
    vocabulary = None

    def __init__(self, documents: bool = False) -> None:
        super().__init__(256, documents)

    def encode(self, text: str) -> Ids:
        return np.frombuffer(utf8(text), np.uint8)

    def decode(self, ids: Iterable[int]) -> str:
        return self._bytes(ids).decode("utf-8", "replace")

    def spell(self, ids: Iterable[int]) -> str:
        return self._bytes(ids).decode("latin-1")

    def decoder(self) -> Callable[[int], str]:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        return lambda token: "" if token == self.end else decode(bytes([token]))

    def _bytes(self, ids: Iterable[int]) -> bytes:
        return self._texts(ids).astype(np.uint8).tobytes()


def code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def word_splitter() -> Callable[[str], list[str]]:
    from nltk.tokenize import RegexpTokenizer  # 0.4 s to import, wanted for words alone

    tokenize = RegexpTokenizer(WORD_PATTERN).tokenize

    def split(text: str) -> list[str]:
        # NLTK gives up on a text that takes it more than 5 s.
        blocks = (text[start : start + _BLOCK] for start in range(0, len(text), _BLOCK))
        return [word for part in cut_between_tokens(blocks) for word in tokenize(part)]

    return split


def stop_the_clock() -> None:
    """In a process that matches no patterns but ours, have NLTK do without its limit of time.

    Looking at the clock takes it more than twice the time of the matching.
    """
    with suppress(ImportError):  # older releases have none
        from nltk import redos

        redos.DEFAULT_TIMEOUT = None


def cut_between_tokens(blocks: Iterable[str]) -> Iterator[str]:
    """Regroup blocks so that no token of WORD_PATTERN lies across a border.

    Takes linear time however long a text goes without a border.
    """
    rest: list[str] = []
    for text in blocks:
        if match := _UP_TO_BORDER.match(text):
            yield "".join([*rest, match[0]])
            rest = [text[match.end() :]]
        else:
            rest.append(text)
    yield "".join(rest)


def tokenizer_from_json(text: str) -> Tokenizer:
    """Rebuild a tokenizer from what `to_json` gave; raises ValueError where it is damaged."""
    data = json.loads(text)
    documents = isinstance(data, dict) and data.get("documents", False) is True
    match data:
        case {"level": "char", "vocabulary": str(characters)}:
            return CharacterTokenizer(characters, documents)
        case {"level": "word", "vocabulary": [*words]}:
            return WordTokenizer(words, documents)
        case {"level": "byte"}:
            return ByteTokenizer(documents)
    raise ValueError("it holds no vocabulary of a known level")
