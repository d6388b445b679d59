"""How far training has come, and the evaluations on the way."""

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
    """How far training has come."""

    step: int = 0
    seconds: float = 0.0
    loss_total: float = 0.0  # of the steps since the last evaluation
    loss_steps: int = 0
    samples_size: int = 0  # bytes of samples.txt
    history: Evaluations = field(default_factory=list)  # the lines of metrics.jsonl

    def check(self) -> None:
        """Raise ValueError if no training can have saved this."""
        for value in (self.step, self.loss_steps, self.samples_size):
            if type(value) is not int or not 0 <= value < 1 << 53:
                raise ValueError("its counts are not counts")
        if not (0 <= float(self.seconds) < 1e12 and math.isfinite(float(self.loss_total))):
            raise ValueError("its progress makes no sense")
        check_history(self.history)


def check_history(lines: Iterable[Any]) -> Evaluations:
    """Return the lines of metrics.jsonl as a list; raise ValueError if one is no evaluation."""
    history = list(lines)
    for line in history:
        if not isinstance(line, dict) or type(line.get("step")) is not int:
            raise ValueError("a line of it is not an evaluation")
        for name, optional in _FIGURES.items():
            figure = line[name]
            if figure is None and optional:
                continue
            if not isinstance(figure, int | float) or not math.isfinite(float(figure)):
                raise ValueError("a figure in it is not a number")
    return history


def validation_losses(history: Evaluations) -> list[float]:
    """Return the validation losses in order; an empty list if nothing was held out."""
    return [loss for entry in history if (loss := entry["validation_loss"]) is not None]
