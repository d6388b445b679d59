"""The fields of a JSON object that a client sent, checked."""

from collections.abc import Mapping
from typing import Any

from textgen.serving.refusals import RequestError


class Fields:
    """The fields of a JSON object; null is the same as leaving a field out."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        value = self._body.get(name)
        if value is None:
            return default
        if type(value) is not int or not least <= value <= most:
            raise RequestError(
                400,
                f"{name} must be a whole number from {least} to {most}, not {shown(value)}",
                param=name,
            )
        return value

    def flag(self, name: str) -> bool:
        value = self._body.get(name)
        if value is not None and not isinstance(value, bool):
            raise RequestError(400, f"{name} must be true or false, not {shown(value)}", param=name)
        return bool(value)

    def text(self, name: str) -> str | None:
        value = self._body.get(name)
        if value is not None and not isinstance(value, str):
            raise RequestError(400, f"{name} must be a text, not {shown(value)}", param=name)
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        value = self._body.get(name)
        if value is not None and not isinstance(value, dict):
            raise RequestError(400, f"{name} must be an object, not {shown(value)}", param=name)
        return value or {}


def shown(value: Any) -> str:
    """Return a value that a client sent, for a message."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
