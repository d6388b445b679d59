"""What the files of a run tell about its training, as events for those who follow it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from textgen.errors import RunError
from textgen.runs.files import reading
from textgen.runs.folder import CONFIG, METRICS, SAMPLES
from textgen.runs.history import Evaluations, check_history
from textgen.runs.locking import is_locked
from textgen.serving.refusals import without_folder

Event = tuple[str, dict[str, Any]]
"""The name of a server-sent event, and its data."""

POLL_SECONDS = 0.5

# The line above each preview in samples.txt. It has the figures of an evaluation.
_HEADING = re.compile(r"^epoch \d+\.\d\d(?:, .*)?\n\n", re.MULTILINE)


class RunFiles:
    """Reads the evaluations and previews of a run that may still be trained."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._history: Evaluations = []

    @property
    def exist(self) -> bool:
        """Whether there is a run."""
        return (self._path / CONFIG).is_file()

    @property
    def seconds(self) -> float:
        """How long the run had been trained at the last evaluation read."""
        return self._history[-1]["seconds"] if self._history else 0.0

    def news(self) -> list[Event]:
        """Return the evaluations since the last call, and a preview after each.

        Raises RunError if the files are damaged.
        """
        told, history = len(self._history), self._read_history()
        if len(history) <= told:
            return []
        previews = self._read_previews()
        self._history = history
        events: list[Event] = []
        for place, evaluation in enumerate(history[told:], told):
            events.append(("metrics", evaluation))
            if place < len(previews):
                events.append(("preview", {"text": previews[place]}))
        return events

    def seconds_planned(self) -> float | None:
        """Return how long the whole training takes; None if that is not known yet.

        The time of epochs is estimated from the last evaluation. Raises RunError if the run is
        damaged.
        """
        with reading(self._path / CONFIG):
            options = json.loads((self._path / CONFIG).read_bytes())["options"]
            planned = []
            if options["minutes"] is not None:
                planned.append(60 * float(options["minutes"]))
            if options["epochs"] is not None and self._history and self._history[-1]["epoch"]:
                epochs = float(options["epochs"]) / self._history[-1]["epoch"]
                planned.append(self.seconds * epochs)
            return min(planned, default=None)

    def _read_history(self) -> Evaluations:
        path = self._path / METRICS
        with reading(path):
            if not path.exists():
                return []
            *whole, _ = path.read_text("utf-8").split("\n")
            history = check_history(map(json.loads, whole))
            json.dumps(history, allow_nan=False)  # raises ValueError for numbers JSON lacks
            return history

    def _read_previews(self) -> list[str]:
        """Return the previews. Each is written before its evaluation."""
        path = self._path / SAMPLES
        with reading(path):
            text = path.read_bytes().decode("utf-8", "replace") if path.exists() else ""
        return [preview.removesuffix("\n\n") for preview in _HEADING.split(text)[1:]]


async def replayed(path: Path) -> AsyncIterator[Event]:
    """Yield the events of a run that this server did not train.

    If another process trains it, follow that until its end.
    """
    files, shown, error = RunFiles(path), None, None
    while True:
        state = "training" if await asyncio.to_thread(is_locked, path) else "finished"
        if state != shown:
            yield "state", {"state": state}
            shown = state
        try:
            events = await asyncio.to_thread(files.news)
        except RunError as damage:
            events, error = [], without_folder(str(damage), path)
        for event in events:
            yield event
        if state == "finished" or error:
            break
        await asyncio.sleep(POLL_SECONDS)
    yield "end", {"state": state, "error": error, "run": path.name}
