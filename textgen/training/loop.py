"""The training loop: step, evaluate and save until a run is done."""

import time

from textgen.errors import TrainingError
from textgen.runs.folder import Run
from textgen.system.signals import HeldSignals
from textgen.system.terminal import counted
from textgen.training.backend import tf
from textgen.training.plan import Plan
from textgen.training.progress import Reporter
from textgen.training.recorder import Recorder
from textgen.training.tensorboard import EventLog
from textgen.training.trainer import Trainer
from textgen.training.workers import Workers


def fit(
    run: Run,
    workers: Workers | None = None,
    quiet: bool = False,
    start: float | None = None,
    log: EventLog | None = None,
) -> None:
    """Train `run` from its last checkpoint until its epochs or minutes are over.

    Early stopping may end it earlier. All workers call this; the first one writes the run.

    On Ctrl-C, SIGTERM or SIGHUP, the run is saved after the current step. Then the signal has its
    usual effect: Ctrl-C raises KeyboardInterrupt. A second signal takes effect at once. Raises
    TrainingError if the loss is not finite, memory is short, or another worker has ended.

    `start`, as of `time.monotonic`, is when the minutes begin; by default it is now. `log` is
    where TensorBoard finds the evaluations.
    """
    start = time.monotonic() if start is None else start
    workers = workers or Workers()
    quiet = quiet or not workers.is_first
    try:
        with workers.watched():
            _fit(run, workers, quiet, start, log)
    except tf.errors.ResourceExhaustedError:
        settings = run.settings
        raise TrainingError(
            f"there is not enough memory for {settings.architecture} with "
            f"{counted(settings.batch_size, 'stream')} of "
            f"{counted(settings.chunk_length, 'step')}; train a new run with lower "
            "--units or --batch-size"
        ) from None


def _fit(run: Run, workers: Workers, quiet: bool, start: float, log: EventLog | None) -> None:
    trainer = Trainer(run, workers, start)
    recorder = Recorder(run, trainer, log)
    plan = Plan(run, trainer, recorder)
    over = plan.over()
    if workers.is_first:
        recorder.complete_save()
        if not over:
            run.write_config()  # resuming may have changed options
    with HeldSignals() as signals, Reporter(quiet, plan.done()) as reporter:
        reporter.note(over or recorder.header())
        while True:
            orders = plan.orders(workers, signals.received)
            if orders.evaluate or orders.save:
                states = trainer.states()
                if workers.is_first and orders.evaluate:
                    reporter.note(recorder.evaluate(states, plan.done() >= 1))
                elif workers.is_first:
                    recorder.save(states)
            if orders.stop:
                workers.meet()  # so that no worker ends before everything is written
                signals.obey()
            if orders.evaluate:
                continue  # early stopping may be due, or a signal may have come
            if orders.finish:
                break
            trainer.step(orders.learning_rate)
            reporter.stepped(plan.done(), recorder.figures)
            if forecast := recorder.forecast():
                reporter.note(forecast)
        states = trainer.states()  # of all workers
        if workers.is_first:
            recorder.fit_temperature(states, plan.done() >= 1)
            reporter.note(recorder.summary())
        workers.meet()  # so that no worker ends before everything is written
        if signals.received:
            signals.obey()
