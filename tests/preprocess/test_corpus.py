"""Convert books to ids on disk."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.errors import BookError
from textgen.options.reading import ReadingOptions
from textgen.options.training import TrainingOptions
from textgen.preprocess import corpus, reading
from textgen.preprocess.corpus import Corpus, Means
from textgen.preprocess.documents import Boundary, Stretch
from textgen.preprocess.tokenizers import Tokenizer, WordTokenizer
from textgen.preprocess.vocabulary import regroup, split_tokens
from textgen.preprocess.words import word_splitter
from textgen.runs.folder import Run
from textgen.runs.lifecycle import create

SHORT = {"batch_size": 2, "chunk_length": 2}


def prepared(*texts: str, **options: object) -> tuple[Tokenizer, Corpus, float]:
    books = []
    for number, text in enumerate(texts):
        books.append(Path(f"{number}.txt"))
        books[-1].write_text(text, "utf-8")
    run = create("run", books, TrainingOptions(**SHORT | options), force=True)
    return run.tokenizer, run.corpus(), run.means.characters_per_token


@pytest.mark.parametrize("level", ["char", "word", "byte"])
@pytest.mark.parametrize("block", [3, 1 << 20])
def test_ids_are_those_of_the_text(level: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_BYTES_AT_ONCE", block)
    monkeypatch.setattr(corpus, "_IDS_AT_ONCE", block)
    text = "The lamp.\n\nThe old café; the   lamp's glass.  \n" * 3
    tokenizer, found, characters = prepared(text, level=level, min_count=1, validation=0)
    np.testing.assert_array_equal(found.ids, tokenizer.encode(text))
    assert tokenizer.decode(found.ids) == text
    assert characters == pytest.approx(len(text) / len(found))


@given(st.integers(0, 5000), st.floats(0, 0.49), st.floats(0, 0.49))
def test_the_parts_of_a_corpus_follow_each_other(
    tokens: int, validation: float, test: float
) -> None:
    ids, starts = np.arange(tokens), np.arange(0, max(tokens, 1), 7)
    parts = Corpus(ids, starts).split(ReadingOptions(validation=validation, test=test))
    np.testing.assert_array_equal(np.concatenate([part.ids for part in parts]), ids)
    for part, share in zip(parts, (1 - validation - test, validation, test), strict=True):
        assert len(part) == pytest.approx(share * tokens, abs=1.01)
        assert part.documents[0] == 0
        assert {0, *(np.flatnonzero(part.ids % 7 == 0))} == set(part.documents.tolist())


def test_words_and_means_of_the_test_part() -> None:
    Path("book.txt").write_text("aa bbbb aa bbbb aa bbbb aa cccccccc dddddddd eeeeee", "utf-8")
    options = TrainingOptions(**SHORT, level="word", min_count=1, validation=0.2, test=0.2)
    run = create("run", ["book.txt"], options)
    assert set(run.tokenizer.vocabulary or ()) == {"aa", " aa", " bbbb"}
    spelling = run.tokenizer.spelling.cost
    assert run.means == Means(6, 0.5, pytest.approx(spelling(" cccccccc") / 2))
    both = spelling(" dddddddd") + spelling(" eeeeee")
    assert run.test_means == Means(8, 1, pytest.approx(both / 2))
    opened = Run.open("run")
    assert (opened.means, opened.test_means) == (run.means, run.test_means)


TEXTS = st.text(st.sampled_from("ab' ’\n.,-é\u0301"), max_size=9)
STRETCHES = st.lists(st.tuples(st.lists(TEXTS, min_size=1, max_size=3), st.booleans()), max_size=6)


def tokens_of(stretches: list[Stretch], level: str) -> list[str | Boundary]:
    """Return all tokens of stretches, each split on its own."""
    blocks = [split_tokens(stretch, level) for stretch in stretches]
    for block in blocks:
        assert (
            block.counts.tolist() == np.bincount(block.places, minlength=len(block.tokens)).tolist()
        )
    return [block.tokens[place] for block in blocks for place in block.places]


@given(STRETCHES, st.sampled_from(["char", "word", "byte"]))
def test_tokens_are_the_same_wherever_a_text_is_cut(
    parts: list[tuple[list[str], bool]], level: str
) -> None:
    documents, expected = [[""]], list[str | Boundary]()
    for texts, begins in parts:
        for number, text in enumerate(texts):
            if begins or number:
                documents.append([])
            documents[-1].append(text)
    for number, document in enumerate(map("".join, documents)):
        expected += [Boundary.DOCUMENT] if number else []
        if level == "word":
            expected += word_splitter()(document)
        else:
            expected += document if level == "char" else document.encode().decode("latin-1")
    assert tokens_of(list(regroup((Stretch(*part) for part in parts), level)), level) == expected


def test_a_word_may_be_as_long_as_a_book() -> None:
    stretches = itertools.repeat(Stretch(["ab" * 500_000], False), 60)
    (stretch,) = regroup(stretches, "word")
    (text,) = stretch.texts
    assert len(text) == 60_000_000
    block = split_tokens(stretch, "word")
    assert (list(block.tokens), block.counts.tolist(), block.places.tolist()) == ([text], [1], [0])


def test_noise_is_no_alphabet() -> None:
    noise = "".join(map(chr, [*range(1, 0xD800), *range(0xE000, 0x30000)]))
    with pytest.raises(BookError, match=r"distinct characters .* level byte"):
        prepared(noise)
    assert len(prepared(noise, level="byte")[0]) == 256


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_control_characters_are_characters(level: str) -> None:
    text = "a\x01b\x1b[1m\x7f c\u202e\ufeff\U0010ffff d\n" * 5
    tokenizer, found, _ = prepared(text, level=level, min_count=1)
    assert tokenizer.decode(found.ids) == text


def test_ids_take_the_smallest_type_and_stay_on_disk() -> None:
    few = prepared("abc" * 10)[1]
    many = prepared("".join(map(chr, range(1000, 1300))))[1]
    assert (few.ids.dtype, many.ids.dtype) == (np.uint8, np.uint16)
    assert isinstance(many.ids, np.memmap)


def test_the_vocabulary_of_characters_is_that_of_the_whole_text() -> None:
    tokenizer, _, _ = prepared("ab" * 50 + "z")
    assert tokenizer.vocabulary == "abz"


def test_the_vocabulary_of_words_is_that_of_the_training_part() -> None:
    text = "aa bb " * 40 + "bb cc bb cc bb"
    tokenizer, found, _ = prepared(text, level="word", validation=0.1)
    assert isinstance(tokenizer, WordTokenizer)
    assert set(tokenizer.vocabulary) == {" aa", " bb"}
    assert 0 in found.ids[-9:]


def test_rare_words_and_words_too_many() -> None:
    text = "one two two three three three four four four four\n" * 1 + "one"
    everything = prepared(text, level="word", min_count=1, validation=0)[0]
    assert " one" not in everything.vocabulary
    assert everything.vocabulary[:2] == [" four", " three"]
    common = prepared(text, level="word", min_count=3, validation=0)[0]
    assert common.vocabulary == [" four", " three"]
    two = prepared(text, level="word", min_count=1, max_vocabulary=2, validation=0)[0]
    assert two.vocabulary == [" four"]
    assert len(two) == 2


def test_several_books_are_several_documents() -> None:
    tokenizer, found, _ = prepared("abcabc" * 3, "cba" * 5, "bbb" * 7)
    assert found.documents.tolist() == [0, 19, 35]
    ends = [0, 19, 35, 57]  # before each document, and after the last
    assert np.flatnonzero(found.ids == tokenizer.end).tolist() == ends
    assert [tokenizer.decode(part) for part in np.split(found.ids, ends[1:])] == [
        *("abcabc" * 3, "cba" * 5, "bbb" * 7),
        "",
    ]
    training, validation = found.split(ReadingOptions(validation=0.25))[:2]
    assert len(training) == int(0.75 * 58) == 43
    assert training.documents.tolist() == [0, 19, 35]
    assert validation.documents.tolist() == [0]
    np.testing.assert_array_equal(np.r_[training.ids, validation.ids], found.ids)


def test_words_never_join_across_books() -> None:
    tokenizer, found, _ = prepared("aa aa aa", "aa aa aa", level="word", min_count=1, validation=0)
    assert tokenizer.decode(found.ids[:4]) == "aa aa aa"
    assert len(found) == 9


def test_bits_per_character_of_words_need_their_lengths() -> None:
    text = "aa bbbb aa bbbb aa bbbb aa cccccccc dddddddd"
    _, found, characters = prepared(text, level="word", validation=0.25)
    assert len(found) == 9
    assert characters == pytest.approx((3 + 9 + 9) / 3)  # all characters of unknown words count


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_blank_books_are_books(level: str) -> None:
    tokenizer, found, _ = prepared(" \n\n", "aa bb aa bb", level=level, min_count=1, validation=0)
    assert tokenizer.decode(found.ids) == " \n\naa bb aa bb"
    assert len(found.documents) == 2


def test_validation_needs_something_to_predict() -> None:
    with pytest.raises(BookError, match="holds out 1 of 29 tokens, too few to test on"):
        prepared("a" * 29, batch_size=1, test=0.03)
    with pytest.raises(BookError, match="too few to validate on"):
        prepared("abcdefgh" * 9, validation=0.01)


def test_a_part_that_completes_no_character_is_told_by_the_whole() -> None:
    _, _, characters = prepared("日" * 66, level="byte", validation=0.0102)
    assert characters == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("text", "options", "advice"),
    [
        ("", {}, "is empty"),
        ("x", {"validation": 0}, "give a longer text"),
        ("abcdefg", {"validation": 0, "batch_size": 4}, "lower batch_size to 3 or less"),
        ("abc", {"validation": 0, "chunk_length": 9}, "chunk_length to 2 or less"),
        ("abcdef" * 9, {"validation": 0.01}, "validation 0.01 holds out"),
        ("one two six ten", {"level": "word", "validation": 0, "batch_size": 1}, "lower min_count"),
    ],
)
def test_too_little_text(text: str, options: dict[str, object], advice: str) -> None:
    with pytest.raises(BookError, match=advice):
        prepared(text, **options)


def test_the_length_advised_is_enough() -> None:
    prepared("abcdefg", validation=0, batch_size=3)
    prepared("abc", validation=0, batch_size=1, chunk_length=2)
