"""Prepare books ahead of training, on all cores, and reuse the ids of unchanged books."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from helpers import SMALL, make_book, snapshot

import textgen
from textgen.errors import BookError, OptionError, RunError
from textgen.options.reading import ReadingOptions
from textgen.preprocess import parallel, prepare, reading
from textgen.preprocess.corpus import load_corpus
from textgen.preprocess.parallel import in_parallel
from textgen.runs import lifecycle
from textgen.runs.folder import Run

TRAINING = SMALL | {"epochs": 0.1}


@pytest.fixture
def never_prepared(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes preparing a book fail from then on."""

    def fail(*_: Any) -> None:
        raise AssertionError("prepared again")

    return lambda: monkeypatch.setattr(lifecycle, "prepare_corpus", fail)


@pytest.mark.usefixtures("untrained")
def test_training_takes_over_what_was_prepared(
    book: Path, never_prepared: Callable[[], None]
) -> None:
    folder = textgen.prepare(book, level="word", quiet=True)
    assert folder == Path("checkpoints/book")
    before = snapshot(folder / "corpus")
    with pytest.raises(RunError, match="no trained weights yet"):
        textgen.load(folder)
    never_prepared()
    model = textgen.train(book, level="word", **TRAINING)
    assert snapshot(model.path / "corpus") == before
    settings = model.run.settings
    assert (settings.reading.level, settings.architecture.units) == ("word", (16,))
    # Training another network on the same text reuses the ids, too.
    again = textgen.train(book, level="word", force=True, **TRAINING | {"units": 20})
    assert snapshot(again.path / "corpus") == before
    assert textgen.train(book, out=again.path, resume=True, quiet=True).path == again.path


def test_none_is_the_same_as_leaving_an_option_out(book: Path) -> None:
    folder = textgen.prepare(book, level=None, min_count=None, delimiter=None, quiet=True)
    assert Run.open(folder).settings.reading == ReadingOptions()


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    "change",
    [
        {"level": "byte"},
        {"validation": 0.2},
        {"delimiter": "\n"},
        {"min_count": 1, "level": "word"},
        {"encoding": "latin-1"},
    ],
)
def test_what_was_prepared_otherwise_is_prepared_anew(book: Path, change: dict[str, Any]) -> None:
    folder = textgen.prepare(book, quiet=True)
    made = textgen.train(book, **TRAINING | change).run
    fresh = textgen.train(book, out="fresh", **TRAINING | change).run
    assert snapshot(folder / "corpus") == snapshot(fresh.path / "corpus")
    assert made.tokenizer.to_json() == fresh.tokenizer.to_json()


@pytest.mark.usefixtures("untrained")
def test_another_text_is_prepared_anew(book: Path) -> None:
    folder = textgen.prepare(book, quiet=True)
    book.write_text(make_book(seed=1), "utf-8")
    model = textgen.train(book, **TRAINING)
    assert model.tokenizer.decode(model.run.corpus().ids) == book.read_text("utf-8")
    assert folder == model.path


@pytest.mark.usefixtures("untrained")
def test_damage_to_what_was_prepared_is_mended(book: Path) -> None:
    folder = textgen.prepare(book, quiet=True)
    before = snapshot(folder / "corpus")
    ids = np.load(folder / "corpus/ids.npy")
    np.save(folder / "corpus/ids.npy", np.roll(ids, 1))
    model = textgen.train(book, **TRAINING)
    assert snapshot(model.path / "corpus") == before


def test_a_short_book_is_prepared_and_only_then_found_short() -> None:
    Path("short.txt").write_text("The lamp.")
    folder = textgen.prepare("short.txt", quiet=True)
    with pytest.raises(RunError, match="is prepared but not trained"):
        textgen.train(out=folder, resume=True, units=32, quiet=True)
    for options in ({}, {"resume": True}):
        with pytest.raises(BookError, match="lower batch_size"):
            textgen.train("short.txt", quiet=True, **options)
    assert Run.open(folder).tokens == 9


@pytest.mark.usefixtures("untrained")
def test_a_trained_run_is_not_replaced_by_preparing(book: Path) -> None:
    textgen.train(book, **TRAINING)
    with pytest.raises(RunError, match="is a run already"):
        textgen.prepare(book, quiet=True)
    textgen.prepare(book, force=True, quiet=True)


def test_preparing_knows_only_how_to_read(book: Path) -> None:
    with pytest.raises(OptionError, match="units is not an option here"):
        textgen.prepare(book, units=3)
    with pytest.raises(BookError, match="name one"):
        textgen.prepare()
    os.mkfifo("pipe")
    for source in ("-", "pipe"):
        with pytest.raises(BookError, match="can be read only once"):
            textgen.prepare(source)


@pytest.mark.usefixtures("untrained")
def test_a_text_that_changes_while_it_is_read_is_known_by_what_it_was(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose, before = prepare.choose_vocabulary, book.read_text("utf-8")

    def changed(*arguments: Any) -> Any:
        book.write_text(make_book(seed=5), "utf-8")
        return choose(*arguments)

    monkeypatch.setattr(prepare, "choose_vocabulary", changed)
    folder = textgen.prepare(book, quiet=True)
    run = Run.open(folder)
    assert run.tokenizer.decode(run.corpus().ids) == before
    model = textgen.train(book, **TRAINING)
    assert model.tokenizer.decode(model.run.corpus().ids) == make_book(seed=5)


def test_the_command(book: Path, command: Callable[..., Result]) -> None:
    result = command("prepare", book, "--out", "run", "--level", "byte")
    assert result.exit_code == 0
    assert "run is ready" in result.stderr
    assert result.stdout == ""
    assert Run.open("run").settings.reading.level == "byte"
    assert command("prepare", book, "--units", 3).exit_code == 2


def test_the_key_of_a_corpus_knows_commas_from_tabs() -> None:
    for name in ("t.csv", "t.tsv"):
        Path(name).write_text("text,b\ttext\none,two\tthree\n")
        Path(f"copy of {name}").write_bytes(Path(name).read_bytes())

    def key(name: str, **options: Any) -> str | None:
        return prepare.corpus_key_of([name], ReadingOptions(**options))

    assert key("t.csv", csv="text") == key("copy of t.csv", csv="text")
    assert key("t.csv", csv="text") != key("t.tsv", csv="text")
    assert key("t.csv") == key("t.tsv")
    for name, text in (("t.csv", "one"), ("t.tsv", "three")):
        folder = textgen.prepare(name, out="run", csv="text", force=True, quiet=True)
        run = Run.open(folder)
        assert run.tokenizer.decode(run.corpus().ids) == text


# On all cores


@pytest.fixture
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)


@pytest.mark.usefixtures("_two_cores")
def test_results_come_in_order_and_no_more_are_taken_than_wait() -> None:
    taken = []

    def items() -> Any:
        for number in range(100):
            taken.append(number)
            yield number

    for number, result in enumerate(in_parallel(abs, items())):
        assert result == number
        assert len(taken) <= number + 8


@pytest.mark.usefixtures("_two_cores")
def test_what_goes_wrong_elsewhere_goes_wrong_here() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(divmod, [1] * 50, 0))
    with pytest.raises(BookError, match="was killed"):
        list(in_parallel(signal.raise_signal, [0] * 20 + [signal.SIGKILL]))


@pytest.mark.usefixtures("_two_cores")
@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_a_long_book_becomes_the_same_ids_on_all_cores(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_BYTES_AT_ONCE", 1000)
    text = "".join(make_book(400, seed=seed) for seed in range(10)) + "日本語 naïve 🎈"
    Path("book.txt").write_text(text, "utf-8")
    options = ReadingOptions(level=level, min_count=1, validation=0.3)
    parts = []
    for number in (2, 1):
        monkeypatch.setattr(parallel, "cores", lambda number=number: number)
        Path(str(number)).mkdir()
        found = prepare.prepare_corpus(["book.txt"], Path(str(number)), options)
        parts.append((vars(found) | {"tokenizer": None}, found.tokenizer.to_json()))
        ids = load_corpus(Path(str(number)), found.tokens, len(found.tokenizer)).ids
        if level != "word":
            assert found.tokenizer.decode(ids) == text
    assert parts[0] == parts[1]
