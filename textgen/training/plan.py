"""Decide when to evaluate, to save and to stop."""

import shlex
import time
from typing import NamedTuple

import numpy as np

from textgen.runs.folder import Run
from textgen.runs.history import validation_losses
from textgen.training.recorder import Recorder
from textgen.training.schedule import Schedule
from textgen.training.trainer import Trainer
from textgen.training.workers import Workers

_EVALUATIONS = 20  # at most, spread evenly over a run
_EVALUATION_COST = 8  # at least this many tokens are trained on for each token evaluated


class Orders(NamedTuple):
    """What all workers do next."""

    learning_rate: float
    evaluate: bool
    save: bool
    stop: bool  # because a signal came
    finish: bool


class Plan:
    """Decides what to do before each step."""

    def __init__(self, run: Run, trainer: Trainer, recorder: Recorder) -> None:
        self._path = run.path
        self._settings = settings = run.settings
        self._trainer = trainer
        self._recorder = recorder
        self._schedule = Schedule(settings, trainer.steps_per_epoch)
        self._is_done = False

    def done(self) -> float:
        """Return the share of the training that is done, from 0 to 1."""
        done = self._schedule.done(
            self._trainer.progress.step, self._trainer.seconds(), self._recorder.reserve
        )
        self._is_done |= done >= 1  # though the last evaluation may take less than expected
        return 1.0 if self._is_done else done

    def over(self) -> str | None:
        """Return a note if the training has come to its end and is evaluated, else None.

        The note says how to train the run further.
        """
        settings, trainer = self._settings, self._trainer
        if not self._is_evaluated():
            return None
        if self._has_lost_patience():
            reached, more = "early stopping", ["--patience", f"{2 * (settings.patience or 0)}"]
        elif self.done() < 1:
            return None
        elif settings.minutes is None or trainer.epochs_are_over:
            reached, more = f"epoch {trainer.epoch:g}", ["--epochs", f"{2 * trainer.epoch:g}"]
        else:
            minutes = 2 * settings.minutes
            reached, more = f"{settings.minutes:g} minutes", ["--minutes", f"{minutes:g}"]
        command = ["textgen", "train", "--out", str(self._path), "--resume", *more]
        return (
            f"{self._path} is trained to its end, {reached}; to train it further: "
            f"{shlex.join(command)}"
        )

    def orders(self, workers: Workers, stop: bool) -> Orders:
        """Return the orders of the first worker; any worker can ask to stop."""
        orders = np.zeros(len(Orders._fields))
        if workers.is_first:
            finish = self.done() >= 1 or self._has_lost_patience()
            orders[:] = Orders(
                learning_rate=self._schedule.learning_rate(
                    self._trainer.progress.step, self.done()
                ),
                evaluate=self._evaluation_is_due() or (finish and not self._is_evaluated()),
                save=time.monotonic() - self._recorder.saved >= self._settings.save_every,
                stop=False,
                finish=finish,
            )
        orders[Orders._fields.index("stop")] = stop
        rate, evaluate, save, stops, finish = workers.sum_array(orders).tolist()
        return Orders(rate, bool(evaluate), bool(save or stops), bool(stops), bool(finish))

    def _is_evaluated(self) -> bool:
        """Return whether the current weights have been evaluated."""
        history = self._recorder.history
        return bool(history) and history[-1]["step"] == self._trainer.progress.step

    def _evaluation_is_due(self) -> bool:
        history, settings = self._recorder.history, self._settings
        step, seconds = (history[-1]["step"], history[-1]["seconds"]) if history else (0, 0.0)
        done_in_all = self.done()
        done = done_in_all - self._schedule.done(step, seconds, 0.0)
        steps = self._trainer.progress.step - step
        tokens = steps * settings.batch_size * settings.chunk_length
        validation = self._recorder.validation
        cost = validation.predictions if validation else 0
        return (
            done >= 1 / _EVALUATIONS
            and tokens >= _EVALUATION_COST * cost
            and 1 - done_in_all > done / 2  # the end has an evaluation of its own
        )

    def _has_lost_patience(self) -> bool:
        """Return whether the loss has not improved for long, while the learning rate fell.

        Before that, a network may look no better for long, and is much better at the end.
        """
        history = self._recorder.history
        losses = validation_losses(history)
        if self._settings.patience is None or not losses:
            return False
        after = history[losses.index(min(losses)) + 1 :]
        decaying = [
            entry
            for entry in after
            if self._schedule.decays(self._schedule.done(entry["step"], entry["seconds"], 0.0))
        ]
        return len(decaying) >= self._settings.patience
