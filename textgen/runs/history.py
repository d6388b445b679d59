"""The progress of training, and its evaluations."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Evaluations = list[dict[str, Any]]

# The figures of an evaluation, and whether each may be None.
_FIGURES = {
    "epoch": False,
    "seconds": False,
    "loss": True,
    "validation_loss": True,
    "tokens_per_second": True,
}


@dataclass
class Progress:
    """The progress of training, as a checkpoint records it."""

    step: int = 0
    seconds: float = 0.0
    loss_total: float = 0.0  # of the steps since the last evaluation
    loss_steps: int = 0
    samples_size: int = 0  # bytes of samples.txt
    history: Evaluations = field(default_factory=list)  # the lines of metrics.jsonl

    def check(self) -> None:
        """Raise ValueError if a value is impossible, as in a damaged file."""
        for value in (self.step, self.loss_steps, self.samples_size):
            if type(value) is not int or not 0 <= value < 1 << 53:
                raise ValueError("step, loss_steps or samples_size is not a valid count")
        if not (0 <= float(self.seconds) < 1e12 and math.isfinite(float(self.loss_total))):
            raise ValueError("seconds or loss_total is out of range")
        check_history(self.history)


def check_history(lines: Iterable[Any]) -> Evaluations:
    """Return the lines of metrics.jsonl as a list; raise ValueError if one is invalid."""
    history = list(lines)
    for line in history:
        if not isinstance(line, dict) or type(line.get("step")) is not int:
            raise ValueError("a line in it is not an evaluation")
        for name, optional in _FIGURES.items():
            figure = line[name]
            if figure is None and optional:
                continue
            if not isinstance(figure, int | float) or not math.isfinite(float(figure)):
                raise ValueError("a figure in it is not a number")
    return history


def best(history: Evaluations) -> dict[str, Any]:
    """Return the evaluation of the weights that are kept; an empty dictionary if there is none.

    It has the lowest validation loss, or is the last one if there is no validation part.
    """
    judged = [entry for entry in history if entry["validation_loss"] is not None]
    return min(judged, key=lambda entry: entry["validation_loss"], default=(history or [{}])[-1])


def validation_losses(history: Evaluations) -> list[float]:
    """Return the validation losses in order; an empty list without a validation part."""
    return [loss for entry in history if (loss := entry["validation_loss"]) is not None]
