"""Training options given by a user, and the settings resolved from them for one text."""

import math
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from numbers import Integral
from typing import Any, NamedTuple

from textgen.errors import OptionError
from textgen.options.architecture import GATES, Architecture
from textgen.options.declare import option
from textgen.options.reading import ReadingOptions
from textgen.system.processor import cores, has_bfloat16

_LARGEST_DIMENSION = 65_536
_MOST_LAYERS = 100
_EMBEDDING = 64  # unless tied
_EPOCHS = 12.0  # of a text that is not long
_UPDATES = 40  # in an epoch of a short text, at least; see docs/sizes.md
_UPDATES_IN_TIME = 400  # with more streams than usual, at least
_STREAMS_OF_ONE_READING = 64  # half as many if a text is read four times as often
_SHORTEST_CHUNK = 8
_MOST_DROPOUT = 0.7
_ENOUGH_DROPOUT = 0.5  # a text that needs more has been read often enough
_TOKENS_A_UNIT = 16  # read by a good network of few minutes, for each unit squared
_BEFORE = {"schedule": "cosine", "optimizer": "adamw"}  # options that older runs lack


class _Size(NamedTuple):
    """The best settings for texts up to a length."""

    tokens: float  # of the longest text
    units: int
    learning_rate: float


class _Defaults(NamedTuple):
    """The best settings for one kind of token; docs/recipe.md has the measurements."""

    sizes: dict[str, _Size]
    dropout: float  # 4 times that of a text of as many tokens as the units squared, read once
    speed: float  # tokens a minute, times units squared, of a core that multiplies in float32
    schedule: str
    optimizer: str
    batch_size: int
    largest_batch: int  # of a long text that is trained on for few minutes
    chunk_length: int
    tie: bool


_CHARACTERS = _Defaults(
    sizes={
        "small": _Size(400_000, 256, 0.016),
        "medium": _Size(8_000_000, 512, 0.008),
        "large": _Size(math.inf, 1024, 0.008),
    },
    dropout=-1,
    speed=500_000 * 512**2,
    schedule="linear",
    optimizer="cautious",
    batch_size=32,
    largest_batch=128,
    chunk_length=64,
    tie=False,
)
# With words most of the work is the softmax. It costs as much per token in small batches as in
# large ones, so small batches give more updates for the same time.
_WORDS = _Defaults(
    sizes={
        "small": _Size(2_000_000, 256, 0.008),
        "medium": _Size(20_000_000, 512, 0.008),
        "large": _Size(math.inf, 1024, 0.008),
    },
    dropout=1.5,
    speed=50_000 * 512**2,
    schedule="cosine",
    optimizer="adamw",
    batch_size=16,
    largest_batch=16,
    chunk_length=32,
    tie=True,
)


def parse_units(value: Any) -> tuple[int, ...]:
    """Read 512, "512", "512,128" or (512, 128); raise ValueError for anything else."""
    parts = value.split(",") if isinstance(value, str) else value
    parts = parts if isinstance(parts, list | tuple) else [parts]
    if len(parts) > _MOST_LAYERS:
        raise ValueError(f"may have at most {_MOST_LAYERS} numbers, not {len(parts):,}")
    try:
        whole = [int(part) if isinstance(part, str) else part for part in parts]
    except ValueError:
        whole = []
    if not whole or not all(isinstance(n, Integral) and not isinstance(n, bool) for n in whole):
        raise ValueError(
            f"must be a whole number, or one for each layer, such as 512,128, not {value!r}"
        )
    return tuple(int(number) for number in whole)


@dataclass(frozen=True)
class TrainingOptions(ReadingOptions):
    """Options given by a user. None leaves the choice to `resolve`, which knows the text."""

    size: str | None = option(
        None,
        "Preset of --units and --learning-rate (by the length of the text and --minutes).",
        choices=tuple(_CHARACTERS.sizes),
    )
    units: tuple[int, ...] | None = option(
        None,
        "Units of each recurrent layer: one number, or one for each layer, such as 512,128.",
        at_least=1,
        at_most=_LARGEST_DIMENSION,
        parse=parse_units,
    )
    layers: int | None = option(
        None,
        "Number of recurrent layers (1, or as many as --units has).",
        at_least=1,
        at_most=_MOST_LAYERS,
    )
    embedding: int | None = option(
        None,
        "Size of a token's embedding (64, or the units of the last layer if tied).",
        at_least=1,
        at_most=_LARGEST_DIMENSION,
    )
    tie: bool | None = option(
        None, "Use the embedding in the output layer, too (the default for words)."
    )
    cell: str = option(
        "lstm",
        "Kind of recurrent layer; cifg is an LSTM with coupled input and forget gates.",
        choices=tuple(GATES),
    )
    dropout: float | None = option(
        None,
        "Share of each layer's outputs dropped in training (by the text and how often it is read).",
        at_least=0,
        below=1,
    )
    batch_size: int | None = option(
        None,
        "Number of streams the text is cut into (32, up to 128 for few --minutes on a long "
        "text; 16 for words; less for short texts).",
        at_least=1,
        at_most=_LARGEST_DIMENSION,
    )
    chunk_length: int | None = option(
        None,
        "Number of steps of backpropagation through time (64; 32 for words; less for short texts).",
        at_least=1,
        at_most=_LARGEST_DIMENSION,
    )
    epochs: float | None = option(
        None,
        "Passes over the text (12, fewer for a long text; with --minutes, 12 or more, until it is "
        "about learned by heart).",
        above=0,
        on_resume=True,
    )
    minutes: float | None = option(
        None,
        "Minutes to train for; with --epochs, training ends when either limit is reached.",
        above=0,
        on_resume=True,
    )
    learning_rate: float | None = option(
        None,
        "Peak learning rate of Adam (0.008, or 0.016 for short texts of characters).",
        above=0,
        at_most=10,
    )
    schedule: str | None = option(
        None,
        "Decay of the learning rate: linear over the last 40 % of the training, or a cosine (the "
        "default for words).",
        choices=("linear", "cosine"),
    )
    optimizer: str | None = option(
        None,
        "AdamW with cautious steps and a short memory of squares, or as it comes (the default for "
        "words).",
        choices=("cautious", "adamw"),
    )
    weight_decay: float = option(
        0.1, "Weight decay, multiplied by the learning rate.", at_least=0, below=1
    )
    patience: int | None = option(
        None,
        "Early stopping: stop after this many evaluations without improvement, once the learning "
        "rate falls.",
        at_least=1,
        on_resume=True,
    )
    seed: int = option(
        0,
        "Seed of the weights, of dropout and of the order of documents.",
        at_least=0,
        at_most=2**31 - 1,
    )
    precision: str = option(
        "auto",
        "Precision of matrix products; auto is bfloat16 if the processor supports it.",
        choices=("auto", "float32", "bfloat16"),
        on_resume=True,
    )
    save_every: float = option(60.0, "Seconds between checkpoints.", above=0, on_resume=True)
    stateless: bool = option(
        False, "Reset the state at every chunk, to measure the benefit of carrying it."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.units and self.layers and len(self.units) not in (1, self.layers):
            raise OptionError("layers", f"must be {len(self.units)} to match --units, or left out")
        if self.tie and self.units and self.embedding not in (None, self.units[-1]):
            raise _tied_embedding(self.units[-1])
        if self.patience is not None and not self.validation:
            raise OptionError("patience", "needs validation data; raise --validation")

    @property
    def reading(self) -> ReadingOptions:
        return ReadingOptions(**{f.name: getattr(self, f.name) for f in fields(ReadingOptions)})

    def resolve(self, tokens: int) -> "TrainingSettings":
        """Return the settings for a text of `tokens` tokens.

        Raises OptionError if `tie` and `embedding` do not fit the units chosen.
        """
        defaults = self._defaults
        precision = self.precision
        if precision == "auto":
            precision = "bfloat16" if has_bfloat16() else "float32"
        size = self.size or self._fitting_size(tokens, precision)
        preset = defaults.sizes[size]
        units = self.units or (preset.units,)
        if len(units) == 1:
            units *= self.layers or 1
        tie = self.tie
        if tie is None:
            tie = defaults.tie and self.embedding in (None, units[-1])
        embedding = self.embedding or (units[-1] if tie else _EMBEDDING)
        if tie and embedding != units[-1]:
            raise _tied_embedding(units[-1])
        epochs = self.epochs
        if epochs is None:
            epochs = self._fitting_epochs(tokens, max(units))
        readable = self._readable(max(units), precision)
        dropout = self.dropout
        if dropout is None:
            readings = min(epochs, readable / max(tokens, 1))
            dropout = self._fitting_dropout(tokens, max(units), readings)
        batch_size, chunk_length = self._fitting_batch(tokens, readable)
        return TrainingSettings(
            reading=self.reading,
            architecture=Architecture(self.cell, units, embedding, tie),
            size=size,
            dropout=dropout,
            batch_size=batch_size,
            chunk_length=chunk_length,
            epochs=epochs,
            minutes=self.minutes,
            learning_rate=self.learning_rate or preset.learning_rate,
            schedule=self.schedule or defaults.schedule,
            optimizer=self.optimizer or defaults.optimizer,
            weight_decay=self.weight_decay,
            patience=self.patience,
            seed=self.seed,
            precision=precision,
            save_every=self.save_every,
            stateless=self.stateless,
        )

    def _fitting_size(self, tokens: int, precision: str) -> str:
        """Return the largest preset that suits a text and that its minutes suffice to train."""
        sizes = list(self._defaults.sizes.items())
        fitting = "small"
        for (_, smaller), (name, size) in pairwise(sizes):
            least = _TOKENS_A_UNIT * size.units**2
            if tokens > smaller.tokens and self._readable(size.units, precision) >= least:
                fitting = name
        return fitting

    def _readable(self, units: int, precision: str) -> float:
        """Return how many tokens a layer of so many units reads in `minutes` here, about."""
        if self.minutes is None:
            return math.inf
        speed = self._defaults.speed * cores() * (3 if precision == "bfloat16" else 1)
        return self.minutes * speed / units**2

    def _fitting_epochs(self, tokens: int, units: int) -> float:
        """Return how often to read a text: with minutes, until it is about learned by heart."""
        if self.minutes is None:
            share = min(1.0, self._defaults.sizes["medium"].tokens / max(tokens, 1))
            return max(1.0, _EPOCHS * share)
        enough = 2 ** (4 * _ENOUGH_DROPOUT - self._defaults.dropout) * tokens / units**2
        return max(_EPOCHS, round(enough))

    def _fitting_dropout(self, tokens: int, units: int, readings: float) -> float:
        """Return the dropout that suits a text and how often it is read.

        It is a fourth more if the text is read twice as often or half as long, or if the layer has
        twice the weights.
        """
        doublings = math.log2(max(readings * units**2 / max(tokens, 1), 1e-9))
        dropout = (doublings + self._defaults.dropout) / 4
        return min(max(0.0, round(20 * dropout) / 20), _MOST_DROPOUT)

    def _fitting_batch(self, tokens: int, readable: float) -> tuple[int, int]:
        """Return a batch size and chunk length that suit a text and the minutes.

        A short text gets enough updates. A text that is hardly read once is read at more places;
        else the network learns too much about the few that it reads last.
        """
        defaults = self._defaults
        batch_size = self.batch_size or defaults.batch_size
        chunk_length = self.chunk_length or defaults.chunk_length
        training = (1 - self.validation - self.test) * tokens
        if self.batch_size is None:
            while (
                batch_size < defaults.largest_batch
                and batch_size**2 * readable < _STREAMS_OF_ONE_READING**2 * tokens
                and readable >= _UPDATES_IN_TIME * 2 * batch_size * chunk_length
            ):
                batch_size *= 2
            while batch_size > 1 and training < _UPDATES * batch_size * chunk_length:
                batch_size //= 2
            if self.chunk_length is None:
                while chunk_length > _SHORTEST_CHUNK and training < _UPDATES * chunk_length:
                    chunk_length //= 2
        return batch_size, chunk_length

    @property
    def _defaults(self) -> _Defaults:
        return _WORDS if self.level == "word" else _CHARACTERS


@dataclass(frozen=True)
class TrainingSettings:
    """Every setting of a training, resolved for one text.

    Training ends when its `epochs` or its `minutes` are over. One of them may be None: no limit.
    """

    reading: ReadingOptions
    architecture: Architecture
    size: str
    dropout: float
    batch_size: int
    chunk_length: int
    epochs: float | None
    minutes: float | None
    learning_rate: float
    schedule: str
    optimizer: str
    weight_decay: float
    patience: int | None
    seed: int
    precision: str
    save_every: float
    stateless: bool

    def to_json(self) -> dict[str, Any]:
        """Return the value of each option by name."""
        own = asdict(self)
        return own.pop("reading") | own.pop("architecture") | own

    @classmethod
    def from_json(cls, options: dict[str, Any], tokens: int) -> "TrainingSettings":
        """Return the settings stored by `to_json`, for a text of `tokens` tokens.

        Options that an older run lacks are as they were then, or resolved for this text. Raises
        OptionError for a value outside its limits, TypeError for an unknown option.
        """
        settings = TrainingOptions(**_BEFORE | options).resolve(tokens)
        if settings.minutes is None:
            return settings
        return replace(settings, epochs=options.get("epochs"))  # None is resolved: no limit

    def conflict(self, options: dict[str, Any]) -> tuple[str, str] | None:
        """Return the name and old value of the first of `options` that resuming cannot change."""
        fixed = {item.name for item in fields(TrainingOptions) if not item.metadata["on_resume"]}
        own = self.to_json() | {"layers": self.architecture.layers}
        for name in sorted(options.keys() & fixed):
            value = own[name]
            if options[name] == value:
                continue
            if name == "layers" or self._with({name: options[name]}) != self:
                return name, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        return None

    def resumed(self, options: dict[str, Any]) -> "TrainingSettings":
        """Return the settings for resuming with some options changed.

        Epochs replace both limits. Minutes replace the minutes, or the only limit there is.

        Raises OptionError for a value outside its limits, TypeError for an unknown option.
        """
        if "epochs" in options or ("minutes" in options and self.minutes is None):
            options = {"epochs": None, "minutes": None} | options
        return self._with(options)

    def _with(self, options: dict[str, Any]) -> "TrainingSettings":
        return self.from_json(self.to_json() | options, 0)


def _tied_embedding(units: int) -> OptionError:
    return OptionError("embedding", f"must equal --units, {units}, with --tie")
