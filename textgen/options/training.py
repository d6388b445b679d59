"""Every option once: its name, type, default, limits and help.

The command line, the keywords of the library and `config.json` are all made from the two
dataclasses below, so they cannot drift apart.
"""

import math
import operator
from dataclasses import Field, dataclass, field, fields, replace
from numbers import Integral, Real
from types import NoneType
from typing import Any, get_args, get_origin

from textgen.errors import OptionError
from textgen.system.processor import has_bfloat16


def option(
    default: Any,
    help: str,  # noqa: A002 - click's own word
    *,
    short: str | None = None,
    choices: tuple[str, ...] = (),
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    on_resume: bool = False,
    reads: bool = False,
) -> Any:
    """A dataclass field that carries its help and its limits.

    `on_resume` marks what may differ when a stopped run goes on: how long, not what and how.
    `reads` marks what decides on how books become ids.
    """
    return field(
        default=default,
        metadata={
            "help": help,
            "short": short,
            "choices": choices,
            "limits": {
                "at least": at_least,
                "above": above,
                "at most": at_most,
                "below": below,
            },
            "on_resume": on_resume,
            "reads": reads,
        },
    )


def value_type(item: Field[Any]) -> tuple[type, bool]:
    """The plain type of an option and whether it may be None."""
    types = get_args(item.type) or (item.type,)
    return next(t for t in types if t is not NoneType), NoneType in types


@dataclass(frozen=True)
class Temperatures:
    """A temperature for each token of a text: cycled through, or sliding between two."""

    values: tuple[float, ...]
    sliding: bool = False

    def __post_init__(self) -> None:
        if self.sliding and len(self.values) != 2:
            raise ValueError("must slide between two numbers, as 1.2:0.6")
        if not self.values or not all(abs(value) < 1e300 for value in self.values):
            raise ValueError("must be a number, or several as 0.5,1.0 or 1.2:0.6")
        if min(self.values) < 0:
            raise ValueError("must be at least 0")

    def at(self, position: int, length: int) -> float:
        """The temperature of the token at `position`, from 0, of a text of `length`.

        Beyond the length it stays what it was there, where it slides.
        """
        if not self.sliding:
            return self.values[position % len(self.values)]
        first, last = self.values
        return first + (last - first) * min(position / max(length - 1, 1), 1.0)

    def __str__(self) -> str:
        return (":" if self.sliding else ",").join(f"{value:g}" for value in self.values)


def temperatures(value: Any) -> Temperatures:
    """Read 0.8, "0.5,1.0" (also as numbers in a sequence) or "1.2:0.6"; else raise ValueError."""
    if isinstance(value, Temperatures):
        return value
    sliding = isinstance(value, str) and ":" in value
    parts = value.split(":" if sliding else ",") if isinstance(value, str) else value
    parts = parts if isinstance(parts, list | tuple) else [parts]
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


_HOLDS = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}
_NAMES = {int: "whole number", float: "number", str: "text", bool: "yes or no"}
_LARGEST = {int: 1 << 63, float: 1e300}  # NaN and infinity are not below it
_NUMBERS: dict[type, type] = {int: Integral, float: Real}  # NumPy's are numbers, too


def _check(item: Field[Any], value: Any) -> Any:
    """Return `value` as the option's type; raise OptionError where it does not fit."""
    if item.type is Temperatures:
        try:
            return temperatures(value)
        except ValueError as error:
            raise OptionError(item.name, str(error)) from None
    if get_origin(item.type) is tuple:
        texts = (value,) if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(t, str) and t for t in texts):
            raise OptionError(item.name, f"must be non-empty texts, not {value!r}")
        return tuple(texts)
    kind, optional = value_type(item)
    if value is None and (optional or item.default is None):
        return None
    fits = isinstance(value, _NUMBERS.get(kind, kind)) and (kind is bool) == isinstance(value, bool)
    try:
        converted = kind(value) if fits else value
    except OverflowError:  # a whole number too large to be a float
        fits = False
    if not fits or (kind in _LARGEST and not abs(converted) < _LARGEST[kind]):
        raise OptionError(item.name, f"must be a {_NAMES[kind]}, not {value!r}")
    value = converted
    if (choices := item.metadata["choices"]) and value not in choices:
        raise OptionError(item.name, f"must be one of {', '.join(choices)}, not {value!r}")
    for words, limit in item.metadata["limits"].items():
        if limit is not None and not _HOLDS[words](value, limit):
            raise OptionError(item.name, f"must be {words} {limit}, not {value}")
    return value


class Options:
    """Base of the option sets: checked when made, so that what exists is valid."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, item.name, _check(item, getattr(self, item.name)))


_SIZES = {"small": 256, "medium": 512, "large": 1024}  # units


@dataclass(frozen=True)
class _Defaults:
    """What wins for one kind of token; how it was found stands in docs/training.md."""

    up_to: dict[str, float]  # tokens of the largest text for each size
    dropout: dict[str, float]
    tokens_a_minute: int  # of a text that is not read too often in so much time
    batch_size: int
    chunk_length: int
    tie: bool


_CHARACTERS = _Defaults(
    up_to={"small": 400_000, "medium": 8_000_000, "large": math.inf},
    dropout={"small": 0.5, "medium": 0.3, "large": 0.2},
    tokens_a_minute=100_000,
    batch_size=32,
    chunk_length=64,
    tie=False,
)
# With words most of the work is the softmax, which costs as much a token in small batches as
# in large ones; so more and smaller updates are had for nothing.
_WORDS = _Defaults(
    up_to={"small": 2_000_000, "medium": 20_000_000, "large": math.inf},
    dropout={"small": 0.2, "medium": 0.2, "large": 0.2},
    tokens_a_minute=25_000,
    batch_size=16,
    chunk_length=32,
    tie=True,
)


@dataclass(frozen=True)
class TrainingOptions(Options):
    """How a book is read and a network trained."""

    level: str = option("char", "What a token is.", choices=("char", "word", "byte"), reads=True)
    size: str = option(
        None,
        "Preset of --units and --dropout, by the length of the text where not given.",
        choices=tuple(_SIZES),
    )
    units: int = option(None, "Units in each recurrent layer.", at_least=1, at_most=65_536)
    layers: int = option(1, "Recurrent layers.", at_least=1, at_most=100)
    embedding: int = option(
        None, "Size of a token's embedding (64; the units, if tied).", at_least=1, at_most=65_536
    )
    tie: bool = option(None, "Use the embedding for the output, too (words do).")
    cell: str = option("lstm", "Kind of recurrent layer.", choices=("lstm", "gru"))
    dropout: float = option(
        None, "Share of each layer's outputs dropped in training.", at_least=0, below=1
    )
    batch_size: int = option(
        None, "Streams the text is cut into (32; 16 for words).", at_least=1, at_most=65_536
    )
    chunk_length: int = option(
        None, "Steps a gradient reaches back (64; 32 for words).", at_least=1, at_most=65_536
    )
    epochs: float | None = option(
        None, "Passes over the text (20 unless --minutes is given).", above=0, on_resume=True
    )
    minutes: float | None = option(
        None, "Wall-clock time to train for, instead of --epochs.", above=0, on_resume=True
    )
    learning_rate: float = option(0.008, "Adam's peak learning rate.", above=0, at_most=10)
    weight_decay: float = option(
        0.1, "Share of the weights taken away, times the learning rate.", at_least=0, below=1
    )
    validation: float = option(
        0.1, "Share of the text, at its end, held out.", at_least=0, below=1, reads=True
    )
    patience: int | None = option(
        None, "Stop after this many evaluations without gain.", at_least=1, on_resume=True
    )
    seed: int = option(0, "Seed of the weights and of dropout.", at_least=0, at_most=2**31 - 1)
    precision: str = option(
        "auto",
        "Of matrix products; auto takes bfloat16 where the processor has it.",
        choices=("auto", "float32", "bfloat16"),
        on_resume=True,
    )
    save_every: float = option(60.0, "Seconds between saves.", above=0, on_resume=True)
    stateless: bool = option(False, "Forget the state at every chunk, to see what it is worth.")
    encoding: str | None = option(
        None, "Encoding of the books, if not UTF-8 or marked.", reads=True
    )
    keep_gutenberg: bool = option(False, "Keep Project Gutenberg's header and licence.", reads=True)
    delimiter: str | None = option(
        None, r"Text between the documents of a file; \n is the end of a line.", reads=True
    )
    csv: str | None = option(None, "Column of a CSV file with a document in each row.", reads=True)
    jsonl: str | None = option(
        None, "Key of the document in each line of a JSON-lines file.", reads=True
    )
    min_count: int = option(2, "Rarer words become the unknown token.", at_least=1, reads=True)
    max_vocabulary: int = option(
        10_000,
        "Most words in the vocabulary, the unknown token included.",
        at_least=2,
        reads=True,
    )

    def __post_init__(self) -> None:
        defaults = self._defaults
        self._default("batch_size", defaults.batch_size)
        self._default("chunk_length", defaults.chunk_length)
        if self.size in _SIZES:
            self._default("units", _SIZES[self.size])
            self._default("dropout", defaults.dropout[self.size])
        if not defaults.tie or self.units is not None:
            self._default("tie", defaults.tie and self.embedding in (None, self.units))
        if self.tie is False:
            self._default("embedding", 64)
        elif self.tie and self.units is not None:
            self._default("embedding", self.units)
        super().__post_init__()
        if self.tie and self.units is not None and self.embedding != self.units:
            raise OptionError("embedding", f"must equal --units, {self.units}, with --tie")
        if self.precision == "auto":
            object.__setattr__(self, "precision", "bfloat16" if has_bfloat16() else "float32")
        ways = [name for name in ("delimiter", "csv", "jsonl") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise OptionError(ways[1], f"cannot be given together with --{ways[0]}; choose one")
        for name in ways:
            if not getattr(self, name):
                raise OptionError(name, "must not be empty")
        if self.epochs is not None and self.minutes is not None:
            raise OptionError("minutes", "cannot be given together with --epochs; choose one")
        if self.patience is not None and not self.validation:
            raise OptionError("patience", "needs a part to validate on; raise --validation")
        if self.minutes is None:
            self._default("epochs", 20.0)

    def sized(self, tokens: int) -> "TrainingOptions":
        """The options for a text of so many tokens: those of its size where none was given."""
        if self.size:
            return self
        defaults = self._defaults
        size = next(size for size, most in defaults.up_to.items() if tokens <= most)
        often = self.minutes is not None and tokens < defaults.tokens_a_minute * self.minutes
        preset = replace(self, size=size)
        # A text that is read over and over would be learned by heart.
        return replace(preset, dropout=0.5) if often and self.dropout is None else preset

    @property
    def _defaults(self) -> _Defaults:
        return _WORDS if self.level == "word" else _CHARACTERS

    def _default(self, name: str, value: Any) -> None:
        if getattr(self, name) is None:
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class SamplingOptions(Options):
    """How the next token is drawn and where a text ends."""

    temperature: Temperatures = option(
        Temperatures((0.8,)),
        "Below 1 safer, above 1 wilder; 0 takes the likeliest token. 0.5,1 takes turns, "
        "1.2:0.6 slides over the length.",
        short="t",
    )
    length: int = option(500, "Most tokens to generate.", short="l", at_least=0)
    top_k: int | None = option(None, "Draw among the K likeliest tokens.", at_least=1)
    top_p: float | None = option(
        None, "Draw among the likeliest tokens that together reach P.", above=0, at_most=1
    )
    min_p: float | None = option(
        None, "Draw among tokens at least P times as likely as the best.", at_least=0, at_most=1
    )
    repetition_penalty: float = option(
        1.0,
        "Above 1 makes tokens that stand in the text already less likely.",
        at_least=0.01,
        at_most=100,
    )
    repeat_last_n: int | None = option(
        None, "Of the text, only the last N tokens count as repeated.", at_least=1
    )
    ban: tuple[str, ...] = option((), "Never draw this token; may be given several times.")
    novel: int | None = option(
        None, "Never copy N or more characters in a row from the training text.", at_least=2
    )
    stop: tuple[str, ...] = option((), "End before this text; may be given several times.")
    until_sentence: bool = option(
        False, "After the length, go on to the end of the sentence (at most as long again)."
    )
    beam: int | None = option(
        None,
        "Draw nothing: follow the N likeliest texts and write the best.",
        at_least=1,
        at_most=1000,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.repeat_last_n is not None and self.repetition_penalty == 1:
            raise OptionError("repeat_last_n", "needs a penalty; give --repetition-penalty, too")
