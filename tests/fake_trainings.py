"""A command that trains as its book says, and trainings of it that clients ask for."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from textgen.options.serving import ServingOptions
from textgen.runs.locking import LOCK
from textgen.serving.models import Models
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

fake = pytest.mark.usefixtures("_fake")


async def body_of(*parts: str | bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part.encode() if isinstance(part, str) else part


def closing(test: Callable[..., Any], given: Sequence[Path] = (), **options: Any) -> Any:
    """Run `test(trainings)` in an event loop, and close them. `given` are other runs."""

    async def main() -> Any:
        runs = Models(given, RUNS).folders
        trainings = Trainings(RUNS, ServingOptions(train=True, **options), runs)
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
    return [path for path in RUNS.glob(".textgen-uploads-*/*") if path.name != LOCK]


async def refusal(awaitable: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await awaitable
    assert caught.value.body["error"]["message"] == caught.value.message
    return caught.value


async def stop(trainings: Trainings, name: str) -> dict[str, Any]:
    return trainings.stop(name)
