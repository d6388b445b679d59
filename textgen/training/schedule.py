"""The learning rate schedule, and the share of training that is done."""

import math

from textgen.options.training import TrainingSettings

_WARM_UP = 50  # steps, or a tenth of all if that is less
_DECAY = 0.4  # share of the training


class Schedule:
    """Warm-up, then decay to zero when the epochs or the minutes of the settings are over.

    The decay is linear over the last part of the training, or a cosine over all of it (Loshchilov
    and Hutter 2017).
    """

    def __init__(self, settings: TrainingSettings, steps_per_epoch: int) -> None:
        self._peak = settings.learning_rate
        self._linear = settings.schedule == "linear"
        self._steps = settings.epochs and math.ceil(settings.epochs * steps_per_epoch)
        self._seconds = settings.minutes and 60 * settings.minutes
        self._warm_up = min(_WARM_UP, math.ceil(self._steps / 10)) if self._steps else _WARM_UP

    def done(self, step: int, seconds: float, reserve: float) -> float:
        """Return the share of the training that is done, at most 1.

        Args:
            step: how many steps are done.
            seconds: time since training began, and of earlier processes that trained the run.
            reserve: seconds to leave for the work after the last step.
        """
        by_steps = step / self._steps if self._steps else 0.0
        by_time = (seconds + reserve) / self._seconds if self._seconds else 0.0
        return min(1.0, max(by_steps, by_time))

    def learning_rate(self, step: int, done: float) -> float:
        """Return the rate of step `step`, counted from 0, when the share `done` is done."""
        left = min(1, (1 - done) / _DECAY) if self._linear else (1 + math.cos(math.pi * done)) / 2
        return self._peak * min(1, (step + 1) / self._warm_up) * left

    def decays(self, done: float) -> bool:
        """Return whether the learning rate falls when the share `done` is done."""
        return not self._linear or done >= 1 - _DECAY
