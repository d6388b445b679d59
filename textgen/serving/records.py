"""What the server tells of a run: its state and figures, its evaluations and previews."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textgen.errors import RunError
from textgen.runs.files import reading
from textgen.runs.folder import CONFIG, METRICS, MODEL, TOKENIZER, Run
from textgen.runs.locking import is_locked
from textgen.serving.events import RunFiles
from textgen.serving.models import Signature, saved_at, signature_of
from textgen.serving.refusals import without_folder

GOING_ON = ("queued", "training", "stopping")
"""The states of a training that is not over."""

_UNKNOWN: dict[str, Any] = dict.fromkeys(
    (
        *("name", "state", "error", "saved"),
        *("level", "books", "tokens", "vocabulary", "weights", "architecture"),
        *("validation_loss", "bits_per_character", "temperature", "epochs", "seconds"),
    )
)


class RunRecords:
    """Describes runs. The figures of a run are kept until its files change."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Signature, dict[str, Any]]] = {}

    def describe(
        self, folders: Mapping[str, Path], trainings: Mapping[str, Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return the descriptions of all runs, the newest first.

        Args:
            folders: the runs by name.
            trainings: those that the server remembers, by the name of their run. That may not
                exist yet.
        """
        # Another thread may describe other runs meanwhile.
        self._kept = kept = {name: self._figures(name, path) for name, path in folders.items()}
        runs = [
            _UNKNOWN | kept[name][1] | {"name": name} | _state(path, trainings.get(name))
            for name, path in folders.items()
        ]
        runs.sort(key=lambda run: _changed(folders[run["name"]]), reverse=True)
        waiting = [
            _UNKNOWN | {"name": name, "state": training["state"], "error": training["error"]}
            for name, training in trainings.items()
            if name not in folders and training["state"] in (*GOING_ON, "failed")
        ]
        return [*reversed(waiting), *runs]

    def _figures(self, name: str, path: Path) -> tuple[Signature, dict[str, Any]]:
        """Return the figures of a run, or the error if it is damaged."""
        signature = signature_of(path, CONFIG, TOKENIZER, MODEL, METRICS)
        if (kept := self._kept.get(name)) and kept[0] == signature:
            return kept
        try:
            return signature, _read_figures(path)
        except RunError as error:
            return signature, {"error": without_folder(str(error), path)}


def read_evaluations(path: Path) -> dict[str, Any]:
    """Return the evaluations and previews of a run; raise RunError if they are damaged."""
    events = RunFiles(path).news()
    return {
        "metrics": [data for name, data in events if name == "metrics"],
        "previews": [data["text"] for name, data in events if name == "preview"],
    }


def book_name(book: str) -> str:
    """Return the name of a book without its folder, which is not for clients."""
    return re.split(r"[/\\]", book)[-1]


def _read_figures(path: Path) -> dict[str, Any]:
    run = Run.open(path)
    outcome = run.outcome()
    figures = {
        "level": run.tokenizer.level,
        "books": [book_name(book) for book in run.books],
        "tokens": run.tokens,
        "vocabulary": len(run.tokenizer),
        "weights": run.weight_count,
        "architecture": str(run.settings.architecture),
        "validation_loss": outcome["validation_loss"],
        "bits_per_character": outcome["bits_per_character"],
        "temperature": outcome["temperature"],
        "epochs": outcome["epochs"],
        "seconds": outcome["seconds"],
    }
    with reading(path / METRICS):
        json.dumps(figures, allow_nan=False)  # raises ValueError for numbers JSON lacks
    return figures


def _state(path: Path, training: Mapping[str, Any] | None) -> dict[str, Any]:
    saved = saved_at(path)
    found: dict[str, Any] = {"saved": saved and int(saved)}
    if training and training["state"] in GOING_ON:
        return found | {"state": training["state"]}
    if is_locked(path):
        return found | {"state": "training"}
    if saved is not None:
        return found | {"state": "trained"}
    if training and training["state"] == "failed":
        return found | {"state": "failed", "error": training["error"]}
    return found | {"state": "prepared"}


def _changed(path: Path) -> float:
    """Return when the weights of a run were saved, or when it was created."""
    try:
        return saved_at(path) or (path / CONFIG).stat().st_mtime
    except OSError:
        return 0.0
