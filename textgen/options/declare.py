"""Declare options and check their values.

An option is a field of a dataclass, which holds its name, type, default, limits and help. The
command line, the keywords of the library and `config.json` are made from these fields.
"""

import operator
from collections.abc import Callable, Iterable
from dataclasses import Field, field, fields
from difflib import get_close_matches
from numbers import Integral, Real
from types import NoneType
from typing import Any, get_args

from textgen.errors import OptionError


def option(
    default: Any,
    help: str,  # noqa: A002 - the name click uses
    *,
    short: str | None = None,
    choices: tuple[str, ...] = (),
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    parse: Callable[[Any], Any] | None = None,
    multiple: bool = False,
    escapes: bool = False,
    on_resume: bool = False,
    environment: str | None = None,
) -> Any:
    """Return a dataclass field for an option.

    Args:
        default: None if the default depends on other options or on the text.
        help: one sentence for `--help`.
        short: a letter for the command line.
        choices: the values allowed, if they can be listed.
        at_least, above, at_most, below: limits of a number, or of each of several.
        parse: converts what the user gives to the value; raises ValueError with a message that
            continues after the option's name.
        multiple: whether the command line accepts the option several times.
        escapes: whether the command line replaces escapes such as `\\n` in the text.
        on_resume: whether a resumed run may change it.
        environment: a variable that the command line reads if the option is not given.
    """
    return field(
        default=default,
        metadata={
            "help": help,
            "short": short,
            "choices": choices,
            "limits": {"at least": at_least, "above": above, "at most": at_most, "below": below},
            "parse": parse,
            "multiple": multiple,
            "escapes": escapes,
            "on_resume": on_resume,
            "environment": environment,
        },
    )


def value_type(item: Field[Any]) -> type:
    """Return the type of an option's value when it is not None."""
    types = get_args(item.type) or (item.type,)
    return next(t for t in types if t is not NoneType)


class Options:
    """Base class of option sets. Values are checked on creation, so every instance is valid."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, item.name, _checked(item, getattr(self, item.name)))

    @classmethod
    def check_names(cls, given: Iterable[str], *others: str) -> None:
        """Raise OptionError for a name in `given` that is neither an option nor in `others`."""
        known = [*(item.name for item in fields(cls)), *others]  # type: ignore[arg-type]
        for name in given:
            if name not in known:
                close = get_close_matches(name, known, 1)
                advice = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
                raise OptionError(name, f"is not an option here; {advice}")


def without_none(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are given: None is the same as leaving one out."""
    return {name: value for name, value in options.items() if value is not None}


_HOLDS = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}
_TYPE_NAMES = {int: "whole number", float: "number", str: "text", bool: "yes or no"}
_LARGEST = {int: 1 << 63, float: 1e300}  # NaN and infinity are not below it
_NUMBERS: dict[type, type] = {int: Integral, float: Real}  # includes NumPy's numbers


def _checked(item: Field[Any], value: Any) -> Any:
    """Return `value` converted to the option's type, or raise OptionError."""
    if value is None and item.default is None:
        return None
    if parse := item.metadata["parse"]:
        try:
            value = parse(value)
        except ValueError as error:
            raise OptionError(item.name, str(error)) from None
    else:
        value = _converted(item, value)
    if (choices := item.metadata["choices"]) and value not in choices:
        raise OptionError(item.name, f"must be one of {', '.join(choices)}, not {value!r}")
    for words, limit in item.metadata["limits"].items():
        for number in value if isinstance(value, tuple) else [value]:
            if limit is not None and not _HOLDS[words](number, limit):
                raise OptionError(item.name, f"must be {words} {limit}, not {number}")
    return value


def _converted(item: Field[Any], value: Any) -> Any:
    kind = value_type(item)
    fits = isinstance(value, _NUMBERS.get(kind, kind)) and (kind is bool) == isinstance(value, bool)
    try:
        converted = kind(value) if fits else value
    except OverflowError:  # an integer too large for a float
        fits = False
    if not fits or (kind in _LARGEST and not abs(converted) < _LARGEST[kind]):
        raise OptionError(item.name, f"must be a {_TYPE_NAMES[kind]}, not {value!r}")
    return converted


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise OptionError if `value` is not a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise OptionError(name, f"must be a whole number, at least {least}, not {value!r}")
