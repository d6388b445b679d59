"""The generation loop: prime, step, draw, stop; text comes out piece by piece."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from textgen.options import SamplingOptions
from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.sampling.filters import distribution


class StepFunction(Protocol):
    """What generation asks of a network: see `textgen.sampling.network.Network`."""

    def zero_state(self, rows: int) -> Any: ...

    def __call__(self, tokens: Ids, states: Any) -> tuple[NDArray[np.floating[Any]], Any]: ...


class Generation:
    """One text in the making: iterate over it for the pieces as they are drawn.

    `tokens` counts those drawn so far. `finish_reason` is None until the text ends, then
    "length", or "stop" where a stop text came up, which is left out.
    """

    def __init__(
        self,
        network: StepFunction,
        tokenizer: Tokenizer,
        prompt: Ids,
        options: SamplingOptions,
        rng: np.random.Generator,
    ) -> None:
        """`prompt` holds at least one id: it sets the state and is not part of the text."""
        self._network = network
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._options = options
        self._rng = rng
        self.tokens = 0
        self.finish_reason: str | None = None

    def __iter__(self) -> Iterator[str]:
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
        states = self._network.zero_state(1)
        previous = set(self._prompt.tolist())
        tokens = self._prompt
        for _ in range(self._options.length):
            logits, states = self._network(tokens[:, None], states)
            banned = self._tokenizer.unknown
            probabilities = distribution(logits[0], previous, self._options, banned)
            token = draw(probabilities, self._rng)
            previous.add(token)
            tokens = np.array([token])
            self.tokens += 1
            yield decode(token)


def draw(probabilities: NDArray[np.float64], rng: np.random.Generator) -> int:
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
