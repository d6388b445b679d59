"""Interactive writing: a user and a network write a text token by token, with undo."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.errors import OptionError
from textgen.options.declare import check_whole
from textgen.preprocess.tokenizers import Tokenizer
from textgen.sampling.filters import Logits, draw
from textgen.sampling.network import Network
from textgen.sampling.prompt import Request
from textgen.sampling.seen import SeenTokens

_KEPT_EVERY = 64  # tokens; states between are computed again when a step is undone
_BYTES_OF_A_CHARACTER = 4  # at most; any other token has at least one character


class Likely(NamedTuple):
    """A token that may come next."""

    token: int
    text: str
    probability: float


class _Step(NamedTuple):
    """What one call appended; undo removes it."""

    stop: int  # the number of tokens after it
    typed: str | None  # the typed text; it may have words without a token


class _Position(NamedTuple):
    """What the network knows after a number of tokens."""

    tokens: int
    logits: Logits  # (1, V)
    state: Any


class Writer:
    """The text so far, and enough of the network's states to undo every step.

    A step appends a token or a typed text. Its time does not depend on the length of the text.
    """

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
        self._filter = request.filter
        self._rng = rng
        self._prompt = prompt
        self._steps: list[_Step] = []
        self._tokens: list[int] = []  # may be longer than the steps after an interruption
        self._kept = [_Position(0, *request.prompt.read())]
        self._seen: SeenTokens | None = None
        self._counted = 0  # tokens in `_seen`

    @property
    def text(self) -> str:
        """The prompt and what follows it."""
        return self._prompt + self.added

    @property
    def added(self) -> str:
        """The text after the prompt."""
        return self._text_from(0)

    def tail(self, length: int) -> str:
        """Return the last `length` characters of `text`, in time that depends on them alone."""
        first = len(self._steps)
        while first and self._stop - self._start_of(first) <= _BYTES_OF_A_CHARACTER * length:
            first -= 1
        text = self._text_from(first)
        if not first:
            text = self._prompt[max(len(self._prompt) - length, 0) :] + text
        return text[max(len(text) - length, 0) :]

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
        """Append a token; raise OptionError if it is not the id of one."""
        check_whole("token", token, 0)
        if token >= (size := len(self._tokenizer)):
            raise OptionError("token", f"must be below {size:,}, the size of the vocabulary")
        self._append([int(token)])

    def type(self, text: str) -> None:
        """Append a text; raise VocabularyError if it has unknown characters."""
        whole = text if self._steps else self._request.prompt.ahead + text
        ids = self._tokenizer.encode(whole).tolist()
        if text:
            self._append(ids, whole)

    def draw(self) -> None:
        """Append a token that the network draws."""
        self._append([int(draw(self._weights()[None], self._rng.random(1))[0])])

    def back(self) -> bool:
        """Undo the last step; return whether there was one."""
        if not self._steps:
            return False
        self._steps.pop()
        return True

    @property
    def _stop(self) -> int:
        """The number of tokens."""
        return self._start_of(len(self._steps))

    def _start_of(self, step: int) -> int:
        return self._steps[step - 1].stop if step else 0

    def _text_from(self, first: int) -> str:
        """Return the text of the steps from `first` on."""
        text, drawn = "", list[int]()
        for number, step in enumerate(self._steps[first:], first):
            if step.typed is None:
                # Several bytes may make one character, so neighbouring tokens are decoded together.
                drawn += self._tokens[self._start_of(number) : step.stop]
            else:
                text += self._tokenizer.decode(drawn) + step.typed
                drawn = []
        text += self._tokenizer.decode(drawn)
        return text if first else text.removeprefix(self._request.prompt.ahead)

    def _append(self, tokens: list[int], typed: str | None = None) -> None:
        self._forget_undone()
        start = self._stop
        self._tokens[start:] = tokens
        self._steps.append(_Step(start + len(tokens), typed))

    def _forget_undone(self) -> None:
        """Forget what was computed from tokens that were undone since."""
        while self._kept[-1].tokens > self._stop:
            self._kept.pop()
        if self._counted > self._stop:
            self._seen = None

    def _position(self) -> _Position:
        """Read the tokens not read yet; return the position after the last."""
        self._forget_undone()
        for token in self._tokens[self._kept[-1].tokens : self._stop]:
            count, _, state = self._kept[-1]
            position = _Position(count + 1, *self._network.step(np.array([token]), state))
            if count % _KEPT_EVERY:
                self._kept.pop()
            self._kept.append(position)
        return self._kept[-1]

    def _seen_tokens(self, vocabulary_size: int) -> SeenTokens:
        """Return the tokens that the repetition penalty applies to."""
        self._forget_undone()
        if self._seen is None:
            self._seen = SeenTokens(vocabulary_size, self._request.options.repeat_last_n)
            self._seen.join(self._request.prompt.ids)
            self._counted = 0
        for token in self._tokens[self._counted : self._stop]:
            self._seen.add(np.array([token]))
            self._counted += 1
        return self._seen

    def _weights(self) -> NDArray[np.float64]:
        """Return the weights of the next token, (V,)."""
        position, options = self._position(), self._request.options
        mask = None
        if options.repetition_penalty != 1:
            mask = self._seen_tokens(position.logits.shape[-1]).mask
        temperature = options.temperature.at(position.tokens, options.length)
        return self._filter.weights(position.logits, temperature, mask)[0]
