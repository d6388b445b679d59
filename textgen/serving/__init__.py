"""Serving: models behind an HTTP interface, that of OpenAI's completions."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.applications import Starlette


def application(
    *runs: str | Path, folder: str | Path = "checkpoints", **options: Any
) -> "Starlette":
    """Return an ASGI application that answers requests for completions.

    Another server can run it, and another application can mount it. Its `lifespan` ends the
    texts and trainings at hand; call it if the application is mounted.

    Args:
        runs: the runs to serve; by default all under `folder`.
        options: as for `textgen serve`; `textgen.options.serving.ServingOptions` lists them.

    Raises OptionError for an option outside its limits, RunError if a run cannot be read or there
    is none.
    """
    from textgen.options.serving import ServingOptions
    from textgen.serving.routes import make_application

    ServingOptions.check_names(options, "folder")
    return make_application(list(map(Path, runs)), Path(folder), ServingOptions(**options))
