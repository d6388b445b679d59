"""Command-line options made from the options of the library."""

from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any, TypeVar

import click

from textgen.cli.paths import FOLDER
from textgen.errors import OptionError
from textgen.options.declare import Options, value_type
from textgen.options.escapes import unescape

_Command = TypeVar("_Command", bound=Callable[..., None])


class EscapedText(click.ParamType[str]):
    r"""A text in which `\n`, `\t` and `\\` are escapes."""

    name = "text"

    def convert(self, value: Any, *_: Any) -> str:
        return unescape(value)


class Shares(click.ParamType[list[float]]):
    """Numbers separated by commas."""

    name = "text"

    def convert(self, value: Any, *_: Any) -> list[float]:
        try:
            return [float(part) for part in value.split(",")]
        except ValueError:
            message = f"must be numbers separated by commas, not {value!r}"
            raise OptionError("weights", message) from None


out = click.option(
    "--out", type=FOLDER, help="Run folder.  [default: checkpoints/ and the first book's name]"
)
force = click.option("--force", is_flag=True, help="Replace an existing run.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Print no progress and no notes.")
weights = click.option(
    "--weights", type=Shares(), help="Shares of several RUNs in the mixture, such as 0.7,0.3."
)
encoding = click.option(
    "--encoding", help="Encoding of the text.  [default: UTF-8, or by byte-order mark]"
)
keep_gutenberg = click.option(
    "--keep-gutenberg", is_flag=True, help="Keep Project Gutenberg's header and license."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def options_of(options: type[Options]) -> Callable[[_Command], _Command]:
    """Return a decorator that adds an option for each field; those not given are None or ()."""

    def add(command: _Command) -> _Command:
        every: tuple[Field[Any], ...] = fields(options)  # type: ignore[arg-type]
        for item in reversed(every):
            command = _click_option(item)(command)
        return command

    return add


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given; the others have their defaults in the dataclass."""
    return {name: value for name, value in options.items() if value not in (None, ())}


def _click_option(item: Field[Any]) -> Callable[[_Command], _Command]:
    flag = "--" + item.name.replace("_", "-")
    names = [flag, item.name]
    if item.metadata["short"]:
        names.insert(0, "-" + item.metadata["short"])
    kind = value_type(item)
    settings: dict[str, Any] = {"help": item.metadata["help"], "default": None}
    if item.metadata["environment"]:
        settings |= {"envvar": item.metadata["environment"], "show_envvar": True}
    if kind is bool:
        settings["is_flag"] = True
        if item.default is None:
            names[0] += "/--no-" + flag.removeprefix("--")
    elif item.metadata["multiple"]:
        settings |= {"multiple": True, "type": str}
    else:
        choices = item.metadata["choices"]
        plain = kind if kind in (int, float) else str
        settings["type"] = click.Choice(choices) if choices else plain
        if item.default is not None:
            settings["help"] += f"  [default: {item.default}]"
    if item.metadata["escapes"]:
        settings["type"] = EscapedText()
    return click.option(*names, **settings)
