"""A network in training: weights, optimizer and carried state, step by step."""

import math
import time
from typing import NamedTuple

import numpy as np

from textgen.errors import TrainingError
from textgen.runs.files import Arrays
from textgen.runs.folder import Run, TrainingState
from textgen.runs.history import Progress
from textgen.training.network import States, TrainingNetwork
from textgen.training.step import Stepper
from textgen.training.streams import Streams
from textgen.training.workers import Workers

# The share of rows whose state is reset before a chunk. A state that is carried over a whole book
# drifts away from the zero state that a text starts with. Without resets a model learns too little
# about beginnings and may generate noise after a short prompt. Melis's Language Modelling
# Benchmarks call this `drop_state_probability`.
_RESET_SHARE = 0.02
_ORDER_SEED = 1  # separates the random numbers of an epoch's order from those of a step
_COMPILING_STEPS = 3  # not counted in the speed


class _Timed(NamedTuple):
    """Tokens trained on, and the seconds it took."""

    tokens: int = 0
    seconds: float = 0.0


class Trainer:
    """Trains the network of a run on the chunks of its corpus, from its last checkpoint."""

    def __init__(self, run: Run, workers: Workers, start: float) -> None:
        """Load the last checkpoint, if any; `start`, as of `time.monotonic`, is when time began."""
        self._run = run
        self._workers = workers
        self._settings = settings = run.settings
        self.corpus, self.validation, _ = run.corpus().split(settings.reading)
        self._streams = self._streams_of(0)
        counts = self.corpus.counts(len(run.tokenizer))
        network = TrainingNetwork(settings.architecture, len(run.tokenizer), settings.seed)
        self.stepper = Stepper(network, settings, workers, counts)
        self._network = self.stepper.network
        self._states = self._zero_state()
        self.progress = Progress()
        # A network that starts with the frequencies of the tokens need not learn them. The mean is
        # subtracted because weight decay pulls towards zero; the softmax does not depend on it.
        frequencies = np.log(counts + 1.0)
        bias = {"output.bias": frequencies - frequencies.mean()}
        self._network.assign(bias | run.initial_weights())
        shapes = {name: tuple(slot.shape) for name, slot in self.stepper.optimizer.slots.items()}
        if saved := run.training_state(shapes):
            self._restore(saved)
        self.steps = 0  # of this process
        self._timed = _Timed()
        self._start = start - self.progress.seconds

    @property
    def tokens(self) -> int:
        """The number of tokens to train on."""
        return len(self.corpus)

    @property
    def documents(self) -> int:
        """The number of documents to train on."""
        return len(self.corpus.documents)

    @property
    def steps_per_epoch(self) -> int:
        return len(self._streams)

    @property
    def epoch(self) -> float:
        return self.progress.step / len(self._streams)

    @property
    def epochs_are_over(self) -> bool:
        return self._settings.epochs is not None and self.epoch >= self._settings.epochs

    @property
    def mean_loss(self) -> float | None:
        """The mean loss of the steps since the last evaluation; None if there were none."""
        steps = self.progress.loss_steps
        return self.progress.loss_total / steps if steps else None

    @property
    def mean_gradient_norm(self) -> float | None:
        """The mean global norm of the gradients of these steps, before clipping."""
        steps = self.progress.norm_steps
        return self.progress.norm_total / steps if steps else None

    @property
    def trained_tokens(self) -> int:
        """The number of tokens trained on so far, earlier processes included."""
        epoch, chunk = divmod(self.progress.step, len(self._streams))
        return epoch * self._streams.predictions + self._streams.predicted(chunk)

    @property
    def tokens_per_second(self) -> float | None:
        """The speed of training steps, without those that compile; None before the first."""
        return self._timed.tokens / self._timed.seconds if self._timed.tokens else None

    def seconds(self) -> float:
        """Return how long the run has been trained, earlier processes included."""
        return time.monotonic() - self._start

    def step(self, learning_rate: float) -> None:
        """Train on the next chunk of every stream.

        Raises TrainingError if the loss or the gradient is not finite.
        """
        start = time.monotonic()
        step, settings = self.progress.step, self._settings
        rng = np.random.default_rng([settings.seed, step])
        epoch, chunk = divmod(step, len(self._streams))
        if epoch != self._streams_epoch:
            self._streams = self._streams_of(epoch)
        if chunk == 0 or settings.stateless:
            self._states = self._zero_state()
        else:
            rows = rng.random(settings.batch_size) < _RESET_SHARE
            self._states = self._network.reset_rows(self._states, rows[self.stepper.rows])
        batch = self._streams[chunk]
        loss, norm, self._states = self.stepper.train(batch, self._states, learning_rate, rng)
        self._require_finite(loss + norm)
        self.progress.step += 1
        self.progress.loss_total += loss
        self.progress.loss_steps += 1
        self.progress.learning_rate = learning_rate
        self.progress.norm_total += norm
        self.progress.norm_steps += 1
        self.steps += 1
        if self.steps > _COMPILING_STEPS:
            tokens, seconds = int(batch.counts.sum()), time.monotonic() - start
            self._timed = _Timed(self._timed.tokens + tokens, self._timed.seconds + seconds)

    def weights(self) -> Arrays:
        """Return the current weights; raise TrainingError if they are not finite."""
        weights = self._network.weights()
        self._require_finite(sum(float(np.sum(weight)) for weight in weights.values()))
        return weights

    def states(self) -> Arrays:
        """Return the state of all rows; all workers must call this."""
        gathered = {}
        for name, own in self._network.state_arrays(self._states).items():
            rows = np.zeros((self._settings.batch_size, own.shape[1]), np.float64)
            rows[self.stepper.rows] = own
            gathered[name] = self._workers.sum_array(rows).astype(np.float32)
        return gathered

    def _restore(self, saved: TrainingState) -> None:
        self._network.assign(saved.weights)
        self.stepper.optimizer.restore(saved.optimizer, saved.progress.step)
        own = {name: part[self.stepper.rows] for name, part in saved.state.items()}
        self._states = self._network.states_from(own)
        self.progress = saved.progress

    def _streams_of(self, epoch: int) -> Streams:
        """Return the streams of an epoch; each epoch has its own order of the documents."""
        settings, order = self._settings, None
        if (count := len(self.corpus.documents)) > 1:
            order = np.random.default_rng([settings.seed, epoch, _ORDER_SEED]).permutation(count)
        self._streams_epoch = epoch
        return Streams(self.corpus, settings.batch_size, settings.chunk_length, order=order)

    def _zero_state(self) -> States:
        return self._network.zero_state(self.stepper.rows.stop - self.stepper.rows.start)

    def _require_finite(self, figure: float) -> None:
        if not math.isfinite(figure):
            raise TrainingError(
                f"the loss or the weights are not finite after {self.progress.step} steps; "
                f"{self._run.path} keeps its last checkpoint; train a new run with a "
                f"--learning-rate below {self._settings.learning_rate}"
            )
