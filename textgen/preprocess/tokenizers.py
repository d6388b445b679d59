"""Text to ids and back: characters, words and bytes."""

import codecs
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from textgen.errors import VocabularyError
from textgen.preprocess.spelling import Spelling
from textgen.preprocess.words import word_splitter

Ids = NDArray[np.integer[Any]]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # stands for a word that is not in the vocabulary


class Tokenizer(ABC):
    """Converts text to ids from 0 to len(tokenizer) - 1, and back."""

    level: ClassVar[str]
    unknown: ClassVar[int | None] = None
    """The id of the unknown token, which replaces tokens not in the vocabulary, if any."""

    def __init__(self, size: int, documents: bool) -> None:
        self._size = size
        self.end = size if documents else None
        """The id of the end-of-document token, which stands for no text; None for one text.

        It stands before each document and after the last.
        """

    def __len__(self) -> int:
        """Return the number of distinct ids."""
        return self._size + (self.end is not None)

    @abstractmethod
    def encode(self, text: str) -> Ids:
        """Return the ids of `text`, shape (tokens,).

        Raises VocabularyError if the text has tokens without an id.
        """

    def encode_known(self, text: str) -> tuple[Ids, list[str]]:
        """Return the ids of `text`, and its tokens that are not in the vocabulary.

        Such a word has the id of the unknown token. Such a character has no id.
        """
        return self.encode(text), []

    @abstractmethod
    def pieces(self, text: str) -> tuple[Ids, list[str]]:
        """Return the id of every token of `text`, and its text; the texts concatenate to `text`.

        A character that is not in the vocabulary has the id -1. The text of a byte is the
        character that it completes, or "".
        """

    def unknown_places(self, ids: Ids) -> list[int]:
        """Return which of the tokens that `pieces` returns are not in the vocabulary."""
        places: list[int] = np.flatnonzero((ids < 0) | (ids == self.unknown)).tolist()
        return places

    @cached_property
    def spelling(self) -> Spelling:
        """What it costs to spell a token that is not in the vocabulary."""
        return Spelling(self.vocabulary or ())

    def encode_prompt(self, text: str, whole: bool = False) -> tuple[Ids, str]:
        """Return the ids of `text`, and the end of `text` that is left to the next token.

        Nothing is left if `whole`. If the vocabulary has the text in another Unicode normal form
        only, that form is used.
        """
        return self.encode(self._normalized(text)), ""

    def unknown_in_prompt(self, text: str) -> list[str]:
        """Return the tokens of a prompt that become the unknown token."""
        text = self._normalized(text)
        _, ahead = self.encode_prompt(text)
        return self.encode_known(text.removesuffix(ahead))[1]

    def begin_with(self, text: str) -> list[int]:
        """Return the ids of the known tokens whose text begins with `text`."""
        return [i for i, token in enumerate(self.vocabulary or ()) if token.startswith(text)]

    def _normalized(self, text: str) -> str:
        """Return the normal form of `text` with the fewest unknown tokens."""
        if not self.encode_known(text)[1]:
            return text
        forms = (text, normalize("NFC", text), normalize("NFD", text))
        return min(forms, key=lambda form: len(self.encode_known(form)[1]))

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`."""

    def spell(self, ids: Iterable[int]) -> str:
        """Decode `ids` so that concatenating decoded parts equals decoding the whole.

        Bytes are therefore decoded one by one, as Latin-1.
        """
        return self.decode(ids)

    def ids_of(self, token: str) -> list[int]:
        """Return the ids that a user may mean by `token`; an empty list if there are none."""
        try:
            ids = self.encode(token)
        except VocabularyError:
            return []
        return ids.tolist() if len(ids) == 1 else []

    @abstractmethod
    def decoder(self) -> Callable[[int], str]:
        """Return an incremental decoder: a function from the next id to the text it completes."""

    @property
    @abstractmethod
    def vocabulary(self) -> Sequence[str] | None:
        """The tokens in the order of their ids, as stored in JSON."""

    def to_json(self) -> dict[str, Any]:
        documents = {} if self.end is None else {"documents": True}
        return {"level": self.level, "vocabulary": self.vocabulary, **documents}

    def _without_end(self, ids: Iterable[int]) -> Ids:
        array = ids if isinstance(ids, np.ndarray) else np.fromiter(ids, np.int64)
        return array if self.end is None else array[array != self.end]


class CharacterTokenizer(Tokenizer):
    """One token for each Unicode code point."""

    level = "char"

    def __init__(self, vocabulary: str, documents: bool = False) -> None:
        """`vocabulary` holds each character once, ordered by code point."""
        self._codes = code_points(vocabulary)
        if not len(self._codes) or np.any(np.diff(self._codes.astype(np.int64)) <= 0):
            raise ValueError("the characters of the vocabulary are not distinct and in order")
        super().__init__(len(self._codes), documents)

    @property
    def vocabulary(self) -> str:
        return self.decode(range(self._size))

    def encode(self, text: str) -> Ids:
        ids, unknown = self.encode_known(text)
        if unknown:
            strange = sorted(set(unknown))
            shown = ", ".join(ascii(c) if not c.isprintable() else repr(c) for c in strange[:8])
            raise VocabularyError(
                f"the model has never seen {shown}{', ...' if len(strange) > 8 else ''}; "
                "remove such characters, or train on a text that has them"
            )
        return ids

    def encode_known(self, text: str) -> tuple[Ids, list[str]]:
        codes = code_points(text)
        ids, known = self._find(codes)
        if known.all():
            return ids, []
        return ids[known], list(map(chr, codes[~known].tolist()))

    def pieces(self, text: str) -> tuple[Ids, list[str]]:
        ids, known = self._find(code_points(text))
        return np.where(known, ids, -1), list(text)

    def _find(self, codes: NDArray[np.uint32]) -> tuple[Ids, NDArray[np.bool_]]:
        """Return the id of each code point, and whether it is in the vocabulary."""
        ids = np.searchsorted(self._codes, codes)
        return ids, self._codes.take(ids, mode="clip") == codes

    def decode(self, ids: Iterable[int]) -> str:
        codes = self._codes[self._without_end(ids)]
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
        self._words = [_REPLACEMENT, *words, ""]
        self._ids = {word: i for i, word in enumerate(words, 1)}
        if len(self._ids) < len(words) or not all(isinstance(w, str) and w for w in words):
            raise ValueError("the words of the vocabulary are not distinct texts")

    @property
    def vocabulary(self) -> list[str]:
        return self._words[1:-1]

    @cached_property
    def split(self) -> Callable[[str], list[str]]:
        """A function that splits a text into tokens, which concatenate to the text."""
        return word_splitter()

    def encode(self, text: str) -> Ids:
        known = text in self._ids and text.strip(" ")  # avoids importing NLTK, which is slow
        words = [text] if known else self.split(text)
        return self._look_up(words)

    def encode_known(self, text: str) -> tuple[Ids, list[str]]:
        ids, words = self.pieces(text)
        return ids, [words[place] for place in np.flatnonzero(ids == 0)]

    def pieces(self, text: str) -> tuple[Ids, list[str]]:
        words = self.split(text)
        return self._look_up(words), words

    def encode_prompt(self, text: str, whole: bool = False) -> tuple[Ids, str]:
        """Leave a single space, or an unfinished word, at the end of a prompt to the next word."""
        text = self._normalized(text)
        if whole:
            return self.encode(text), ""
        ahead = " " if text[-1:] == " " and text[-2:-1].strip() else ""
        last = "" if ahead else (self.split(text) or [""])[-1]
        if last.strip() and last not in self._ids and self.begin_with(last):
            ahead = last
        return self.encode(text.removesuffix(ahead)), ahead

    def begin_with(self, text: str) -> list[int]:
        return [i for word, i in self._ids.items() if word.startswith(text)]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self._words[i] for i in ids)

    def decoder(self) -> Callable[[int], str]:
        return self._words.__getitem__

    def ids_of(self, token: str) -> list[int]:
        """Return the ids of the word with and without a space before it, if it has them."""
        return [self._ids[word] for word in (token, " " + token) if word in self._ids]

    def _look_up(self, words: Sequence[str]) -> Ids:
        return np.array([self._ids.get(word, 0) for word in words], np.int64)


class ByteTokenizer(Tokenizer):
    """The 256 bytes of UTF-8; it encodes any text."""

    level = "byte"
    vocabulary = None

    def __init__(self, documents: bool = False) -> None:
        super().__init__(256, documents)

    def encode(self, text: str) -> Ids:
        return np.frombuffer(utf8(text), np.uint8)

    def pieces(self, text: str) -> tuple[Ids, list[str]]:
        texts = list[str]()
        for character in text:
            texts += [""] * (len(utf8(character)) - 1) + [character]
        return self.encode(text), texts

    def decode(self, ids: Iterable[int]) -> str:
        return self._bytes(ids).decode("utf-8", "replace")

    def spell(self, ids: Iterable[int]) -> str:
        return self._bytes(ids).decode("latin-1")

    def decoder(self) -> Callable[[int], str]:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        return lambda token: "" if token == self.end else decode(bytes([token]))

    def _bytes(self, ids: Iterable[int]) -> bytes:
        return self._without_end(ids).astype(np.uint8).tobytes()


def code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def tokenizer_from_json(text: str) -> Tokenizer:
    """Return the tokenizer stored by `to_json`; raise ValueError or TypeError if damaged."""
    data = json.loads(text)
    documents = isinstance(data, dict) and data.get("documents", False) is True
    match data:
        case {"level": "char", "vocabulary": str(characters)}:
            return CharacterTokenizer(characters, documents)
        case {"level": "word", "vocabulary": [*words]}:
            return WordTokenizer(words, documents)
        case {"level": "byte"}:
            return ByteTokenizer(documents)
    raise ValueError("it has no vocabulary of a known level")
