"""Options for generating text."""

from dataclasses import dataclass
from typing import Any

from textgen.errors import OptionError
from textgen.options.declare import Options, option

_MOST_TEMPERATURES = 1000


@dataclass(frozen=True)
class Temperatures:
    """The temperature of each token of a text: values used in turn, or interpolated between two."""

    values: tuple[float, ...]
    sliding: bool = False

    def __post_init__(self) -> None:
        if self.sliding and len(self.values) != 2:
            raise ValueError("must be two numbers to slide between, such as 1.2:0.6")
        if not self.values or not all(abs(value) < 1e300 for value in self.values):
            raise ValueError("must be a number, or several such as 0.5,1.0 or 1.2:0.6")
        if min(self.values) < 0:
            raise ValueError("must be at least 0")

    @property
    def is_constant(self) -> bool:
        return len(self.values) == 1

    def at(self, position: int, length: int) -> float:
        """Return the temperature of the token at `position`, from 0, of a text of `length`.

        Beyond the length, a sliding temperature stays at its last value.
        """
        if not self.sliding:
            return self.values[position % len(self.values)]
        first, last = self.values
        return first + (last - first) * min(position / max(length - 1, 1), 1.0)

    def __str__(self) -> str:
        return (":" if self.sliding else ",").join(f"{value:g}" for value in self.values)


def parse_temperatures(value: Any) -> Temperatures:
    """Read 0.8, "0.5,1.0", (0.5, 1.0) or "1.2:0.6"; raise ValueError for anything else."""
    if isinstance(value, Temperatures):
        return value
    sliding = isinstance(value, str) and ":" in value
    parts: Any = value
    if isinstance(value, str):
        parts = value.split(":" if sliding else ",", _MOST_TEMPERATURES)
    parts = parts if isinstance(parts, list | tuple) else [parts]
    if len(parts) > _MOST_TEMPERATURES:
        raise ValueError(f"must be at most {_MOST_TEMPERATURES:,} numbers")
    try:
        if any(isinstance(part, bool) for part in parts):
            raise TypeError
        numbers = tuple(float(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    try:
        return Temperatures(numbers, sliding and bool(numbers))
    except ValueError as error:
        raise ValueError(f"{error}, not {value!r}") from None


def parse_texts(value: Any) -> tuple[str, ...]:
    """Read one or several texts; raise ValueError for anything else, or if one is empty."""
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(t, str) and t for t in texts):
        raise ValueError(f"must be non-empty texts, not {value!r}")
    return tuple(texts)


@dataclass(frozen=True)
class SamplingOptions(Options):
    """How the next token is drawn, and where a text ends."""

    temperature: Temperatures = option(
        Temperatures((0.8,)),
        "Below 1 is safer, above 1 wilder; 0 always takes the likeliest token. 0.5,1 alternates, "
        "1.2:0.6 slides over the length.",
        short="t",
        parse=parse_temperatures,
    )
    length: int = option(500, "Maximum number of tokens to generate.", short="l", at_least=0)
    top_k: int | None = option(None, "Sample from the K likeliest tokens.", at_least=1)
    top_p: float | None = option(
        None,
        "Sample from the likeliest tokens whose probabilities add up to P.",
        above=0,
        at_most=1,
    )
    min_p: float | None = option(
        None, "Sample from tokens at least P times as likely as the best.", at_least=0, at_most=1
    )
    repetition_penalty: float = option(
        1.0,
        "Above 1 makes tokens that already occur in the text less likely.",
        at_least=0.01,
        at_most=100,
    )
    repeat_last_n: int | None = option(
        None, "Apply the repetition penalty to the last N tokens only.", at_least=1
    )
    ban: tuple[str, ...] = option(
        (),
        "Never generate this token; can be repeated.",
        parse=parse_texts,
        multiple=True,
        escapes=True,
    )
    novel: int | None = option(
        None, "Never copy N or more characters in a row from the training text.", at_least=2
    )
    stop: tuple[str, ...] = option(
        (),
        r"Stop before this text, such as \n; can be repeated.",
        parse=parse_texts,
        multiple=True,
        escapes=True,
    )
    until_sentence: bool = option(
        False, "After the length, continue to the end of the sentence (up to twice the length)."
    )
    beam: int | None = option(
        None,
        "Search for the likeliest text with a beam of N instead of sampling.",
        at_least=1,
        at_most=1000,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.repeat_last_n is not None and self.repetition_penalty == 1:
            raise OptionError("repeat_last_n", "needs a penalty; give --repetition-penalty, too")

    @property
    def longest(self) -> int:
        """The most tokens that a text can have."""
        return self.length * (2 if self.until_sentence else 1)
