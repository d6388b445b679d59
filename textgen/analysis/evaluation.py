"""How well a model predicts a text: loss, perplexity and bits per character."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from textgen.errors import BookError
from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.sampling.engine import Network
from textgen.sampling.filters import log_softmax

_BLOCK = 256  # steps; bounds the memory that logits take


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` finds.

    `tokens` are those predicted: all but the first of each text, or all and its end where the
    vocabulary has an end of documents. `characters` are theirs.
    """

    loss: float  # nats per token
    perplexity: float
    bits_per_character: float
    tokens: int
    characters: int


def evaluate(network: Network, tokenizer: Tokenizer, texts: Iterable[str]) -> Evaluation:
    """Run through each of `texts` as one stream from a zero state, predicting its tokens.

    Raises VocabularyError for characters without a token, BookError where there is nothing to
    predict.
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
        raise BookError(f"a text of {given} characters leaves nothing to predict; give more")
    loss = total / tokens
    bits = bits_per_character(loss, characters / tokens)
    perplexity = math.exp(min(loss, 700.0))  # e ** 700 is about the largest number there is
    return Evaluation(loss, perplexity, bits, tokens, characters)


def _loss(network: Network, ids: Ids) -> float:
    """The loss of all tokens but the first, summed."""
    states = network.zero_state(1)
    total = 0.0
    for start in range(0, len(ids) - 1, _BLOCK):
        inputs = ids[start : min(start + _BLOCK, len(ids) - 1)]
        targets = ids[start + 1 : start + 1 + len(inputs)]
        hidden, states = network.forward(inputs[:, None], states)
        logits = log_softmax(network.logits(hidden)[:, 0].astype(np.float64))  # (steps, V)
        total -= float(logits[np.arange(len(targets)), targets].sum())
    return total


def bits_per_character(loss: float, characters_per_token: float) -> float:
    """Turn nats per token into bits per character."""
    return loss / math.log(2) / characters_per_token
