"""Refused requests, and their answers in the form of OpenAI's errors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textgen.errors import OptionError, TextgenError

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    500: "server_error",
    503: "overloaded_error",
}
_LONGEST_MESSAGE = 1000  # characters; messages show what a client sent


class RequestError(Exception):
    """A request that is not answered, and why."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        """Describe the refusal.

        Args:
            status: the HTTP status, 4xx, 503 if the server has too much to do, or 500 if it fails.
            param: the field that is wrong.
            code: a word that programs can compare.
            retry_after: seconds after which the same request may succeed.
        """
        if len(message) > _LONGEST_MESSAGE:
            message = f"{message[:_LONGEST_MESSAGE]}..."
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after

    @classmethod
    def of(cls, error: TextgenError, param: str | None = None) -> "RequestError":
        """Return the refusal for an error of the library, by default in the option it names."""
        if param is None and isinstance(error, OptionError):
            param = error.name
        return cls(400, str(error), param=param)

    @property
    def body(self) -> dict[str, Any]:
        kind = _TYPES.get(self.status, "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}

    @property
    def headers(self) -> dict[str, str]:
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


@contextmanager
def refusing_prompt() -> Iterator[None]:
    """Raise RequestError for what the library raises about a prompt or its options."""
    try:
        yield
    except OptionError as error:
        raise RequestError.of(error) from None
    except TextgenError as error:
        raise RequestError.of(error, "prompt") from None


def no_run(name: str) -> RequestError:
    """Return the refusal for a run that does not exist."""
    return RequestError(404, f"there is no run {name[:64]!r}", code="run_not_found")


def without_folder(message: str, run: Path) -> str:
    """Return a message about a run without the folder that the run is in."""
    return message.replace(f"{run.parent}{os.sep}", "")
