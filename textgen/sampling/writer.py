"""Interactive writing: a user and a network write a text token by token, with undo."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.preprocess.tokenizers import Tokenizer
from textgen.sampling.filters import Filter, Logits, draw
from textgen.sampling.network import Network
from textgen.sampling.prompt import Request
from textgen.sampling.seen import SeenTokens


class Likely(NamedTuple):
    """A token that may come next."""

    token: int
    text: str
    probability: float


class _Position(NamedTuple):
    """The text and the state after a step; undo returns to the position before it."""

    tokens: tuple[int, ...]  # appended in this step; several if a text was typed
    typed: str | None  # the typed text; it may have words without a token
    logits: Logits  # (1, V)
    state: Any


class Writer:
    """The text so far, and the network's state after every step."""

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        request: Request,
        rng: np.random.Generator,
        prompt: str = "",
    ) -> None:
        """`prompt` is the prompt of the request as text, if `text` includes it."""
        self._network = network
        self._tokenizer = tokenizer
        self._request = request
        self._filter = Filter.of(request.options, request.banned)
        self._rng = rng
        self._prompt = prompt
        self._positions = [_Position((), None, *request.prompt.read())]

    @property
    def text(self) -> str:
        """The prompt and what follows it."""
        return self._prompt + self.added

    @property
    def added(self) -> str:
        """The text after the prompt."""
        text, drawn = "", list[int]()
        for position in self._positions:
            if position.typed is None:
                drawn += position.tokens  # several bytes may make one character
            else:
                text += self._tokenizer.decode(drawn) + position.typed
                drawn = []
        return (text + self._tokenizer.decode(drawn)).removeprefix(self._request.prompt.ahead)

    def likeliest(self, count: int) -> list[Likely]:
        """Return the `count` likeliest next tokens, by the filtered distribution."""
        weights = self._weights()
        order = np.argsort(-weights, kind="stable")[:count]
        shares = weights / weights.sum()
        return [
            Likely(int(token), self._tokenizer.decode([int(token)]), float(shares[token]))
            for token in order
            if shares[token] > 0
        ]

    def choose(self, token: int) -> None:
        """Append a token."""
        self._append([token])

    def type(self, text: str) -> None:
        """Append a text; raise VocabularyError if it has unknown characters."""
        whole = text if len(self._positions) > 1 else self._request.prompt.ahead + text
        ids = self._tokenizer.encode(whole).tolist()
        if text:
            self._append(ids, whole)

    def draw(self) -> None:
        """Append a token that the network draws."""
        self._append([int(draw(self._weights()[None], self._rng.random(1))[0])])

    def back(self) -> bool:
        """Undo the last step; return whether there was one."""
        if len(self._positions) == 1:
            return False
        self._positions.pop()
        return True

    def _append(self, tokens: Sequence[int], typed: str | None = None) -> None:
        state = self._positions[-1].state
        for token in tokens:
            logits, state = self._network.step(np.array([token]), state)
        self._positions.append(_Position(tuple(tokens), typed, logits, state))

    def _tokens(self) -> list[int]:
        return [token for position in self._positions for token in position.tokens]

    def _weights(self) -> NDArray[np.float64]:
        """Return the weights of the next token, (V,)."""
        tokens, logits = self._tokens(), self._positions[-1].logits
        options, mask = self._request.options, None
        if options.repetition_penalty != 1:
            seen = SeenTokens(logits.shape[-1], options.repeat_last_n)
            seen.join(np.append(self._request.prompt.ids, np.array(tokens, np.int64)))
            mask = seen.mask
        temperature = options.temperature.at(len(tokens), options.length)
        return self._filter.weights(logits, temperature, mask)[0]
