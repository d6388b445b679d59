"""Prompts that a network reads, and requests for text that follows them."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from textgen.options.sampling import SamplingOptions
from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.sampling.filters import Filter, Logits, log_softmax
from textgen.sampling.network import Network
from textgen.sampling.novel import Guard
from textgen.sampling.scores import ScoredToken, score_all

CHECKPOINT_EVERY = 64
"""A prompt keeps its last state after a multiple of this many tokens."""

_PROMPT_BLOCK = 256  # tokens read at once; bounds memory use; a multiple of CHECKPOINT_EVERY
_SCORED_LOGITS = 1 << 22  # at once; bounds the memory use of a large vocabulary


class Reading(NamedTuple):
    """What a network knows after reading some tokens from a zero state."""

    tokens: int
    state: Any  # of one row
    exact: bool = True
    """Whether the row was computed by itself. In a batch, the last bits of a state may differ."""


class Prompt:
    """Tokens that a network reads from a zero state before it generates.

    Attributes:
        ids: the tokens, (tokens,).
        tokens: the same after the end-of-document token that starts a document, if there is one.
        ahead: the end of the prompt that is not in `ids`; the next token begins with it.
        text: the prompt as `novel` compares it.
        logits: of the next token, (1, V); None until the whole prompt is read.
        scores: how likely each token is, if requested; the first of `tokens` has no score.
        known: what the network knows after the tokens read so far.
        checkpoint: the same after the last multiple of CHECKPOINT_EVERY tokens.
        skipped: the number of tokens that did not have to be read.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        ids: Ids,
        ahead: str = "",
        text: str = "",
        likeliest: int | None = None,
    ) -> None:
        """Start before the first token.

        `ids` must not be empty, unless the vocabulary has an end-of-document token. That token
        is then read before the prompt, which starts a document.

        Args:
            likeliest: score the tokens, with this many of the likeliest at each place.
        """
        self.ids = self.tokens = ids
        if tokenizer.end is not None and not (len(ids) and ids[0] == tokenizer.end):
            self.tokens = np.append(tokenizer.end, ids)
        self.ahead = ahead
        self.text = text
        self.logits: Logits | None = None
        self.scores: list[ScoredToken] = []
        self._network = network
        self._next = tokenizer.begin_with(ahead) if ahead else None
        self._likeliest = likeliest
        self._block = _PROMPT_BLOCK
        if likeliest is not None:
            self._block = max(1, min(_PROMPT_BLOCK, _SCORED_LOGITS // len(tokenizer)))
        self.known = self.checkpoint = Reading(0, network.zero_state(1))
        self.skipped = 0

    @property
    def is_scored(self) -> bool:
        return self._likeliest is not None

    @property
    def state(self) -> Any:
        """The state of one row after the tokens read so far."""
        return self.known.state

    def start_from(self, known: Reading) -> None:
        """Skip tokens that were read before. At least one must be left, and none be scored."""
        self.known = self.checkpoint = known
        self.skipped = known.tokens

    def read_block(self) -> int:
        """Read the next block of tokens; return their number.

        The state does not depend on how a prompt is divided into blocks.
        """
        tokens, state, exact = self.known
        last = len(self.tokens) - 1
        stop = min(tokens + self._block, last)
        if tokens < (aligned := stop - stop % CHECKPOINT_EVERY):
            stop = aligned
        block = self.tokens[tokens:stop]
        if len(block):
            hidden, state = self._network.forward(block[:, None], state)
            if self._likeliest is not None:
                logs = log_softmax(self._network.logits(hidden)[:, 0])
                self.scores += score_all(logs, self.tokens[tokens + 1 : stop + 1], self._likeliest)
            self._have_read(Reading(stop, state, exact))
        if stop == last:
            logits, state = self._network.step(self.tokens[-1:], state)
            self._have_read(Reading(stop + 1, state, exact))
            self.logits = self._beginning_with_ahead(logits)
        return self.known.tokens - tokens

    def read(self) -> tuple[Logits, Any]:
        """Read to the end; return the logits and the state."""
        while self.logits is None:
            self.read_block()
        return self.logits, self.state

    def _have_read(self, known: Reading) -> None:
        self.known = known
        if known.tokens % CHECKPOINT_EVERY == 0:
            self.checkpoint = known

    def _beginning_with_ahead(self, logits: Logits) -> Logits:
        """Rule out the tokens that do not begin with `ahead`."""
        if not self._next:
            return logits
        masked = np.full_like(logits, -np.inf)
        masked[:, self._next] = logits[:, self._next]
        return masked


@dataclass(frozen=True)
class Request:
    """What to generate from a prompt."""

    prompt: Prompt
    options: SamplingOptions
    banned: tuple[int, ...] = ()  # tokens that are never generated
    bias: tuple[tuple[int, float], ...] = ()  # tokens, and what is added to their logits
    guard: Guard | None = None  # keeps the text from copying
    log_probabilities: bool = False  # whether to keep those of the tokens
    likeliest: int = 0  # how many of the likeliest tokens to keep with each token
    keep_tokens: bool = False  # whether the text keeps its tokens
    exact: bool = False
    """Whether the text must not depend on other texts in the batch.

    In NumPy, rounding in a product of many rows may change the last bit of a logit. The row of an
    exact request is multiplied separately, which is slower if there are many rows.
    """

    @property
    def filter(self) -> Filter:
        return Filter.of(self.options, self.banned, self.bias)
