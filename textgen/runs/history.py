"""The progress of training, and its evaluations."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

Evaluations = list[dict[str, Any]]

TEMPERED = ("temperature", "tempered_loss", "tempered_bits")
"""Figures of the weights that are kept, if a temperature was fitted to them at the end."""

# The figures of an evaluation, and whether each may be None.
_FIGURES = {
    "epoch": False,
    "seconds": False,
    "loss": True,
    "validation_loss": True,
    "tokens_per_second": True,
}
# Figures that may be None, and that older runs lack.
_LATER_FIGURES = ("bits_per_character", "learning_rate", "gradient_norm", "tokens")
_LARGEST_COUNT = 1 << 53  # larger ones are not exact in JSON
_LARGEST_FIGURE = 1e30  # far above any in a training; pictures of larger ones overflow

# What the progress of older runs lacks.
_LATER_PROGRESS = {"learning_rate": None, "norm_total": 0.0, "norm_steps": 0}


@dataclass
class Progress:
    """The progress of training, as a checkpoint records it."""

    step: int = 0
    seconds: float = 0.0
    loss_total: float = 0.0  # of the steps since the last evaluation
    loss_steps: int = 0
    learning_rate: float | None = None  # of the last step
    norm_total: float = 0.0  # of the gradients, of the steps since the last evaluation
    norm_steps: int = 0
    samples_size: int = 0  # bytes of samples.txt
    history: Evaluations = field(default_factory=list)  # the lines of metrics.jsonl

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Progress":
        """Return the progress that `asdict` gave as JSON, perhaps of an older version.

        Raises ValueError, TypeError or KeyError if it is damaged.
        """
        saved = _LATER_PROGRESS | saved
        progress = cls(**{item.name: saved[item.name] for item in fields(cls)})
        progress._check()
        return progress

    def _check(self) -> None:
        for value in (self.step, self.loss_steps, self.norm_steps, self.samples_size):
            if not _is_count(value):
                raise ValueError("step, loss_steps, norm_steps or samples_size is not a count")
        rate = 0.0 if self.learning_rate is None else self.learning_rate
        figures = (self.seconds, self.loss_total, self.norm_total, rate)
        if not all(isinstance(x, int | float) and math.isfinite(x) for x in figures):
            raise ValueError("seconds, learning_rate, loss_total or norm_total is not a number")
        if not 0 <= self.seconds < 1e12:
            raise ValueError("seconds is out of range")
        if not isinstance(self.history, list):
            raise ValueError("history is not a list")
        check_history(self.history)


def check_history(lines: Iterable[Any]) -> Evaluations:
    """Return the lines of metrics.jsonl as a list; raise ValueError if one is invalid."""
    history = list(lines)
    for line in history:
        if not isinstance(line, dict) or not _is_count(line.get("step")):
            raise ValueError("a line in it is not an evaluation")
        later = [(line.get(name), True) for name in _LATER_FIGURES]
        if not set(TEMPERED).isdisjoint(line):
            later += [(line[name], False) for name in TEMPERED]
            if float(line["temperature"]) <= 0:
                raise ValueError("a temperature in it is not above 0")
        for figure, optional in [*((line[name], may) for name, may in _FIGURES.items()), *later]:
            if figure is None and optional:
                continue
            if not isinstance(figure, int | float) or not abs(float(figure)) < _LARGEST_FIGURE:
                raise ValueError("a figure in it is not a number, or far too large")
    return history


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LARGEST_COUNT


def best(history: Evaluations) -> dict[str, Any]:
    """Return the evaluation of the weights that are kept; an empty dictionary if there is none.

    It has the lowest validation loss, or is the last one if there is no validation part.
    """
    judged = [entry for entry in history if entry["validation_loss"] is not None]
    return min(judged, key=lambda entry: entry["validation_loss"], default=(history or [{}])[-1])


def kept_losses(kept: dict[str, Any]) -> tuple[float | None, float | None]:
    """Return the validation loss of the weights that are kept: per token, and in bits.

    `kept` is the evaluation that `best` returns.
    """
    loss, bits = kept.get("validation_loss"), kept.get("bits_per_character")
    return kept.get("tempered_loss", loss), kept.get("tempered_bits", bits)


def validation_losses(history: Evaluations) -> list[float]:
    """Return the validation losses in order; an empty list without a validation part."""
    return [loss for entry in history if (loss := entry["validation_loss"]) is not None]
