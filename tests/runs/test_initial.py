"""Initial weights: fine-tuning another run, and pretrained word vectors."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL, make_book

import textgen
from textgen.errors import BookError, OptionError, RunError
from textgen.model import Model
from textgen.runs.folder import Run
from textgen.training.trainer import Trainer

TRAINING = {name: SMALL[name] for name in ("batch_size", "chunk_length", "quiet")}


def other_book(extra: str = "Žluťoučký kůň. ") -> str:
    Path("other.txt").write_text(make_book(200, seed=7) + extra * 20, "utf-8")
    return "other.txt"


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_known_tokens_keep_their_rows_and_new_ones_begin_as_the_mean(
    level: str, models: dict[str, Model]
) -> None:
    old = models[level]
    made = textgen.train(
        other_book(), out="new", from_run=old.path, min_count=1, epochs=0.01, **TRAINING
    )
    weights, before = Run.open("new").initial_weights(), old.run.weights()
    assert weights.keys() == before.keys()
    names = list(made.tokenizer.vocabulary or map(chr, range(256)))
    known = list(old.tokenizer.vocabulary or map(chr, range(256)))
    assert set(known) <= set(names)
    assert len(names) > len(known) or level == "byte"
    shift = int(level == "word")  # 0 is the unknown token
    rows = {
        "embedding": lambda w: w["embedding"],
        "bias": lambda w: w["output.bias"][:, None],
        "output": lambda w: w["output.kernel"].T if "output.kernel" in w else w["embedding"],
    }
    for part in rows.values():
        new, mean = part(weights), part(before).mean(axis=0)
        for i, name in enumerate(names, shift):
            expected = part(before)[known.index(name) + shift] if name in known else mean
            np.testing.assert_allclose(new[i], expected, atol=1e-6)
    for name in before.keys() - {"embedding", "output.kernel", "output.bias"}:
        np.testing.assert_array_equal(weights[name], before[name])


def test_training_goes_on_from_what_the_other_run_knew(book: Path, model: Model) -> None:
    def first_loss(out: str, **options: object) -> float:
        steps = {"epochs": 0.05, "learning_rate": 1e-6, "seed": 3}
        made = textgen.train(book, out=out, **TRAINING | steps | options)
        return made.run.outcome()["validation_loss"]

    fresh = first_loss("fresh", units=16, embedding=8)
    tuned = first_loss("tuned", from_run=model.path)
    best = model.run.outcome()["validation_loss"]
    assert tuned == pytest.approx(best, abs=0.05)
    assert fresh > tuned + 0.05


@pytest.mark.usefixtures("untrained")
def test_fine_tuning_has_a_lower_learning_rate_unless_given(book: Path, model: Model) -> None:
    for options, rate in (({}, 0.004), ({"learning_rate": 0.02}, 0.02)):
        found = textgen.train(
            book, out="tuned", from_run=model.path, epochs=0.05, quiet=True, force=True, **options
        )
        assert found.run.settings.learning_rate == rate


def test_a_book_that_is_fine_tuned_on_may_be_one_of_many_documents(model: Model) -> None:
    Path("lines.txt").write_text("\n".join(["The lamp.", "The goose saw it."] * 60))
    made = textgen.train(
        "lines.txt", delimiter="\n", out="lines", from_run=model.path, epochs=1, **TRAINING
    )
    assert made.tokenizer.end == len(made.tokenizer) - 1
    again = textgen.train(other_book(), out="one", from_run="lines", epochs=0.1, **TRAINING)
    assert again.tokenizer.end is not None  # the vocabulary keeps its end token
    assert again.run.documents == [1]


def test_a_run_that_began_with_weights_resumes_exactly(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"from_run": model.path, "epochs": 1, **TRAINING}
    whole = textgen.train(other_book(), out="whole", **options).run.weights()

    def killed(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", killed)
        with pytest.raises(MemoryError):
            textgen.train(other_book(), out="killed", **options)
    resumed = textgen.train(other_book(), out="killed", resume=True, quiet=True).run.weights()
    for name, weight in whole.items():
        np.testing.assert_array_equal(weight, resumed[name])


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"units": 8}, "units is 16 in .*; leave it out"),
        ({"level": "word"}, "level is char"),
        ({"vectors": "v.txt"}, "cannot be given together with from_run"),
        ({"resume": True}, "uses the run's own weights"),
        ({"size": "small"}, "size is taken from"),
    ],
)
def test_what_another_run_decides(options: dict[str, object], told: str, model: Model) -> None:
    with pytest.raises(OptionError, match=told):
        textgen.train(other_book(), out="new", from_run=model.path, **options)
    assert not Path("new").exists()


@pytest.mark.usefixtures("untrained")
def test_a_run_to_begin_from_must_be_one(book: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        textgen.train(other_book(), out="new", from_run="nowhere")
    textgen.prepare(book, out="prepared", quiet=True)
    with pytest.raises(RunError, match="no trained weights yet"):
        textgen.train(other_book(), out="new", from_run="prepared")


VECTORS = {"the": [1, 2, 3], "lamp": [4, 5, 6], ".": [7, 8, 9], "nowhere": [0, 0, 1]}


def vectors(header: str = "", **more: list[float]) -> str:
    lines = [f"{w} {' '.join(map(str, numbers))}\n" for w, numbers in (VECTORS | more).items()]
    Path("v.txt").write_text(header + "".join(lines), "utf-8")
    return "v.txt"


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("header", ["", "4 3\n"])
def test_words_begin_with_their_vectors(header: str) -> None:
    Path("book.txt").write_text("The lamp saw the lamp. Lamp! lamp? The end.\n" * 30)
    options = {"level": "word", "units": 16, "epochs": 0.01, **TRAINING}
    made = textgen.train("book.txt", vectors=vectors(header), **options)
    architecture = made.run.settings.architecture
    assert (architecture.embedding, architecture.tie) == (3, False)
    same_size = options | {"units": 3, "out": "same", "vectors": "v.txt"}
    assert not textgen.train("book.txt", **same_size).run.settings.architecture.tie
    assert textgen.train(
        "book.txt", tie=True, force=True, **same_size
    ).run.settings.architecture.tie
    (embedding,) = made.run.initial_weights().values()
    rows = dict(zip(made.tokenizer.vocabulary, embedding[1:], strict=True))
    expected = {"The": "the", " The": "the", " the": "the", " lamp": "lamp", " Lamp": "lamp"}
    for word, name in (expected | {".": "."}).items():
        np.testing.assert_array_equal(rows[word], VECTORS[name])
    assert np.isfinite(embedding).all()
    assert not np.array_equal(rows[" saw"], rows["\n"])
    assert {tuple(row) for row in embedding} & {tuple(VECTORS["nowhere"])} == set()


@pytest.mark.usefixtures("untrained")
def test_vectors_of_several_words_are_left_out() -> None:
    Path("book.txt").write_text("The lamp saw the lamp. The\n" * 50)
    vectors()
    with Path("v.txt").open("a") as file:
        file.write("the lamp 1 1 1\n 2 2 2\n")
    options = {"level": "word", "units": 16, "epochs": 0.01, **TRAINING}
    made = textgen.train("book.txt", vectors="v.txt", **options)
    embedding = made.run.initial_weights()["embedding"]
    assert {(1, 1, 1), (2, 2, 2)}.isdisjoint({tuple(row) for row in embedding})


@pytest.mark.usefixtures("untrained")
def test_a_word_with_capitals_may_have_a_vector_of_its_own() -> None:
    Path("book.txt").write_text("The lamp saw the lamp.\n" * 50)
    options = {"level": "word", "units": 16, "epochs": 0.01, **TRAINING}
    made = textgen.train("book.txt", vectors=vectors(The=[3, 2, 1]), **options)
    rows = dict(
        zip(made.tokenizer.vocabulary, made.run.initial_weights()["embedding"][1:], strict=True)
    )
    assert (rows["The"].tolist(), rows[" the"].tolist()) == ([3, 2, 1], [1, 2, 3])


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("", {}, "has no vectors"),
        ("4 3\n", {}, "has no vectors"),
        ("word\n", {}, "has no vectors"),
        ("a 1 2\nthe 1\n", {}, "line 2 is not a vector of 2"),
        ("a 1 2\nthe 1 x\n", {}, "line 2 is not a vector of 2"),
        ("a 1 2\nthe 1 nan\n", {}, "line 2 is not a vector of 2"),
        ("zebra 1 2\n", {}, "no vector for any word"),
        ("the 1 2\n", {"embedding": 3}, "embedding is 2 in"),
        ("the 1 2\n", {"level": "char"}, "train with level word"),
        (None, {}, "cannot read none.txt"),
    ],
)
def test_vectors_that_do_not_fit(text: str | None, options: dict[str, object], told: str) -> None:
    Path("book.txt").write_text("The lamp saw the lamp.\n" * 50)
    name = "none.txt"
    if text is not None:
        name = "v.txt"
        Path(name).write_text(text)
    settings = {"level": "word", "units": 16, **TRAINING} | options
    with pytest.raises((BookError, OptionError), match=told):
        textgen.train("book.txt", vectors=name, **settings)
    assert not Path("checkpoints").exists()


def test_vectors_are_not_read_from_a_pipe(book: Path) -> None:
    os.mkfifo("pipe")
    with pytest.raises(BookError, match="not a regular file"):
        textgen.train(book, level="word", vectors="pipe")
