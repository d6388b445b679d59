"""The options of sampling as the page shows them: one control for each."""

from dataclasses import Field, fields
from typing import Any

from textgen.options.declare import value_type
from textgen.options.sampling import SamplingOptions, Temperatures
from textgen.serving.completions import SAMPLING_OPTIONS

_VALUE_NAMES = {int: "integer", float: "number", bool: "boolean", Temperatures: "schedule"}


def sampling_controls(most_tokens: int) -> list[dict[str, Any]]:
    """Return name, type, default, limits and help of each option that a request may have.

    A `schedule` is a number, or a text such as "1.2:0.6"; `texts` is a list of texts.

    Args:
        most_tokens: the limit of `max_tokens`.
    """
    controls = {item.name: _control(item) for item in fields(SamplingOptions)}
    length = controls["length"]
    tokens = {"name": "max_tokens", "least": 1, "most": most_tokens}
    tokens["default"] = min(length["default"], most_tokens)
    temperature, *others = (controls[name] for name in SAMPLING_OPTIONS)
    return [temperature, length | tokens, *others]


def _control(item: Field[Any]) -> dict[str, Any]:
    kind, limits, default = value_type(item), item.metadata["limits"], item.default
    least = 0 if kind is Temperatures else limits["at least"]
    return {
        "name": item.name,
        "type": "texts" if item.metadata["multiple"] else _VALUE_NAMES[kind],
        "default": default.values[0] if isinstance(default, Temperatures) else default,
        "least": limits["above"] if least is None else least,
        "least_allowed": limits["above"] is None,
        "most": limits["at most"],
        "help": item.metadata["help"],
    }
