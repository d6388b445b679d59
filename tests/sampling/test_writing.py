"""Writing together with a network, several networks together, and what they never write."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import textgen
from textgen.errors import OptionError, RunError, VocabularyError
from textgen.model import Model
from textgen.sampling.ensemble import Ensemble
from textgen.sampling.network import Network
from textgen.sampling.writer import Writer


def test_drawing_token_by_token_is_generating(models: dict[str, Model]) -> None:
    for model in models.values():
        options = {"temperature": 1.1, "top_k": 9, "repetition_penalty": 1.2}
        writer = model.writer("The lamp ", seed=5, **options)
        for _ in range(20):
            writer.draw()
        expected = model.generate("The lamp ", seed=5, length=20, **options)
        assert writer.added.startswith(expected)  # but for half a character of bytes
        assert writer.text == "The lamp " + writer.added


def test_going_back_is_never_having_gone(model: Model) -> None:
    writer = model.writer("The ")
    before = writer.likeliest(5)
    assert [one.probability for one in before] == sorted(
        (one.probability for one in before), reverse=True
    )
    writer.choose(before[2].token)
    assert writer.text == "The " + before[2].text
    writer.type("ferry saw")
    writer.draw()
    for _ in range(3):
        assert writer.back()
    assert (writer.text, writer.likeliest(5)) == ("The ", before)
    assert not writer.back()


def test_a_typed_text_is_read_as_a_prompt_is(model: Model) -> None:
    writer = model.writer("The lamp")
    writer.type(" saw the")
    one, other = writer.likeliest(3), model.writer("The lamp saw the").likeliest(3)
    assert [x.token for x in one] == [x.token for x in other]
    np.testing.assert_allclose([x.probability for x in one], [x.probability for x in other], 1e-5)
    with pytest.raises(VocabularyError):
        writer.type("Ж")
    assert writer.text == "The lamp saw the"


def test_a_word_that_is_not_known_stays_as_it_was_typed(models: dict[str, Model]) -> None:
    writer = models["word"].writer("The ")
    writer.type("Xylophone")
    writer.draw()
    assert writer.text.startswith("The Xylophone")
    writer = models["word"].writer("The ")
    writer.type("lamp saw")
    assert writer.text == "The lamp saw"
    expected = models["word"].writer("The lamp saw").likeliest(3)
    for found, likely in zip(writer.likeliest(3), expected, strict=True):
        assert found == likely._replace(probability=pytest.approx(likely.probability, abs=1e-6))


def test_stopping_the_network_loses_nothing(
    model: Model, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Writer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Writer, "draw", interrupted)
    arguments = ["sample", model.path, "--interactive", "-p", "The "]
    result = command(*arguments, input="=lamp\n+9\n=s\n:w \0\n:w no/such\n+" + "9" * 5000)
    assert (result.exit_code, result.stdout) == (0, "The lamps\n")
    assert "stopped" in result.stderr
    assert "cannot write no/such" in result.stderr
    result = command(*arguments, input="=lamp\n\n")  # Ctrl-C while a token is drawn
    assert (result.exit_code, result.stdout) == (130, "The lamp\n")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_the_interactive_mode_in_a_terminal(model: Model) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        f"{sys.executable} -m textgen sample {model.path} --interactive --seed 1 -p The\\ ",
        shell=True,
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    shown = ""

    def answer(line: str) -> str:
        """Wait until the program asks, and answer; return what it showed since the last time."""
        nonlocal shown
        while not shown.endswith("> "):
            shown += os.read(ours, 4096).decode()
        before, shown = shown, ""
        os.write(ours, line.encode() + b"\n")
        return before

    def likeliest(screen: str) -> list[str]:
        return re.findall(r"(\d) (\S+|' '|'\\n') \d+%", screen)

    writer = model.writer("The ", seed=1)
    first = answer("1")
    choice = writer.likeliest(9)
    assert [number for number, _ in likeliest(first)][:3] == ["1", "2", "3"]
    assert f"1 {choice[0].text}" in first
    assert "The " + choice[0].text in answer("=lamp saw")
    assert "lamp saw" in answer("-")
    assert "lamp saw" not in answer("+3").split("> ")[-1].partition("\n")[2]
    answer("9999")  # no such command: help, and nothing lost
    assert "1-9" in answer("=Ж")
    assert "never seen" in answer("-99")
    assert "where the text began" in answer(":w written.txt")
    assert "saved to written.txt" in answer("=ferry")
    answer(":q")
    output = process.stdout.read() if process.stdout else ""
    assert process.wait() == 0
    assert output == "The ferry\n"
    assert Path("written.txt").read_text("utf-8") == "The "
    os.close(ours)


def test_the_end_of_input_ends_writing(model: Model, command: Callable[..., Result]) -> None:
    result = command("sample", model.path, "--interactive", "-p", "The ", input="=lamp\n")
    assert (result.exit_code, result.stdout) == (0, "The lamp\n")


@pytest.fixture(scope="session")
def pair(models: dict[str, Model], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of one vocabulary and different weights."""
    from helpers import SMALL

    path = models["char"].path
    book = path.parent / "book.txt"
    other = tmp_path_factory.mktemp("pair") / "other"
    textgen.train(book, out=other, epochs=1, seed=1, **(SMALL | {"units": 12, "layers": 2}))
    return [path, other]


def test_probabilities_are_mixed(pair: list[Path]) -> None:
    networks = [Network(m.run.options, m.run.weights()) for m in map(textgen.load, pair)]
    mixed = Ensemble(networks, [3, 1])
    ids = np.array([[1, 2], [3, 4], [5, 6]])
    hidden, state = mixed.forward(ids, mixed.zero_state(2))
    logits = mixed.logits(hidden)[-1]
    parts = [(n.logits(h)[-1], s) for n in networks for h, s in [n.forward(ids, n.zero_state(2))]]

    def probabilities(logits: np.ndarray) -> np.ndarray:
        powers = np.exp(logits.astype(np.float64))
        return powers / powers.sum(axis=1, keepdims=True)

    expected = 0.75 * probabilities(parts[0][0]) + 0.25 * probabilities(parts[1][0])
    np.testing.assert_allclose(probabilities(logits), expected, rtol=1e-4, atol=1e-7)
    following, _ = mixed.step(ids[0][::-1], mixed.rows(state, [1, 0]))
    swapped = [
        n.step(ids[0][::-1], n.rows(s, [1, 0]))[0]
        for n, (_, s) in zip(networks, parts, strict=True)
    ]
    expected = 0.75 * probabilities(swapped[0]) + 0.25 * probabilities(swapped[1])
    np.testing.assert_allclose(probabilities(following), expected, rtol=1e-4, atol=1e-7)


def test_runs_write_together(pair: list[Path], command: Callable[..., Result]) -> None:
    one, other = map(textgen.load, pair)
    both = textgen.load(*pair)
    options = {"length": 30, "seed": 1}
    assert textgen.load(*pair, weights=[1, 0]).generate(**options) == one.generate(**options)
    assert textgen.load(*pair, weights=[0, 1]).generate(**options) == other.generate(**options)
    text = "The lamp saw the ferry.\n" * 9
    losses = [model.evaluate(text).loss for model in (one, other)]
    assert both.evaluate(text).loss < np.mean(losses)  # the logarithm is concave
    printed = command("sample", *pair, "--weights", "1,1", "-l", 30, "--seed", 1).stdout
    assert printed == both.generate(**options) + "\n"


def test_runs_that_cannot_be_mixed(models: dict[str, Model], pair: list[Path]) -> None:
    with pytest.raises(RunError, match="another vocabulary"):
        textgen.load(models["char"].path, models["byte"].path)
    for weights in ([1], [1, 2, 3], [0, 0], [-1, 2], [float("nan"), 1]):
        with pytest.raises(OptionError, match="weights must be"):
            textgen.load(*pair, weights=weights)
    with pytest.raises(RunError, match="no run"):
        textgen.load()


@pytest.mark.parametrize(("level", "length"), [("char", 2), ("word", 7), ("byte", 2)])
def test_novel_text_copies_nothing(level: str, length: int, models: dict[str, Model]) -> None:
    model = models[level]
    book = (model.path.parent / "book.txt").read_text("utf-8")

    def copies(**options: int) -> int:
        text = "The lamp" + model.generate("The lamp", seed=1, length=200, **options)
        after_the_prompt = range(9 - length, len(text) - length + 1)
        return sum(text[start : start + length] in book for start in after_the_prompt if start >= 0)

    assert copies() > 0
    assert copies(novel=length) == 0


def test_a_run_without_its_corpus_writes_but_compares_nothing(model: Model) -> None:
    shutil.copytree(model.path, "handed", ignore=shutil.ignore_patterns("corpus"))
    handed = textgen.load("handed")
    assert handed.generate(seed=1, length=9) == model.generate(seed=1, length=9)
    for compare in (lambda: handed.generate(novel=9), lambda: handed.novelty("The lamp")):
        with pytest.raises(RunError, match="handed has no corpus/ to compare with; copy it"):
            compare()


def test_banned_tokens_are_never_written(models: dict[str, Model]) -> None:
    text = models["char"].generate(length=300, seed=1, ban=("e", "\n"))
    assert not set(text) & set("e\n")
    text = models["word"].generate(length=300, seed=1, ban=["lamp"], temperature=2)
    assert "lamp" not in text
    assert "ferry" in text
    with pytest.raises(OptionError, match="ban must be a token that the model knows"):
        models["char"].generate(ban="lamp")
    every = tuple(models["char"].tokenizer.vocabulary)
    with pytest.raises(OptionError, match="ban leaves no token"):
        models["char"].generate(ban=every)


def test_beams(models: dict[str, Model]) -> None:
    for model in models.values():
        greedy = model.generate("The ", length=12, temperature=0)
        assert model.generate("The ", length=12, beam=1) == greedy
        best, second = model.samples("The ", count=2, length=12, beam=8, temperature=1)
        assert sum(best.log_probabilities) >= sum(second.log_probabilities)
        assert "".join(best) != "".join(second)
    with pytest.raises(OptionError, match="count must be at most the 2 texts"):
        model.samples(count=3, beam=2)
    with pytest.raises(OptionError, match="novel cannot be combined with a beam"):
        model.samples(beam=2, novel=9)
