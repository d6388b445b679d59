"""The options of a training in the query of a request."""

from collections.abc import Callable
from typing import Any

import pytest

from textgen.options.training import TrainingOptions
from textgen.serving.query import training_flags
from textgen.serving.refusals import RequestError


@pytest.mark.parametrize(
    ("query", "param", "part"),
    [
        ({"unit": "5"}, "unit", "did you mean units?"),
        ({"form": "x"}, "form", "did you mean from?"),
        ({"out": "x"}, "out", "is not an option here"),
        ({"force": "true"}, "force", "is not an option here"),
        ({"resume": "true"}, "resume", "is not an option here"),
        ({"vectors": "/etc/passwd"}, "vectors", "is not an option here"),
        ({"minutes": "soon"}, "minutes", "must be a number"),
        ({"minutes": ""}, "minutes", "must be a number"),
        ({"minutes": "nan"}, "minutes", "must be a number"),
        ({"minutes": "0"}, "minutes", "must be above 0"),
        ({"layers": "1.5"}, "layers", "must be a whole number"),
        ({"layers": "9" * 5000}, "layers", "must be"),
        ({"tie": "perhaps"}, "tie", "must be a yes or no"),
        ({"level": "sentence"}, "level", "must be one of char, word, byte"),
        ({"units": "64,x"}, "units", "must be a whole number, or one for each layer"),
        ({"units": "65536", "layers": "100"}, "units", "weights; at most"),
        ({"level": "word", "max_vocabulary": "1000000000"}, "units", "weights; at most"),
        ({"batch_size": "65536", "chunk_length": "65536"}, "batch_size", "must be at most 16,384"),
        ({"encoding": "utf-8\0"}, "encoding", "a character that is not allowed"),
        ({"csv": "\udcff"}, "csv", "a character that is not allowed"),
        ({"csv": "a", "jsonl": "b"}, "jsonl", "choose one"),
    ],
)
def test_a_wrong_option_is_named(query: dict[str, str], param: str, part: str) -> None:
    with pytest.raises(RequestError) as caught:
        training_flags(query, 1000)
    assert (caught.value.status, caught.value.body["error"]["param"]) == (400, param)
    assert part in caught.value.message


def test_options_become_flags() -> None:
    query = {
        "minutes": "5",
        "level": "word",
        "units": "64, 32",
        "keep_gutenberg": "true",
        "stateless": "false",
        "tie": "false",
        "delimiter": "\\n\n--force",
        "seed": "007",
    }
    assert set(training_flags(query, 1000)) == {
        "--minutes=5.0",
        "--level=word",
        "--units=64,32",
        "--keep-gutenberg",
        "--no-tie",
        "--delimiter=\\\\n\n--force",
        "--seed=7",
    }


def test_the_command_reads_the_flags_as_they_were_meant(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    query = {"units": "16", "embedding": "8", "batch_size": "4", "chunk_length": "8"}
    query |= {"delimiter": "\\n\t\\\\", "tie": "no", "keep_gutenberg": "yes"}
    read: dict[str, Any] = {}

    def stop(*_: Any, **options: Any) -> None:
        read.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("textgen.train", stop)
    command("train", "book.txt", *training_flags(query, 1000))
    asked = TrainingOptions(**{name: read[name] for name in query})
    assert asked == TrainingOptions(
        units=16,
        embedding=8,
        batch_size=4,
        chunk_length=8,
        delimiter=query["delimiter"],
        tie=False,
        keep_gutenberg=True,
    )
