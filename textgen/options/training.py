"""Training options given by a user, and the settings resolved from them for one text."""

from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral
from typing import Any

from textgen.errors import OptionError
from textgen.options.architecture import GATES, Architecture
from textgen.options.declare import option
from textgen.options.defaults import DEFAULTS, SIZES, Time
from textgen.options.reading import ReadingOptions
from textgen.system.processor import has_bfloat16

_LARGEST_DIMENSION = 65_536
_MOST_LAYERS = 100
_EMBEDDING = 64  # unless tied
_LARGEST_SOFTMAX = 15_000  # tokens; a larger vocabulary has a sampled softmax, about as slow
_BEFORE = {"schedule": "cosine", "optimizer": "adamw"}  # options that older runs lack


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
        choices=SIZES,
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
        "Number of recurrent layers (1, or 2 if the --minutes suffice to read a text of characters "
        "often; as many as --units has).",
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

    def resolve(self, tokens: int, vocabulary: int) -> "TrainingSettings":
        """Return the settings for a text of `tokens` tokens, of `vocabulary` kinds.

        Raises OptionError if `tie` and `embedding` do not fit the units chosen.
        """
        defaults = DEFAULTS[self.level]
        precision = self.precision
        if precision == "auto":
            precision = "bfloat16" if has_bfloat16() else "float32"
        time = Time(self.minutes, precision)

        kinds = min(vocabulary, _LARGEST_SOFTMAX)

        def weights_of(units: int, layers: int = self.layers or 1) -> int:
            return self._architecture((units,) * layers).weight_count(kinds)

        size = self.size or defaults.fitting_size(tokens, time, weights_of)
        preset = defaults.sizes[size]
        units = self.units or (preset.units,)
        layers = self.layers
        if layers is None and self.units is None:
            weights = weights_of(preset.units, 2)
            layers = defaults.fitting_layers(tokens, self.epochs, time, weights)
        if len(units) == 1:
            units *= layers or 1
        epochs = self.epochs
        if epochs is None:
            epochs = defaults.fitting_epochs(tokens, self.minutes, units)
        architecture = self._architecture(units)
        if architecture.tie and architecture.embedding != units[-1]:
            raise _tied_embedding(units[-1])
        readable = time.readable(architecture.weight_count(kinds))
        dropout = self.dropout
        if dropout is None:
            readings = min(epochs, readable / max(tokens, 1))
            dropout = defaults.fitting_dropout(tokens, readings, max(units))
        batch_size, chunk_length = self.batch_size, self.chunk_length
        if batch_size is None:
            training = (1 - self.validation - self.test) * tokens
            batch_size, chunk_length = defaults.fitting_batch(
                tokens, training, readable, chunk_length
            )
        return TrainingSettings(
            reading=self.reading,
            architecture=architecture,
            size=size,
            dropout=dropout,
            batch_size=batch_size,
            chunk_length=chunk_length or defaults.chunk_length,
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

    def _architecture(self, units: tuple[int, ...]) -> Architecture:
        tie = self.tie
        if tie is None:
            tie = DEFAULTS[self.level].tie and self.embedding in (None, units[-1])
        embedding = self.embedding or (units[-1] if tie else _EMBEDDING)
        return Architecture(self.cell, units, embedding, tie)


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
        settings = TrainingOptions(**_BEFORE | options).resolve(tokens, 0)
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
