"""Load and resume runs of older formats."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import textgen
from textgen.errors import RunError
from textgen.runs.folder import FORMAT, Run

FORMATS = Path(__file__).parent / "formats"


@pytest.fixture(params=sorted(path.relative_to(FORMATS) for path in FORMATS.glob("*/*")), ids=str)
def old(request: pytest.FixtureRequest) -> Path:
    """A copy of an old run."""
    return Path(shutil.copytree(FORMATS / request.param, "old"))


def test_there_is_a_run_of_every_older_format() -> None:
    assert {path.name for path in FORMATS.iterdir()} == set(map(str, range(1, FORMAT)))


def test_an_old_run_generates_and_evaluates_as_it_did(old: Path) -> None:
    expected = json.loads((old / "expected.json").read_text("utf-8"))
    model = textgen.load(old)
    assert model.run.settings.architecture.units == (6, 6)
    assert model.generate("The lamp", temperature=0, length=20) == expected["text"]
    text = model.tokenizer.decode(model.run.corpus().ids)
    assert model.evaluate(text).loss == pytest.approx(expected["loss"], rel=1e-5)
    outcome = model.run.outcome()
    assert outcome["validation_loss"] == pytest.approx(expected["validation_loss"])


def test_an_old_run_is_resumed(old: Path) -> None:
    before = Run.open(old).history()
    after = textgen.train(out=old, resume=True, epochs=31, quiet=True).run
    history = after.history()
    for old_line, line in zip(before, history[: len(before)], strict=True):
        assert {key: line[key] for key in old_line} == old_line
    assert history[-1]["epoch"] == 31
    assert json.loads((old / "config.json").read_text("utf-8"))["format"] == FORMAT
    assert after.settings.architecture.units == (6, 6)
    assert (after.settings.schedule, after.settings.optimizer) == ("cosine", "adamw")


def test_several_books_of_format_1_have_no_end_and_are_not_resumed() -> None:
    old = Path(shutil.copytree(FORMATS / "1" / "char", "old"))
    config = json.loads((old / "config.json").read_text("utf-8"))
    (old / "config.json").write_text(json.dumps(config | {"books": ["one.txt", "other.txt"]}))
    np.save(old / "corpus/documents.npy", np.array([0, 400]))
    assert textgen.load(old).generate(length=3)
    with pytest.raises(RunError, match="without an end-of-document token; train a new run"):
        textgen.train(out=old, resume=True, epochs=31, quiet=True)
