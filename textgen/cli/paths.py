"""Paths on the command line: their completion in a shell, and `~` for the home folder."""

from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem


def expanded(path: str) -> str:
    """Replace `~` or `~USER` at the beginning by a home folder, if there is such a user."""
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        return path


class PathParameter(click.Path):
    """A path. The library checks it, and says what is wrong with it."""

    def convert(self, value: Any, *_: Any) -> Any:
        return expanded(value)


class RunParameter(PathParameter):
    """A run. The shell offers those in the default folder, or else any folder.

    If it may be a file, a text may follow the first run, so the shell then offers files, too.
    """

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from textgen.runs.folder import CONFIG
        from textgen.runs.lifecycle import CHECKPOINTS

        runs = sorted(str(config.parent) for config in CHECKPOINTS.glob(f"*/{CONFIG}"))
        found = [CompletionItem(run) for run in runs if run.startswith(incomplete)]
        others = super().shell_complete(ctx, param, incomplete)
        if self.file_okay and ctx.params.get(param.name or ""):
            return found + others
        return found or others


FILE = PathParameter(dir_okay=False)
FOLDER = PathParameter(file_okay=False)
RUN = RunParameter(file_okay=False)
RUNS_AND_TEXT = RunParameter()
