"""How much of a run is done, and the learning rate that belongs there."""

import math

from textgen.options.training import TrainingOptions

_WARM_UP = 50  # steps


class Schedule:
    """Warm-up, then cosine decay to zero over the epochs or minutes asked for."""

    def __init__(self, options: TrainingOptions, steps_per_epoch: int) -> None:
        self._peak = options.learning_rate
        self._steps = options.epochs and math.ceil(options.epochs * steps_per_epoch)
        self._seconds = options.minutes and 60 * options.minutes

    def done(self, step: int, seconds: float, reserve: float) -> float:
        """The share of the run that is done, at most 1.

        `seconds` is the time since the first step; `reserve` what the work after the last
        step will take, which is to lie inside the time too.
        """
        if self._steps:
            return min(1.0, step / self._steps)
        assert self._seconds
        return min(1.0, (seconds + reserve) / self._seconds)

    def learning_rate(self, step: int, done: float) -> float:
        """The rate for the step after `step` others, with this share of the run done.

        Cosine decay after Loshchilov and Hutter (2017).
        """
        return self._peak * min(1, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * done)) / 2
