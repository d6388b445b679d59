"""How well a model predicts a text: loss, perplexity and bits per character."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.errors import BookError, VocabularyError
from textgen.preprocess.corpus import Corpus, Means
from textgen.preprocess.documents import Stretch
from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.preprocess.vocabulary import regroup
from textgen.sampling.network import Network
from textgen.sampling.scores import surprisals
from textgen.system.terminal import counted

LARGEST_LOGITS = 1 << 22
"""Logits to compute at once; bounds the memory use of a large vocabulary."""

_TOKENS_AT_ONCE = 256


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts texts.

    The loss is that of the network, which predicts the unknown token for every word that is not in
    the vocabulary. The bits per character are those of the text itself: they include the spelling
    of such words and characters (see `Spelling`), so models with different levels and vocabularies
    can be compared.

    `tokens` is the number of predicted tokens: all but the first of each text. If the vocabulary
    has an end-of-document token, the first token and the end of each text are predicted, too.
    `characters` is the number of characters in the predicted tokens.
    """

    loss: float  # nats per token
    perplexity: float
    bits_per_character: float
    tokens: int
    characters: int
    unknown: float  # share of the tokens that are not in the vocabulary


def evaluate(
    network: Network,
    tokenizer: Tokenizer,
    stretches: Iterable[Stretch],
    strict: bool = False,
    on_read: Callable[[float], object] | None = None,
) -> Evaluation:
    """Evaluate a network on texts, each from a zero state.

    `on_read` is called with how many more bytes of UTF-8 the network has read, about.

    Raises VocabularyError for a token that is not in the vocabulary if `strict`, BookError if there
    is nothing to predict.
    """
    reader = _Reader(network, tokenizer, strict, on_read)
    for number, stretch in enumerate(regroup(stretches, tokenizer.level)):
        for place, text in enumerate(stretch.texts):
            reader.read(text, begins=place > 0 or stretch.begins or number == 0)
    return reader.evaluation()


def evaluate_corpus(
    network: Network,
    tokenizer: Tokenizer,
    corpus: Corpus,
    means: Means,
    on_read: Callable[[float], object] | None = None,
) -> Evaluation:
    """Evaluate a network on a part of a corpus, each document from a zero state.

    Args:
        means: of this part.
        on_read: called with how many more tokens the network has read.

    Raises BookError if there is nothing to predict.
    """
    tokens, loss = len(corpus) - 1, 0.0
    if tokens < 1:
        raise BookError(f"a text of {counted(len(corpus), 'token')} leaves nothing to predict")
    # A document that has an end begins with it, and ends where the next one begins.
    for start, stop in pairwise([*corpus.documents.tolist(), tokens]):
        ids, state = corpus.ids[start : stop + 1], network.zero_state(1)
        for losses, _ in _predictions(network, ids, state, steps_at_once(tokenizer)):
            loss += float(losses.sum())
            if on_read is not None:
                on_read(len(losses))
    return Evaluation(
        loss=loss / tokens,
        perplexity=_perplexity(loss / tokens),
        bits_per_character=means.bits_per_character(loss / tokens),
        tokens=tokens,
        characters=round(tokens * means.characters_per_token),
        unknown=means.unknown_per_token,
    )


class Totals:
    """What the figures of an evaluation are computed from, added up text by text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._loss = self._spelling = 0.0  # nats
        self._tokens = self._characters = self._unknown = self._unseen = self._given = 0

    def add_text(
        self, text: str, ids: Ids, unknown: Sequence[str], first_is_predicted: bool
    ) -> None:
        """Add a text, with the ids that the network reads and the tokens it does not know."""
        self._given += len(text)
        self._characters += len(text)
        if len(ids) and not first_is_predicted:
            if ids[0] == self._tokenizer.unknown:
                first, *unknown = unknown
            else:
                first = self._tokenizer.decode(ids[:1])  # the first byte stands for its character
            self._characters -= len(first)
        self._unknown += len(unknown)
        if self._tokenizer.unknown is None:
            self._unseen += len(unknown)
        self._spelling += sum(map(self._tokenizer.spelling.cost, unknown))

    def add_losses(self, losses: NDArray[np.float64]) -> None:
        """Add the losses of predicted tokens, (T,), in nats."""
        self._loss += float(losses.sum())
        self._tokens += len(losses)

    def evaluation(self) -> Evaluation:
        """Return the figures; raise BookError if nothing was predicted."""
        tokens, characters = self._tokens, self._characters
        if tokens < 1 or characters < 1:
            raise BookError(
                f"a text of {counted(self._given, 'character')} leaves nothing to predict; give "
                "more text"
            )
        loss = self._loss / tokens
        return Evaluation(
            loss=loss,
            perplexity=_perplexity(loss),
            bits_per_character=(self._loss + self._spelling) / math.log(2) / characters,
            tokens=tokens,
            characters=characters,
            unknown=self._unknown / (tokens + self._unseen),
        )


class _Reader:
    """Reads texts with a network, and adds up what it predicts."""

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        strict: bool,
        on_read: Callable[[float], object] | None,
    ) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._strict = strict
        self._on_read = on_read
        self._totals = Totals(tokenizer)
        self._state: Any = None
        self._last: Ids = np.empty(0, np.int64)  # the token that the next one is predicted from

    def read(self, text: str, begins: bool) -> None:
        """Predict a text; without `begins` it continues the one before."""
        tokenizer, end = self._tokenizer, self._tokenizer.end
        if begins:
            self._end_document()
            self._state = self._network.zero_state(1)
            self._last = np.array([] if end is None else [end], np.int64)
        ids, unknown = tokenizer.encode_known(text)
        if unknown and self._strict:
            raise VocabularyError(
                f"{unknown[0]!r} is not in the vocabulary; evaluate without --strict, or train on "
                "a text that has it"
            )
        self._totals.add_text(text, ids, unknown, first_is_predicted=len(self._last) > 0)
        self._predict(ids, utf8_length(text) / max(len(ids), 1))

    def evaluation(self) -> Evaluation:
        """Return the figures of all texts."""
        self._end_document()
        return self._totals.evaluation()

    def _end_document(self) -> None:
        if self._state is not None and self._tokenizer.end is not None:
            self._predict(np.array([self._tokenizer.end]))

    def _predict(self, ids: Ids, bytes_each: float = 0.0) -> None:
        """Add the loss of tokens, each predicted from those before it.

        `bytes_each` is how many bytes of the text a token stands for.
        """
        ids = np.concatenate([self._last, ids])
        steps = steps_at_once(self._tokenizer)
        for losses, state in _predictions(self._network, ids, self._state, steps):
            self._state = state
            self._totals.add_losses(losses)
            if self._on_read is not None:
                self._on_read(len(losses) * bytes_each)
        self._last = ids[-1:]


def _predictions(
    network: Network, ids: Ids, state: Any, steps: int
) -> Iterator[tuple[NDArray[np.float64], Any]]:
    """Predict all tokens but the first; yield the losses of up to `steps`, and the state there."""
    for start in range(0, len(ids) - 1, steps):
        piece = ids[start : start + 1 + steps].astype(np.int64)
        hidden, state = network.forward(piece[:-1, None], state)
        yield surprisals(network.logits(hidden)[:, 0], piece[1:]), state


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, 700.0))  # e ** 710 is too large for a float


def steps_at_once(tokenizer: Tokenizer, rows: int = 1) -> int:
    """Return how many tokens of each row to read at once, in bounded memory."""
    return max(1, min(_TOKENS_AT_ONCE, LARGEST_LOGITS // len(tokenizer)) // rows)


def utf8_length(text: str) -> int:
    """Return how many bytes a text has in UTF-8."""
    return len(text.encode("utf-8", "surrogatepass"))
