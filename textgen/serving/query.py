"""The options of a training in the query of a request."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from typing import Any

from textgen.errors import OptionError
from textgen.options.declare import value_type
from textgen.options.training import TrainingOptions
from textgen.serving.refusals import RequestError

MOST_WEIGHTS = 250_000_000
"""Of a network that clients train. Training takes about 16 bytes for each."""

_TRUTHS = {"true": True, "yes": True, "false": False, "no": False}
_UNSENDABLE = re.compile("[\0\ud800-\udfff]")  # an argument of a process cannot have these
_MOST_TOKENS = 16_384  # in a training step


def training_flags(query: Mapping[str, str], most_tokens: int) -> list[str]:
    """Return the flags of `textgen train` for the options in a query.

    A query has its own escapes, so a delimiter in it has none.

    Args:
        most_tokens: the length of the longest text that may be trained on.

    Raises RequestError for an option that does not exist or is outside its limits, or for a
    network that needs far too much memory.
    """
    try:
        TrainingOptions.check_names(query, "from")
        given = [item for item in fields(TrainingOptions) if item.name in query]
        asked = TrainingOptions(**{item.name: _value(item, query[item.name]) for item in given})
        _check_memory(asked, most_tokens)
    except OptionError as error:
        raise RequestError.of(error) from None
    return [flag for item in given for flag in _flags(item, getattr(asked, item.name))]


def _value(item: Field[Any], text: str) -> Any:
    """Return the value of an option; text that has another type is left to the option's check."""
    kind = value_type(item)
    if _UNSENDABLE.search(text):
        raise OptionError(item.name, f"has a character that is not allowed: {text!r}")
    if kind is bool:
        return _TRUTHS.get(text, text)
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError:
        return text


def _check_memory(asked: TrainingOptions, most_tokens: int) -> None:
    """Refuse what is too large for any text; the weights are counted again when it is read."""
    vocabulary = asked.max_vocabulary if asked.level == "word" else 256
    settings = asked.resolve(most_tokens, vocabulary)
    if (weights := settings.architecture.weight_count(vocabulary)) > MOST_WEIGHTS:
        raise OptionError(
            "units",
            f"and the other sizes make {weights:,} weights; at most {MOST_WEIGHTS:,} are allowed "
            "here",
        )
    if (tokens := settings.batch_size * settings.chunk_length) > _MOST_TOKENS:
        raise OptionError(
            "batch_size",
            f"times --chunk-length must be at most {_MOST_TOKENS:,}, not {tokens:,}",
        )


def _flags(item: Field[Any], value: Any) -> Iterator[str]:
    flag = item.name.replace("_", "-")
    if value is True:
        yield f"--{flag}"
    elif value is False:
        if item.default is None:  # the default depends on other options
            yield f"--no-{flag}"
    else:
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        yield f"--{flag}={_escaped(text) if item.metadata['escapes'] else text}"


def _escaped(text: str) -> str:
    r"""Return what `unescape` makes `text` of."""
    return text.replace("\\", "\\\\")
