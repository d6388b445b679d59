"""A text that a person and a network write together, token by token, forth and back."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from textgen.sampling.engine import Primed, Seen, draw
from textgen.sampling.filters import Logits


class Likely(NamedTuple):
    """A token that may come next."""

    token: int
    text: str
    probability: float


class _Position(NamedTuple):
    """Where the text stands after a token; going back is going back to one of these."""

    tokens: tuple[int, ...]  # that brought it here: several where a text was typed
    typed: str | None  # that text, which may have words that no token stands for
    logits: Logits  # (1, V)
    state: Any


class Writer:
    """The text so far, and the network's state after every step that led to it."""

    def __init__(self, primed: Primed, rng: np.random.Generator, prompt: str = "") -> None:
        """`prompt` is the text that `primed` has read, if it is to be shown."""
        self._primed = primed
        self._rng = rng
        self._prompt = prompt
        self._positions = [_Position((), None, primed.logits, primed.state)]

    @property
    def text(self) -> str:
        """The prompt and all that follows."""
        return self._prompt + self.added

    @property
    def added(self) -> str:
        """All that follows the prompt."""
        text, drawn = "", list[int]()
        for position in self._positions:
            if position.typed is None:
                drawn += position.tokens  # bytes make sense together alone
            else:
                text += self._primed.tokenizer.decode(drawn) + position.typed
                drawn = []
        return (text + self._primed.tokenizer.decode(drawn)).removeprefix(self._primed.ahead)

    def likeliest(self, count: int) -> list[Likely]:
        """Return the `count` likeliest next tokens, by the filtered distribution."""
        weights = self._weights()
        order = np.argsort(-weights, kind="stable")[:count]
        shares = weights / weights.sum()
        return [
            Likely(int(token), self._primed.tokenizer.decode([int(token)]), float(shares[token]))
            for token in order
            if shares[token] > 0
        ]

    def choose(self, token: int) -> None:
        """Go on with a token."""
        self._go_on([token])

    def type(self, text: str) -> None:
        """Go on with a text of one's own; raises VocabularyError for unknown characters."""
        whole = text if len(self._positions) > 1 else self._primed.ahead + text
        ids = self._primed.tokenizer.encode(whole).tolist()
        if text:
            self._go_on(ids, whole)

    def draw(self) -> None:
        """Let the network go on by a token."""
        self._go_on([int(draw(self._weights()[None], self._rng.random(1))[0])])

    def back(self) -> bool:
        """Take the last step back; return whether there was one."""
        if len(self._positions) == 1:
            return False
        self._positions.pop()
        return True

    def _go_on(self, tokens: Sequence[int], typed: str | None = None) -> None:
        state = self._positions[-1].state
        for token in tokens:
            logits, state = self._primed.network.step(np.array([token]), state)
        self._positions.append(_Position(tuple(tokens), typed, logits, state))

    def _tokens(self) -> list[int]:
        return [token for position in self._positions for token in position.tokens]

    def _weights(self) -> Any:
        tokens = np.array(self._tokens(), np.int64)
        logits = self._positions[-1].logits
        seen = Seen(np.append(self._primed.prompt, tokens), self._primed)
        return self._primed.distribution(logits, len(tokens), seen.mask)[0]
