"""Options of the server."""

import re
from dataclasses import dataclass
from typing import Any

from textgen.options.declare import Options, option
from textgen.options.sampling import parse_texts

_ORIGIN = re.compile(r"https?://[^/\s]+|\*")


def parse_key(value: Any) -> str:
    """Return a key; raise ValueError if it is empty or not a text."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text that is not empty")
    return value


def parse_origins(value: Any) -> tuple[str, ...]:
    """Read one or several origins; raise ValueError for anything else."""
    origins = parse_texts(value)
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"must be an origin such as https://example.org, or *, not {origin!r}")
    return origins


def parse_names(value: Any) -> tuple[str, ...]:
    """Read one or several host names; raise ValueError for anything else."""
    return tuple(name.lower() for name in parse_texts(value))


@dataclass(frozen=True)
class ServingOptions(Options):
    """Who may use the server, and how much of it."""

    api_key: str | None = option(
        None,
        "Key that clients send as a bearer token.",
        environment="TEXTGEN_API_KEY",
        parse=parse_key,
    )
    allow_host: tuple[str, ...] = option(
        (),
        "Accept requests to this host name, such as that of a proxy; can be repeated.",
        parse=parse_names,
        multiple=True,
    )
    cors_origin: tuple[str, ...] = option(
        (),
        "Let pages of this origin use the server; can be repeated. * is every page.",
        parse=parse_origins,
        multiple=True,
    )
    slots: int = option(64, "Texts written at once.", at_least=1, at_most=4096)
    queue: int = option(256, "Requests that may wait for a slot.", at_least=0)
    max_prompt: int = option(1_000_000, "Maximum number of tokens in a prompt.", at_least=1)
    max_tokens: int = option(100_000, "Maximum number of tokens to generate.", at_least=1)
    max_texts: int = option(128, "Maximum number of texts in a request.", at_least=1)
    max_body: float = option(10.0, "Maximum size of a request, in MB.", above=0)
    max_seconds: float = option(600.0, "Maximum time of a request, in seconds.", above=0)
    cache: float = option(
        256.0, "Memory for the states of texts read before, in MB.", at_least=0, at_most=1e6
    )
    train: bool = option(False, "Let clients train models on texts that they send.")
    max_book: float = option(100.0, "Maximum size of a text to train on, in MB.", above=0)
    max_trainings: int = option(8, "Trainings that may wait for their turn.", at_least=0)
    train_cores: int | None = option(
        None, "Cores that a training may use; by default all.", at_least=1
    )
    train_nice: int = option(
        10,
        "Niceness of a training: 0 shares the cores equally, 19 yields them.",
        at_least=0,
        at_most=19,
    )
