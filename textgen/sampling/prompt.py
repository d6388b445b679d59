"""Prompts that a network reads, and requests for text that follows them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from textgen.options.sampling import SamplingOptions
from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.sampling.filters import Logits
from textgen.sampling.network import Network
from textgen.sampling.novel import Guard

_PROMPT_BLOCK = 256  # tokens read at once; bounds memory use


class Prompt:
    """Tokens that a network reads from a zero state before it generates.

    Attributes:
        ids: the tokens, (tokens,).
        ahead: the end of the prompt that is not in `ids`; the next token begins with it.
        text: the prompt as `novel` compares it.
        logits: of the next token, (1, V); None until the whole prompt is read.
        state: the state of one row after the tokens read so far.
    """

    def __init__(
        self, network: Network, tokenizer: Tokenizer, ids: Ids, ahead: str = "", text: str = ""
    ) -> None:
        """Start before the first token.

        `ids` must not be empty, unless the vocabulary has an end-of-document token. That token
        is then read before the prompt, which starts a document.
        """
        self.ids = ids
        self.ahead = ahead
        self.text = text
        self.logits: Logits | None = None
        self.state: Any = network.zero_state(1)
        self._network = network
        self._next = tokenizer.begin_with(ahead) if ahead else None
        self._tokens = ids if tokenizer.end is None else np.append(tokenizer.end, ids)
        self._read = 0

    def read_block(self) -> int:
        """Read the next block of tokens; return their number.

        A prompt is always split into the same blocks, so rounding always gives the same state.
        """
        last = len(self._tokens) - 1
        stop = min(self._read + _PROMPT_BLOCK, last)
        block = self._tokens[self._read : stop]
        if len(block):
            _, self.state = self._network.forward(block[:, None], self.state)
        self._read = stop
        if stop == last:
            logits, self.state = self._network.step(self._tokens[-1:], self.state)
            self.logits = logits
            if self._next:  # rule out the tokens that do not begin with `ahead`
                self.logits = np.full_like(logits, -np.inf)
                self.logits[:, self._next] = logits[:, self._next]
        return len(block) + (stop == last)

    def read(self) -> tuple[Logits, Any]:
        """Read to the end; return the logits and the state."""
        while self.logits is None:
            self.read_block()
        return self.logits, self.state


@dataclass(frozen=True)
class Request:
    """What to generate from a prompt."""

    prompt: Prompt
    options: SamplingOptions
    banned: tuple[int, ...] = ()  # tokens that are never generated
    guard: Guard | None = None  # keeps the text from copying
    log_probabilities: bool = False  # whether to keep those of the tokens
    exact: bool = False
    """Whether the text must not depend on other texts in the batch.

    Rounding in a product of many rows may change the last bit of a logit. The row of an exact
    request is multiplied separately, which is slower if there are many rows.
    """
