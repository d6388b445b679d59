"""What TensorBoard's own reader finds of a training."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from helpers import snapshot, weights_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util.tensor_util import make_ndarray

import textgen
from textgen.errors import OptionError, OutputError
from textgen.model import Model
from textgen.runs.folder import Run
from textgen.training.tensorboard import EventLog


def read(folder: str | Path) -> EventAccumulator:
    return EventAccumulator(str(folder), {"scalars": 0, "histograms": 0}).Reload()


def steps(found: EventAccumulator, tag: str) -> list[int]:
    return [event.step for event in found.Scalars(tag)]


def values(found: EventAccumulator, tag: str) -> list[float]:
    return [event.value for event in found.Scalars(tag)]


def texts(found: EventAccumulator) -> dict[int, bytes]:
    events = found.Tensors("preview")
    return {event.step: make_ndarray(event.tensor_proto).item() for event in events}


def record(model: Model, history: list[dict[str, Any]], folder: str = "logs") -> str | None:
    log = EventLog(folder, model.path)
    run = model.run
    return log.record(history, "The lamp.\n# saw", run.weights(), run.settings, run.corpus().ids)


def test_an_evaluation_is_read_back(model: Model) -> None:
    history = model.run.history()
    assert record(model, history) is None
    found, last = read("logs/char"), history[-1]
    assert steps(found, "loss/validation") == [line["step"] for line in history]
    for tag, key in {
        "loss/training": "loss",
        "loss/validation": "validation_loss",
        "bits per character": "bits_per_character",
        "learning rate": "learning_rate",
        "gradient norm": "gradient_norm",
        "tokens per second": "tokens_per_second",
    }.items():
        assert values(found, tag)[-1] == pytest.approx(last[key])
    assert texts(found) == {last["step"]: b"    The lamp.\n    # saw"}
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    options = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    shown = {name: getattr(value, value.WhichOneof("kind")) for name, value in options.items()}
    given = {name: v for name, v in model.run.settings.to_json().items() if v is not None}
    assert shown == given | {"units": "16"}  # numbers are numbers; a list is one text
    assert {"epochs", "learning_rate", "tie", "cell"} <= shown.keys()
    assert "minutes" not in shown


def test_histograms_count_weights_and_gates(model: Model) -> None:
    record(model, model.run.history())
    found = read("logs/char")
    for name, weights in model.run.weights().items():
        (event,) = found.Histograms(f"weights/{name}")
        shown = event.histogram_value
        limits = [weights.min(), *shown.bucket_limit]
        np.testing.assert_array_equal(shown.bucket, np.histogram(weights, limits)[0])
        assert (shown.num, shown.max) == (weights.size, weights.max())
        assert shown.sum == pytest.approx(weights.sum(), rel=1e-3, abs=1e-3)
    ids = model.run.corpus().ids[:512, None]
    (layer,), _ = model.network.trace(ids, model.network.zero_state(1))
    for name, gate in layer.gates.items():
        (event,) = found.Histograms(f"gates/layers.0.{name}")
        assert event.histogram_value.num == gate.size == 512 * 16
    for name in "ifo":
        (low,), (high,) = (
            values(found, f"gates/layers.0.{name}/{which}") for which in ("below 0.1", "above 0.9")
        )
        assert low == pytest.approx((layer.gates[name] < 0.1).mean())
        assert high == pytest.approx((layer.gates[name] > 0.9).mean())
    assert "gates/layers.0.c/below 0.1" not in found.Tags()["scalars"]


def test_training_is_logged_and_resuming_doubles_nothing(run: Path) -> None:
    shutil.copytree(run, "plain")
    options = {"resume": True, "quiet": True}
    before = Run.open(run).history()
    textgen.train(out="plain", epochs=4, **options)
    textgen.train(out=run, epochs=4, tensorboard="logs", **options)
    assert weights_of(run) == weights_of("plain")
    found, after = read("logs/run"), Run.open(run).history()
    assert steps(found, "loss/validation") == [line["step"] for line in after]
    assert list(texts(found)) == [line["step"] for line in after[len(before) :]]
    shutil.copy("plain/training.safetensors", "four.safetensors")
    textgen.train(out=run, epochs=6, tensorboard="logs", **options)
    shutil.copy("four.safetensors", run / "training.safetensors")  # as if it had died
    textgen.train(out=run, epochs=5, tensorboard="logs", **options)
    found, history = read("logs/run"), Run.open(run).history()
    assert history[-1]["epoch"] == 5
    for tag in ("loss/validation", "gradient norm"):
        assert steps(found, tag) == [line["step"] for line in history]
    shown = [line["validation_loss"] for line in history]
    np.testing.assert_allclose(values(found, "loss/validation"), shown, rtol=1e-6)


def test_a_run_that_replaces_another_starts_anew(model: Model) -> None:
    history = model.run.history()
    record(model, history)
    first = {**history[0], "step": 1, "loss": 9.0}
    record(model, [first])
    assert steps(read("logs/char"), "loss/training") == [1]


def test_a_disk_that_fills_up_is_noted_once(model: Model) -> None:
    run, history = model.run, model.run.history()
    log = EventLog("logs", "run")
    arguments = ("text", run.weights(), run.settings, run.corpus().ids)
    assert log.record(history[:1], *arguments) is None
    (file,) = log.folder.iterdir()
    file.unlink()
    file.symlink_to("/dev/full")
    note = log.record(history, *arguments)
    assert note is not None
    assert "No space left on device; the training continues without" in note
    assert log.record(history, *arguments) is None


def test_training_goes_on_if_logging_fails(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def lost(log: EventLog, *_: Any) -> None:
        log.folder.rmdir()

    begin = EventLog._begin
    monkeypatch.setattr(EventLog, "_begin", lambda log, *a: (lost(log), begin(log, *a))[1])
    textgen.train(out=run, resume=True, epochs=4, tensorboard="logs")
    assert Run.open(run).history()[-1]["epoch"] == 4
    assert capfd.readouterr().err.count("the training continues without") == 1


def test_places_that_cannot_be_written(run: Path, command: Callable[..., Result]) -> None:
    before = snapshot(run)
    Path("file").touch()
    for folder in ("file", "/proc/logs", "/dev/null/logs"):
        with pytest.raises(OutputError, match=r"give tensorboard another folder") as error:
            textgen.train(out=run, resume=True, epochs=3, tensorboard=folder)
        assert "\n" not in str(error.value)
    flags = ("--resume", "--epochs=3", "--tensorboard=file")
    result = command("train", f"--out={run}", *flags)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "--tensorboard another folder" in result.stderr
    assert snapshot(run) == before


def test_without_the_package(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgen.training.tensorboard.find_spec", lambda name: None)
    with pytest.raises(OptionError, match="pip install tensorboard"):
        textgen.train(out=run, resume=True, epochs=3, tensorboard="logs")
    assert not Path("logs").exists()
