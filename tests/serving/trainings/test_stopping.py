"""Trainings that are stopped."""

import asyncio
import signal
import threading
from pathlib import Path

import httpx
import pytest
from fake_trainings import (
    RUNS,
    begin,
    closing,
    exists,
    fake,
    followed,
    refusal,
    state_is,
    states,
    stop,
    uploads,
)
from helpers import wait_for

from textgen.model import Model
from textgen.serving import application, server
from textgen.serving.trainings import Trainings


@fake
def test_stopping_is_as_with_ctrl_c() -> None:
    async def test(trainings: Trainings) -> None:
        assert (await refusal(stop(trainings, "new"))).status == 404
        await begin(trainings, "new", "begin", "wait forever")
        await begin(trainings, "next", "wait forever")
        await exists("new.waits")
        assert trainings.stop("next")["state"] == "stopped"
        assert len(uploads()) == 1
        assert states(await followed(trainings, "next")) == ["queued", "stopped"]
        for _ in range(2):
            assert trainings.stop("new")["state"] == "stopping"
        events = await followed(trainings, "new")
        assert states(events) == ["queued", "training", "stopping", "stopped"]
        assert events[-1][1] == {"state": "stopped", "error": None, "run": "new"}
        assert (RUNS / "new/saved").exists()
        assert not uploads()
        for name in ("new", "next"):
            assert (await refusal(stop(trainings, name))).status == 409
        assert not Path("next.seen").exists()

    closing(test)


@fake
@pytest.mark.parametrize("seconds", [0, 0.01, 0.02, 0.05])
def test_a_training_can_be_stopped_while_it_starts(seconds: float) -> None:
    async def test(trainings: Trainings) -> None:
        await begin(trainings, "new", "wait forever")
        await state_is(trainings, "new", "training")
        await asyncio.sleep(seconds)
        trainings.stop("new")
        assert states(await followed(trainings, "new"))[-1] == "stopped"

    closing(test)


@fake
def test_closing_stops_all_and_kills_the_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgen.serving.trainings._CLOSING_SECONDS", 0.3)

    async def test(trainings: Trainings) -> list[list[str]]:
        await begin(trainings, "deaf", "begin", "deaf")
        await begin(trainings, "next", "exit 0")
        await exists("deaf.deaf")
        readers = [asyncio.create_task(followed(trainings, name)) for name in ("deaf", "next")]
        await asyncio.sleep(0)
        await trainings.close()
        assert (await refusal(begin(trainings, "new", "exit 0"))).status == 503
        return [states(await reader) for reader in readers]

    assert closing(test) == [
        ["queued", "training", "stopping", "failed"],
        ["queued", "stopped"],
    ]


@fake
def test_a_training_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgen.serving.process._SAVING_SECONDS", 0.3)

    async def test(trainings: Trainings) -> None:
        await begin(trainings, "deaf", "deaf")
        await exists("deaf.deaf")
        for _ in range(2):  # a second one soon after does no harm
            assert trainings.stop("deaf")["state"] == "stopping"
        await asyncio.sleep(0.4)
        assert trainings.describe("deaf")["state"] == "stopping"  # type: ignore[index]
        trainings.stop("deaf")
        events = await asyncio.wait_for(followed(trainings, "deaf"), 5)
        assert states(events)[-1] == "failed"
        assert events[-1][1]["error"] == "the training was killed"

    closing(test)


@fake
def test_texts_end_before_a_training_does(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second Ctrl-C kills the training."""
    monkeypatch.setattr(server, "_GRACE", 0.3)
    ready = threading.Event()
    stopping = server.Server(application(model.path, train=True), ready.set)
    with server.listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=stopping.run, kwargs={"sockets": [listener]})
        thread.start()
        assert ready.wait(10)
        url = server.address_of(listener)
        httpx.post(f"{url}/v1/runs?name=deaf", content=b"deaf").raise_for_status()
        wait_for(Path("deaf.deaf").exists)
        body = {"model": "char", "max_tokens": 100_000, "stream": True}
        with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=20) as answer:
            lines = answer.iter_lines()
            next(lines)
            stopping.handle_exit(signal.SIGINT, None)
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert thread.is_alive()
        stopping.handle_exit(signal.SIGINT, None)
        thread.join(5)
        assert not thread.is_alive()


@fake
def test_closing_waits_until_a_training_is_saved() -> None:
    async def test(trainings: Trainings) -> None:
        await begin(trainings, "new", "begin", "wait forever")
        await exists("new.waits")

    closing(test)
    assert (RUNS / "new/saved").exists()
