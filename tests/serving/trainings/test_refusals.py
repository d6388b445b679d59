"""Trainings that are refused, and what a refused one leaves."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

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
    stop,
    uploads,
)

from textgen.serving import process
from textgen.serving.refusals import RequestError
from textgen.serving.trainings import Trainings


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", ".hidden", "a/b", "a\\b", "/etc", "-x", "_x", "x.", "a b", "a\n"),
        *("é", "a\0", "٣", "x" * 65, "\ud800", "a%2fb"),
    ],
)
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    async def test(trainings: Trainings) -> None:
        for field in ("name", "from"):
            given = (name, {}) if field == "name" else ("new", {"from": name})
            error = await refusal(trainings.begin(*given, body_of("text")))
            assert (error.status, error.body["error"]["param"]) == (400, field)
            assert error.message.isprintable()
        for call in (trainings.events, trainings.stop):
            with pytest.raises(RequestError) as caught:
                call(name)
            assert caught.value.status == 404
        assert trainings.describe(name) is None

    closing(test)
    assert not RUNS.exists()


def test_a_wrong_option_is_named_before_the_text_is_read() -> None:
    async def test(trainings: Trainings) -> None:
        for query in ({"unit": "5"}, {"epochs": "x"}, {"from": "missing"}):
            error = await refusal(trainings.begin("new", query, body_of("text")))
            assert (error.status, error.body["error"]["param"]) == (400, *query)

    closing(test)
    assert not RUNS.exists()


@fake
def test_what_exists_is_never_replaced() -> None:
    RUNS.mkdir()
    (RUNS / "folder").mkdir()
    (RUNS / "file").touch()
    (RUNS / "link").symlink_to("nowhere")
    before = {path.name for path in RUNS.iterdir()}

    async def test(trainings: Trainings) -> None:
        for name in before:
            error = await refusal(begin(trainings, name, "exit 0"))
            assert (error.status, error.body["error"]["code"]) == (409, "run_exists")
        assert before == {path.name for path in RUNS.iterdir()}
        await begin(trainings, "first", "wait go")
        await begin(trainings, "second", "exit 0")
        for name in ("first", "second"):
            assert (await refusal(begin(trainings, name, "exit 0"))).status == 409
        (RUNS / "second").mkdir()  # by someone else, while it waits
        Path("go").touch()
        end = (await followed(trainings, "second"))[-1][1]
        assert (end["state"], "is a run already" in end["error"]) == ("failed", True)
        assert not list((RUNS / "second").iterdir())

    closing(test)


@fake
def test_runs_of_other_folders_are_known(run: Path) -> None:
    """As in `textgen serve OTHER/novels --train`."""
    Path("other").mkdir()
    novels, start = run.rename("other/novels"), {"from": "novels"}

    async def test(trainings: Trainings) -> None:
        error = await refusal(begin(trainings, "novels", "exit 0"))
        assert (error.status, error.body["error"]["code"]) == (409, "run_exists")
        assert (await refusal(stop(trainings, "novels"))).status == 409
        await begin(trainings, "new", f"print Error: {novels.resolve()} is odd", "exit 1", **start)
        end = (await followed(trainings, "new"))[-1][1]
        assert end["error"] == "novels is odd"

    closing(test, [novels])
    assert json.loads(Path("new.seen").read_text())[-1] == f"--from={novels.resolve()}"


@fake
def test_a_network_that_is_too_large_with_its_vocabulary(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MOST_WEIGHTS", 1000)

    async def test(trainings: Trainings) -> None:
        await begin(trainings, "new", "wait forever")
        await exists("new.waits")
        run.rename(RUNS / "new")
        end = (await followed(trainings, "new"))[-1][1]
        assert end["state"] == "failed"
        assert "weights; at most 1,000 are allowed here" in end["error"]

    closing(test)


@fake
def test_a_training_that_left_no_run_can_be_repeated() -> None:
    async def test(trainings: Trainings) -> None:
        await begin(trainings, "again", "exit 1")
        await state_is(trainings, "again", "failed")
        await begin(trainings, "again", "begin")
        assert states(await followed(trainings, "again")) == ["queued", "training", "finished"]

    closing(test)


def test_a_text_is_bounded_and_not_empty() -> None:
    async def test(trainings: Trainings) -> None:
        for parts, status in ((["x" * 600, "x" * 401], 413), ([], 400), ([b"", b""], 400)):
            assert (await refusal(trainings.begin("new", {}, body_of(*parts)))).status == status
            assert not uploads()
            assert trainings.describe("new") is None

    closing(test, max_book=0.001)


def test_a_text_that_arrives_too_slowly_is_refused() -> None:
    async def slow() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    async def test(trainings: Trainings) -> None:
        assert (await refusal(trainings.begin("new", {}, slow()))).status == 408
        assert not uploads()

    closing(test, max_seconds=0.1)


@pytest.mark.parametrize("error", [RuntimeError("gone"), ConnectionResetError(), TimeoutError()])
def test_a_client_that_goes_away_leaves_nothing(error: Exception) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"text"
        assert uploads()
        raise error

    async def test(trainings: Trainings) -> None:
        with suppress(RequestError), pytest.raises(type(error)):
            await trainings.begin("new", {}, broken())
        assert not uploads()
        assert trainings.describe("new") is None

    closing(test)


@fake
def test_a_cancelled_request_leaves_nothing() -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"text"
        await asyncio.Event().wait()

    async def test(trainings: Trainings) -> None:
        request = asyncio.create_task(trainings.begin("new", {}, stuck()))
        while not uploads():
            await asyncio.sleep(0.01)
        assert (await refusal(begin(trainings, "new", "exit 0"))).status == 409  # it is arriving
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert not uploads()
        await begin(trainings, "new", "exit 0")

    closing(test)


def test_a_full_disk_is_an_error_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(trainings: Trainings) -> None:
        with Path("/dev/full").open("wb") as full:
            monkeypatch.setattr(Path, "open", lambda *_: os.fdopen(os.dup(full.fileno()), "wb"))
            error = await refusal(trainings.begin("new", {}, body_of("text")))
            monkeypatch.undo()
        assert error.status == 503
        assert error.retry_after
        assert "No space left" in error.message
        assert not uploads()

    closing(test)
