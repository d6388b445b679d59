"""Trainings that clients ask for: refusals, the queue, events, and stopping."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from helpers import make_book, snapshot

from textgen.options.serving import ServingOptions
from textgen.runs.folder import Run
from textgen.serving import process
from textgen.serving.events import Event, replayed
from textgen.serving.refusals import RequestError
from textgen.serving.trainings import Trainings

RUNS = Path("checkpoints")

# Trains as the lines of its book say, and records its arguments, and each line it has done.
FAKE = r"""
import os, signal
signal.signal(signal.SIGINT, lambda *_: os._exit(130))
import json, sys, time
from pathlib import Path

_, niceness, cores, command, book, out, *flags = sys.argv[1:]
lines = Path(book).read_text().splitlines()
out = Path(out.removeprefix("--out="))
seen = out.parent.parent / f"{out.name}.seen"
seen.write_text(json.dumps([niceness, cores, command, book, *flags]))

def begin(minutes=None, epochs=None):
    out.mkdir()
    options = {"minutes": minutes, "epochs": epochs if minutes else 4.0}
    (out / "config.json").write_text(json.dumps({"options": options}))

def evaluate(number):
    line = {"step": number, "epoch": float(number), "seconds": number / 10, "loss": 2.5}
    line |= {"validation_loss": 2.25, "bits_per_character": 3.25, "tokens_per_second": 100.0}
    with (out / "samples.txt").open("a") as file:
        file.write(f"epoch {number:.2f}, loss 2.500, 100 tokens/s\n\nText {number}.\n\n\nEnd\n\n")
    with (out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")

def interrupted(*_):
    if out.exists():
        (out / "saved").touch()
    print("stopped; resume with: textgen train --resume", file=sys.stderr, flush=True)
    os._exit(130)

for line in lines:
    word, *rest = line.split()
    if word == "begin":
        begin(*map(float, rest))
    elif word == "evaluate":
        evaluate(int(rest[0]))
    elif word == "wait":  # for a file of this name
        signal.signal(signal.SIGINT, interrupted)
        seen.with_suffix(".waits").touch()
        while not (seen.parent / rest[0]).exists():
            time.sleep(0.01)
    elif word == "deaf":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        seen.with_suffix(".deaf").touch()
        time.sleep(60)
    elif word == "print":
        print(" ".join(rest), file=sys.stderr)
    elif word == "print_much":
        sys.stderr.write("much\n" * 100_000)
    elif word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "child":  # that holds standard error for longer
        if not os.fork():
            time.sleep(0.5)
            os._exit(0)
    elif word == "exit":
        sys.exit(int(rest[0]))
"""


@pytest.fixture
def _fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the command that trains, and read its files often."""
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    monkeypatch.setattr(process, "COMMAND", (sys.executable, "-S", str(path)))
    monkeypatch.setattr(process, "_STARTING_SECONDS", 0.2)
    monkeypatch.setattr("textgen.serving.events.POLL_SECONDS", 0.01)


fake = pytest.mark.usefixtures("_fake")


async def body_of(*parts: str | bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part.encode() if isinstance(part, str) else part


def closing(test: Callable[..., Any], **options: Any) -> Any:
    """Run `test(trainings)` in an event loop, and close them."""

    async def main() -> Any:
        trainings = Trainings(RUNS, ServingOptions(train=True, **options))
        try:
            return await asyncio.wait_for(test(trainings), 60)
        finally:
            await trainings.close()
            assert not list(RUNS.glob(".textgen-uploads-*"))

    return asyncio.run(main())


async def begin(trainings: Trainings, name: str, *lines: str, **options: str) -> dict[str, Any]:
    return await trainings.begin(name, options, body_of("\n".join(lines)))


async def followed(trainings: Trainings, name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return all events of a training but its progress."""
    events = [event async for event in trainings.events(name)]
    return [event for event in events if event[0] != "progress"]


async def state_is(trainings: Trainings, name: str, state: str) -> None:
    while trainings.describe(name)["state"] != state:  # type: ignore[index]
        await asyncio.sleep(0.01)


async def exists(path: str) -> None:
    while not Path(path).exists():
        await asyncio.sleep(0.01)


def states(events: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [data["state"] for name, data in events if name == "state"]


def uploads() -> list[Path]:
    return list(RUNS.glob(".textgen-uploads-*/*"))


# Refusals


async def refusal(awaitable: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await awaitable
    assert caught.value.body["error"]["message"] == caught.value.message
    return caught.value


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


# The queue


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
def test_only_so_many_trainings_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgen.serving.trainings._REMEMBERED", 2)

    async def test(trainings: Trainings) -> None:
        for name in "abcde":
            await begin(trainings, name, "exit 0")
            await state_is(trainings, name, "finished")
        assert [name for name in "abcde" if trainings.describe(name)] == ["c", "d", "e"]

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


# Events


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
        error = await refusal(_stopped(trainings, "other"))
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


async def _stopped(trainings: Trainings, name: str) -> dict[str, Any]:
    return trainings.stop(name)


# Stopping


@fake
def test_stopping_is_as_with_ctrl_c() -> None:
    async def test(trainings: Trainings) -> None:
        assert (await refusal(_stopped(trainings, "new"))).status == 404
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
            assert (await refusal(_stopped(trainings, name))).status == 409
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
def test_closing_waits_until_a_training_is_saved() -> None:
    async def test(trainings: Trainings) -> None:
        await begin(trainings, "new", "begin", "wait forever")
        await exists("new.waits")

    closing(test)
    assert (RUNS / "new/saved").exists()


# The real command


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
