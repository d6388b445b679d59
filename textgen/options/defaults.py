"""The defaults of a training: the best settings for a text and the time that is given."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from textgen.system.processor import cores

_EPOCHS = 12.0  # of a text that is not long
_UPDATES = 40  # in an epoch of a short text, at least; see docs/sizes.md
_UPDATES_IN_TIME = 400  # with more streams than usual, at least
_STREAMS_OF_ONE_READING = 64  # half as many if a text is read four times as often
_SHORTEST_CHUNK = 8
_MOST_DROPOUT = 0.7
_ENOUGH_DROPOUT = 0.5  # a text that needs more has been read often enough
_ENOUGH_DROPOUT_OF_TWO_LAYERS = 0.35
_READINGS_OF_TWO_LAYERS = 8  # at least
_STARTING = 0.15  # minutes that go to the start and to evaluations, at least
_SPEED = 7e11  # tokens a minute, times weights, of a core that multiplies in float32


class Time(NamedTuple):
    """The minutes that are given, if any, and the precision to train in."""

    minutes: float | None
    precision: str

    def readable(self, weights: int) -> float:
        """Return how many tokens a network of so many weights reads in this time, about."""
        if self.minutes is None:
            return math.inf
        speed = _SPEED * cores() * (3 if self.precision == "bfloat16" else 1)
        return max(0.0, self.minutes - _STARTING) * speed / weights


class Size(NamedTuple):
    """A preset."""

    tokens: float  # a shorter text suits a smaller preset
    units: int
    learning_rate: float


@dataclass(frozen=True)
class Defaults:
    """The best settings for one kind of token; docs/recipe.md has the measurements."""

    sizes: dict[str, Size]  # in ascending order
    tokens_of_two_layers: float  # a text of as many, read often, suits two layers
    dropout: float  # 4 times that of a text of as many tokens as the units squared, read once
    tokens_a_weight: float  # to be read in few minutes
    enough_readings: float  # of the text, in few minutes; either is enough
    schedule: str
    optimizer: str
    batch_size: int
    largest_batch: int  # of a long text that is trained on for few minutes
    chunk_length: int
    tie: bool

    def fitting_size(self, tokens: int, time: Time, weights_of: Callable[[int], int]) -> str:
        """Return the largest preset that suits a text and that there is time to train.

        `weights_of` returns how many weights the network has with so many units.
        """
        fitting, *larger = self.sizes
        for name in larger:
            size = self.sizes[name]
            weights = weights_of(size.units)
            enough = min(self.tokens_a_weight * weights, self.enough_readings * tokens)
            if tokens >= size.tokens and time.readable(weights) >= enough:
                fitting = name
        return fitting

    def fitting_layers(self, tokens: int, epochs: float | None, time: Time, weights: int) -> int:
        """Return how many layers suit a text, if two have so many weights.

        Two learn more from a text that is read often, but learn it more slowly.
        """
        if time.minutes is None or tokens < self.tokens_of_two_layers:
            return 1
        readings = min(epochs or math.inf, time.readable(weights) / tokens)
        return 2 if readings >= _READINGS_OF_TWO_LAYERS else 1

    def fitting_epochs(self, tokens: int, minutes: float | None, units: tuple[int, ...]) -> float:
        """Return how often to read a text: with minutes, until it is about learned by heart."""
        if minutes is None:
            share = min(1.0, self.sizes["large"].tokens / max(tokens, 1))
            return max(1.0, _EPOCHS * share)
        enough = _ENOUGH_DROPOUT if len(units) == 1 else _ENOUGH_DROPOUT_OF_TWO_LAYERS
        return max(_EPOCHS, round(2 ** (4 * enough - self.dropout) * tokens / max(units) ** 2))

    def fitting_dropout(self, tokens: int, readings: float, units: int) -> float:
        """Return the dropout that suits a text and how often it is read.

        It is a fourth more if the text is read twice as often or half as long, or if the layer has
        twice the weights.
        """
        doublings = math.log2(max(readings * units**2 / max(tokens, 1), 1e-9))
        dropout = (doublings + self.dropout) / 4
        return min(max(0.0, round(20 * dropout) / 20), _MOST_DROPOUT)

    def fitting_batch(
        self, tokens: int, training: float, readable: float, chunk_length: int | None
    ) -> tuple[int, int]:
        """Return a batch size and chunk length that suit a text, and how much of it can be read.

        A text of which `training` tokens are trained on gets enough updates. A text that is hardly
        read once is read at more places; else the network learns too much about the few that it
        reads last. A `chunk_length` that is given stays.
        """
        batch_size, chunk = self.batch_size, chunk_length or self.chunk_length
        while (
            batch_size < self.largest_batch
            and batch_size**2 * readable < _STREAMS_OF_ONE_READING**2 * tokens
            and readable >= _UPDATES_IN_TIME * 2 * batch_size * chunk
        ):
            batch_size *= 2
        while batch_size > 1 and training < _UPDATES * batch_size * chunk:
            batch_size //= 2
        if chunk_length is None:
            while chunk > _SHORTEST_CHUNK and training < _UPDATES * chunk:
                chunk //= 2
        return batch_size, chunk


_CHARACTERS = Defaults(
    sizes={
        "tiny": Size(0, 128, 0.016),
        "small": Size(0, 256, 0.016),
        "medium": Size(400_000, 512, 0.008),
        "large": Size(8_000_000, 1024, 0.008),
    },
    tokens_of_two_layers=250_000,
    dropout=-1,
    tokens_a_weight=3.5,
    enough_readings=4,
    schedule="linear",
    optimizer="cautious",
    batch_size=32,
    largest_batch=128,
    chunk_length=64,
    tie=False,
)
# With words most of the work is the softmax. It costs as much per token in small batches as in
# large ones, so small batches give more updates for the same time.
_WORDS = Defaults(
    sizes={
        "tiny": Size(0, 128, 0.008),
        "small": Size(0, 256, 0.008),
        "medium": Size(2_000_000, 512, 0.008),
        "large": Size(20_000_000, 1024, 0.008),
    },
    tokens_of_two_layers=math.inf,
    dropout=1.5,
    tokens_a_weight=0.8,
    enough_readings=2,
    schedule="cosine",
    optimizer="adamw",
    batch_size=16,
    largest_batch=16,
    chunk_length=32,
    tie=True,
)
DEFAULTS = {"char": _CHARACTERS, "byte": _CHARACTERS, "word": _WORDS}  # of each level
SIZES = tuple(_CHARACTERS.sizes)
