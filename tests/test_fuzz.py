"""Fuzzing: any input gives a result or an error of one line, fast and with little memory.

Each test tries few cases; `pytest --hypothesis-profile=many tests/test_fuzz.py` tries thousands.
"""

import json
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from textgen.cli import main
from textgen.errors import TextgenError
from textgen.model import Model
from textgen.options.training import TrainingOptions
from textgen.runs import lifecycle
from textgen.runs.folder import Run

MEMORY = 200e6  # bytes more than before
KIB = 1 if sys.platform == "darwin" else 1024

relaxed = settings(suppress_health_check=list(HealthCheck))
fractions = st.floats(0, 1, exclude_max=True)


@pytest.fixture(scope="module", autouse=True)
def _little_memory(models: dict[str, Model]) -> Iterator[None]:
    """Check the peak memory use; run this module alone, as other tests add to it."""

    def most() -> int:
        return KIB * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = most()
    yield
    if settings.default is not None and settings.default.max_examples > 1000:
        assert most() - before < MEMORY


def told_in_one_line(error: TextgenError) -> bool:
    return bool(str(error)) and "\n" not in str(error) and len(str(error)) < 1000


def tried(*calls: Callable[[], Any]) -> None:
    for call in calls:
        try:
            call()
        except TextgenError as error:
            problem = error
        else:
            continue
        assert told_in_one_line(problem)


# Damaged runs

FILES = [
    *("config.json", "tokenizer.json", "model.safetensors", "training.safetensors"),
    *("metrics.jsonl", "corpus/ids.npy", "corpus/documents.npy"),
]
NUMBERS = [b"0", b"-1", b"1e999", b"NaN", b"9" * 400, b"1" * 5000, b"null", b"[]", b'"1"', b"{}"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 1 << 70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, str, float, Any]]:
    kinds = {
        "flip": st.integers(0, 7),
        "cut": st.none(),
        "insert": st.binary(min_size=1, max_size=20) | st.sampled_from(NUMBERS),
        "number": st.sampled_from(NUMBERS),
        "swap": st.sampled_from(FILES),
        "length": st.integers(0, 2**64 - 1),
        "repeat": st.integers(2, 3),
        "remove": st.none(),
        "value": st.tuples(st.lists(fractions, max_size=4), VALUES),
    }
    names = st.sampled_from(FILES)
    return [
        (
            kind := draw(st.sampled_from(sorted(kinds))),
            draw(names),
            draw(fractions),
            draw(kinds[kind]),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]


def changed(data: Any, way: list[float], value: Any) -> Any:
    """Replace the item of JSON data that `way` leads to by `value`."""
    if isinstance(data, str) and data.startswith("{"):  # JSON in JSON: the progress
        return json.dumps(changed(json.loads(data), way, value))
    if not way or not isinstance(data, dict | list) or not data:
        return value
    keys = list(data) if isinstance(data, dict) else range(len(data))
    key = keys[int(way[0] * len(keys))]
    data[key] = changed(data[key], way[1:], value)
    return data


def with_value(name: str, data: bytes, way: list[float], value: Any) -> bytes:
    try:
        if name.endswith(".safetensors"):
            size = int.from_bytes(data[:8], "little")
            header = changed(json.loads(data[8 : 8 + size]), way, value)
            text = json.dumps(header).encode("utf-8", "replace")
            return len(text).to_bytes(8, "little") + text + data[8 + size :]
        text = json.dumps(changed(json.loads(data), way, value))
        return text.encode("utf-8", "replace")
    except (ValueError, OverflowError, MemoryError):  # damaged already, or no JSON
        return data


def damage(run: Path, kind: str, name: str, where: float, what: Any) -> None:
    path = run / name
    data = bytearray(path.read_bytes()) if path.exists() else bytearray(b"x")
    at = int(where * len(data))
    if kind == "flip":
        data[at] ^= 1 << what
    elif kind == "cut":
        del data[at:]
    elif kind == "insert":
        data[at:at] = what
    elif kind == "number":  # in place of the next one
        digits = [i for i in range(at, len(data)) if chr(data[i]).isdigit()][:1]
        for first in digits:
            last = first
            while last < len(data) and chr(data[last]).isdigit():
                last += 1
            data[first:last] = what
    elif kind == "length":  # of a header, in safetensors
        data[:8] = what.to_bytes(8, "little")
    elif kind == "repeat":
        data *= what
    elif kind == "value":
        data = bytearray(with_value(name, bytes(data), *what))
    elif kind == "swap":
        other = run / what
        if other.exists() and path.exists():
            theirs = other.read_bytes()
            other.write_bytes(data)
            path.write_bytes(theirs)
        return
    if kind == "remove":
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(data or b"\0")


@relaxed
@given(level=st.sampled_from(["char", "word", "byte"]), changes=damages())
def test_damaged_runs(models: dict[str, Model], level: str, changes: list[Any]) -> None:
    whole = models[level].run
    arrays = load_file(whole.path / "training.safetensors")
    slots = {n.partition("/")[2]: a.shape for n, a in arrays.items() if n.startswith("optimizer")}
    shutil.rmtree("run", ignore_errors=True)
    shutil.copytree(whole.path, "run")
    for change in changes:
        damage(Path("run"), *change)
    tried(
        lambda: Run.open("run").describe(),
        lambda: Run.open("run").training_state(slots),
        lambda: Run.open("run").corpus(),
        lambda: Model([Run.open("run")]).generate(length=3, seed=0),
        lambda: Model([Run.open("run")]).evaluate("The lamp"),
        lambda: Model([Run.open("run")]).generate(length=3, novel=5),
        lambda: lifecycle.resume("run", [whole.path.parent / "book.txt"], {"epochs": 3}),
    )


# Texts

texts = (
    st.binary(max_size=400)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.text("ab \r\n\t'’\0\ufeff", max_size=200).map(str.encode)
    | st.text(max_size=100).map(lambda text: text.encode("utf-16", "surrogatepass"))
)


@relaxed
@given(
    data=texts,
    level=st.sampled_from(["char", "word", "byte"]),
    encoding=st.sampled_from([None, None, "utf-8", "latin-1", "utf-16", "utf-7", "cp037", "idna"]),
    validation=st.sampled_from([0.0, 0.1, 0.9]),
    apart=st.sampled_from([{}, {"delimiter": "\n"}, {"csv": "a"}, {"jsonl": "a"}]),
)
def test_texts(
    data: bytes, level: str, encoding: str | None, validation: float, apart: dict[str, str]
) -> None:
    head = {"csv": b"a,b\n", "jsonl": b'{"a": "'}.get("".join(apart), b"")
    Path("book.txt").write_bytes(head + data)
    options = TrainingOptions(
        level=level,
        encoding=encoding,
        **apart,
        validation=validation,
        batch_size=1,
        chunk_length=2,
        min_count=1,
        units=3,
    )

    def read() -> None:
        run = lifecycle.create("new", ["book.txt"], options, force=True)
        ids = run.corpus().ids
        text = run.tokenizer.decode(ids)
        texts = ids if run.tokenizer.end is None else ids[ids != run.tokenizer.end]
        assert level != "char" or (run.tokenizer.encode(text) == texts).all()

    tried(read)


# Options

values = (
    st.sampled_from(["", "0", "-1", "1", "2", "1e999", "nan", "inf", "9" * 30, "0.5,1", "1:0", "-"])
    | st.integers(-5, 5).map(str)
    | st.floats(-2, 2).map(str)
    | st.text("ab\x1b\n\udcff0é", max_size=5)
)
FLAGS = {
    name: sorted(
        {flag for parameter in command.params for flag in parameter.opts if flag[0] == "-"}
    )
    for name, command in main.commands.items()
}
SLOW = {"--length", "-l", "--count", "-n", "--beam", "--help", "--interactive", "--host"}


@relaxed
@given(data=st.data(), name=st.sampled_from(sorted(FLAGS)), level=st.sampled_from(["char", "byte"]))
def test_options(models: dict[str, Model], data: st.DataObject, name: str, level: str) -> None:
    arguments = [name]
    if name == "train":
        Path("book.txt").write_text("x")  # too short to train on
        arguments += ["book.txt"]
    else:
        arguments += [str(models[level].path)]
    arguments += ["--length=4"] if name == "sample" else []
    flags = st.sampled_from([flag for flag in FLAGS[name] if flag not in SLOW])
    for flag in data.draw(st.lists(flags, max_size=4)):
        arguments.append(f"{flag}={data.draw(values)}" if data.draw(st.booleans()) else flag)
    if name in ("author", "evaluate", "inspect", "novelty"):
        text = str(models[level].path.parent / "book.txt")
        arguments += ["--", data.draw(st.sampled_from([text, ".", "/"]) | values)]
    with patch("textgen.serving.server.Server.run"):  # would go on until a signal
        result = CliRunner().invoke(main, arguments, input="")
    assert result.exit_code in (0, 1, 2), (arguments, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    if result.exit_code == 1:
        (line,) = result.stderr.splitlines()
        assert line.startswith("Error: ")
    elif result.exit_code == 2:
        assert result.stderr.splitlines()[-1].startswith("Error: ")
