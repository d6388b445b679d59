"""Epochs over the streams, with state carried, evaluated and saved, until the run is done."""

import math
import signal
import textwrap
import threading
import time
from types import FrameType
from typing import Any, NamedTuple, NoReturn

import numpy as np
import tensorflow as tf

from textgen.analysis.evaluation import bits_per_character
from textgen.cluster import cluster
from textgen.errors import TrainingError
from textgen.model import Model
from textgen.options.training import TrainingOptions
from textgen.preprocess.corpus import Corpus
from textgen.runs.folder import Arrays, Progress, Run, TrainingState, validation_losses
from textgen.training.network import Network, States
from textgen.training.progress import Reporter
from textgen.training.schedule import Schedule
from textgen.training.step import Stepper
from textgen.training.streams import Streams
from textgen.training.workers import Workers

# The share of rows whose state is dropped before a chunk. Carried over a whole book, states
# drift to where a text's first steps, which start from zero, hardly ever are; without this a
# model learns too little of beginnings and may stumble into noise on a short prompt. Melis's
# Language Modelling Benchmarks have the same as `drop_state_probability`.
_FRESH = 0.02
_SHUFFLE = 1  # sets the random numbers of an epoch's order apart from those of a step
_EVALUATIONS = 20  # at most, evenly over a run
_EVALUATION_COST = 8  # tokens trained on between evaluations, at least, for each one evaluated
_EVALUATED = 1 << 20  # tokens of the validation part at most; `evaluate` takes any number
_ROW = 4096  # tokens each row of an evaluation predicts, at least
_OVERLAP = 256  # tokens that warm the state of each row but the first
_COMPILING = 3  # first steps, left out of the speed told
_STOPPING = [  # Windows has not all of them
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
_PREVIEW = {"char": 240, "byte": 240, "word": 60}  # tokens
_PREVIEWED_DOCUMENTS = 4


class _Orders(NamedTuple):
    """What all workers do next: the first one decides, but each may ask to stop."""

    learning_rate: float
    evaluate: bool
    save: bool
    stop: bool
    finish: bool


def fit(run: Run, quiet: bool = False, workers: Workers | None = None) -> None:
    """Train `run` until its epochs or minutes are over, from where it was last saved.

    Of several workers all call this; the first one writes the run.

    On Ctrl-C, or when the process is told to end, the run is saved after the step at hand,
    and then the signal takes its course: Ctrl-C raises KeyboardInterrupt. A second one does
    not wait. Raises TrainingError when the loss is no number any more, memory is short, or
    another worker has ended.
    """
    workers = workers or Workers(cluster())
    quiet = quiet or not workers.is_first
    try:
        with workers.watched():
            training = _Training(run, workers)
            if workers.is_first:
                run.write_config()  # options may have changed since the run was begun
            with _Stop() as stop, Reporter(quiet, training.done()) as reporter:
                reporter.note(training.header())
                while True:
                    orders = training.orders(stop.wanted)
                    if orders.evaluate or orders.save:
                        training.keep(orders.evaluate, reporter)
                    if orders.stop:
                        stop.obey()
                    if orders.evaluate:
                        continue  # by now patience may be lost, or a signal have come
                    if orders.finish:
                        break
                    training.step(orders.learning_rate)
                    reporter.stepped(training.done(), training.figures)
                workers.meet()  # until all is written
    except tf.errors.ResourceExhaustedError:
        options = run.options
        raise TrainingError(
            f"there is not enough memory for {options.layers}x{options.units} with "
            f"{options.batch_size} streams of {options.chunk_length} steps; train anew with "
            "lower --units or --batch-size"
        ) from None


class _Training:
    """A run being trained: weights, optimizer and carried state, and how far it has come."""

    def __init__(self, run: Run, workers: Workers) -> None:
        self._run = run
        self._workers = workers
        self._options = options = run.options
        self._training, validation = run.corpus().split(options.validation)
        self._streams = self._streams_of(0)
        self._validation = _validation_streams(validation, options) if len(validation) else None
        self._schedule = Schedule(options, len(self._streams))
        self._network = Network(options, len(run.tokenizer))
        self._rows = workers.rows(options.batch_size)
        self._stepper = Stepper(self._network, options.chunk_length, workers, self._rows)
        self._states = self._zero_state()
        self._progress = Progress()
        shapes = {name: tuple(slot.shape) for name, slot in self._stepper.slots.items()}
        self._network.assign(run.initial_weights())
        if saved := run.training_state(shapes):
            self._network.assign(saved.weights)
            self._stepper.restore(saved.optimizer, saved.progress.step)
            own = {name: part[self._rows] for name, part in saved.state.items()}
            self._states = self._network.states_from(own)
            self._progress = saved.progress
        self._steps = 0  # of this process
        self._tokens_timed, self._seconds_timed = 0, 0.0
        self._evaluation_seconds = 0.0
        self._start = time.monotonic() - self._progress.seconds
        self._saved = time.monotonic()

    def _streams_of(self, epoch: int) -> Streams:
        """The training part with its documents in an order of the epoch's own."""
        options, order = self._options, None
        if (count := len(self._training.documents)) > 1:
            order = np.random.default_rng([options.seed, epoch, _SHUFFLE]).permutation(count)
        self._streams_epoch = epoch
        return Streams(self._training, options.batch_size, options.chunk_length, order=order)

    def _seconds(self) -> float:
        return time.monotonic() - self._start

    def done(self) -> float:
        """The share of the run that is done, from 0 to 1."""
        return self._schedule.done(self._progress.step, self._seconds(), self._evaluation_seconds)

    def orders(self, stop: bool) -> _Orders:
        """Say what to do next, `stop` if this process is to end, and hear it of the others."""
        orders = np.zeros(len(_Orders._fields))
        if self._workers.is_first:
            finish = self.done() >= 1 or self._has_lost_patience()
            orders[:] = _Orders(
                learning_rate=self._schedule.learning_rate(self._progress.step, self.done()),
                evaluate=self._evaluation_is_due() or (finish and not self._evaluated()),
                save=self._save_is_due(),
                stop=False,
                finish=finish,
            )
        orders[_Orders._fields.index("stop")] = stop
        rate, evaluate, save, stops, finish = self._workers.sum_array(orders).tolist()
        return _Orders(rate, bool(evaluate), bool(save or stops), bool(stops), bool(finish))

    def step(self, learning_rate: float) -> None:
        """Train on the next chunk of every stream."""
        start = time.monotonic()
        step, options = self._progress.step, self._options
        rng = np.random.default_rng([options.seed, step])
        epoch, chunk = divmod(step, len(self._streams))
        if epoch != self._streams_epoch:
            self._streams = self._streams_of(epoch)
        if chunk == 0 or options.stateless:
            self._states = self._zero_state()
        else:
            fresh = rng.random(options.batch_size) < _FRESH
            self._states = self._network.forget(self._states, fresh[self._rows])
        batch = self._streams[chunk]
        loss, self._states = self._stepper.train(batch, self._states, learning_rate, rng)
        self._require_finite(loss)
        self._progress.step += 1
        self._progress.loss_total += loss
        self._progress.loss_steps += 1
        self._steps += 1
        if self._steps > _COMPILING:
            self._tokens_timed += int(batch.counts.sum())
            self._seconds_timed += time.monotonic() - start

    def _zero_state(self) -> States:
        return self._network.zero_state(self._rows.stop - self._rows.start)

    def _evaluated(self) -> bool:
        """Whether the weights as they are have been evaluated."""
        return bool(self._history) and self._history[-1]["step"] == self._progress.step

    def _evaluation_is_due(self) -> bool:
        last: dict[str, Any] = {"step": 0, "seconds": 0.0}
        if self._history:
            last = self._history[-1]
        done = self.done() - self._schedule.done(last["step"], last["seconds"], 0.0)
        steps = self._progress.step - last["step"]
        cost = self._validation.predictions if self._validation else 0
        tokens = steps * self._options.batch_size * self._options.chunk_length
        return (
            done >= 1 / _EVALUATIONS
            and tokens >= _EVALUATION_COST * cost
            and self.done() < 1 - 0.5 / _EVALUATIONS  # the end has an evaluation of its own
        )

    def keep(self, evaluate: bool, reporter: Reporter) -> None:
        """Save all, if wanted after a look at the weights."""
        state = self._state_of_all()
        if not self._workers.is_first:
            return
        if evaluate:
            reporter.note(self._evaluate(state))
        else:
            self._save(state)

    def _state_of_all(self) -> Arrays:
        """The state of every row, whichever worker has it."""
        gathered = {}
        for name, own in self._network.state_arrays(self._states).items():
            rows = np.zeros((self._options.batch_size, own.shape[1]), np.float64)
            rows[self._rows] = own
            gathered[name] = self._workers.sum_array(rows).astype(np.float32)
        return gathered

    def _evaluate(self, state: Arrays) -> str:
        """Look at loss and text of the weights as they are; save all; return a note on it."""
        start = time.monotonic()
        weights = self._weights()
        loss = self._stepper.loss(self._validation) if self._validation else None
        best = loss is None or loss < min(validation_losses(self._history), default=math.inf)
        self._history.append(
            {
                "step": self._progress.step,
                "epoch": round(self._epoch(), 4),
                "seconds": round(self._seconds(), 2),
                "loss": self._mean_loss(),
                "validation_loss": loss,
                "bits_per_character": None if loss is None else self._bits(loss),
                "tokens_per_second": self._speed(),
            }
        )
        figures = self.figures()
        text = self._preview(weights)
        self._progress.loss_total, self._progress.loss_steps = 0.0, 0
        self._progress.samples_size = self._run.add_sample(
            f"{figures}\n\n{text}\n\n", self._progress.samples_size
        )
        if best:
            self._run.save_weights(weights)
        self._run.write_metrics(self._history)
        self._save(state, weights)
        self._evaluation_seconds = time.monotonic() - start
        return f"{figures}\n{textwrap.indent(text, '    ')}\n"

    def _preview(self, weights: Arrays) -> str:
        """What the weights write: a text, or a few documents."""
        texts = Model([self._run], [weights]).samples(
            count=1 if self._run.tokenizer.end is None else _PREVIEWED_DOCUMENTS,
            seed=self._progress.step,
            length=_PREVIEW[self._options.level],
        )
        return "\n".join("".join(text) for text in texts)

    def _save_is_due(self) -> bool:
        return time.monotonic() - self._saved >= self._options.save_every

    def _save(self, state: Arrays, weights: Arrays | None = None) -> None:
        """Write all that resuming needs, and something to sample from if there is nothing yet."""
        weights = weights or self._weights()
        if not self._history:
            self._run.save_weights(weights)
        self._progress.seconds = self._seconds()
        self._run.save_training_state(
            TrainingState(
                weights=weights,
                optimizer=self._stepper.optimizer_state(),
                state=state,
                progress=self._progress,
            )
        )
        self._saved = time.monotonic()

    def header(self) -> str:
        options = self._options
        start = f"going on at epoch {self._epoch():.2f}" if self._progress.step else "training"
        count = len(self._training.documents)
        documents = f" in {count:,} documents" if self._run.tokenizer.end is not None else ""
        return (
            f"{self._run.path}: {start} on {len(self._training):,} tokens "
            f"({len(self._run.tokenizer):,} distinct){documents}, {options.cell.upper()} "
            f"{options.layers}x{options.units}, {self._run.weight_count:,} weights, dropout "
            f"{options.dropout:g}, {self._stepper.hardware}"
        )

    def figures(self) -> str:
        """Where training stands, in one line."""
        parts = [f"epoch {self._epoch():.2f}"]
        if (loss := self._mean_loss()) is not None:
            parts.append(f"loss {loss:.3f}")
        if self._history and (loss := self._history[-1]["validation_loss"]) is not None:
            parts.append(f"validation {loss:.3f} ({self._bits(loss):.3f} bits/character)")
        if speed := self._speed():
            parts.append(f"{speed:,.0f} tokens/s")
        return ", ".join(parts)

    @property
    def _history(self) -> list[dict[str, Any]]:
        return self._progress.history

    def _weights(self) -> Arrays:
        weights = self._network.weights()
        self._require_finite(sum(float(np.sum(weight)) for weight in weights.values()))
        return weights

    def _has_lost_patience(self) -> bool:
        losses = validation_losses(self._history)
        if self._options.patience is None or not losses:
            return False
        return len(losses) - 1 - losses.index(min(losses)) >= self._options.patience

    def _epoch(self) -> float:
        return self._progress.step / len(self._streams)

    def _mean_loss(self) -> float | None:
        """Of the steps since the last evaluation; None where there was none."""
        steps = self._progress.loss_steps
        return self._progress.loss_total / steps if steps else None

    def _require_finite(self, figure: float) -> None:
        if not math.isfinite(figure):
            raise TrainingError(
                f"training came to numbers that are not finite after {self._progress.step} steps; "
                f"{self._run.path} stays as it was last saved; train anew with a --learning-rate "
                f"below {self._options.learning_rate}"
            )

    def _bits(self, loss: float) -> float:
        return bits_per_character(loss, self._run.characters_per_token)

    def _speed(self) -> float | None:
        """Tokens trained on per second of training steps."""
        return self._tokens_timed / self._seconds_timed if self._tokens_timed else None


def _validation_streams(validation: Corpus, options: TrainingOptions) -> Streams:
    """One stream where the text is short; else several, each warmed up before its part.

    The loss is that of one pass over the whole to about the fourth digit.
    """
    validation = validation.part(0, _EVALUATED)
    rows = max(1, min(len(validation) // _ROW, options.batch_size))
    return Streams(validation, rows, options.chunk_length, overlap=_OVERLAP if rows > 1 else 0)


class _Stop:
    """Holds back the signals that end a process, where signals can be caught: in the main thread.

    Those that the process ignores, as Ctrl-C under nohup, stay ignored.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._handlers: dict[int, Any] = {}

    @property
    def wanted(self) -> bool:
        return self._signal is not None

    def obey(self) -> NoReturn:
        """Let the signal do what it would have done; if nothing, what Ctrl-C does."""
        self._give_back()
        if self._signal is not None:  # else it was another worker that was told to end
            signal.raise_signal(self._signal)
        raise KeyboardInterrupt

    def __enter__(self) -> "_Stop":
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                handler = signal.getsignal(number)
                if handler not in (signal.SIG_IGN, None):
                    self._handlers[number] = handler
                    signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()

    def _take(self, number: int, _frame: FrameType | None) -> None:
        impatient, self._signal = self.wanted, number
        if impatient:
            self.obey()

    def _give_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
