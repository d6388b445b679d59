"""Run folders: atomic writes, and checks of damaged files."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL, make_book, snapshot
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import textgen
from textgen.errors import BookError, RunError
from textgen.model import Model
from textgen.options.training import TrainingOptions
from textgen.runs.folder import RUN_FILES, Run
from textgen.runs.lifecycle import create, newest

ASKED = TrainingOptions(size="small", batch_size=2, chunk_length=4)


LINE = (
    '{"step": 1, "epoch": 1, "seconds": 1, "loss": 1, "tokens_per_second": 1, '
    '"validation_loss": %s}'
)


def test_a_run_loads_as_it_was_saved(run: Path, model: Model) -> None:
    again = textgen.load(run)
    assert again.run.settings == model.run.settings
    assert again.run.books == model.run.books
    assert again.tokenizer.vocabulary == model.tokenizer.vocabulary
    assert again.generate(seed=1) == model.generate(seed=1)


def test_a_run_needs_only_three_files_to_write(run: Path, model: Model) -> None:
    for path in run.iterdir():
        if path.name not in ("config.json", "tokenizer.json", "model.safetensors"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert textgen.load(run).generate(seed=1) == model.generate(seed=1)


def edit(path: Path, change: Callable[[dict], None]) -> None:
    data = json.loads(path.read_text("utf-8"))
    change(data)
    path.write_text(json.dumps(data), "utf-8")


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def reshape(path: Path) -> None:
    arrays = load_file(path)
    arrays["output.bias"] = np.zeros(3, np.float32)
    save_file(arrays, path)


def drop(path: Path) -> None:
    arrays = load_file(path)
    del arrays[min(arrays)]
    save_file(arrays, path)


def retype(path: Path) -> None:
    save_file({name: array.astype(np.float16) for name, array in load_file(path).items()}, path)


def poison(path: Path, value: float = np.nan) -> None:
    arrays = load_file(path)
    arrays["output.bias"][0] = value
    save_file(arrays, path)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("config.json", lambda p: cut(p, 30), "damaged"),
        ("config.json", lambda p: p.write_text("[]"), "not have the settings of a run"),
        ("config.json", lambda p: p.write_text("[" * 100_000), "damaged"),
        ("config.json", lambda p: p.write_bytes(b"\xff\xfe"), "damaged"),
        ("config.json", lambda p: edit(p, lambda c: c.pop("options")), "options"),
        ("config.json", lambda p: edit(p, lambda c: c.update(format="1")), "not have the settings"),
        (
            "config.json",
            lambda p: edit(p, lambda c: c.update(format=1, options=[])),
            "not an object",
        ),
        ("config.json", lambda p: edit(p, lambda c: c.update(format=99)), "format 99, which needs"),
        ("config.json", lambda p: edit(p, lambda c: c.update(format=0)), "there is no format 0"),
        (
            "config.json",
            lambda p: edit(p, lambda c: c.update(corpus_digest=3)),
            "corpus_digest is not a string",
        ),
        ("config.json", lambda p: edit(p, lambda c: c["options"].update(units=[-1])), "units"),
        ("config.json", lambda p: edit(p, lambda c: c["options"].update(units=[99])), "float32 of"),
        ("config.json", lambda p: edit(p, lambda c: c["options"].update(units=[10**8])), "units"),
        ("config.json", lambda p: edit(p, lambda c: c["options"].update(layers=10**9)), "layers"),
        ("config.json", lambda p: edit(p, lambda c: c["options"].update(colour=1)), "colour"),
        ("config.json", lambda p: edit(p, lambda c: c["options"].update(level="word")), "level"),
        ("tokenizer.json", lambda p: cut(p, 20), "damaged"),
        ("tokenizer.json", lambda p: p.unlink(), "cannot read"),
        (
            "tokenizer.json",
            lambda p: edit(p, lambda t: t.update(vocabulary="ab")),
            "belongs to another vocabulary",
        ),
        ("model.safetensors", lambda p: cut(p, 4), "damaged"),
        ("model.safetensors", lambda p: cut(p, 1000), "damaged"),
        ("model.safetensors", lambda p: cut(p, -1), "damaged"),
        ("model.safetensors", lambda p: p.write_bytes(b"\xff" * 500), "damaged"),
        ("model.safetensors", lambda p: p.write_bytes(b""), "damaged"),
        ("model.safetensors", reshape, "output.bias is not float32 of shape"),
        ("model.safetensors", drop, "is missing or unexpected"),
        ("model.safetensors", retype, "not float32"),
        ("model.safetensors", poison, "not finite"),
        ("model.safetensors", lambda p: poison(p, 3e38), "far too large"),
        ("config.json", lambda p: p.write_text(p.read_text().replace("16", "1e999")), "damaged"),
        ("config.json", lambda p: edit(p, lambda c: c.update(tokens=-3)), "out of range"),
        ("model.safetensors", lambda p: p.unlink(), "no trained weights yet"),
    ],
)
def test_damage_is_told_in_one_line(
    run: Path, name: str, damage: Callable[[Path], None], message: str
) -> None:
    damage(run / name)
    before = snapshot(run)
    with pytest.raises(RunError, match=message) as error:
        textgen.load(run)
    assert "\n" not in str(error.value)
    assert str(run) in str(error.value)
    assert snapshot(run) == before


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("config.json", lambda p: edit(p, lambda c: c.update(documents=[2]))),
        ("training.safetensors", lambda p: cut(p, -1)),
        ("training.safetensors", drop),
        ("corpus/ids.npy", lambda p: cut(p, 200)),
        ("corpus/ids.npy", lambda p: p.write_bytes(b"")),
        ("corpus/ids.npy", lambda p: p.unlink()),
        ("corpus/ids.npy", lambda p: p.write_bytes(p.read_bytes().replace(b"}", b"{", 1))),
        ("corpus/ids.npy", lambda p: np.save(p, np.zeros(9000, np.uint16))),
        ("corpus/ids.npy", lambda p: np.save(p, np.full(9000, 255, np.uint8))),
        ("corpus/ids.npy", lambda p: np.save(p, np.zeros(3, np.uint8))),
        ("corpus/documents.npy", lambda p: np.save(p, np.array([], np.int64))),
        ("corpus/documents.npy", lambda p: np.save(p, np.array([5, 3]))),
        ("corpus/documents.npy", lambda p: np.save(p, np.array([None]))),
        ("corpus/documents.npy", lambda p: np.savez(p.open("wb"), np.zeros(3))),
    ],
)
def test_damage_to_what_resuming_needs(
    run: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(run / name)
    before = snapshot(run)
    with pytest.raises(RunError, match=r"damaged|cannot read") as error:
        textgen.train(out=run, resume=True, epochs=3, quiet=True)
    assert snapshot(run) == before
    assert "\n" not in str(error.value)
    textgen.load(run).generate(length=3)  # sampling needs none of these files


def test_weights_belong_to_their_vocabulary(run: Path, models: dict[str, Model]) -> None:
    def swap(tokenizer: dict) -> None:
        first, second, *rest = tokenizer["vocabulary"]
        tokenizer["vocabulary"] = [second, first, *rest]

    shutil.rmtree(run)
    shutil.copytree(models["word"].path, run)
    edit(run / "tokenizer.json", swap)
    with pytest.raises(RunError, match="belongs to another vocabulary"):
        textgen.load(run)


def test_runs_made_before_there_were_digests_are_read(run: Path, model: Model) -> None:
    edit(run / "config.json", lambda config: config.pop("corpus_digest"))
    for path in run.glob("*.safetensors"):
        with safe_open(path, "numpy") as file:
            metadata = {k: v for k, v in file.metadata().items() if k != "vocabulary"}
        save_file(load_file(path), path, metadata)
    assert textgen.load(run).generate(seed=1) == model.generate(seed=1)
    book = model.path.parent / "book.txt"
    textgen.train(book, out=run, resume=True, epochs=2.5, quiet=True)
    assert Run.open(run).history()[-1]["epoch"] > 2


def test_nothing_is_written_through_a_link(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (run / "samples.txt").unlink()
    for name in ("samples.txt", *(f"{name}.new" for name in RUN_FILES if "." in name[1:])):
        (run / name).symlink_to(mine)
    with pytest.raises(RunError, match=r"cannot write .*samples\.txt"):
        Run.open(run).add_sample("text", 0)
    (run / "samples.txt").unlink()
    (run / "samples.txt").hardlink_to(mine)
    with pytest.raises(RunError, match="is a link to another file"):
        Run.open(run).add_sample("text", 0)
    (run / "samples.txt").unlink()
    (run / ".lock").unlink(missing_ok=True)
    textgen.train(out=run, resume=True, epochs=2.5, quiet=True)
    (run / ".lock").unlink()
    (run / ".lock").symlink_to(mine)
    with pytest.raises(RunError, match=r"cannot write"):
        textgen.train(out=run, resume=True, epochs=3, quiet=True)
    assert mine.read_text() == "mine"


def read_all(run: Path) -> None:
    Run.open(run).describe()
    textgen.load(run)
    textgen.train(out=run, resume=True, epochs=3, quiet=True)


@pytest.mark.parametrize("name", [name for name in RUN_FILES if "." in name[1:]])
def test_what_may_never_end_is_not_read(run: Path, name: str) -> None:
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    with pytest.raises(RunError, match=r"is not a regular file|is not a run|cannot write"):
        read_all(run)


@pytest.mark.parametrize("name", ["ids.npy", "documents.npy"])
def test_what_may_never_end_is_not_trained_on(run: Path, name: str) -> None:
    (run / "corpus" / name).unlink()
    os.mkfifo(run / "corpus" / name)
    with pytest.raises(RunError, match="is missing or is not a file"):
        textgen.train(out=run, resume=True, epochs=3, quiet=True)


@pytest.mark.parametrize(
    "lines",
    [
        "{}",
        LINE % "NaN",
        LINE % '"1"',
        LINE % "[]",
        "[]",
        "1",
        "no JSON",
        '{"step": 1}',
        '{"step": "1"}',
        LINE.replace('"step": 1', '"step": -1') % 1,
        LINE.replace('"step": 1', f'"step": {10**400}') % 1,
        LINE.replace("{", '{"bits_per_character": NaN, ', 1) % 1,
        LINE.replace("{", '{"bits_per_character": "x", ', 1) % 1,
        LINE.replace("{", '{"temperature": 0, "tempered_loss": 1, "tempered_bits": 1, ', 1) % 1,
        LINE.replace("{", '{"temperature": 1.1, ', 1) % 1,
        LINE.replace("{", '{"temperature": 1, "tempered_loss": null, "tempered_bits": 1, ', 1) % 1,
    ],
)
def test_damaged_metrics(run: Path, lines: str) -> None:
    (run / "metrics.jsonl").write_text(lines)
    with pytest.raises(RunError, match=r"metrics\.jsonl is damaged"):
        Run.open(run).describe()


@pytest.mark.parametrize(
    "change",
    [
        *({"step": "x"}, {"step": -1}, {"step": 1 << 63}, {"history": [3]}),
        *({"seconds": -1e300}, {"seconds": 10**400}, {"history": [json.loads(LINE % 10**400)]}),
        {"history": [json.loads(LINE % 1) | {"seconds": None}]},
        *({"norm_steps": -1}, {"norm_total": 10**400}, {"learning_rate": "fast"}),
        *({"seconds": "5"}, {"loss_total": "1"}, {"learning_rate": ""}, {"history": {}}),
        {"history": [json.loads(LINE % 1) | {"learning_rate": []}]},
    ],
)
def test_damaged_progress(run: Path, change: dict[str, object]) -> None:
    path = run / "training.safetensors"
    with safe_open(path, "numpy") as file:
        progress = json.loads(file.metadata()["progress"])
    save_file(load_file(path), path, {"progress": json.dumps(progress | change)})
    with pytest.raises(RunError, match="damaged"):
        textgen.train(out=run, resume=True, epochs=3, quiet=True)


def test_a_run_appears_whole_or_not_at_all(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(Path())
    monkeypatch.setattr(json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        create("deep/down/run", [book], ASKED)
    assert snapshot(Path()) == before
    assert [p.name for p in Path().iterdir()] == ["book.txt"]


def test_what_is_there_is_not_overwritten(book: Path, run: Path) -> None:
    before = snapshot(run)
    with pytest.raises(RunError, match=r"resume=True.*force=True.*another out"):
        create(run, [book], ASKED)
    with pytest.raises(BookError):
        create(run, ["none.txt"], ASKED, force=True)
    assert snapshot(run) == before
    Path("notes").mkdir()
    Path("notes/mine.txt").write_text("mine")
    for out in ("notes", "book.txt"):
        with pytest.raises(RunError, match="is not a run"):
            create(out, [book], ASKED, force=True)
    assert Path("notes/mine.txt").read_text() == "mine"
    for mine in ('{"name": "my-app"}', "no JSON"):
        Path("notes/config.json").write_text(mine)
        with pytest.raises(RunError, match="is not a run"):
            create("notes", [book], ASKED, force=True)
    shutil.copy(book, run / "book.txt")
    with pytest.raises(RunError, match=r"contains book\.txt, which is not part of a run"):
        create(run, [run / "book.txt"], ASKED, force=True)
    assert (run / "book.txt").read_bytes() == book.read_bytes()
    Path("empty").mkdir()
    assert create("empty", [book], ASKED).path == Path("empty")


def test_force_replaces_a_run(book: Path, run: Path) -> None:
    create(run, [book], ASKED, force=True)
    assert Run.open(run).settings == ASKED.resolve(Run.open(run).tokens, 100)
    assert not (run / "model.safetensors").exists()
    assert sorted(p.name for p in Path().iterdir()) == ["book.txt", "run"]


@pytest.mark.parametrize("out", ["/dev/null/run", "book.txt/run", "/proc/run"])
def test_places_that_cannot_be_written(book: Path, out: str) -> None:
    with pytest.raises(RunError, match="cannot write"):
        create(out, [book], ASKED)


def test_a_write_that_fails_leaves_the_old_file(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Run.open(run)
    weights = opened.weights()
    before = snapshot(run)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        opened.save_weights({name: w + 1 for name, w in weights.items()})
    assert snapshot(run) == before


def test_the_newest_run(book: Path, run: Path) -> None:
    with pytest.raises(RunError, match="no trained run under checkpoints"):
        newest("checkpoints")
    for number, name in enumerate(("b", "a", "c")):
        shutil.copytree(run, Path("checkpoints") / name)
        os.utime(Path("checkpoints", name, "model.safetensors"), (number, number))
    create("checkpoints/untrained", [book], ASKED)
    assert newest("checkpoints") == Path("checkpoints/c")


def test_weights_are_those_of_a_plain_keras_model(model: Model) -> None:
    import keras

    settings, weights = model.run.settings, model.run.weights()
    embedding = keras.layers.Embedding(len(model.tokenizer), settings.architecture.embedding)
    recurrent = keras.layers.LSTM(*settings.architecture.units, return_sequences=True)
    output = keras.layers.Dense(len(model.tokenizer))
    tokens = keras.Input((None,), dtype="int32")
    plain = keras.Model(tokens, output(recurrent(embedding(tokens))))
    plain.set_weights([weights[name] for name in settings.architecture.weight_shapes(1)])
    ids = model.tokenizer.encode("The lamp saw the ferry.")
    network = model.network
    hidden, _ = network.forward(ids[:, None], network.zero_state(1))
    np.testing.assert_allclose(
        plain(ids[None])[0], network.logits(hidden)[:, 0], rtol=1e-4, atol=1e-4
    )


@pytest.mark.usefixtures("untrained")
def test_a_run_is_named_after_its_first_book(book: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(make_book(seed=1), "utf-8")
    run = textgen.train(book, other, **SMALL).run
    assert run.path == Path("checkpoints/book")
    assert (run.books, run.documents) == ([str(book), str(other)], [1, 1])
