"""How well a model predicts a text: loss, perplexity and bits per character."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from textgen.errors import BookError
from textgen.preprocess.tokenizers import Tokenizer
from textgen.sampling.network import Network

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

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def evaluate(network: Network, tokenizer: Tokenizer, text: str) -> Evaluation:
    """Run through `text` as one stream from a zero state, predicting each token but the first.

    Raises VocabularyError for characters without a token, BookError for a text of less than
    two tokens.
    """
    ids = tokenizer.encode(text)
    tokens = len(ids) - 1
    if tokens < 1:
        raise BookError(f"a text of {len(ids)} tokens leaves nothing to predict; give a longer one")
    characters = len(text) - len(tokenizer.decode(ids[:1]))
    states = network.zero_state(1)
    total = 0.0
    for start in range(0, tokens, _BLOCK):
        inputs = ids[start : min(start + _BLOCK, tokens)]
        targets = ids[start + 1 : start + 1 + len(inputs)]
        hidden, states = network.forward(inputs[:, None], states)
        logits = network.logits(hidden[:, 0]).astype(np.float64)  # (steps, V)
        logits -= logits.max(axis=-1, keepdims=True)
        chosen = logits[np.arange(len(targets)), targets]
        total += float(np.sum(np.log(np.exp(logits).sum(axis=-1)) - chosen))
    loss = total / tokens
    return Evaluation(loss, perplexity(loss), total / math.log(2) / characters, tokens, characters)


def perplexity(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf


def bits_per_character(loss: float, characters_per_token: float) -> float:
    """Turn nats per token into bits per character."""
    return loss / math.log(2) / characters_per_token
