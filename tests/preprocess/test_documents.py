"""Files of many documents: split them, train on them, generate them."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL
from hypothesis import assume, given
from hypothesis import strategies as st

import textgen
from textgen.errors import BookError, OptionError
from textgen.model import Model
from textgen.options.reading import ReadingOptions
from textgen.preprocess import documents, reading
from textgen.preprocess.corpus import load_corpus
from textgen.preprocess.documents import read_stretches
from textgen.preprocess.prepare import prepare_corpus
from textgen.preprocess.tokenizers import Tokenizer, tokenizer_from_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=20)
NAMES = ["lamp", "ferry", "goose", "storm"]
LINES = [f"The {a} saw the {b}." for a in NAMES for b in NAMES] * 12


@pytest.fixture(params=[3, 1 << 20])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in blocks so small that delimiters cross their borders, and in large ones."""
    monkeypatch.setattr(reading, "_BYTES_AT_ONCE", request.param)
    monkeypatch.setattr(documents, "_STRETCH_LENGTH", request.param)


def read_documents(name: str, options: ReadingOptions) -> list[str]:
    return [text for stretch in read_stretches(name, options, True) for text in stretch.texts]


def apart(text: str, name: str = "file.txt", **options: str) -> list[str]:
    Path(name).write_bytes(text.encode())
    return read_documents(name, ReadingOptions(**options))


@pytest.mark.usefixtures("_blocks")
@given(st.lists(TEXTS), st.sampled_from(["\n", "%%", "\n\n", "ab"]))
def test_a_delimiter_stands_between_documents(texts: list[str], delimiter: str) -> None:
    joined = delimiter.join(texts)
    expected = [text.strip("\n") for text in joined.split(delimiter)]
    expected = [text for text in expected if text and not text.isspace()]
    assert apart(joined, delimiter=delimiter) == expected


def test_line_ends_around_a_delimiter_are_left_out() -> None:
    assert apart("one\ttwo\nthree", delimiter="\t") == ["one", "two\nthree"]
    assert apart("one\n***\ntwo\n***\n", delimiter="***") == ["one", "two"]


def test_a_delimiter_that_does_not_occur() -> None:
    Path("one.txt").write_text("a%%b", "utf-8")
    Path("other.txt").write_text("a\nb", "utf-8")
    told = r"other.txt does not contain '%%'; .* or omit .*delimiter"
    for books in (["other.txt"], ["one.txt", "other.txt"]):
        with pytest.raises(BookError, match=told):
            textgen.prepare(*books, delimiter="%%", quiet=True)
    # A text to evaluate may be one document.
    assert read_documents("other.txt", ReadingOptions(delimiter="%%")) == ["a\nb"]
    Path("empty.txt").touch()
    with pytest.raises(BookError, match="is empty"):
        textgen.prepare("empty.txt", delimiter="%%", quiet=True)


@pytest.mark.usefixtures("_blocks")
@given(st.lists(st.tuples(TEXTS, TEXTS)))
def test_a_column_of_a_table(rows: list[tuple[str, str]]) -> None:
    assume(sys.version_info >= (3, 11) or "\0" not in "".join(map("".join, rows)))
    with Path("table.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("name", "text"), *rows])
    expected = [text for _, text in rows if text and not text.isspace()]
    assert read_documents("table.csv", ReadingOptions(csv="text")) == expected


def test_tables_with_tabs_and_blank_lines() -> None:
    assert apart("a\tb\n1\ttwo, 2\n\n3\tthree\n", "t.tsv", csv="b") == ["two, 2", "three"]


def test_two_tables_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_STRETCH_LENGTH", 1)
    long = "lamp " * 50_000  # longer than a field that the module csv reads by default
    Path("short.csv").write_text("text\nferry")
    Path("long.csv").write_text(f"text\ngoose\n{long}")
    options = ReadingOptions(csv="text")
    short, other = (read_stretches(name, options, True) for name in ("short.csv", "long.csv"))
    found = [next(short), next(other), *short, *other]
    assert [stretch.texts for stretch in found] == [["ferry"], ["goose"], [long]]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("The lamp, the ferry, the storm", "The lamp, the ferry, the storm"),
        ('He said "a, b", twice', 'He said "a, b", twice'),
        ('"Yes", he said, "no, no"', '"Yes", he said, "no, no"'),
        ('"Yes, no"', "Yes, no"),
        ('"one,\ntwo",three', '"one,\ntwo",three'),
        (" one,, two,", " one,, two,"),
    ],
)
@pytest.mark.usefixtures("_blocks")
def test_commas_of_a_table_with_one_column_belong_to_the_text(row: str, text: str) -> None:
    assert apart(f"text\n{row}\n\nlast", "t.csv", csv="text") == [text, "last"]
    tabs = row.replace(",", "\t")
    assert apart(f"text\nfirst\n{tabs}", "t.tsv", csv="text") == ["first", text.replace(",", "\t")]


def test_line_ends_are_those_of_all_texts() -> None:
    assert apart('{"t": "one\\r\\ntwo\\rthree"}', jsonl="t") == ["one\ntwo\nthree"]
    assert apart("one\r\n--\r\ntwo", delimiter="\r\n--\r\n") == ["one", "two"]


@pytest.mark.usefixtures("_blocks")
@given(st.lists(TEXTS), st.booleans())
def test_a_key_of_json_lines(texts: list[str], in_ascii: bool) -> None:
    lines = [json.dumps({"text": text, "n": 1}, ensure_ascii=in_ascii) for text in texts]
    expected = [text for text in texts if text and not text.isspace()]
    assert apart("\n\n".join(lines), jsonl="text") == expected


def test_lone_surrogates_are_no_characters() -> None:
    assert apart(json.dumps({"t": "a\udfffb"}), jsonl="t") == ["a\N{REPLACEMENT CHARACTER}b"]
    for data, encoding in ((b"a+3/8-b", "utf-7"), (rb"a\udfffb", "unicode_escape")):
        Path("odd.txt").write_bytes(data)
        found = read_documents("odd.txt", ReadingOptions(encoding=encoding))
        assert found == ["a\N{REPLACEMENT CHARACTER}b"]
    Path("pair.txt").write_bytes(rb"\ud83d\ude00")
    assert read_documents("pair.txt", ReadingOptions(encoding="unicode_escape")) == ["😀"]


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("a,b\n1,2\n", {"csv": "c"}, "no column 'c'; its first line names 'a', 'b'"),
        ("", {"csv": "c"}, "no column 'c'"),
        ("b" * 9999, {"csv": "c"}, "no column 'c'; its first line names 'b{40}'$"),
        ("a,b\n1,2\n1\n", {"csv": "b"}, "line 3 has no column 'b'"),
        ("a,b\n1,2\n1,one, two\n", {"csv": "b"}, "line 3 has 3 fields, not 2; put .* in quot"),
        ("a,b\n1,2,\n", {"csv": "a"}, "line 2 has 3 fields"),
        ('a,b\n"1\n2",3,4\n', {"csv": "a"}, "line 3 has 3 fields"),
        ('a,b\n1,"abc\n2,def\n3,"ghi"\n', {"csv": "b"}, "line 4: .* is it a CSV file"),
        ('{"a": "b"}\n{"a": 1}\n', {"jsonl": "a"}, "line 2 has no text under the key 'a'"),
        ('{"a": "b"}\n["a"]\n', {"jsonl": "a"}, "line 2 has no text"),
        ('{"a": "b"}\n\nb\n', {"jsonl": "a"}, "line 3 is not JSON"),
        ("[" * 99_999, {"jsonl": "a"}, "line 1 is not JSON"),
        (
            "x" * 999,
            {"delimiter": "y"},
            "of more than 99 characters; .* 'y' stands between",
        ),
    ],
)
def test_files_that_are_not_what_they_are_said_to_be(
    text: str, options: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "delimiter" in options:
        monkeypatch.setattr(documents, "_LONGEST_DOCUMENT", 99)
    with pytest.raises(BookError, match=told) as error:
        apart(text, **options)
    assert "file.txt" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options", [{"delimiter": "a", "csv": "b"}, {"csv": "a", "jsonl": "b"}, {"delimiter": ""}]
)
def test_ways_that_exclude_each_other(options: dict[str, str]) -> None:
    with pytest.raises(OptionError, match=r"choose one|must not be empty"):
        ReadingOptions(**options)


@pytest.mark.parametrize("level", ["char", "word", "byte"])
@pytest.mark.parametrize("block", [4, 1 << 20])
def test_documents_become_ids_with_ends_between(
    level: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_BYTES_AT_ONCE", block)
    monkeypatch.setattr(documents, "_STRETCH_LENGTH", block)
    texts = ["The café, ", "x", " ‘two’  words", "日本\n語", "The lamp"] * 3
    Path("t.jsonl").write_text("\n".join(json.dumps({"t": text}) for text in texts))
    options = ReadingOptions(level=level, jsonl="t", min_count=1, validation=0)
    found = prepare_corpus(["t.jsonl"], Path(), options)
    tokenizer = found.tokenizer
    corpus = load_corpus(Path(), found.tokens, len(tokenizer))
    assert found.documents == [len(texts)]
    assert tokenizer.end == len(tokenizer) - 1
    assert corpus.ids[-1] == tokenizer.end
    for text, ids in zip(texts, np.split(corpus.ids[:-1], corpus.documents[1:]), strict=True):
        assert ids[0] == tokenizer.end
        np.testing.assert_array_equal(ids[1:], tokenizer.encode(text))
    assert found.means.characters_per_token == pytest.approx(sum(map(len, texts)) / found.tokens)
    again = tokenizer_from_json(json.dumps(tokenizer.to_json()))
    assert (again.end, len(again)) == (tokenizer.end, len(tokenizer))
    assert again.decode(corpus.ids) == "".join(texts)
    decode = again.decoder()
    assert "".join(map(decode, corpus.ids.tolist())) == "".join(texts)


def trained(**options: object) -> Model:
    Path("lines.txt").write_text("\n".join(LINES), "utf-8")
    return textgen.train("lines.txt", delimiter="\n", force=True, **SMALL | options)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("lines"))
        patch.setattr("textgen.training.plan._EVALUATIONS", 4)
        return trained(out=Path.cwd() / "run", units=48, epochs=12, learning_rate=0.02)


def test_a_model_of_documents_writes_documents(model: Model) -> None:
    texts = list(model.samples(count=20, seed=1, temperature=0.5))
    written = ["".join(text) for text in texts]
    assert {text.finish_reason for text in texts} == {"end"}
    assert set(written) <= set(LINES)  # from a first letter to a last full stop
    assert len(set(written)) > 3
    assert [text.tokens for text in texts] == [len(text) + 1 for text in written]
    rest = model.generate("The goose saw", temperature=0, repetition_penalty=1.01)
    assert "The goose saw" + rest in LINES


def test_a_document_that_is_too_long_for_the_length_has_no_end(model: Model) -> None:
    text = model.stream(length=4, temperature=0)
    assert ("".join(text), text.finish_reason) == ("The ", "length")


def test_beams_and_writers_know_the_end(model: Model) -> None:
    best, second = model.samples(count=2, beam=4)
    assert {"".join(best), "".join(second)} <= set(LINES)
    assert best.finish_reason == "end"
    writer = model.writer("The goose saw the lamp.")
    assert all(likely.text for likely in writer.likeliest(9))  # the end is never offered
    writer.draw()
    assert len(writer.added) == 1


def test_documents_are_evaluated_one_by_one(model: Model) -> None:
    one, other = LINES[:2]
    both = model.evaluate(one, other)
    parts = [model.evaluate(text) for text in (one, other)]
    assert both.tokens == len(one) + len(other) + 2  # the end of each is predicted, too
    assert both.loss * both.tokens == pytest.approx(sum(p.loss * p.tokens for p in parts))
    assert both.characters == len(one) + len(other)
    assert model.evaluate(one + other).loss > 1.2 * both.loss


def test_the_history_tells_the_loss_of_documents(model: Model) -> None:
    border = int(0.9 * model.run.tokens)
    corpus = model.run.corpus()
    first = int(np.searchsorted(corpus.documents, border))
    held_out = [model.tokenizer.decode(d) for d in np.split(corpus.ids, corpus.documents[1:])]
    found = model.evaluate(*held_out[first:]).loss
    best = min(entry["validation_loss"] for entry in model.run.history())
    assert found == pytest.approx(best, rel=0.1)  # one document is evaluated in part only


def test_novelty_names_the_document_and_joins_none(model: Model) -> None:
    copied = model.novelty(LINES[1], least=10)
    assert (copied.copied, copied.longest[0].source_position) == (1.0, 0)
    number = int(copied.longest[0].source.removeprefix("lines.txt, document "))
    assert LINES[number - 1] == LINES[1]
    longest = max(map(len, LINES))
    assert model.novelty(LINES[0] + LINES[1], least=longest + 1).copied == 0
    assert model.generate(novel=15, seed=1, length=60) not in LINES


def test_training_on_documents_is_repeatable_and_resumes_exactly() -> None:
    def weights(out: str) -> dict[str, np.ndarray]:
        return textgen.load(out).run.weights()

    trained(out="whole", epochs=2, validation=0)
    trained(out="again", epochs=2, validation=0)
    trained(out="other", epochs=2, validation=0, seed=1)
    trained(out="parts", epochs=0.7, validation=0)
    run = textgen.train("lines.txt", out="parts", resume=True, epochs=2, quiet=True).run
    assert run.history()[-1]["step"] == textgen.load("whole").run.history()[-1]["step"]
    for name, weight in weights("whole").items():
        np.testing.assert_array_equal(weight, weights("again")[name])
        assert name == "output.bias" or not np.array_equal(weight, weights("other")[name])


@pytest.mark.parametrize("other", [{}, {"delimiter": "\n\n"}])
def test_a_resumed_run_wants_its_documents(other: dict[str, str]) -> None:
    trained(out="run", epochs=0.2)
    Path("lines.txt").write_text("\n".join(LINES[::-1]), "utf-8")
    with pytest.raises((BookError, OptionError), match=r"run was not created from|delimiter"):
        textgen.train("lines.txt", out="run", resume=True, quiet=True, **other)


def test_vocabularies_with_an_end_are_not_those_without(model: Model) -> None:
    data = model.tokenizer.to_json()
    assert data["documents"] is True
    plain: Tokenizer = tokenizer_from_json(json.dumps(data | {"documents": False}))
    assert plain.end is None
    assert len(plain) == len(model.tokenizer) - 1
