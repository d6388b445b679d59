"""How well a model predicts a text: loss, perplexity and bits per character."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgen.errors import BookError, VocabularyError
from textgen.preprocess.documents import Stretch
from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.preprocess.vocabulary import regroup
from textgen.sampling.filters import log_softmax
from textgen.sampling.network import Network
from textgen.system.terminal import counted

_STEPS_AT_ONCE = 256
_EVALUATED_LOGITS = 1 << 22  # at once; bounds the memory use of a large vocabulary


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
    network: Network, tokenizer: Tokenizer, stretches: Iterable[Stretch], strict: bool = False
) -> Evaluation:
    """Evaluate a network on texts, each from a zero state.

    Raises VocabularyError for a token that is not in the vocabulary if `strict`, BookError if there
    is nothing to predict.
    """
    reader = _Reader(network, tokenizer, strict)
    for number, stretch in enumerate(regroup(stretches, tokenizer.level)):
        for place, text in enumerate(stretch.texts):
            reader.read(text, begins=place > 0 or stretch.begins or number == 0)
    return reader.evaluation()


class _Reader:
    """Reads texts with a network, and adds up what it predicts."""

    def __init__(self, network: Network, tokenizer: Tokenizer, strict: bool) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._strict = strict
        self._state: Any = None
        self._last: Ids = np.empty(0, np.int64)  # the token that the next one is predicted from
        self._steps = max(1, min(_STEPS_AT_ONCE, _EVALUATED_LOGITS // len(tokenizer)))
        self._loss = self._spelling = 0.0  # nats
        self._tokens = self._characters = self._unknown = self._unseen = self._given = 0

    def read(self, text: str, begins: bool) -> None:
        """Predict a text; without `begins` it continues the one before."""
        tokenizer, end = self._tokenizer, self._tokenizer.end
        if begins:
            self._end_document()
            self._state = self._network.zero_state(1)
            self._last = np.array([] if end is None else [end], np.int64)
        ids, unknown = tokenizer.encode_known(text)
        self._given += len(text)
        self._characters += len(text)
        if tokenizer.unknown is None:
            self._unseen += len(unknown)
        if len(ids) and not len(self._last):  # nothing predicts the first token
            if ids[0] == tokenizer.unknown:
                first, *unknown = unknown
            else:
                first = tokenizer.decode(ids[:1])
            self._characters -= len(first)
        if unknown and self._strict:
            raise VocabularyError(
                f"{unknown[0]!r} is not in the vocabulary; evaluate without --strict, or train on "
                "a text that has it"
            )
        self._unknown += len(unknown)
        self._spelling += sum(map(tokenizer.spelling.cost, unknown))
        self._predict(ids)

    def evaluation(self) -> Evaluation:
        """Return the figures of all texts."""
        self._end_document()
        tokens, characters = self._tokens, self._characters
        if tokens < 1 or characters < 1:
            raise BookError(
                f"a text of {counted(self._given, 'character')} leaves nothing to predict; give "
                "more text"
            )
        loss = self._loss / tokens
        return Evaluation(
            loss=loss,
            perplexity=math.exp(min(loss, 700.0)),  # e ** 710 is too large for a float
            bits_per_character=(self._loss + self._spelling) / math.log(2) / characters,
            tokens=tokens,
            characters=characters,
            unknown=self._unknown / (tokens + self._unseen),
        )

    def _end_document(self) -> None:
        if self._state is not None and self._tokenizer.end is not None:
            self._predict(np.array([self._tokenizer.end]))

    def _predict(self, ids: Ids) -> None:
        """Add the loss of tokens, each predicted from those before it."""
        ids = np.concatenate([self._last, ids])
        for start in range(0, len(ids) - 1, self._steps):
            targets = ids[start + 1 : start + 1 + self._steps]
            inputs = ids[start : start + len(targets)]
            hidden, self._state = self._network.forward(inputs[:, None], self._state)
            logits = log_softmax(self._network.logits(hidden)[:, 0].astype(np.float64))  # (T, V)
            self._loss -= float(logits[np.arange(len(targets)), targets].sum())
            self._tokens += len(targets)
        self._last = ids[-1:]


def bits_per_character(
    loss: float, characters_per_token: float, spelling_per_token: float = 0.0
) -> float:
    """Convert nats per token to bits per character.

    `spelling_per_token` is what it costs to spell unknown tokens, in nats for each token.
    """
    return (loss + spelling_per_token) / math.log(2) / characters_per_token
