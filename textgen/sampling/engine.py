"""The generation loop: prime, step, draw, stop; several texts at once, piece by piece."""

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from textgen.options.training import SamplingOptions
from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.sampling.filters import Logits, Mask, distribution, log_softmax
from textgen.sampling.novel import Guard

_BLOCK = 256  # steps of a prompt at once, which bounds its memory; random numbers at once
_SENTENCE_END = re.compile(r"[.!?…][\"'”’»)\]]*(?=\s|$)|[。！？][」』）]*")


class Network(Protocol):
    """What generation and evaluation ask of a network: see `textgen.sampling.network.Network`."""

    def zero_state(self, rows: int) -> Any: ...

    def forward(self, tokens: Ids, state: Any) -> tuple[Any, Any]: ...

    def logits(self, hidden: Any) -> Logits: ...

    def step(self, tokens: Ids, state: Any) -> tuple[Logits, Any]: ...

    def rows(self, state: Any, rows: Sequence[int]) -> Any: ...


class Primed(NamedTuple):
    """A network that has read a prompt, and how to go on: what every way of writing starts from."""

    network: Network
    tokenizer: Tokenizer
    options: SamplingOptions
    prompt: Ids  # (tokens,)
    ahead: str  # the end of the prompt that the next token begins with, as it is no token yet
    banned: Sequence[int]  # tokens that are never drawn
    logits: Logits  # (1, V)
    state: Any  # of one row

    def distribution(self, logits: Logits, position: int, seen: Mask | None) -> NDArray[np.float64]:
        """Return the weights to draw the token at `position` of the text with, (..., V)."""
        return distribution(logits, self.options, position, self.banned, seen)


def prime(
    network: Network,
    tokenizer: Tokenizer,
    options: SamplingOptions,
    prompt: Ids,
    ahead: str = "",
    banned: Sequence[int] = (),
) -> Primed:
    """Run through `prompt` from a zero state.

    It begins a document where the vocabulary has an end of documents; else it is to have at
    least one id.
    """
    state = network.zero_state(1)
    tokens = prompt if tokenizer.end is None else np.append(tokenizer.end, prompt)
    for start in range(0, len(tokens) - 1, _BLOCK):
        _, state = network.forward(
            tokens[start : min(start + _BLOCK, len(tokens) - 1), None], state
        )
    logits, state = network.step(tokens[-1:], state)
    return Primed(network, tokenizer, options, prompt, ahead, banned, logits, state)


class Generation(Iterator[str]):
    """One text in the making: an iterator over its pieces, as they are drawn.

    Attributes:
        tokens: how many were drawn so far.
        log_probabilities: of each, in nats, by the network alone, before any filter; if asked for.
        finish_reason: None until the text ends, then "length"; "end" where its document ends;
            "stop" where a stop text came up, which is left out; "sentence" where
            `until_sentence` ended it; "novel" where every token that is left would copy.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        options: SamplingOptions,
        ahead: str,
        advance: Callable[[], None] | None = None,
    ) -> None:
        """`advance` is called for more, unless all that there is was added before."""
        self._advance = advance if options.length else None
        self._decode = tokenizer.decoder()
        self._end = tokenizer.end
        self._options = options
        self._limit = options.length * (2 if options.until_sentence else 1)
        self._ahead = ahead
        self._pieces: deque[str] = deque()
        self._held = ""  # what may yet turn out to be left out
        self._tail = ""  # the end of what is not held
        self._earliest = 0  # where in what is held a last sentence may end
        self.tokens = 0
        self.log_probabilities: list[float] = []
        self.finish_reason = None if options.length else "length"

    def __next__(self) -> str:
        while not self._pieces:
            if self._advance is None:
                raise StopIteration
            self._advance()
        return self._pieces.popleft()

    def add(self, token: int, log_probability: float | None = None) -> None:
        """Take the next token; see whether the text ends with it."""
        piece = self._decode(token)
        if not self.tokens:
            piece = piece.removeprefix(self._ahead)
        self.tokens += 1
        if log_probability is not None:
            self.log_probabilities.append(log_probability)
        if token == self._end:
            self.end("end")
            return
        options, stops = self._options, self._options.stop
        last = self.tokens >= self._limit
        if not stops and not options.until_sentence:  # then nothing is ever held
            if piece:
                self._pieces.append(piece)
            if last:
                self.end("length")
            return
        if self.tokens == options.length:
            # A word's own space is no end of the sentence before.
            self._earliest = len(self._held) + (piece[:1].isspace() and not piece.isspace())
        self._held += piece
        if ends := [at for stop in stops if (at := self._held.find(stop)) >= 0]:
            self.end("stop", min(ends))
        elif options.until_sentence and (end := self._sentence_end(last)) is not None:
            self.end("sentence", end)
        elif last:
            self.end("length")
        else:
            self._release(len(self._held) - _overhang(self._held, stops))

    def end(self, reason: str, at: int | None = None) -> None:
        """End the text, with what is held up to `at`."""
        self.finish_reason = reason
        self._advance = None  # the batch, and with it the network, need wait for no collector
        self._release(len(self._held) if at is None else at)

    def _release(self, count: int) -> None:
        if count:
            self._pieces.append(self._held[:count])
            self._tail = (self._tail + self._held[:count])[-8:]
            self._held = self._held[count:]
            self._earliest = max(self._earliest - count, 0)

    def _sentence_end(self, last: bool) -> int | None:
        """Where in what is held the text may end: at its very end only if nothing is to follow."""
        if self.tokens < self._options.length:
            return None
        text = self._tail + self._held
        ends = [match.end() for match in _SENTENCE_END.finditer(text)]
        ends = [end - len(self._tail) for end in ends if last or end < len(text)]
        return next((end for end in ends if end >= self._earliest), None)


class Batch:
    """Texts written side by side, one row each, that all go on from one prompt.

    Each draws with random numbers of its own, so that none depends on how many there are.
    """

    def __init__(
        self,
        primed: Primed,
        rngs: Sequence[np.random.Generator],
        before: str = "",
        guard: Guard | None = None,
        log_probabilities: bool = False,
    ) -> None:
        """`guard` keeps the texts from copying; `before` is the prompt as it sees it."""
        self._primed = primed
        self._guard = guard
        self._log_probabilities = log_probabilities
        self._position = 0
        self.texts = [
            Generation(primed.tokenizer, primed.options, primed.ahead, self.advance) for _ in rngs
        ]
        # Of each row, as long as its text goes on:
        self._live, self._rngs = self.texts, list(rngs)
        self._logits, self._state = primed.logits, primed.state
        self._seen = Seen(primed.prompt, primed)
        self._tails = [before if guard is None else guard.tail(before)]
        self._take([0] * len(rngs))

    def advance(self) -> None:
        """Draw the next token of every text that has not ended."""
        weights = self._primed.distribution(self._logits, self._position, self._seen.mask)
        turn = self._position % _BLOCK
        if not turn:  # a call for each number would take as long as all filters
            self._numbers = np.stack([rng.random(_BLOCK) for rng in self._rngs])
        tokens = draw(weights, self._numbers[:, turn])
        if self._guard is not None:
            tokens = np.array(
                [self._redrawn(row, int(token), weights[row]) for row, token in enumerate(tokens)]
            )
        logs = log_softmax(self._logits) if self._log_probabilities else None
        going = []
        for row, (text, token) in enumerate(zip(self._live, tokens.tolist(), strict=True)):
            if text.finish_reason is None:
                text.add(token, None if logs is None else float(logs[row, token]))
            if text.finish_reason is None:
                going.append(row)
        self._position += 1
        if len(going) < len(self._live):
            self._live = [self._live[row] for row in going]
            self._rngs = [self._rngs[row] for row in going]
            self._numbers = self._numbers[going]
            if not going:
                return
            self._take(going)
            tokens = tokens[going]
        self._seen.add(tokens)
        self._logits, self._state = self._primed.network.step(tokens, self._state)

    def _take(self, rows: Sequence[int]) -> None:
        self._logits = self._logits[rows]
        self._state = self._primed.network.rows(self._state, rows)
        self._seen.take(rows)
        self._tails = [self._tails[row] for row in rows]

    def _redrawn(self, row: int, token: int, weights: NDArray[np.float64]) -> int:
        """Draw again until the token copies nothing; end the text where every token would."""
        assert self._guard is not None
        primed = self._primed
        copying: list[int] = []
        ahead = "" if self._position else primed.ahead
        while True:
            piece = primed.tokenizer.spell([token]).removeprefix(ahead)
            if not self._guard.copies(self._tails[row], piece):
                break
            copying.append(token)
            weights[token] = 0
            if len(copying) + len(primed.banned) == len(weights):
                self._live[row].end("novel")
                break
            if not weights.any():  # the filters kept none but these
                without = primed._replace(banned=[*primed.banned, *copying])
                seen = self._seen.mask
                weights = without.distribution(
                    self._logits[row], self._position, None if seen is None else seen[row]
                )
            token = int(draw(weights[None], self._rngs[row].random(1))[0])
        self._tails[row] = self._guard.tail(self._tails[row] + piece)
        return token


class Seen:
    """Which tokens stand in each text already, for the repetition penalty."""

    def __init__(self, text: Ids, primed: Primed) -> None:
        """One row, which has seen `text`."""
        self._wanted = primed.options.repetition_penalty != 1
        self._last = primed.options.repeat_last_n
        text = text[-self._last :] if self._last else text
        # Nothing is counted where nothing is penalised.
        size = primed.logits.shape[-1]
        counts = np.bincount(text, minlength=size) if self._wanted else np.empty(0, np.int64)
        self._counts = counts[None]
        # Those counted, (B,) each, where they are to leave again.
        self._tokens: deque[Ids] = deque(text[:, None] if self._last else ())

    @property
    def mask(self) -> Mask | None:
        """(B, V), or None where nothing is penalised."""
        return self._counts > 0 if self._wanted else None

    def add(self, tokens: Ids) -> None:
        """Add the next token of each row, (B,)."""
        if not self._wanted:
            return
        rows = np.arange(len(tokens))
        self._counts[rows, tokens] += 1
        if self._last is not None:
            self._tokens.append(tokens)
            if len(self._tokens) > self._last:
                self._counts[rows, self._tokens.popleft()] -= 1

    def take(self, rows: Sequence[int]) -> None:
        """Go on with these rows, which may be some of them several times."""
        self._counts = self._counts[rows]
        self._tokens = deque(tokens[rows] for tokens in self._tokens)


def draw(weights: NDArray[np.float64], numbers: NDArray[np.float64]) -> Ids:
    """Draw an index in each row, (B,), with probabilities in proportion to its weights, (B, V).

    `numbers`, (B,), are random and uniform from 0 to below 1.
    """
    cumulative = weights.cumsum(axis=-1)
    # Short of 1 by so much that the product is below the sum for certain.
    points = numbers * (1 - 2**-52) * cumulative[:, -1]
    return (cumulative > points[:, None]).argmax(axis=-1)


def _overhang(text: str, stops: tuple[str, ...]) -> int:
    """The length of the longest end of `text` with which one of `stops` could begin."""
    if not stops:
        return 0
    longest = max(map(len, stops)) - 1
    return next(
        (
            length
            for length in range(min(longest, len(text)), 0, -1)
            if any(stop.startswith(text[-length:]) for stop in stops)
        ),
        0,
    )
