"""What the server tells of runs: figures, evaluations, previews and events."""

import contextlib
import http.client
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from clients import error_of
from filelock import FileLock
from helpers import fabricate

from textgen.model import Model
from textgen.runs.folder import Run
from textgen.serving.records import RunRecords


def runs_of(url: str) -> dict[str, dict[str, Any]]:
    return {run["name"]: run for run in httpx.get(f"{url}/v1/runs").json()["runs"]}


def test_runs_have_the_figures_of_info(url: str, models: dict[str, Model]) -> None:
    answer = httpx.get(f"{url}/v1/runs").json()
    assert answer["trains"] is False
    saved = [run["saved"] for run in answer["runs"]]
    assert saved == sorted(saved, reverse=True)
    for level, run in runs_of(url).items():
        info = Run.open(models[level].path).describe()
        assert run == {
            "name": level,
            "state": "trained",
            "error": None,
            "saved": int((models[level].path / "model.safetensors").stat().st_mtime),
            "level": level,
            "books": ["book.txt"],
            "tokens": info["tokens"],
            "vocabulary": info["vocabulary"],
            "weights": info["weights"],
            "architecture": "LSTM 1x16",
            **{
                name: info["outcome"][name]
                for name in (
                    *("validation_loss", "bits_per_character", "temperature"),
                    *("epochs", "seconds"),
                )
            },
        }
        assert run["validation_loss"] > 0


def test_runs_of_every_state_are_listed(
    serve: Callable[..., str], tmp_path: Path, book: Path
) -> None:
    for number, name in enumerate(("old", "damaged", "prepared", "learning", "odd")):
        path = fabricate(f"checkpoints/{name}", book).path
        for file in ("model.safetensors", "config.json"):
            os.utime(path / file, (1000 + number, 1000 + number))
    for name in ("prepared", "learning"):
        Path(f"checkpoints/{name}/model.safetensors").unlink()
    Path("checkpoints/damaged/tokenizer.json").write_text("{")
    line = dict.fromkeys(("step", "epoch", "seconds", "loss"), 1) | {"tokens_per_second": 1}
    odd = line | {"validation_loss": 2.0, "bits_per_character": float("nan")}
    Path("checkpoints/odd/metrics.jsonl").write_text(json.dumps(odd) + "\n")
    url = serve(folder=tmp_path / "checkpoints")
    with FileLock("checkpoints/learning/.lock"):
        runs = runs_of(url)
        assert {name: (run["state"], run["saved"]) for name, run in runs.items()} == {
            "odd": ("trained", 1004),
            "learning": ("training", None),
            "prepared": ("prepared", None),
            "damaged": ("trained", 1001),
            "old": ("trained", 1000),
        }
    assert list(runs) == ["odd", "learning", "prepared", "damaged", "old"]
    assert runs["damaged"]["error"].startswith("damaged/tokenizer.json is damaged")
    assert runs["odd"]["error"].startswith("odd/metrics.jsonl is damaged")
    assert runs["odd"]["tokens"] is runs["damaged"]["level"] is None
    assert runs["prepared"]["tokens"] == runs["old"]["tokens"] > 0
    assert runs["prepared"]["validation_loss"] is runs["prepared"]["error"] is None
    # What changes is seen.
    shutil.rmtree("checkpoints/damaged")
    good = line | {"validation_loss": 2.0, "bits_per_character": 2.5}
    Path("checkpoints/odd/metrics.jsonl").write_text(json.dumps(good) + "\n")
    runs = runs_of(url)
    assert runs["learning"]["state"] == "prepared"
    assert (runs["odd"]["bits_per_character"], runs["odd"]["error"]) == (2.5, None)
    assert "damaged" not in runs


def test_runs_are_described_for_two_requests_at_once(models: dict[str, Model]) -> None:
    records = RunRecords()

    class Interrupted(dict[str, Path]):
        def items(self) -> Any:
            records.describe({}, {})  # for a request that came before there were runs
            return super().items()

    folders = Interrupted({level: model.path for level, model in models.items()})
    assert {run["name"] for run in records.describe(folders, {})} == set(models)


def test_evaluations_and_previews(url: str, models: dict[str, Model]) -> None:
    for level, model in models.items():
        found = httpx.get(f"{url}/v1/runs/{level}/metrics").json()
        assert found["metrics"] == Run.open(model.path).history()
        samples = (model.path / "samples.txt").read_bytes().decode()
        assert len(found["previews"]) == len(found["metrics"]) > 1
        assert all(f"\n\n{preview}\n\n" in samples for preview in found["previews"])


def test_evaluations_of_a_run_without_any_and_of_a_damaged_one(
    serve: Callable[..., str], tmp_path: Path, book: Path
) -> None:
    path = fabricate("checkpoints/new", book).path
    url = serve(folder=tmp_path / "checkpoints")
    address = f"{url}/v1/runs/new/metrics"
    assert httpx.get(address).json() == {"metrics": [], "previews": []}
    (path / "metrics.jsonl").write_text("{}\n")
    answer = httpx.get(address)
    assert error_of(answer) == (404, None, "run_unavailable")
    assert answer.json()["error"]["message"].startswith("new/metrics.jsonl is damaged")


@pytest.mark.parametrize("name", ["none", "..", "%2e%2e", ".hidden", "x" * 1000, "%00"])
def test_unknown_runs(url: str, name: str) -> None:
    for what in ("metrics", "events"):
        path = f"/v1/runs/{name}/{what}"
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 404
            assert json.loads(answer.read())["error"]["code"] == "run_not_found"


def events_of(address: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with httpx.stream("GET", address, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


def test_events_of_a_run_are_told_by_a_server_that_does_not_train(
    serve: Callable[..., str], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textgen.serving.events.POLL_SECONDS", 0.01)
    path = Path(shutil.copytree(model.path, "elsewhere/book"))
    url = serve(path)
    history = Run.open(path).history()
    events = list(events_of(f"{url}/v1/runs/book/events"))
    assert [data for name, data in events if name == "metrics"] == history
    assert events[0] == ("state", {"state": "finished"})
    assert events[-1] == ("end", {"state": "finished", "error": None, "run": "book"})
    # Another process trains it further.
    with FileLock(path / ".lock"):
        following = events_of(f"{url}/v1/runs/book/events")
        assert next(following) == ("state", {"state": "training"})
        seen = [next(following) for _ in events[1:-1]]
        assert seen == events[1:-1]
        line = history[-1] | {"step": history[-1]["step"] + 1}
        with (path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        assert next(following) == ("metrics", line)
    assert list(following)[-1][0] == "end"
    assert httpx.post(f"{url}/v1/runs?name=new", content=b"text").status_code == 405
    assert httpx.delete(f"{url}/v1/runs/book/training").status_code == 404


def test_runs_that_the_server_trains(
    serve: Callable[..., str], tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = f"""
import pathlib, sys, time
name = sys.argv[6].removeprefix("--out=").split("/")[-1]
while not pathlib.Path({str(tmp_path)!r}, name + ".go").exists():
    time.sleep(0.01)
sys.exit("Error: it is not possible" if name == "second" else 0)
"""
    (tmp_path / "wait.py").write_text(waits)
    monkeypatch.setattr(
        "textgen.serving.process.COMMAND", (shutil.which("python3"), "-S", tmp_path / "wait.py")
    )
    monkeypatch.setattr("textgen.serving.events.POLL_SECONDS", 0.01)
    url = serve(folder=tmp_path / "checkpoints", train=True)
    assert httpx.get(f"{url}/v1/runs").json() == {"trains": True, "runs": []}
    for name in ("first", "second"):
        httpx.post(f"{url}/v1/runs?name={name}", content=b"text").raise_for_status()
        assert httpx.get(f"{url}/v1/runs/{name}/metrics").json()["metrics"] == []

    def states() -> dict[str, str]:
        return {name: run["state"] for name, run in runs_of(url).items()}

    while states() != {"second": "queued", "first": "training"}:
        time.sleep(0.01)
    shutil.copytree(model.path, "checkpoints/first")
    assert states() == {"second": "queued", "first": "training"}
    assert runs_of(url)["first"]["tokens"] == Run.open(model.path).tokens
    assert len(httpx.get(f"{url}/v1/runs/first/metrics").json()["metrics"]) > 1
    (tmp_path / "first.go").touch()
    (tmp_path / "second.go").touch()
    while states() != {"second": "failed", "first": "trained"}:
        time.sleep(0.01)
    assert runs_of(url)["second"]["error"] == "it is not possible"
    assert [name for name, _ in events_of(f"{url}/v1/runs/second/events")][-1] == "end"
    # Another process trains it further.
    with FileLock("checkpoints/first/.lock"):
        assert states()["first"] == "training"
        assert next(events_of(f"{url}/v1/runs/first/events")) == ("state", {"state": "training"})
    assert next(events_of(f"{url}/v1/runs/first/events")) == ("state", {"state": "queued"})
