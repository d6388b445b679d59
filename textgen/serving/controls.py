"""The options of sampling as the page shows them: one control for each."""

from collections.abc import Sequence
from dataclasses import Field, fields
from typing import Any

from textgen.options.declare import value_type
from textgen.options.sampling import SamplingOptions, Temperatures
from textgen.serving.completions import SAMPLING_OPTIONS

_KINDS = {int: "integer", float: "number", bool: "boolean", Temperatures: "schedule"}
# Fields of a request that have another name as an option.
_FIELDS = {"length": "max_tokens"}


def sampling_controls(most_tokens: int) -> Sequence[dict[str, Any]]:
    """Return name, type, default, limits and help of each option that a request may have.

    A schedule is a number, or a text such as "1.2:0.6". `texts` is a list of texts.

    Args:
        most_tokens: the limit of `max_tokens`.
    """
    controls = [
        _control(item)
        for item in fields(SamplingOptions)
        if item.name in SAMPLING_OPTIONS or item.name in _FIELDS
    ]
    for control in controls:
        if control["name"] == "max_tokens":
            control["least"], control["most"] = 1, most_tokens
    return controls


def _control(item: Field[Any]) -> dict[str, Any]:
    kind, limits, default = value_type(item), item.metadata["limits"], item.default
    least = 0 if kind is Temperatures else limits["at least"]
    return {
        "name": _FIELDS.get(item.name, item.name),
        "type": "texts" if item.metadata["multiple"] else _KINDS[kind],
        "default": default.values[0] if isinstance(default, Temperatures) else default,
        "least": limits["above"] if least is None else least,
        "least_allowed": limits["above"] is None,
        "most": limits["at most"],
        "help": item.metadata["help"],
    }
