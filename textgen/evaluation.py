"""How well a model predicts a text: loss, perplexity and bits per character."""

import math
from dataclasses import dataclass

import numpy as np

from textgen.errors import BookError
from textgen.preprocess.tokenizers import Tokenizer
from textgen.sampling.filters import log_softmax
from textgen.sampling.generate import Network

_BLOCK = 256  # steps; bounds the memory that logits take


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` finds.

    `tokens` are those predicted: all but the first. `characters` are theirs.
    """

    loss: float  # nats per token
    perplexity: float
    bits_per_character: float
    tokens: int
    characters: int


def evaluate(network: Network, tokenizer: Tokenizer, text: str) -> Evaluation:
    """Run through `text` as one stream from a zero state, predicting each token but the first.

    Raises VocabularyError for characters without a token, BookError for a text that has
    nothing to predict.
    """
    ids = tokenizer.encode(text)
    tokens, characters = len(ids) - 1, len(text) - len(tokenizer.first(text))
    if tokens < 1 or characters < 1:
        raise BookError(f"a text of {len(text)} characters leaves nothing to predict; give more")
    states = network.zero_state(1)
    total = 0.0
    for start in range(0, tokens, _BLOCK):
        inputs = ids[start : min(start + _BLOCK, tokens)]
        targets = ids[start + 1 : start + 1 + len(inputs)]
        hidden, states = network.forward(inputs[:, None], states)
        logits = log_softmax(network.logits(hidden)[:, 0].astype(np.float64))  # (steps, V)
        total -= float(logits[np.arange(len(targets)), targets].sum())
    loss = total / tokens
    bits = bits_per_character(loss, characters / tokens)
    perplexity = math.exp(min(loss, 700.0))  # e ** 700 is about the largest number there is
    return Evaluation(loss, perplexity, bits, tokens, characters)


def bits_per_character(loss: float, characters_per_token: float) -> float:
    """Turn nats per token into bits per character."""
    return loss / math.log(2) / characters_per_token
