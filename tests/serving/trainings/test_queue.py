"""Trainings take turns, each in a process of its own."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fake_trainings import (
    RUNS,
    begin,
    body_of,
    closing,
    exists,
    fake,
    followed,
    refusal,
    state_is,
    states,
)
from filelock import FileLock
from helpers import make_book, snapshot

from textgen.runs.folder import Run
from textgen.runs.locking import LOCK
from textgen.serving.events import Event, RunFiles
from textgen.serving.trainings import Trainings


@fake
def test_trainings_take_turns() -> None:
    names = ["a", "b", "c"]

    async def test(trainings: Trainings) -> None:
        for place, name in enumerate(names):
            answer = await begin(trainings, name, "begin", f"wait {name}.go", f"print {name}")
            assert answer == {
                "object": "training",
                "run": name,
                "state": "queued",
                "position": place,
                "error": None,
            }
        readers = [asyncio.create_task(followed(trainings, name)) for name in names]
        for place, name in enumerate(names):
            await state_is(trainings, name, "training")
            others = [trainings.describe(other) for other in names[place + 1 :]]
            assert [(o["state"], o["position"]) for o in others if o] == [
                ("queued", position) for position in range(1, len(names) - place)
            ]
            progress = [data async for _, data in first_progress(trainings, names[-1])]
            assert progress[0]["position"] == len(names) - place - 1
            Path(f"{name}.go").touch()
        for reader in readers:
            assert states(await reader) == ["queued", "training", "finished"]
        assert [trainings.describe(name)["position"] for name in names] == [None] * 3  # type: ignore[index]

    closing(test)


async def first_progress(
    trainings: Trainings, name: str
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    async for event in trainings.events(name):
        if event[0] == "progress":
            yield event
            return


@fake
def test_a_full_queue_refuses_until_there_is_room() -> None:
    async def test(trainings: Trainings) -> None:
        for name in ("a", "b"):
            await begin(trainings, name, "wait go")
        error = await refusal(begin(trainings, "c", "exit 0"))
        assert (error.status, error.body["error"]["code"]) == (503, "queue_full")
        assert error.retry_after
        trainings.stop("b")
        await begin(trainings, "c", "exit 0")
        Path("go").touch()
        await state_is(trainings, "c", "finished")
        await begin(trainings, "d", "exit 0")

    closing(test, max_trainings=1)


@fake
def test_an_error_of_the_server_ends_one_training(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: RunFiles) -> list[Event]:
        raise RuntimeError("can't start new thread")

    async def test(trainings: Trainings) -> None:
        await begin(trainings, "new", "begin", "wait go", "evaluate 1")
        await begin(trainings, "next", "exit 0")
        await exists("new.waits")
        with monkeypatch.context() as patch:
            patch.setattr(RunFiles, "news", fail)
            end = (await followed(trainings, "new"))[-1][1]
        assert (end["state"], "error in the server" in end["error"]) == ("failed", True)
        assert states(await followed(trainings, "next"))[-1] == "finished"
        Path("go").touch()
        await asyncio.sleep(0.3)
        assert not (RUNS / "new/metrics.jsonl").exists()  # its process has ended

    closing(test)
    assert "can't start new thread" in caplog.text


@fake
def test_only_so_many_trainings_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgen.serving.trainings._REMEMBERED", 2)

    async def test(trainings: Trainings) -> None:
        for name in "abcde":
            await begin(trainings, name, "exit 0")
            await state_is(trainings, name, "finished")
        assert [name for name in "abcde" if trainings.describe(name)] == ["c", "d", "e"]

    closing(test)


@fake
def test_the_texts_of_a_killed_server_are_removed() -> None:
    folders = {
        name: RUNS / f".textgen-uploads-{name}" for name in ("killed", "older", "training", "alive")
    }
    for name, folder in folders.items():
        (folder / "x").mkdir(parents=True)
        if name != "older":  # than locks
            (folder / LOCK).touch()
        if name != "training":
            os.utime(folder, (0, 0))

    async def test(trainings: Trainings) -> None:
        try:
            with FileLock(folders["alive"] / LOCK):
                await begin(trainings, "new", "exit 0")
            left = [name for name, folder in folders.items() if folder.exists()]
        finally:
            for folder in folders.values():
                shutil.rmtree(folder, ignore_errors=True)
        assert left == ["training", "alive"]

    closing(test)


@fake
def test_the_process_gets_its_bounds_and_nothing_of_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(trainings: Trainings) -> None:
        await begin(trainings, "new", "exit 0", epochs="2")
        await state_is(trainings, "new", "finished")

    closing(test, train_nice=7, train_cores=1)
    assert json.loads(Path("new.seen").read_text()) == [
        *["7", "1", "train", "new.txt", "--quiet", "--epochs=2.0"]
    ]


def test_the_process_yields_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real program, with a `textgen` that tells where it runs, and swallows a Ctrl-C."""
    package = Path("elsewhere/textgen")
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import json, os, sys, time\n"
        "from pathlib import Path\n"
        "out = Path(sys.argv[3].removeprefix('--out='))\n"
        "out.mkdir()\n"
        "found = {\n"
        "    'nice': os.nice(0), 'cores': len(os.sched_getaffinity(0)),\n"
        "    'arguments': sys.argv[1:3], 'stdin': sys.stdin.read(),\n"
        "    'leads': os.getsid(0) == os.getpid(),\n"
        "    'names': list(os.environ), 'files': os.listdir(),\n"
        "    'adjusted': Path('/proc/self/oom_score_adj').read_text(),\n"
        "}\n"
        "(out / 'found').write_text(json.dumps(found))\n"
        "try:\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    time.sleep(60)\n"
    )
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("TF_CONFIG", "{}")
    monkeypatch.setenv("TEXTGEN_API_KEY", "secret")

    async def test(trainings: Trainings) -> None:
        await begin(trainings, "new", "text")
        await exists(str(RUNS / "new/found"))
        trainings.stop("new")
        assert states(await followed(trainings, "new"))[-1] == "stopped"

    closing(test, train_nice=5, train_cores=1)
    found = json.loads((RUNS / "new/found").read_text())
    assert not {"TF_CONFIG", "TEXTGEN_API_KEY"} & set(found.pop("names"))
    assert found == {
        "nice": os.nice(0) + 5,
        "cores": 1,
        "stdin": "",
        "arguments": ["train", "new.txt"],
        "leads": True,
        "files": ["new.txt"],
        "adjusted": "1000\n",
    }


def test_a_text_is_trained_on_and_fine_tuned(run: Path) -> None:
    RUNS.mkdir()
    run.rename(RUNS / "old")
    before = snapshot(RUNS / "old")

    async def test(trainings: Trainings) -> None:
        query = {"from": "old", "minutes": "60", "save_every": "0.1", "batch_size": "4"}
        await trainings.begin("new", query, body_of(make_book()))
        await begin(trainings, "bad", "short", level="word")
        async for name, _ in trainings.events("new"):
            if name == "progress" and (RUNS / "new/model.safetensors").exists():
                break
        trainings.stop("new")
        events = await followed(trainings, "new")
        assert states(events) == ["queued", "training", "stopping", "stopped"]
        end = (await followed(trainings, "bad"))[-1][1]
        assert end["state"] == "failed"
        assert end["error"] == "no word occurs 2 times in the text; lower min_count"

    closing(test, train_nice=0)
    new = Run.open(RUNS / "new")
    assert new.books == ["new.txt"]
    assert new.weights()
    assert snapshot(RUNS / "old") == before
    assert {path.name for path in RUNS.iterdir()} == {"old", "new"}
