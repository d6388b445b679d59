"""The generation loop: prime, step, draw, stop; text comes out piece by piece."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from textgen.options import SamplingOptions
from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.sampling.filters import Logits, Probabilities, distribution

_BLOCK = 256  # steps of a prompt at once; bounds the memory it takes


class StepFunction(Protocol):
    """What generation asks of a network: see `textgen.sampling.network.Network`."""

    def zero_state(self, rows: int) -> Any: ...

    def __call__(self, tokens: Ids, states: Any) -> tuple[Logits, Any]: ...


class Primed(NamedTuple):
    """A network that has read a prompt."""

    prompt: Ids  # (tokens,)
    logits: Logits  # (V,)
    states: Any


def prime(network: StepFunction, prompt: Ids) -> Primed:
    """Run through `prompt`, of at least one id, from a zero state."""
    states = network.zero_state(1)
    for start in range(0, len(prompt), _BLOCK):
        logits, states = network(prompt[start : start + _BLOCK, None], states)
    return Primed(prompt, logits[0], states)


class Generation(Iterator[str]):
    """One text in the making: an iterator over its pieces, as they are drawn.

    `tokens` counts those drawn so far. `finish_reason` is None until the text ends, then
    "length", or "stop" where a stop text came up, which is left out.
    """

    def __init__(
        self,
        network: StepFunction,
        tokenizer: Tokenizer,
        primed: Primed,
        options: SamplingOptions,
        rng: np.random.Generator,
        ahead: str = "",
    ) -> None:
        """The text goes on from the prompt; `ahead` is left off its beginning, if it is there."""
        self._network = network
        self._tokenizer = tokenizer
        self._primed = primed
        self._options = options
        self._rng = rng
        self._ahead = ahead
        self._text = self._until_stop()
        self.tokens = 0
        self.finish_reason: str | None = None

    def __next__(self) -> str:
        return next(self._text)

    def _until_stop(self) -> Iterator[str]:
        stops = self._options.stop
        held = ""  # what may yet turn out to be the beginning of a stop text
        for piece in self._pieces():
            held += piece
            ends = [at for stop in stops if (at := held.find(stop)) >= 0]
            if ends:
                self.finish_reason = "stop"
                held = held[: min(ends)]
                break
            ready = len(held) - _overhang(held, stops)
            if ready:
                yield held[:ready]
                held = held[ready:]
        else:
            self.finish_reason = "length"
        if held:
            yield held

    def _pieces(self) -> Iterator[str]:
        """Draw tokens up to the length; yield what each adds to the text."""
        decode = self._tokenizer.decoder()
        prompt, logits, states = self._primed
        previous, banned = set(prompt.tolist()), self._tokenizer.unknown
        while self.tokens < self._options.length:
            token = draw(distribution(logits, previous, self._options, banned), self._rng)
            previous.add(token)
            self.tokens += 1
            piece = decode(token)
            yield piece.removeprefix(self._ahead) if self.tokens == 1 else piece
            if self.tokens < self._options.length:
                rows, states = self._network(np.array([[token]]), states)
                logits = rows[0]


def draw(probabilities: Probabilities, rng: np.random.Generator) -> int:
    """Draw an index with the given probabilities, (V,), using one random number."""
    cumulative = np.cumsum(probabilities)
    point = min(rng.random() * cumulative[-1], np.nextafter(cumulative[-1], 0))
    return int(np.searchsorted(cumulative, point, side="right"))


def _overhang(text: str, stops: tuple[str, ...]) -> int:
    """The length of the longest end of `text` with which one of `stops` could begin."""
    longest = max(map(len, stops), default=1) - 1
    return next(
        (
            length
            for length in range(min(longest, len(text)), 0, -1)
            if any(stop.startswith(text[-length:]) for stop in stops)
        ),
        0,
    )
