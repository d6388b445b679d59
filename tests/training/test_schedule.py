"""The learning rate over a training, and when it ends."""

import time
from dataclasses import replace

import pytest

from textgen.model import Model
from textgen.options.training import TrainingOptions
from textgen.training.recorder import Recorder
from textgen.training.schedule import Schedule
from textgen.training.trainer import Trainer
from textgen.training.workers import Workers


@pytest.mark.parametrize(("kind", "middle", "later"), [("cosine", 5, 1.464), ("linear", 10, 6.25)])
def test_learning_rates_warm_up_and_fall_to_zero(kind: str, middle: float, later: float) -> None:
    options = TrainingOptions(epochs=10, learning_rate=10, schedule=kind)
    schedule = Schedule(options.resolve(0, 100), steps_per_epoch=100)
    rates = [schedule.learning_rate(s, schedule.done(s, 0, 0)) for s in range(1001)]
    assert rates[0] == pytest.approx(10 / 50)
    assert rates[24] == pytest.approx(10 / 2, rel=0.01)
    assert max(rates) == pytest.approx(10, rel=0.02)
    assert rates[500] == pytest.approx(middle)
    assert rates[750] == pytest.approx(later, rel=1e-3)
    assert rates[1000] == 0
    assert rates[60:] == sorted(rates[60:], reverse=True)


def test_the_warm_up_of_a_short_training_is_a_tenth_of_it() -> None:
    schedule = Schedule(TrainingOptions(epochs=2, learning_rate=0.01).resolve(0, 100), 100)
    assert schedule.learning_rate(19, 0) == pytest.approx(0.01)
    assert schedule.learning_rate(9, 0) == pytest.approx(0.005)


def test_a_schedule_ends_with_the_minutes_or_epochs_that_are_over_first() -> None:
    schedule = Schedule(TrainingOptions(minutes=2).resolve(10**6, 100), steps_per_epoch=100)
    assert schedule.done(7, 60, 0) == 0.5
    assert schedule.done(7, 110, 10) == 1
    both = Schedule(TrainingOptions(minutes=2, epochs=3).resolve(0, 100), steps_per_epoch=100)
    assert both.done(30, 60, 0) == 0.5
    assert both.done(225, 60, 0) == 0.75
    assert both.done(300, 60, 0) == both.done(30, 120, 0) == 1


def test_the_time_of_epochs_is_told_if_they_end_before_the_minutes(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "tokens_per_second", property(lambda trainer: trainer.tokens / 6))

    def forecast(minutes: float | None) -> str | None:
        settings = replace(model.run.settings, epochs=1002.0, minutes=minutes)  # two are done
        run = replace(model.run, settings=settings)
        trainer = Trainer(run, Workers(), time.monotonic())
        trainer.steps = 1000
        return Recorder(run, trainer).forecast()

    told = forecast(None)
    assert told is not None
    assert told.startswith("about 1 h 40 min for 1002 epochs at ")
    assert told.endswith("; Ctrl-C stops and saves, --minutes sets a limit")
    assert forecast(101) == told.partition(";")[0]
    assert forecast(99) is None
