"""Write what TensorBoard shows of a training."""

import os
import platform
import tempfile
import textwrap
import time
from collections.abc import Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.analysis.units import HIGH, LOW, SIGMOIDS
from textgen.errors import OptionError, OutputError
from textgen.options.training import TrainingSettings
from textgen.preprocess.tokenizers import Ids
from textgen.runs.files import Arrays
from textgen.runs.history import Evaluations
from textgen.sampling.network import NumpyNetwork

# The names of the scalars, and their keys in metrics.jsonl.
_SCALARS = {
    "loss/training": "loss",
    "loss/validation": "validation_loss",
    "bits per character": "bits_per_character",
    "learning rate": "learning_rate",
    "gradient norm": "gradient_norm",
    "tokens per second": "tokens_per_second",
}
_HISTOGRAM_BUCKETS = 30  # of a histogram, as many as TensorBoard's own have
_TRACED = 512  # tokens


class EventLog:
    """Writes the evaluations of a run as events, in a folder of TensorBoard's.

    Each process that trains a run writes a file of its own, which begins with the first
    evaluation. Nothing is open between evaluations.
    """

    def __init__(self, folder: str | Path, run: str | Path) -> None:
        """Create `folder/name`, with the name of the run.

        Raises OptionError if TensorBoard is not installed, OutputError if the folder cannot be
        written.
        """
        if find_spec("tensorboard") is None:
            raise OptionError(
                "tensorboard", "needs a package; install it with: pip install tensorboard"
            )
        self.folder = Path(folder) / Path(run).resolve().name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise OutputError(
                f"cannot write {self.folder}: {error.strerror or error}; fix that, or give "
                "--tensorboard another folder"
            ) from None
        self._path: Path | None = None
        self._has_failed = False

    def record(
        self,
        history: Evaluations,
        preview: str,
        weights: Arrays,
        settings: TrainingSettings,
        ids: Ids,
    ) -> str | None:
        """Write the last evaluation of `history`; return a note if that is no longer possible.

        Args:
            preview: text that the network generates.
            weights: of the network.
            ids: a text, (tokens,). The gates are those of its first 512 tokens.
        """
        if self._has_failed:
            return None
        events = _Events()
        path = self._path or self._begin(events, history, settings)
        step = history[-1]["step"]
        network = NumpyNetwork(settings.architecture, weights)
        gates = dict(_traced_gates(network, ids))
        for name, value in (
            *_scalars(history[-1]),
            *_saturation(gates, settings.architecture.cell),
        ):
            events.add_scalar(name, value, step)
        arrays = {f"weights/{name}": values for name, values in weights.items()} | gates
        for name, values in arrays.items():
            events.add_histogram(name, values, step)
        events.add_text("preview", preview, step)
        try:
            with path.open("ab") as file:
                file.write(events.data())
        except OSError as error:
            self._has_failed = True
            return (
                f"cannot write {path}: {error.strerror or error}; the training continues without "
                "--tensorboard"
            )
        self._path = path
        return None

    def _begin(self, events: "_Events", history: Evaluations, settings: TrainingSettings) -> Path:
        """Add what stands at the beginning of a file, and return its path."""
        is_first = not any(self.folder.glob("*tfevents*"))
        earlier = history[:-1]
        # Readers drop what other files have of this step and later ones: it was written after the
        # checkpoint that the training was resumed from, or by a run that this one replaces.
        events.add_start(earlier[-1]["step"] + 1 if earlier else 0)
        if is_first or not earlier:
            events.add_settings(_plain(settings))
            for entry in earlier:
                for name, value in _scalars(entry):
                    events.add_scalar(name, value, entry["step"])
        # Readers sort files by their names.
        host = platform.node() or "localhost"
        return self.folder / f"events.out.tfevents.{time.time():017.6f}.{host}.{os.getpid()}"


class _Events:
    """Events in TensorBoard's format, as bytes of a file.

    Scalars and histograms have the older of their two forms, as those of PyTorch have. All readers
    drop what a resumed training replaces in this form.
    """

    def __init__(self) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._bytes = BytesIO()
        self._records = RecordWriter(self._bytes)

    def data(self) -> bytes:
        return self._bytes.getvalue()

    def add_start(self, step: int) -> None:
        """Add the beginning of a file whose events replace those of `step` and later ones."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._add(file_version="brain.Event:2")
        self._add(session_log=SessionLog(status=SessionLog.START), step=step)

    def add_settings(self, settings: dict[str, Any]) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        self._add(summary=hparams_pb(settings))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self._add_value(step, tag=name, simple_value=value)

    def add_text(self, name: str, text: str, step: int) -> None:
        """Add a text, as a block of code because it would be read as Markdown."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        block = textwrap.indent(text, "    ", lambda line: True).encode("utf-8", "replace")
        self._add(summary=text_pb(name, block), step=step)

    def add_histogram(self, name: str, values: NDArray[np.float32], step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import HistogramProto

        counts, edges = np.histogram(values, _HISTOGRAM_BUCKETS)
        histogram = HistogramProto(
            min=float(values.min()),
            max=float(values.max()),
            num=values.size,
            sum=float(values.sum(dtype=np.float64)),
            sum_squares=float(np.square(values).sum(dtype=np.float64)),
            bucket_limit=edges[1:].tolist(),
            bucket=counts.tolist(),
        )
        self._add_value(step, tag=name, histo=histogram)

    def _add_value(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add(summary=Summary(value=[Summary.Value(**content)]), step=step)

    def _add(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(**content, wall_time=time.time()).SerializeToString())


def _scalars(entry: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the figures of an evaluation that has them."""
    for name, key in _SCALARS.items():
        if (value := entry.get(key)) is not None:
            yield name, value


def _traced_gates(network: NumpyNetwork, ids: Ids) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the gates of each layer while it reads the first tokens from a zero state."""
    traces, _ = network.trace(ids[:_TRACED, None], network.zero_state(1))
    for layer, trace in enumerate(traces):
        for name, values in trace.gates.items():
            yield f"gates/layers.{layer}.{name}", values


def _saturation(gates: dict[str, NDArray[np.float32]], cell: str) -> Iterator[tuple[str, float]]:
    """Yield how often gates are nearly closed and nearly open."""
    for name, values in gates.items():
        if name.endswith(SIGMOIDS[cell]):
            yield f"{name}/below {LOW}", float(np.mean(values < LOW))
            yield f"{name}/above {HIGH}", float(np.mean(values > HIGH))


def _plain(settings: TrainingSettings) -> dict[str, Any]:
    """Return the options that have a value, as TensorBoard can show them."""
    return {
        name: ",".join(map(str, value)) if isinstance(value, list | tuple) else value
        for name, value in settings.to_json().items()
        if value is not None
    }
