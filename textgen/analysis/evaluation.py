"""How well a model predicts a text: loss, perplexity and bits per character."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from textgen.errors import BookError
from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.sampling.filters import log_softmax
from textgen.sampling.network import Network

_STEPS_AT_ONCE = 256  # bounds the memory use of the logits


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts texts.

    `tokens` is the number of predicted tokens: all but the first of each text. If the vocabulary
    has an end-of-document token, the first token and the end of each text are predicted, too.
    `characters` is the number of characters in the predicted tokens.
    """

    loss: float  # nats per token
    perplexity: float
    bits_per_character: float
    tokens: int
    characters: int


def evaluate(network: Network, tokenizer: Tokenizer, texts: Iterable[str]) -> Evaluation:
    """Evaluate a network on each text, from a zero state.

    Raises VocabularyError for characters that are not in the vocabulary, BookError if there is
    nothing to predict.
    """
    total, tokens, characters, given = 0.0, 0, 0, 0
    for text in texts:
        ids = tokenizer.encode(text)
        given += len(text)
        characters += len(text)
        if tokenizer.end is not None:
            ids = np.concatenate([[tokenizer.end], ids, [tokenizer.end]])
        else:
            characters -= len(tokenizer.first(text))
        total += _loss(network, ids)
        tokens += max(len(ids) - 1, 0)
    if tokens < 1 or characters < 1:
        raise BookError(f"a text of {given} characters leaves nothing to predict; give more text")
    loss = total / tokens
    bits = bits_per_character(loss, characters / tokens)
    perplexity = math.exp(min(loss, 700.0))  # e ** 710 is too large for a float
    return Evaluation(loss, perplexity, bits, tokens, characters)


def _loss(network: Network, ids: Ids) -> float:
    """Return the summed loss of all tokens but the first, in nats."""
    states = network.zero_state(1)
    total = 0.0
    for start in range(0, len(ids) - 1, _STEPS_AT_ONCE):
        inputs = ids[start : min(start + _STEPS_AT_ONCE, len(ids) - 1)]
        targets = ids[start + 1 : start + 1 + len(inputs)]
        hidden, states = network.forward(inputs[:, None], states)
        logits = log_softmax(network.logits(hidden)[:, 0].astype(np.float64))  # (steps, V)
        total -= float(logits[np.arange(len(targets)), targets].sum())
    return total


def bits_per_character(loss: float, characters_per_token: float) -> float:
    """Convert nats per token to bits per character."""
    return loss / math.log(2) / characters_per_token
