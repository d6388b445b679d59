"""The `author` command: the tables, JSON, and wrong usage."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import Result
from markov import Chain

import textgen

AUSTEN, BYRON = (Chain(" abc", seed) for seed in (0, 1))
TEXT = BYRON.text(1998) + "\n\n" + AUSTEN.text(1000)


@pytest.fixture(autouse=True)
def _runs() -> None:
    AUSTEN.run("austen", 20_000)
    BYRON.run("byron", 20_000)
    Path("letter.txt").write_text(TEXT)


def test_the_likeliest_author_stands_first(command: Callable[..., Result]) -> None:
    result = command("author", "austen", "byron", "-", input=TEXT[:800])
    assert (result.exit_code, result.stderr) == (0, "")
    heading, first, second = result.stdout.splitlines()
    assert heading.split()[:2] == ["author", "probability"]
    assert first.split()[:3] == ["byron", "91.7%", "91.7%"]
    assert second.split()[:3] == ["austen", "8.3%", "8.3%"]


def test_passages_by_the_same_author_are_one_line(command: Callable[..., Result]) -> None:
    result = command("author", "austen", "byron", "letter.txt", "--passage", 500)
    _, passages = result.stdout.split("\n\n")
    lines = [line.split() for line in passages.splitlines()[1:]]
    assert [(line[0], line[2], line[-1]) for line in lines] == [
        ("0", "2,000", "byron"),
        ("2,000", "3,000", "austen"),
    ]


def test_json_prints_what_the_library_returns(command: Callable[..., Result]) -> None:
    result = command("author", "austen", "byron", "letter.txt", "--json")
    expected = textgen.authors("austen", "byron").judge_file("letter.txt")
    assert json.loads(result.stdout) == asdict(expected)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["letter.txt"], 2, "Missing argument"),
        (["austen", "letter.txt"], 1, "name two runs or more"),
        (["austen", "byron", "none.txt"], 1, "there is no file none.txt"),
        (["austen", "byron", "letter.txt", "--passage", 3], 2, "--passage must be"),
        (["austen", "byron", "letter.txt", "--encoding", "x"], 2, "--encoding 'x'"),
    ],
)
def test_wrong_usage_is_one_line(
    command: Callable[..., Result], arguments: list[object], code: int, message: str
) -> None:
    result = command("author", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_long_text_is_noted(
    command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textgen.analysis.authors._LONGEST_FILE", 200)
    result = command("author", "austen", "byron", "letter.txt")
    assert result.stderr == "these are the first 200 characters of 3,000\n"
