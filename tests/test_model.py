"""The library, as a user calls it."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL, snapshot

import textgen
from textgen.errors import OptionError, RunError, VocabularyError
from textgen.model import Model


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_generate_and_stream_agree(level: str, models: dict[str, Model]) -> None:
    model = models[level]
    text = model.generate("The lamp", length=30, seed=3)
    stream = model.stream("The lamp", length=30, seed=3)
    assert "".join(stream) == text
    assert stream.tokens == 30
    assert model.generate("The lamp", length=30, seed=4) != text
    assert len(model.tokenizer.encode(text)) == 30 or level != "char"


def test_each_text_of_a_seed_is_its_own(model: Model) -> None:
    five = ["".join(t) for t in model.samples("The ", count=5, seed=1, length=20)]
    three = ["".join(t) for t in model.samples("The ", count=3, seed=1, length=20)]
    assert five[:3] == three
    assert len(set(five)) == 5
    assert model.generate("The ", seed=1, length=20) == five[0]


def test_without_a_seed_texts_differ(model: Model) -> None:
    assert model.generate(length=60) != model.generate(length=60)


def test_the_prompt_sets_the_state(model: Model) -> None:
    # Greedy text continues in the same way if its beginning is part of the prompt.
    whole = model.generate("The ", length=30, temperature=0)
    rest = model.generate("The " + whole[:10], length=20, temperature=0)
    assert whole[10:] == rest


def test_greedy_text_is_that_of_the_training_network(models: dict[str, Model]) -> None:
    from textgen.training.network import TrainingNetwork

    for model in models.values():
        network = TrainingNetwork(model.run.settings.architecture, len(model.tokenizer))
        network.assign(model.run.weights())
        ids = model.tokenizer.encode("The lamp").astype(np.int32)
        states, expected, tokens = network.zero_state(1), [], ids[:, None]
        for _ in range(25):
            logits, states = network(tokens, states)
            row = logits[-1, 0].numpy()
            if model.tokenizer.unknown is not None:
                row[model.tokenizer.unknown] = -np.inf
            expected.append(int(row.argmax()))
            tokens = np.array([[expected[-1]]], np.int32)
        found = model.generate("The lamp", length=25, temperature=0)
        assert found == model.tokenizer.decode(expected).rstrip("\N{REPLACEMENT CHARACTER}")


def test_strange_prompts(models: dict[str, Model]) -> None:
    with pytest.raises(VocabularyError, match="never seen 'Ж'"):
        models["char"].generate("Ж")
    assert len(models["word"].generate("Жар", length=3, seed=0)) > 0
    assert models["byte"].generate("Жар\udc80", length=3, seed=0) is not None


def test_a_space_at_the_end_of_a_prompt_begins_the_next_word(models: dict[str, Model]) -> None:
    for level, model in models.items():
        for seed in range(5):
            spaced = model.generate("The lamp ", length=1, seed=seed)
            if level == "word":
                assert " " + spaced in model.tokenizer.vocabulary
    assert "\n " not in models["word"].tokenizer.encode_prompt("a\n ")[1]


def test_an_unfinished_word_is_completed(models: dict[str, Model]) -> None:
    model = models["word"]
    for prompt, rest in (("The la", "mp"), ("The lamp saw the fer", "ry"), ("Th", "e")):
        assert model.generate(prompt, length=1, seed=0) == rest
        assert model.generate(prompt, length=1, beam=2) == rest
        writer = model.writer(prompt, seed=0)
        writer.draw()
        assert writer.text == prompt + rest
    (text,) = model.samples("The la", length=4, seed=0, log_probabilities=True)
    assert "".join(text).startswith("mp")
    assert np.isfinite(text.log_probabilities).all()
    # A word that begins no known word is the unknown token, and so is one whose ends are banned.
    assert not model.generate("The zzzqq", length=1, seed=0).startswith("zzz")
    assert model.generate("The la", length=1, seed=0, ban="lamp") != "mp"


@pytest.mark.parametrize("level", ["char", "word"])
def test_prompts_may_have_another_normal_form(level: str, models: dict[str, Model]) -> None:
    composed, decomposed = "The caf\u00e9", "The cafe\u0301"
    ours = models[level].generate(decomposed, length=5, seed=1)
    assert ours == models[level].generate(composed, length=5, seed=1)


def test_numbers_of_numpy_are_numbers(model: Model) -> None:
    ours = model.generate(
        temperature=np.float32(0.5), length=np.int64(5), top_k=np.uint8(3), seed=1
    )
    assert ours == model.generate(temperature=0.5, length=5, top_k=3, seed=1)


def test_texts_are_iterators(model: Model) -> None:
    text = model.stream("The ", length=5, seed=1)
    first = next(text)
    assert first + "".join(text) == model.generate("The ", length=5, seed=1)
    assert (list(text), text.tokens) == ([], 5)


def test_a_model_that_has_written_is_freed_at_once(model: Model) -> None:
    own = textgen.load(model.path)
    freed = weakref.ref(own.network)
    gc.disable()
    try:
        assert len(own.generate(length=5, seed=1)) == 5
        del own
        assert freed() is None
    finally:
        gc.enable()


def test_the_front_door_names_what_a_user_needs() -> None:
    assert {textgen.Model.__name__, textgen.Evaluation.__name__} <= set(textgen.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Modell'"):
        textgen.Modell  # noqa: B018


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature must be at least 0"),
        ({"temperature": float("nan")}, "temperature must be a number"),
        ({"temperature": float("inf")}, "temperature must be a number"),
        ({"temperature": "hot"}, "temperature must be a number"),
        ({"length": -1}, "length must be at least 0"),
        ({"length": 2.5}, "length must be a whole number"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"top_p": 1.1}, "top_p must be at most 1"),
        ({"min_p": -0.1}, "min_p must be at least 0"),
        ({"repetition_penalty": 0}, "repetition_penalty must be at least"),
        ({"temperature": 10**400}, "temperature must be a number"),
        ({"temperature": True}, "temperature must be a number"),
        ({"stop": ("",)}, "stop must be non-empty"),
        ({"stop": None}, "stop must be non-empty"),
        ({"stop": 5}, "stop must be non-empty"),
        ({"seed": -1}, "seed must be a whole number, at least 0"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"repetition_penalty": 1e-310}, "repetition_penalty must be at least 0.01"),
    ],
)
def test_options_outside_their_limits(
    options: dict[str, object], message: str, model: Model
) -> None:
    with pytest.raises(OptionError, match=message):
        model.generate(**options)


def test_one_stop_needs_no_list(model: Model) -> None:
    text = model.generate("The", length=200, seed=0)
    stop = text[20:23]
    assert model.generate("The", length=200, seed=0, stop=stop) == text[: text.index(stop)]


def test_training_options_outside_their_limits(book: Path) -> None:
    for options, message in (
        ({"units": 0}, "units must be at least 1"),
        ({"cell": "rnn"}, "cell must be one of lstm, gru, cifg"),
        ({"dropout": 1.0}, "dropout must be below 1"),
        ({"units": 10**30}, "units must be at most 65536"),
        ({"layers": 10**9}, "layers must be at most"),
        ({"validation": 1.0}, "validation must be below 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"patience": 2, "validation": 0}, "patience needs validation data"),
    ):
        with pytest.raises(OptionError, match=message):
            textgen.train(book, **options)
    assert sorted(p.name for p in Path().iterdir()) == ["book.txt"]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda model, book: textgen.train(book, unit=3),
            "unit is not an option here; did you mean units?",
        ),
        (
            lambda model, book: textgen.train(book, forse=True),
            "forse is not an option here; did you mean force?",
        ),
        (lambda model, book: textgen.train(book, resume=True, epoch=1), "did you mean epochs?"),
        (
            lambda model, book: textgen.prepare(book, epochs=3),
            "epochs is not an option here; choose from level, val",
        ),
        (lambda model, book: textgen.prepare(book, encodin="a"), "did you mean encoding?"),
        (lambda model, book: model.generate(temprature=1), "did you mean temperature?"),
        (lambda model, book: model.stream(topk=1), "did you mean top_k?"),
        (lambda model, book: model.samples(cuont=1), "did you mean count?"),
        (lambda model, book: model.writer(sed=1), "did you mean seed?"),
    ],
)
def test_a_misspelt_option_is_corrected(
    call: Callable[[Model, Path], object], told: str, model: Model, book: Path
) -> None:
    with pytest.raises(OptionError) as error:
        call(model, book)
    assert told in str(error.value)
    assert sorted(p.name for p in Path().iterdir()) == ["book.txt"]


@pytest.mark.usefixtures("untrained")
def test_messages_name_the_keywords(book: Path) -> None:
    textgen.train(book, out="my run", **SMALL)
    told = "resume it with resume=True, replace it with force=True, or choose another out$"
    with pytest.raises(RunError, match=told) as error:
        textgen.train(book, out="my run", **SMALL)
    assert "with --resume, replace it with --force, or" in error.value.with_flags
    with pytest.raises(OptionError, match=r"^jsonl cannot be given together with csv"):
        textgen.train(book, csv="a", jsonl="b")
    with pytest.raises(OptionError, match=r"^resume uses .* leave out from_run and vectors$"):
        textgen.train(out="my run", resume=True, vectors="v.txt")
    Path("my run/model.safetensors").unlink()
    with pytest.raises(RunError, match=r"train it with: textgen train --out 'my run' --resume$"):
        textgen.load("my run")


@pytest.mark.usefixtures("untrained")
def test_none_is_an_option_left_out(book: Path) -> None:
    model = textgen.train(book, minutes=3, epochs=None, **SMALL | {"units": None})
    again = {"out": model.path, "resume": True, "quiet": True}
    assert textgen.train(**again, minutes=None, epochs=None).run.settings.minutes == 3
    other = textgen.train(**again, minutes=None, epochs=2, units=None, delimiter=None).run.settings
    assert (other.minutes, other.epochs) == (None, 2)


def test_resuming_replaces_nothing(run: Path) -> None:
    before = snapshot(run)
    with pytest.raises(OptionError, match="force cannot be given together with resume=True"):
        textgen.train(out=run, resume=True, force=True)
    assert snapshot(run) == before


def test_the_public_names_are_listed() -> None:
    public = {name for name in dir(textgen) if not name.startswith("_")}
    assert public == set(textgen.__all__)


def test_a_model_tells_what_it_is(model: Model, run: Path) -> None:
    assert repr(model).startswith(f"<Model {model.path}: char LSTM 1x16, ")
    loss = model.run.outcome()["validation_loss"]
    sizes = f"{model.run.weight_count:,} weights, vocabulary {len(model.tokenizer)}"
    assert repr(model).endswith(f"{sizes}, validation loss {loss:.4g}>")
    (run / "metrics.jsonl").write_text("damaged")
    described = repr(textgen.load(model.path, run))
    assert described == f"{repr(model)[:-1]}; run: char LSTM 1x16, {sizes}>"


def test_loading_nothing() -> None:
    with pytest.raises(RunError, match="nowhere is not a run"):
        textgen.load("nowhere")
