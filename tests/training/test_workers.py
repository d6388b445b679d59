"""Distributed training: several workers on this machine train as one process does."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import make_book, snapshot, wait_for
from processes import Child, starting, train_noting
from safetensors import safe_open
from steppers import note_losses

import textgen
from textgen.errors import RunError, TrainingError
from textgen.runs.folder import Run
from textgen.runs.locking import locked
from textgen.training.workers import Workers, this_cluster

OPTIONS = {
    "units": 24,
    "embedding": 8,
    "dropout": 0.3,
    "batch_size": 8,
    "chunk_length": 16,
    "precision": "float32",
    "epochs": 2,
}

Start = Callable[..., list[Child]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a team of workers that do not outlive the test."""
    with starting() as start_one:

        def start(count: int, *books: str, **options: Any) -> list[Child]:
            sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
            addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
            for s in sockets:
                s.close()
            given = options if "resume" in options else OPTIONS | options
            team = []
            for rank in range(count):
                task = {"type": "worker", "index": rank}
                config = {"cluster": {"worker": addresses}, "task": task}
                changes = {"TF_CONFIG": json.dumps(config)}
                note = f"losses{rank}.json"
                team.append(start_one(train_noting, note, *books, environment=changes, **given))
            return team

        yield start


def finish(team: list[Child]) -> list[str]:
    """Wait for all workers; return what each wrote to standard error."""
    for worker in team:
        worker.wait()
    return [worker.errors() for worker in team]


def losses(rank: int = 0) -> np.ndarray:
    return np.array(json.loads(Path(f"losses{rank}.json").read_text()))


def saved_step() -> int:
    """Return how many steps the checkpoint of the team has; 0 if there is none."""
    path = Path("team/training.safetensors")
    if not path.exists():
        return 0
    with safe_open(path, "numpy") as checkpoint:
        return json.loads(checkpoint.metadata()["progress"])["step"]


BOOKS = [f"{number}.txt" for number in range(3)]


def write_books() -> list[str]:
    for number, name in enumerate(BOOKS):
        Path(name).write_text(make_book(900, seed=number), "utf-8")
    return BOOKS


@pytest.fixture
def books() -> list[str]:
    return write_books()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, np.ndarray]:
    """Return a run that one process trained, and the loss of each of its steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("one"))
        noted = note_losses(patch)
        model = textgen.train(*write_books(), out=Path.cwd() / "one", quiet=True, **OPTIONS)
    assert len(noted) > 100
    return model.run, np.array(noted)


def test_workers_train_as_one_process(
    books: list[str], start: Start, one: tuple[Run, np.ndarray]
) -> None:
    run, alone = one
    team = start(3, *books, out="team", quiet=True, tensorboard="logs")  # two or three rows each
    assert not any(finish(team)), [worker.exit_code for worker in team]
    assert len(list(Path("logs").rglob("*tfevents*"))) == 1  # the first worker's
    for rank in range(3):
        np.testing.assert_allclose(losses(rank), alone, atol=1e-3)
        np.testing.assert_allclose(losses(rank)[:60], alone[:60], atol=1e-4)
    for ours, theirs in zip(Run.open("team").history(), run.history(), strict=True):
        assert ours["step"] == theirs["step"]
        assert ours["validation_loss"] == pytest.approx(theirs["validation_loss"], abs=2e-3)


def test_workers_that_die_stop_the_others_and_the_run_resumes(
    books: list[str], start: Start, one: tuple[Run, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, alone = one
    what: dict[str, Any] = {"out": "team", "save_every": 0.001}
    for victim in (0, 1):
        before = saved_step()
        team = start(2, *([] if "resume" in what else books), **what)
        wait_for(lambda before=before: saved_step() > before)
        team[victim].send(signal.SIGKILL)
        other = team[1 - victim]
        assert other.wait() == 1
        said = other.errors().splitlines()
        assert "another worker has ended" in said[-1]
        assert "resume=True" in said[-1]
        what["resume"] = True
    rest = note_losses(monkeypatch)
    textgen.train(out="team", resume=True, quiet=True)  # one process resumes the run of two
    assert 0 < len(rest) < len(alone)
    np.testing.assert_allclose(rest, alone[-len(rest) :], atol=2e-3)


def test_one_that_is_told_to_end_stops_and_saves_all(books: list[str], start: Start) -> None:
    team = start(2, *books, out="team", epochs=200, save_every=0.01)
    wait_for(lambda: saved_step() > 0)
    team[1].send(signal.SIGINT)
    said = finish(team)
    assert all("resume with: textgen train --out team --resume" in text for text in said)
    before = Path("team/training.safetensors").stat().st_mtime_ns
    textgen.train(out="team", resume=True, epochs=0.01, quiet=True)
    assert Path("team/training.safetensors").stat().st_mtime_ns > before


def test_one_that_waits_for_the_first_obeys_as_well(start: Start) -> None:
    os.mkfifo("book.txt")
    first, second = start(2, "book.txt", out="team", quiet=True)
    with Path("book.txt").open("w"):  # blocks until the first worker opens the pipe
        time.sleep(2)
        second.send(signal.SIGTERM)
        assert second.wait() == -signal.SIGTERM
        assert first.exit_code is None


def test_one_that_waits_for_others_to_come_ends_when_told(start: Start) -> None:
    Path("book.txt").write_text(make_book(900))
    first, second = start(2, "book.txt", out="team")
    second.close()
    wait_for(lambda: "worker 0 of 2" in first.errors())
    time.sleep(1)
    first.send(signal.SIGINT)
    assert first.wait() == -signal.SIGINT


def test_a_first_worker_that_cannot_begin_keeps_none_waiting(start: Start) -> None:
    first, second = start(2, "none.txt", out="team")
    said, others = finish([first, second])
    assert "there is no file none.txt" in said
    assert "another worker has ended" in others
    assert not Path("team").exists()


def test_the_settings_of_a_run_in_training_stay(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Team(Workers):
        several = True

    monkeypatch.setattr("textgen.training.session.connect_workers", lambda _: Team())
    before = snapshot(run)
    with locked(run), pytest.raises(RunError, match="is being trained by another process"):
        textgen.train(out=run, resume=True, epochs=99, quiet=True)
    assert snapshot(run) == before


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": "ab"}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1", null]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:99999"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": {"0": "a:1"}}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_cluster_that_makes_no_sense(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(TrainingError, match="TF_CONFIG is invalid"):
        this_cluster()


def test_rows_are_shared_out_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    roles = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    rows = []
    for role, index in (("chief", 0), ("worker", 0), ("worker", 1)):
        task = {"type": role, "index": index}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": roles, "task": task}))
        one = Workers(this_cluster())
        assert one.cluster.addresses == ("a:1", "b:1", "c:1")
        assert one.is_first == (role == "chief")
        rows.append(range(8)[one.rows(8)])
    assert [list(part) for part in rows] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    with pytest.raises(TrainingError, match="2 streams cannot be shared by 3 workers"):
        one.rows(2)
