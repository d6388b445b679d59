"""Write evaluations, previews and checkpoints during training."""

import math
import textwrap
import time

from textgen.options.training import TrainingSettings
from textgen.preprocess.corpus import Corpus
from textgen.runs.files import Arrays
from textgen.runs.folder import Run, TrainingState
from textgen.runs.history import Evaluations, best, kept_losses, validation_losses
from textgen.sampling.sampler import Sampler
from textgen.system.terminal import counted
from textgen.training.streams import Streams
from textgen.training.temperature import FEWEST_TOKENS, TemperatureFit
from textgen.training.tensorboard import EventLog
from textgen.training.trainer import Trainer

_PIECES = 32  # of a long validation part, spread over it
_PIECE_LENGTH = {"char": 8192, "byte": 8192, "word": 2048}  # tokens
_VALIDATION_ROW = 4096  # tokens that each row predicts, at least
_VALIDATION_OVERLAP = 256  # tokens that each row but the first reads before those it predicts
_PREVIEW_LENGTH = {"char": 240, "byte": 240, "word": 60}  # tokens
_PREVIEW_DOCUMENTS = 4
_COMPILING_SECONDS = 2.0  # of the first evaluation, about
_STEPS_TIMED = 50  # until the speed of training is known
_FEWEST_READINGS = 2.0  # of a text, until the network is too sure of what follows
_OVERFITTED = 0.75  # a share of a training; if the best weights are from before, it was too long


class Recorder:
    """Evaluates and saves a run in training."""

    def __init__(self, run: Run, trainer: Trainer, log: EventLog | None = None) -> None:
        self._run = run
        self._trainer = trainer
        self._log = log
        self._settings = run.settings
        self._progress = trainer.progress
        validation = trainer.validation
        self.validation = _validation_streams(validation, run.settings) if len(validation) else None
        self._fit: TemperatureFit | None = None
        streams, tied = self.validation, run.settings.architecture.tie
        if streams and streams.predictions >= FEWEST_TOKENS and not tied:
            self._fit = TemperatureFit(trainer.stepper, streams)
        self.saved = time.monotonic()
        self._evaluation_seconds: float | None = None  # of the last evaluation
        self._has_forecast = False

    @property
    def history(self) -> Evaluations:
        return self._progress.history

    def evaluate(self, states: Arrays, at_end: bool = False) -> str:
        """Evaluate the weights, write a preview, and save everything; return a note about it.

        `at_end` is whether the epochs or minutes are over.
        """
        start = time.monotonic()
        trainer, weights = self._trainer, self._trainer.weights()
        to_bits = self._run.means.bits_per_character
        loss = trainer.stepper.loss(self.validation) if self.validation else None
        is_best = loss is None or loss < min(validation_losses(self.history), default=math.inf)
        self.history.append(
            {
                "step": self._progress.step,
                "epoch": round(trainer.epoch, 4),
                "seconds": round(trainer.seconds(), 2),
                "loss": trainer.mean_loss,
                "validation_loss": loss,
                "bits_per_character": None if loss is None else to_bits(loss),
                "tokens_per_second": trainer.tokens_per_second,
                "learning_rate": self._progress.learning_rate,
                "gradient_norm": trainer.mean_gradient_norm,
                "tokens": trainer.trained_tokens,
            }
        )
        figures = self.figures()
        text = self._preview(weights)
        self._progress.loss_total, self._progress.loss_steps = 0.0, 0
        self._progress.norm_total, self._progress.norm_steps = 0.0, 0
        self._progress.samples_size = self._run.add_sample(
            f"{figures}\n\n{text}\n\n", self._progress.samples_size
        )
        self._run.write_metrics(self.history)
        self._save(states, weights, at_end)
        if is_best:
            self._run.save_weights(weights)
        note = f"{figures}\n{textwrap.indent(text, '    ')}\n"
        if self._log:
            validation = trainer.validation if self.validation else trainer.corpus
            problem = self._log.record(self.history, text, weights, self._settings, validation.ids)
            note += f"{problem}\n" if problem else ""
        self._evaluation_seconds = time.monotonic() - start
        return note

    def fit_temperature(self, states: Arrays, at_end: bool) -> None:
        """Divide the logits of the weights that are kept by the temperature that suits them best.

        Call it once training is over, because it changes the weights of the network. Nothing is
        done if the validation part is short, if the minutes did not suffice to read the text
        twice, or with `tie`: then the output layer has no kernel of its own to divide.
        """
        kept = best(self.history)
        if "temperature" not in kept:
            if (fit := self._worthwhile_fit) is None or kept["validation_loss"] is None:
                return
            last = self._trainer.weights()
            temperature, loss = fit.fit(self._run.weights())
            if loss >= kept["validation_loss"]:
                temperature, loss = 1.0, kept["validation_loss"]
            bits = self._run.means.bits_per_character(loss)
            kept |= {"temperature": temperature, "tempered_loss": loss, "tempered_bits": bits}
            self._run.write_metrics(self.history)
            self._save(states, last, at_end)
        # If the process dies before this, the resumed one does the same.
        self._run.temper_weights(kept["temperature"])

    def save(self, states: Arrays) -> None:
        """Save a checkpoint, and weights to sample from if no evaluation judges them."""
        weights = self._trainer.weights()
        self._save(states, weights)
        if not self.history or self.validation is None:
            self._run.save_weights(weights)

    def complete_save(self) -> None:
        """Keep the weights of the last checkpoint, if the process died before it kept them.

        Weights are saved after the checkpoint that judges them. Otherwise those of an evaluation
        that no checkpoint knows would be taken for the best of the others.
        """
        step = self._progress.step
        kept = best(self.history) if self.validation else {}
        if not step or kept.get("step", step) != step or "temperature" in kept:
            return
        weights = self._trainer.weights()
        if not self._run.has_weights(weights):
            self._run.save_weights(weights)

    def header(self) -> str:
        """Return a line that describes the run, its text, network and hardware, and advice."""
        trainer, settings, run = self._trainer, self._settings, self._run
        start = f"resuming at epoch {trainer.epoch:.2f}" if self._progress.step else "training"
        documents = ""
        if run.tokenizer.end is not None:
            documents = f" in {counted(trainer.documents, 'document')}"
        unknown = f", {share:.1%} unknown" if (share := run.means.unknown_per_token) else ""
        vocabulary = f"{len(run.tokenizer):,} distinct{unknown}"
        advice = f"\n{trainer.stepper.advice}" if trainer.stepper.advice else ""
        return (
            f"{run.path}: {start} on {trainer.tokens:,} tokens ({vocabulary}){documents}, "
            f"{settings.architecture}, {run.weight_count:,} weights, "
            f"dropout {settings.dropout:g}, {trainer.stepper.hardware}{advice}"
        )

    @property
    def reserve(self) -> float:
        """The seconds that another evaluation, and fitting the temperature, take."""
        speed, validation = self._trainer.tokens_per_second, self.validation
        a_pass = validation.predictions / speed if validation and speed else 0.0
        a_pass *= self._trainer.stepper.evaluation_cost
        seconds = self._evaluation_seconds
        if seconds is None:
            seconds = _COMPILING_SECONDS + a_pass if a_pass else 0.0
        return seconds + (fit.passes * a_pass if (fit := self._worthwhile_fit) else 0.0)

    def forecast(self) -> str | None:
        """Return a note on the time that the epochs take, once the speed is known."""
        epochs, speed = self._settings.epochs, self._trainer.tokens_per_second
        if self._has_forecast or not epochs or not speed or self._trainer.steps < _STEPS_TIMED:
            return None
        self._has_forecast = True
        minutes = round((epochs - self._trainer.epoch) * self._trainer.tokens / speed / 60)
        limit = self._settings.minutes
        if minutes < 2 or (limit and minutes > limit - self._trainer.seconds() / 60):
            return None
        hours, rest = divmod(minutes, 60)
        expected = f"{hours:,} h {rest} min" if hours else f"{minutes} min"
        forecast = f"about {expected} for {epochs:g} epochs at {speed:,.0f} tokens/s"
        if self._settings.minutes:
            return forecast
        return f"{forecast}; Ctrl-C stops and saves, --minutes sets a limit"

    def summary(self) -> str:
        """Return one line on the weights that are kept, with a hint if training was too long."""
        kept, last = best(self.history), self.history[-1]
        figures = [f"epoch {kept['epoch']:.2f}", *self._validation(kept_losses(kept)[0])]
        if "temperature" in kept:
            figures[-1] += f" at temperature {kept['temperature']:.2f}"
        if (loss := kept["loss"]) is not None:
            figures.append(f"loss {loss:.3f}")
        summary = f"{self._run.path} keeps the weights of {', '.join(figures)}"
        if kept is last or kept["epoch"] > _OVERFITTED * last["epoch"]:
            if self._settings.minutes and self._trainer.epochs_are_over:
                summary += (
                    f"; {self._settings.epochs:g} epochs are over, before the minutes: use the "
                    f"rest for a run with --seed {self._settings.seed + 1}, and sample from both"
                )
            return summary
        return (
            f"{summary}; then the validation loss rose from {kept['validation_loss']:.3f} to "
            f"{last['validation_loss']:.3f} by epoch {last['epoch']:.2f}: train on more text, for "
            "a shorter time, or with more --dropout"
        )

    def figures(self) -> str:
        """Return the current figures of training in one line."""
        parts = [f"epoch {self._trainer.epoch:.2f}"]
        if (loss := self._trainer.mean_loss) is not None:
            parts.append(f"loss {loss:.3f}")
        if self.history:
            parts += self._validation(self.history[-1]["validation_loss"])
        if speed := self._trainer.tokens_per_second:
            parts.append(f"{speed:,.0f} tokens/s")
        return ", ".join(parts)

    @property
    def _worthwhile_fit(self) -> TemperatureFit | None:
        """The fit of a temperature, unless few minutes are better spent on training."""
        if self._settings.minutes is None or self._trainer.epoch >= _FEWEST_READINGS:
            return self._fit
        return None

    def _validation(self, loss: float | None) -> list[str]:
        """Return a validation loss as text, if there is one."""
        if loss is None:
            return []
        bits = self._run.means.bits_per_character(loss)
        return [f"validation {loss:.3f} ({bits:.3f} bits/character)"]

    def _preview(self, weights: Arrays) -> str:
        """Return a text generated with these weights, or a few documents."""
        texts = Sampler([self._run], [weights]).samples(
            count=1 if self._run.tokenizer.end is None else _PREVIEW_DOCUMENTS,
            seed=self._progress.step,
            length=_PREVIEW_LENGTH[self._settings.reading.level],
        )
        return "\n".join("".join(text) for text in texts)

    def _save(self, states: Arrays, weights: Arrays, at_end: bool = False) -> None:
        self._progress.seconds = self._trainer.seconds()
        minutes = self._settings.minutes
        if at_end and minutes and not self._trainer.epochs_are_over:
            # The time reserved for the last evaluation is over.
            self._progress.seconds = max(self._progress.seconds, 60 * minutes)
        optimizer = self._trainer.stepper.optimizer.arrays()
        self._run.save_training_state(TrainingState(weights, optimizer, states, self._progress))
        self.saved = time.monotonic()


def _validation_streams(validation: Corpus, settings: TrainingSettings) -> Streams:
    """Return one stream if the text is short, else several that overlap.

    The loss equals that of one pass over the text to about four digits. Of a long validation part,
    pieces are read that are spread over it, so that a training of a minute is not spent on them.
    """
    length = _PIECE_LENGTH[settings.reading.level]
    if len(validation) > _PIECES * length:
        validation = validation.sample(_PIECES, length)
    rows = max(1, min(len(validation) // _VALIDATION_ROW, settings.batch_size))
    overlap = _VALIDATION_OVERLAP if rows > 1 else 0
    return Streams(validation, rows, settings.chunk_length, overlap)
