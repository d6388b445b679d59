"""What the page needs from the server: its files, runs, copied passages and options."""

import contextlib
import gzip
import http.client
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import numpy as np
import pytest
from filelock import FileLock
from helpers import fabricate, make_book
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from textgen.errors import OptionError
from textgen.model import Model
from textgen.runs.folder import Run
from textgen.serving import application, pages
from textgen.serving.server import address_of, listen

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
MOST_BYTES = 200_000
REFERENCE = re.compile(
    r"""(?:src|href)="(?!data:)([^"]+)"|(?:from|import|import\()\s*"([^"]+)"|url\(["']?([^)"']+)"""
)


@pytest.fixture(scope="module")
def url(serve: Callable[..., str], models: dict[str, Model]) -> str:
    return serve(*(model.path for model in models.values()))


def error_of(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["code"]


# The page


def loaded(url: str) -> dict[str, httpx.Response]:
    """Return the answers for the page and all that it refers to, by address."""
    answers, waiting = dict[str, httpx.Response](), [f"{url}/"]
    with httpx.Client(headers={"Accept-Encoding": "gzip"}) as client:
        while waiting:
            address = waiting.pop()
            if address not in answers:
                answers[address] = answer = client.get(address)
                for groups in REFERENCE.findall(re.sub(r"(?m)^\s*(//|/?\*).*$", "", answer.text)):
                    waiting.append(urljoin(address, "".join(groups)))
    return answers


def test_the_page_loads_what_is_there_and_little_of_it(url: str) -> None:
    answers = loaded(url)
    assert {urlsplit(address).netloc for address in answers} == {urlsplit(url).netloc}
    assert {address: a.status_code for address, a in answers.items() if a.status_code != 200} == {}
    types = {Path(urlsplit(address).path).suffix for address in answers}
    assert {"", ".js", ".css"} <= types
    heads = sum(len(a.headers.raw) * 60 for a in answers.values())
    assert sum(a.num_bytes_downloaded for a in answers.values()) + heads < MOST_BYTES


def test_the_page_says_what_a_browser_may_do(url: str) -> None:
    for address in ("/", "/page/index.html", "/page/main.js", "/page/style.css"):
        answer = httpx.get(url + address)
        kind = {".js": "javascript", ".css": "css"}.get(Path(address).suffix, "html")
        assert answer.headers["Content-Type"] == f"text/{kind}; charset=utf-8"
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-cache"
        head = httpx.head(url + address)
        assert (head.status_code, head.content) == (200, b"")
        assert {**head.headers, "date": ""} == {**answer.headers, "date": ""}
        assert httpx.post(url + address).status_code == 405


def test_a_new_version_of_a_file_is_seen(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_PAGE_FOLDER", tmp_path)
    (tmp_path / "deep").mkdir()
    path, address = tmp_path / "deep/new.js", f"{url}/page/deep/new.js"
    assert httpx.get(address).status_code == 404
    path.write_text("export const é = 1;\n" * 500, "utf-8")
    plain = httpx.get(address, headers={"Accept-Encoding": "identity"})
    assert plain.content == path.read_bytes()
    assert "Content-Encoding" not in plain.headers
    with httpx.stream("GET", address, headers={"Accept-Encoding": "br, gzip"}) as packed:
        assert gzip.decompress(b"".join(packed.iter_raw())) == plain.content
        assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
        assert int(packed.headers["Content-Length"]) < 200
    tag = plain.headers["ETag"]
    for known in (tag, f'"other", {tag}'):
        same = httpx.get(address, headers={"If-None-Match": known})
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
        assert same.headers["Content-Security-Policy"] == POLICY
    before = path.stat()
    path.write_text("export const è = 1;\n" * 500, "utf-8")  # of the same length
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    new = httpx.get(address, headers={"If-None-Match": tag})
    assert (new.status_code, new.content) == (200, path.read_bytes())
    assert new.headers["ETag"] != tag


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "..", "main", "main.js/", "/main.js", "./main.js", "vendor", "vendor/"),
        *("../pages.py", "..%2fpages.py", "%2e%2e/pages.py", "vendor/../main.js", "..\\pages.py"),
        *("main.js%00", "%00", "%ff", "main.py", "MAIN.JS.", "/etc/passwd", "C:/x.js", "~/x.js"),
    ],
)
def test_only_files_of_the_page_are_sent(url: str, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    with contextlib.closing(connection):
        connection.putrequest("GET", f"/page/{path}", skip_accept_encoding=True)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
    assert answer.status == 404
    assert json.loads(body)["error"]["type"] == "not_found_error"


def test_the_page_needs_no_key_and_nothing_else_goes_without(
    serve: Callable[..., str], models: dict[str, Model]
) -> None:
    url = serve(models["char"].path, api_key="secret")
    for path in ("/", "/page/index.html", "/page/main.js"):
        assert httpx.get(url + path).status_code == 200
    assert httpx.get(f"{url}/page/none.js").status_code == 404
    others = ("/v1/runs", "/v1/runs/char/metrics", "/v1/runs/char/events", "/v1/options", "/page")
    for path in others:
        assert httpx.get(url + path).status_code == 401
    assert httpx.post(f"{url}/v1/passages", json={"text": ""}).status_code == 401
    assert httpx.get(f"{url}/v1/runs", headers={"Authorization": "Bearer secret"}).is_success


def test_the_page_works_in_another_application(models: dict[str, Model]) -> None:
    texts = application(models["char"].path, api_key="secret")
    with TestClient(
        Starlette(routes=[Mount("/texts", texts)]), base_url="http://localhost"
    ) as client:
        page = client.get("/texts/")
        assert page.headers["Content-Security-Policy"] == POLICY
        assert not re.search(r'(?:src|href)="/', page.text)
        for path in ("/texts/page/main.js", "/texts/health"):
            assert client.get(path).status_code == 200
        for path in ("/texts/v1/runs", "/texts/page"):
            assert client.get(path).status_code == 401


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "http://localhost"), ("127.0.0.1", "http://127.0.0.1")]
)
def test_the_address_that_is_shown_can_be_opened(host: str, shown: str) -> None:
    with listen(host, 0) as listener:
        assert address_of(listener) == f"{shown}:{listener.getsockname()[1]}"


@pytest.mark.parametrize("host", [".local", "a..b", "x" * 64])
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(OptionError, match="host is not an address of this computer"):
        listen(host, 0)


# Runs


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


# Passages


def passages_of(url: str, text: str, **fields: Any) -> dict[str, Any]:
    answer = httpx.post(f"{url}/v1/passages", json={"text": text} | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_passages_are_those_of_novelty(url: str, level: str, models: dict[str, Model]) -> None:
    book = make_book()
    text = f"🦆 {book[300:400]} quack {book[50:90]}! Something é quite new."
    for least in (5, 20, 60):
        found = passages_of(url, text, model=level, least=least)
        expected = models[level].novelty(text, least, most=1000)
        assert found["copied"] == expected.copied
        assert len(found["passages"]) == len(expected.longest)
        starts = [passage["start"] for passage in found["passages"]]
        assert starts == sorted(starts)
        for passage in found["passages"]:
            start, length, at = (passage[k] for k in ("start", "length", "source_position"))
            assert length >= least
            assert passage["source"] == "book.txt"
            assert text[start : start + length] == book[at : at + length]
            assert passage["before"] == book[max(at - 200, 0) : at]
            assert passage["after"] == book[at + length : at + length + 200]
    assert passages_of(url, text, model=level)["passages"][0]["start"] == 2


def test_passages_of_books_with_one_name(serve: Callable[..., str], tmp_path: Path) -> None:
    books = []
    for name in ("a", "b"):
        books.append(tmp_path / name / "book.txt")
        books[-1].parent.mkdir()
        books[-1].write_text(f"The {name} came with its own {name * 30}.\n" * 50, "utf-8")
    url = serve(fabricate("checkpoints/both", *books).path)
    for name in ("a", "b"):
        [passage] = passages_of(url, f"§{name * 30}.\n", model="both")["passages"]
        assert passage["source"] == "book.txt"
        assert passage["before"].endswith(f"own {name}"[:-1])
        assert f"The {name} came" in passage["after"]


def test_passages_that_cannot_be_looked_for(
    serve: Callable[..., str], tmp_path: Path, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fabricate("checkpoints/shared", book)
    url = serve(folder=tmp_path / "checkpoints")

    def refused(**fields: Any) -> tuple[int, str | None, str | None]:
        return error_of(httpx.post(f"{url}/v1/passages", json={"text": "The lamp"} | fields))

    assert passages_of(url, "") == {"copied": 0.0, "passages": []}
    odd = httpx.post(f"{url}/v1/passages", content=rb'{"text": "\ud800\u0000"}')
    assert odd.json() == {"copied": 0.0, "passages": []}
    for text in (None, 5, ["x"], "x" * 1_000_001):
        assert refused(text=text) == (400, "text", None)
    for least in (0, -1, 1.5, True, "5", 1 << 70):
        assert refused(least=least) == (400, "least", None)
    assert refused(model=5) == (400, "model", None)
    assert refused(model="none") == (404, "model", "model_not_found")
    with monkeypatch.context() as patch:
        patch.setattr("textgen.serving.passages.LONGEST_COMPARABLE", run.tokens - 1)
        assert refused() == (400, "model", "corpus_too_long")
    shutil.rmtree(run.path / "corpus")
    answer = httpx.post(f"{url}/v1/passages", json={"text": "The lamp"})
    assert error_of(answer) == (404, "model", "corpus_unavailable")
    assert answer.json()["error"]["message"].startswith("shared has no corpus/; copy it from")


def test_passages_of_a_long_book_are_found_within_a_second(
    serve: Callable[..., str], tmp_path: Path
) -> None:
    words = make_book(5000).split(" ")
    book = " ".join(np.random.default_rng(1).choice(words, 180_000))
    assert len(book) > 1e6
    (tmp_path / "long.txt").write_text(book, "utf-8")
    url = serve(fabricate("checkpoints/long", tmp_path / "long.txt").path)
    text = book[500_000:502_000]
    start = time.perf_counter()
    found = passages_of(url, text)
    assert time.perf_counter() - start < 1
    assert [(p["start"], p["length"]) for p in found["passages"]] == [(0, 2000)]


# Options


def test_options_are_those_of_requests(serve: Callable[..., str], models: dict[str, Model]) -> None:
    url = serve(models["char"].path, max_tokens=300)
    options = {option["name"]: option for option in httpx.get(f"{url}/v1/options").json()}
    assert list(options)[:2] == ["temperature", "max_tokens"]
    assert options["temperature"] == {
        "name": "temperature",
        "type": "schedule",
        "default": 0.8,
        "least": 0,
        "least_allowed": True,
        "most": None,
        "help": options["temperature"]["help"],
    }
    limits = {name: (o["type"], o["default"], o["least"], o["most"]) for name, o in options.items()}
    assert limits["max_tokens"] == ("integer", 300, 1, 300)
    assert limits["top_p"] == ("number", None, 0, 1)
    assert limits["stop"] == ("texts", [], None, None)
    assert limits["until_sentence"] == ("boolean", False, None, None)
    assert "beam" not in options
    assert all(option["help"].endswith(".") for option in options.values())

    client = httpx.Client()

    def status(**fields: Any) -> int:
        body = {"prompt": "The ", "max_tokens": 2, "repetition_penalty": 1.1} | fields
        return client.post(f"{url}/v1/completions", json=body).status_code

    assert status(**{name: option["default"] for name, option in options.items()}) == 200
    for name, option in options.items():
        if (least := option["least"]) is not None:
            assert status(**{name: least}) == (200 if option["least_allowed"] else 400)
            assert status(**{name: least - 1}) == (200 if name == "top_k" else 400)
        if (most := option["most"]) is not None:
            assert status(**{name: most}) == 200
            assert status(**{name: most + 1}) == 400
