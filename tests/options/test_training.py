"""Training options, and the settings resolved from them for a text."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.errors import OptionError
from textgen.options.sampling import Temperatures
from textgen.options.training import TrainingOptions, TrainingSettings
from textgen.system.processor import instructions


def test_defaults_that_depend_on_the_level() -> None:
    characters = TrainingOptions().resolve(100_000, 100)
    words = TrainingOptions(level="word").resolve(30_000_000, 100)
    assert (characters.batch_size, characters.chunk_length, characters.epochs) == (32, 64, 12)
    assert (words.batch_size, words.chunk_length, words.epochs) == (16, 32, 8)
    assert (characters.optimizer, characters.schedule) == ("cautious", "linear")
    assert (words.optimizer, words.schedule) == ("adamw", "cosine")


def test_minutes_end_before_a_text_is_learned_by_heart() -> None:
    def limits(tokens: int, **options: Any) -> tuple[float | None, float | None]:
        made = TrainingOptions(**options).resolve(tokens, 100)
        assert TrainingSettings.from_json(made.to_json(), 1) == made
        return made.epochs, made.minutes

    lengths = 30_000, 330_000, 1_100_000, 3_200_000
    found = [[limits(length, minutes=99, layers=n) for length in lengths] for n in (1, 2)]
    assert found[0] == [(12, 99), (40, 99), (34, 99), (98, 99)]
    assert found[1] == [(12, 99), (27, 99), (22, 99), (64, 99)]
    assert limits(100_000, minutes=3) == limits(100_000, minutes=3, level="word") == (12, 3)
    assert limits(100_000, minutes=3, epochs=99) == limits(10**9, minutes=3, epochs=99) == (99, 3)


@given(st.integers(10, 10**9), st.sampled_from(["char", "word"]), st.sampled_from([0.0, 0.1, 0.5]))
def test_short_texts_get_enough_updates(tokens: int, level: str, validation: float) -> None:
    settings = TrainingOptions(level=level, validation=validation).resolve(tokens, 100)
    defaults = TrainingOptions(level=level).resolve(10**9, 100)
    batch, chunk = settings.batch_size, settings.chunk_length
    updates = (1 - validation) * tokens / (batch * chunk)
    assert updates >= 40 or (batch, chunk) == (1, 8)
    if (batch, chunk) != (defaults.batch_size, defaults.chunk_length):
        assert updates < 80  # no smaller than needed


def test_sizes_of_a_batch_that_are_given_stay() -> None:
    settings = TrainingOptions(batch_size=64).resolve(1000, 100)
    assert (settings.batch_size, settings.chunk_length) == (64, 64)
    settings = TrainingOptions(chunk_length=100).resolve(1000, 100)
    assert (settings.batch_size, settings.chunk_length) == (1, 100)


def test_few_minutes_read_a_long_text_at_more_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two cores in float32, 256 units read about 3.3 million characters in a minute."""

    def streams(tokens: int, **options: Any) -> int:
        return TrainingOptions(**options, precision="float32").resolve(tokens, 100).batch_size

    monkeypatch.setattr("textgen.options.defaults.cores", lambda: 2)
    lengths = 800_000, 900_000, 3_200_000, 3_500_000, 1_000_000_000
    assert [streams(length, minutes=1) for length in lengths] == [32, 64, 64, 128, 128]
    assert [streams(10**9, minutes=minutes) for minutes in (0.5, 0.6, 1)] == [32, 64, 128]
    assert streams(10**9) == streams(10**9, epochs=0.1) == 32
    assert streams(10**9, minutes=1, batch_size=8) == 8
    assert streams(10**9, minutes=1, level="word") == 16


def test_a_long_text_is_not_read_12_times() -> None:
    epochs = [TrainingOptions().resolve(10**n, 100).epochs for n in (5, 6, 7, 8, 9)]
    assert epochs == [12, 12, pytest.approx(9.6), 1, 1]
    assert TrainingOptions(epochs=3).resolve(10**9, 100).epochs == 3


def test_short_texts_are_learned_at_a_higher_rate() -> None:
    def rate(tokens: int, **options: Any) -> float:
        return TrainingOptions(**options).resolve(tokens, 100).learning_rate

    assert rate(1_000) == rate(399_999) == rate(1_000_000, size="small") == 0.016
    assert rate(400_000) == rate(10**9) == rate(1_000, level="word") == 0.008
    assert rate(1_000, learning_rate=0.1) == 0.1


def test_older_runs_keep_their_optimizer_and_schedule() -> None:
    settings = TrainingOptions().resolve(1000, 100)
    stored = settings.to_json()
    assert TrainingSettings.from_json(stored, 1000) == settings
    del stored["optimizer"], stored["schedule"]
    older = TrainingSettings.from_json(stored, 1000)
    assert (older.optimizer, older.schedule) == ("adamw", "cosine")


def test_words_are_tied_where_their_embedding_fits() -> None:
    def tied(**options: Any) -> tuple[bool, int]:
        made = TrainingOptions(level="word", **options).resolve(1000, 100).architecture
        return made.tie, made.embedding

    assert tied() == tied(units=256) == tied(embedding=256) == tied(size="small") == (True, 256)
    assert tied(embedding=128) == tied(embedding=128, units=256) == (False, 128)
    assert tied(tie=False) == (False, 64)
    assert not TrainingOptions().resolve(1000, 100).architecture.tie


def test_temperatures_are_checked_when_made() -> None:
    for values, sliding in (((), False), ((-1.0,), False), ((1.0, 2.0, 3.0), True)):
        with pytest.raises(ValueError, match="must"):
            Temperatures(values, sliding)


def test_sizes_fit_the_text_unless_given() -> None:
    def sizes(tokens: int, **options: Any) -> tuple[str, int, float]:
        made = TrainingOptions(**options).resolve(tokens, 100)
        (units,) = made.architecture.units
        return made.size, units, made.learning_rate

    assert sizes(399_999) == sizes(0) == ("small", 256, 0.016)
    assert sizes(400_000) == ("medium", 512, 0.008)
    assert sizes(10_000_000) == ("large", 1024, 0.008)
    assert sizes(400_000, level="word") == ("small", 256, 0.008)
    assert sizes(3_000_000, level="word") == ("medium", 512, 0.008)
    assert sizes(100_000, size="large") == ("large", 1024, 0.008)
    assert sizes(100_000, units=77, learning_rate=0.1) == ("small", 77, 0.1)
    assert TrainingOptions(tie=True).resolve(1, 100).architecture.embedding == 256
    assert TrainingOptions(tie=True, units=9).resolve(1, 100).architecture.embedding == 9
    with pytest.raises(OptionError, match="embedding must equal units, 9, with tie"):
        TrainingOptions(tie=True, units=9, embedding=8)


def test_few_minutes_train_a_small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two cores in float32, 512 units read about a million characters a minute."""

    def units(
        minutes: float, tokens: int = 10_000_000, vocabulary: int = 100, **options: Any
    ) -> int:
        asked = TrainingOptions(minutes=minutes, precision="float32", **options)
        return asked.resolve(tokens, vocabulary).architecture.units[0]

    monkeypatch.setattr("textgen.options.defaults.cores", lambda: 2)
    assert [units(minutes) for minutes in (0.1, 3, 5, 50, 60)] == [128, 256, 512, 512, 1024]
    assert units(60, 1_000_000) == 512
    assert units(1, size="large") == 1024
    assert [units(0.1, 1_000), units(0.2, 100_000), units(0.4, 100_000)] == [128, 128, 256]
    lengths = 70_000, 280_000
    assert [units(1, length, 7_500, level="word") for length in lengths] == [256, 128]
    times = 5, 7, 25, 35
    assert [units(m, vocabulary=10_000, level="word") for m in times] == [128, 256, 256, 512]
    assert units(7, vocabulary=20_000, level="word") == 128
    assert units(20, vocabulary=20_000, level="word") == 256
    assert units(20, vocabulary=10**6, level="word") == 256
    assert [units(3.7), units(3.7, cell="gru"), units(5, layers=2)] == [256, 512, 256]
    monkeypatch.setattr("textgen.options.defaults.cores", lambda: 4)
    assert [units(minutes) for minutes in (2, 3, 30)] == [256, 512, 1024]


def test_minutes_that_read_a_text_often_train_two_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    def units(tokens: int, minutes: float | None, **options: Any) -> tuple[int, ...]:
        asked = TrainingOptions(minutes=minutes, precision="float32", **options)
        return asked.resolve(tokens, 100).architecture.units

    monkeypatch.setattr("textgen.options.defaults.cores", lambda: 2)
    assert [units(330_000, minutes) for minutes in (1, 2, 500)] == [(256,), (256, 256), (256, 256)]
    assert [units(1_100_000, minutes) for minutes in (20, 25)] == [(512,), (512, 512)]
    assert units(200_000, 30) == units(330_000, 5, layers=1) == units(330_000, None) == (256,)
    assert units(330_000, 5, epochs=7) == units(330_000, 5, units=256) == (256,)
    assert units(1_100_000, 60, level="word") == (256,)


@given(
    st.integers(0, 10**9),
    st.integers(2, 30_000),
    st.sampled_from(["char", "word"]),
    st.floats(0, 1000),
    st.floats(0, 1000),
)
def test_more_minutes_never_train_a_smaller_network(
    tokens: int, vocabulary: int, level: str, minutes: float, more: float
) -> None:
    def weights(minutes: float) -> int:
        settings = TrainingOptions(level=level, minutes=minutes).resolve(tokens, vocabulary)
        return settings.architecture.weight_count(vocabulary)

    assert weights(minutes + 0.01) <= weights(minutes + 0.01 + more)


def test_dropout_grows_with_the_number_of_times_a_text_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dropout(tokens: int, **options: Any) -> float:
        return TrainingOptions(**options, precision="float32").resolve(tokens, 100).dropout

    monkeypatch.setattr("textgen.options.defaults.cores", lambda: 2)
    lengths = (0, 30_000, 100_000, 1_200_000, 3_000_000, 100_000_000)
    assert [dropout(length) for length in lengths] == [0.7, 0.7, 0.5, 0.1, 0, 0]
    times = (1e-320, 0.5, 3, 6, 12, 24, 1000)
    assert [dropout(1_200_000, epochs=n) for n in times] == [0, 0, 0, 0, 0.1, 0.35, 0.7]
    assert dropout(1_200_000, minutes=14) == 0.15
    assert dropout(1_200_000, minutes=14, epochs=6) == 0
    assert dropout(40_000, epochs=6) == dropout(160_000, units=512, epochs=6) == dropout(80_000)
    assert dropout(1_200_000, units="256,256") == dropout(1_200_000, units=256)
    assert dropout(1_200_000, level="word") == 0.2
    assert dropout(1_000_000, dropout=0.1) == 0.1


@pytest.mark.parametrize(
    ("maker", "flags", "precision"),
    [
        ("AuthenticAMD", "avx2 avx512_bf16", "bfloat16"),
        ("GenuineIntel", "avx2 avx512_bf16", "float32"),
        ("GenuineIntel", "avx512_bf16 amx_bf16", "bfloat16"),
        ("AuthenticAMD", "avx512f bf16", "float32"),
    ],
)
def test_precision_is_the_fastest_of_the_processor(
    maker: str, flags: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"vendor_id : {maker}\nmodel name : x\nflags : fpu {flags}\n"
    monkeypatch.setattr(Path, "read_text", lambda *_: text)
    instructions.cache_clear()
    assert TrainingOptions().resolve(0, 100).precision == precision
    assert TrainingOptions(precision="float32").resolve(0, 100).precision == "float32"
    monkeypatch.undo()
    instructions.cache_clear()


def test_precision_where_nothing_tells_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    instructions.cache_clear()
    assert TrainingOptions().resolve(0, 100).precision == "float32"
    monkeypatch.undo()
    instructions.cache_clear()


@pytest.mark.parametrize(
    ("options", "units"),
    [
        ({"units": 9}, (9,)),
        ({"units": "9"}, (9,)),
        ({"units": 9, "layers": 3}, (9, 9, 9)),
        ({"units": "9,4"}, (9, 4)),
        ({"units": (9, 4), "layers": 2}, (9, 4)),
        ({"units": [9, 4, 5], "embedding": 5, "tie": True}, (9, 4, 5)),
        ({"layers": 2}, (256, 256)),
    ],
)
def test_layers_may_have_widths_of_their_own(
    options: dict[str, Any], units: tuple[int, ...]
) -> None:
    assert TrainingOptions(**options).resolve(1000, 100).architecture.units == units


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"units": "9,4", "layers": 3}, "layers must be 2 to match units"),
        ({"units": "9,x"}, "units must be a whole number, or one for each layer"),
        ({"units": ""}, "units must be a whole number"),
        ({"units": ()}, "units must be a whole number"),
        ({"units": True}, "units must be a whole number"),
        ({"units": 9.5}, "units must be a whole number"),
        ({"units": "9,0"}, "units must be at least 1, not 0"),
        ({"units": [1] * 101}, "units may have at most 100 numbers, not 101"),
        ({"units": "9,4", "embedding": 9, "tie": True}, "embedding must equal units, 4"),
    ],
)
def test_widths_that_make_no_sense(options: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        TrainingOptions(**options)


@pytest.mark.parametrize(
    "options",
    [{}, {"units": "9,4", "minutes": 3}, {"level": "word", "seed": 5}, {"csv": "a", "epochs": 2}],
)
def test_settings_are_those_that_were_stored(options: dict[str, Any]) -> None:
    settings = TrainingOptions(**options).resolve(1000, 100)
    assert TrainingSettings.from_json(settings.to_json(), 99_000_000) == settings


def test_what_a_resumed_run_may_change() -> None:
    settings = TrainingOptions(units="9,4", epochs=3).resolve(1000, 100)
    assert settings.conflict({"units": [9, 4], "layers": 2, "level": "char", "epochs": 9}) is None
    assert settings.conflict({"units": 9}) == ("units", "9,4")
    assert settings.conflict({"layers": 3}) == ("layers", "2")
    assert settings.conflict({"cell": "gru"}) == ("cell", "lstm")
    assert settings.conflict({"delimiter": "x"}) == ("delimiter", "None")
    longer = settings.resumed({"minutes": 5, "patience": 2})
    assert (longer.minutes, longer.epochs, longer.patience) == (5, None, 2)
    both = longer.resumed({"minutes": 6, "epochs": 4})
    assert (both.minutes, both.epochs) == (6, 4)
    both = both.resumed({"minutes": 7}).resumed({"patience": 1})
    assert (both.minutes, both.epochs) == (7, 4)
    assert (both.resumed({"epochs": 5}).minutes, both.resumed({"epochs": 5}).epochs) == (None, 5)
    assert longer.architecture == settings.architecture
