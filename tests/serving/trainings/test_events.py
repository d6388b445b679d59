"""What the readers of a training are told."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_trainings import (
    RUNS,
    begin,
    closing,
    exists,
    fake,
    followed,
    refusal,
    states,
    stop,
    uploads,
)
from filelock import FileLock

from textgen.runs.folder import Run
from textgen.serving import process
from textgen.serving.events import Event, replayed
from textgen.serving.trainings import Trainings


@fake
def test_early_and_late_readers_get_all_events_in_order() -> None:
    async def test(trainings: Trainings) -> None:
        lines = ["begin", "evaluate 1", "wait one", "evaluate 2", "evaluate 3", "wait two"]
        await begin(trainings, "new", *lines)
        early = [asyncio.create_task(followed(trainings, "new")) for _ in range(3)]
        await exists("new.waits")
        gone = trainings.events("new")
        assert [(await anext(gone))[0] for _ in range(2)] == ["state", "state"]
        await gone.aclose()  # type: ignore[attr-defined]
        Path("one").touch()
        while (RUNS / "new/metrics.jsonl").read_text().count("\n") != 3:
            await asyncio.sleep(0.01)
        middle = asyncio.create_task(followed(trainings, "new"))
        Path("two").touch()
        readings = [await reader for reader in (*early, middle)]
        readings.append(await followed(trainings, "new"))
        assert all(events == readings[0] for events in readings)
        events = readings[0]
        assert [name for name, _ in events] == (
            ["state"] * 2 + ["metrics", "preview"] * 3 + ["state", "end"]
        )
        assert [data["step"] for name, data in events if name == "metrics"] == [1, 2, 3]
        previews = [data["text"] for name, data in events if name == "preview"]
        assert previews == [f"Text {number}.\n\n\nEnd" for number in (1, 2, 3)]
        assert events[-1] == ("end", {"state": "finished", "error": None, "run": "new"})
        assert not uploads()

    closing(test)


@fake
@pytest.mark.parametrize("how", ["begin 1", "begin", "begin 1 4"])
def test_progress_tells_the_time_left(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgen.serving.trainings._PROGRESS_SECONDS", 0.02)

    async def test(trainings: Trainings) -> None:
        await begin(trainings, "new", "wait one", how, "wait two", "evaluate 2", "wait three")
        known = []
        minute, epochs = 60, 0.2 * 4 / 2  # seconds; 2 of 4 epochs took 0.2
        async for name, data in trainings.events("new"):
            if name != "progress" or data["position"]:
                continue
            known.append(tuple(data[key] is not None for key in ("seconds", "seconds_left")))
            assert data.keys() == {"position", "seconds", "seconds_left", "share"}
            assert (data["share"] is None) == (data["seconds_left"] is None)
            if not known[-1][0]:
                Path("one").touch()
            else:
                Path("two").touch()
            if known[-1][1]:
                assert 0 <= data["share"] <= 1
                # The time of the epochs is known after an evaluation, that of a minute at once.
                planned = minute if data["seconds_left"] > epochs else epochs
                assert data["seconds_left"] == pytest.approx(
                    max(0, planned - data["seconds"]), abs=0.1
                )
                if planned == (minute if how == "begin 1" else epochs):
                    Path("three").touch()
        assert known[0] == (False, False)
        assert known[-1] == (True, True)

    closing(test)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (["print Error: new.txt is not UTF-8", "exit 1"], "new.txt is not UTF-8"),
        (["print Error: {folder}/new exists", "exit 1"], "new exists"),
        (["print Usage: train", "print Error: --batch-size no", "exit 2"], "batch_size no"),
        (["print Traceback", "exit 1"], "the training ended with code 1"),
        (["print Traceback\x1b[2J", "exit 1"], "the training ended with code 1"),
        (["kill"], "the training was killed, perhaps for lack of memory"),
        (["print Error: old", "print_much", "print Error: new", "exit 1"], "new"),
    ],
)
@fake
def test_a_failure_is_told_in_one_line(
    lines: list[str], error: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(trainings: Trainings) -> list[Any]:
        await begin(trainings, "new", *(line.format(folder=RUNS.resolve()) for line in lines))
        await begin(trainings, "next", "exit 0")
        assert states(await followed(trainings, "next"))[-1] == "finished"
        return await followed(trainings, "new")

    assert closing(test)[-2:] == [
        ("state", {"state": "failed"}),
        ("end", {"state": "failed", "error": error, "run": "new"}),
    ]
    assert "\x1b" not in caplog.text


@fake
def test_a_process_that_holds_the_pipe_does_not_hold_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("textgen.serving.process._STDERR_SECONDS", 0.05)

    async def test(trainings: Trainings) -> None:
        await begin(trainings, "new", "child", "print Error: lost", "exit 1")
        end = (await followed(trainings, "new"))[-1][1]
        assert end["error"] == "the training ended with code 1"
        await asyncio.sleep(0.6)  # until the pipe is closed

    closing(test)


def test_no_alarm_outlives_a_training_that_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "textgen").mkdir()
    (tmp_path / "textgen/__init__.py").touch()
    (tmp_path / "textgen/__main__.py").write_text("""
import os, signal, sys

class Last:  # is deleted when Python has restored the default handlers of signals
    def __del__(self, write=os.write, timer=signal.getitimer, real=signal.ITIMER_REAL):
        write(1, str(timer(real)[0]).encode())

sys.last = Last()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    sys.exit(130)
""")
    command = [*process.COMMAND, os.pathsep.join([str(tmp_path), *sys.path]), "0", ""]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    assert (result.returncode, result.stdout) == (130, b"0.0")


@fake
def test_a_process_that_cannot_start_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "COMMAND", ("/nowhere/python",))

    async def test(trainings: Trainings) -> None:
        await begin(trainings, "new", "text")
        end = (await followed(trainings, "new"))[-1][1]
        assert end["error"] == "the training cannot start: No such file or directory"

    closing(test)


@fake
def test_damaged_files_do_not_stop_a_training() -> None:
    async def test(trainings: Trainings) -> None:
        await begin(trainings, "new", "begin", "wait one", "evaluate 1", "exit 0")
        await exists("new.waits")
        (RUNS / "new/metrics.jsonl").write_text("{\n")
        (RUNS / "new/config.json").write_text("[]")
        Path("one").touch()
        assert states(await followed(trainings, "new"))[-1] == "finished"

    closing(test)


@fake
def test_a_run_that_was_trained_elsewhere_is_replayed(run: Path) -> None:
    RUNS.mkdir()
    run.rename(RUNS / "other")

    async def read_all() -> list[Event]:
        return [event async for event in replayed(RUNS / "other")]

    async def test(trainings: Trainings) -> None:
        events = await read_all()
        history = Run.open(RUNS / "other").history()
        assert [data for name, data in events if name == "metrics"] == history
        previews = [data["text"] for name, data in events if name == "preview"]
        assert len(previews) == len(history) > 1
        samples = (RUNS / "other/samples.txt").read_bytes().decode()
        assert all(f"\n\n{preview}\n\n" in samples for preview in previews)
        assert events[0] == ("state", {"state": "finished"})
        assert events[-1] == ("end", {"state": "finished", "error": None, "run": "other"})
        error = await refusal(stop(trainings, "other"))
        assert error.status == 409
        # While another process trains it, its events go on.
        with FileLock(RUNS / "other/.lock"):
            reader = asyncio.create_task(read_all())
            await asyncio.sleep(0.1)
            assert not reader.done()
        assert states(await reader) == ["training", "finished"]
        (RUNS / "other/metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n')
        end = (await read_all())[-1][1]
        assert end["error"].startswith("other/metrics.jsonl is damaged")

    closing(test)
