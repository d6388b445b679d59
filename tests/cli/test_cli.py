"""The command line: output, errors, exit codes."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import Result
from helpers import FLAGS, SMALL, notes_of

import textgen
from textgen.cli import main
from textgen.model import Model
from textgen.options.sampling import SamplingOptions
from textgen.options.training import TrainingOptions

Command = Callable[..., Result]


def one_line(result: Result, code: int) -> str:
    """Return the error of a command, which is one line and its only output."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    if lines[0].startswith("Usage:"):  # click prints the usage before the error
        assert code == 2
        lines = lines[3:]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in lines[0]
    return lines[0].removeprefix("Error: ")


def test_train_sample_evaluate_info(book: Path, command: Command) -> None:
    result = command("train", book, *FLAGS, "--test=0.1", "--epochs=1", "--json")
    assert result.exit_code == 0
    trained = json.loads(result.stdout)
    assert set(trained) == {
        *("run", "validation_loss", "bits_per_character", "training_loss", "best_epoch"),
        *("temperature", "epochs", "seconds", "tokens_per_second"),
    }
    assert trained["run"] == "checkpoints/book"
    assert trained["epochs"] == 1
    assert "epoch 1.00" in result.stderr

    result = command("sample", "--json", "-n", 2, "-l", 12, "--seed", 5, "-p", "The ")
    sampled = json.loads(result.stdout)
    assert (sampled["run"], sampled["seed"]) == ("checkpoints/book", 5)
    expected = [
        "".join(t)
        for t in textgen.load("checkpoints/book").samples("The ", count=2, seed=5, length=12)
    ]
    assert [s["text"] for s in sampled["samples"]] == expected
    assert all(
        (s["prompt"], s["tokens"], s["finish_reason"]) == ("The ", 12, "length")
        for s in sampled["samples"]
    )

    result = command("evaluate", "checkpoints/book", book, "--json")
    evaluated = json.loads(result.stdout)
    assert set(evaluated) == {
        *("loss", "perplexity", "bits_per_character", "tokens", "characters", "unknown"),
    }
    foreign = Path("foreign.txt")
    foreign.write_text("The Ж", "utf-8")
    assert "unknown" in command("evaluate", "checkpoints/book", foreign).stdout
    result = command("evaluate", "checkpoints/book", foreign, "--strict")
    assert "'Ж' is not in the vocabulary" in one_line(result, 1)
    assert evaluated["tokens"] == len(book.read_text("utf-8")) - 1
    assert f"{evaluated['loss']:.6g}" in command("evaluate", "checkpoints/book", book).stdout

    tested = json.loads(command("evaluate", "checkpoints/book", "--test", "--json").stdout)
    assert tested.keys() == evaluated.keys()
    assert tested["tokens"] == pytest.approx(len(book.read_text("utf-8")) / 10, abs=2)

    described = json.loads(command("info", "checkpoints/book", "--json").stdout)
    assert described["options"]["units"] == [16]
    assert described["outcome"]["validation_loss"] == trained["validation_loss"]
    assert "gutenberg" in command("info", "checkpoints/book").stdout


def test_unknown_words_of_a_prompt_are_named(models: dict[str, Model], command: Command) -> None:
    def notes(prompt: str) -> list[str]:
        arguments = (models["word"].path, "-l", 1, "--seed", 1, "-p", prompt)
        return command("sample", *arguments).stderr.splitlines()

    assert notes("The zzzqq lamp zzzqq xyz saw") == [
        "not in the vocabulary, read as unknown: 'zzzqq', 'xyz'"
    ]
    assert notes("The cafe\u0301 saw the fer") == []


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_precision_that_runs_is_told(book: Path, command: Command, precision: str) -> None:
    result = command("train", book, *FLAGS, "--epochs=0.1", "--precision", precision)
    assert f"{precision} on" in result.stderr
    described = json.loads(command("info", "checkpoints/book", "--json").stdout)
    assert described["options"]["precision"] == precision


def test_text_goes_to_standard_output_alone(model: Model, command: Command) -> None:
    result = command("sample", model.path, "-l", 20, "--seed", 1, "-p", "The ")
    text = model.generate("The ", length=20, seed=1)
    assert result.stdout == f"The {text}\n"
    assert result.stderr == ""
    assert (
        command("sample", model.path, "-l", 20, "--seed", 1, "-p", "The ", "--no-stream").stdout
        == f"The {text}\n"
    )


def test_the_seed_used_is_told_and_gives_the_text_again(model: Model, command: Command) -> None:
    result = command("sample", model.path, "-l", 30)
    seed = result.stderr.split()[1]
    assert command("sample", model.path, "-l", 30, "--seed", seed).stdout == result.stdout


def test_several_texts_are_set_apart(model: Model, command: Command) -> None:
    result = command("sample", model.path, "-l", 10, "--seed", 1, "-n", 3, "-p", "The ")
    texts = ["".join(t) for t in model.samples("The ", count=3, seed=1, length=10)]
    line = "\n" + "-" * 40 + "\n\n"
    assert result.stdout == line.join(f"The {text}\n" for text in texts)


def test_prompts_from_files(model: Model, command: Command) -> None:
    Path("prompt.txt").write_bytes("\ufeffThe café\r\n".encode())
    expected = "The café\n" + model.generate("The café\n", length=9, seed=1) + "\n"
    arguments = ("sample", model.path, "-l", 9, "--seed", 1, "--prompt-file")
    assert command(*arguments, "prompt.txt").stdout == expected
    assert command(*arguments, "-", input="The café\n".encode()).stdout == expected


def test_stops_and_filters_reach_the_sampler(model: Model, command: Command) -> None:
    options = {"temperature": 1.2, "top_k": 5, "top_p": 0.9, "min_p": 0.01, "length": 50}
    options |= {"repetition_penalty": 1.1, "stop": ("e", "zz")}
    flags = [
        *("-t", 1.2, "--top-k", 5, "--top-p", 0.9, "--min-p", 0.01, "-l", 50),
        *("--repetition-penalty", 1.1, "--stop", "e", "--stop", "zz"),
    ]
    result = command("sample", model.path, "--seed", 2, "--json", *flags)
    sampled = json.loads(result.stdout)["samples"][0]
    assert sampled["text"] == model.generate(seed=2, **options)
    assert sampled["finish_reason"] == "stop"


def test_a_book_from_standard_input(book: Path, command: Command) -> None:
    result = command("train", "-", *FLAGS, "--epochs=1", "-q", input=book.read_bytes())
    assert (result.exit_code, result.output) == (0, "")
    assert textgen.load("checkpoints/stdin").run.books == ["standard input"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("train none.txt", 1, "there is no file none.txt"),
        ("train .", 1, ". is a folder"),
        ("train empty.txt", 1, "empty.txt is empty"),
        ("train one.txt", 1, "the training part, 0 of 1 token, is too short"),
        ("train latin.txt", 1, "byte 0xe9 at offset 3 is not utf-8"),
        ("train book.txt --batch-size 500", 1, "lower --batch-size to"),
        ("train book.txt --out /dev/null/run", 1, "cannot write /dev/null/run"),
        ("train book.txt --encoding klingon", 2, "--encoding 'klingon' is not known"),
        ("train book.txt --units 0", 2, "--units must be at least 1, not 0"),
        ("train book.txt --dropout 1", 2, "--dropout must be below 1"),
        ("train book.txt --learning-rate nan", 2, "--learning-rate must be a number"),
        ("train book.txt --cell rnn", 2, "'rnn' is not one of"),
        ("train book.txt --units many", 2, "--units must be a whole number, or one for each layer"),
        ("train book.txt --layers many", 2, "'many' is not a valid integer"),
        ("train", 2, "no BOOK to train on"),
        ("train --resume", 2, "--out is needed"),
        ("train --resume --out none", 1, "no run at none to resume; leave out --resume"),
        ("train --resume --force --out run", 2, "--force cannot be given together with --resume"),
        ("sample", 1, "there is no trained run under checkpoints"),
        ("sample none", 1, "none is not a run"),
        ("sample book.txt", 1, "book.txt is not a run"),
        ("sample run -t -1", 2, "--temperature must be at least 0, not '-1'"),
        ("sample run -t nan", 2, "--temperature must be a number, or several"),
        ("sample run -t hot", 2, "or several such as 0.5,1.0 or 1.2:0.6, not 'hot'"),
        ("sample run -t 1:2:3", 2, "--temperature must be two numbers to slide between"),
        ("sample run -t 0.5,-1", 2, "--temperature must be at least 0, not '0.5,-1'"),
        ("sample run --top-p 0", 2, "--top-p must be above 0"),
        ("sample run --novel 1", 2, "--novel must be at least 2"),
        ("sample run --ban lamp", 2, "--ban must be a token that the model knows, not 'lamp'"),
        ("sample run --repeat-last-n 9", 2, "--repeat-last-n needs a penalty"),
        ("sample run --beam 4 -t 0 -n 2", 2, "--count must be at most 1"),
        ("sample run --weights 1,2", 2, "--weights must be one number for each run"),
        ("sample run --interactive --seed -1", 2, "--seed must be a whole number"),
        ("sample run --repeat-last-n 0", 2, "--repeat-last-n must be at least 1"),
        ("sample run --beam 2 -n 3", 2, "--count must be at most the 2 texts of the beam"),
        ("sample run --beam 2 --novel 9", 2, "--novel cannot be combined with a beam"),
        ("sample run run --weights 1", 2, "--weights must be one number for each run"),
        ("sample run run --weights a,b", 2, "--weights must be numbers separated by commas"),
        ("sample run --encoding latin-1", 2, "--encoding applies to --prompt-file only; give one"),
        ("sample run --interactive --prompt-file -", 2, "--interactive needs standard input"),
        ("sample run --interactive --json", 2, "--interactive cannot be combined with --json"),
        ("sample run --interactive --stop x", 2, "--stop is not used in interactive writing"),
        ("novelty run none.txt", 1, "there is no file none.txt"),
        ("novelty run book.txt --least 0", 2, "--least must be a whole number, at least 1"),
        ("novelty run book.txt --most -1", 2, "--most must be a whole number, at least 0"),
        ("sample run -n 0", 2, "--count must be a whole number, at least 1"),
        ("sample run --seed -1", 2, "--seed must be a whole number, at least 0"),
        ("sample run -p ж", 1, "has never seen 'ж'"),
        ("sample run -p a --prompt-file book.txt", 2, "--prompt-file cannot be given together"),
        ("sample run --prompt-file none.txt", 1, "there is no file none.txt"),
        ("sample run --prompt-file latin.txt", 1, "such as --encoding latin-1"),
        (f"sample {'a' * 300}", 1, "File name too long"),
        (f"train book.txt --out {'a' * 300}", 1, "File name too long"),
        ("train book.txt --batch-size 4 --validation 0.0005", 1, "too few to validate on"),
        ("sample damaged", 1, "damaged/model.safetensors is damaged"),
        ("evaluate run none.txt", 1, "there is no file none.txt"),
        ("evaluate run empty.txt", 1, "nothing to predict"),
        ("evaluate run", 2, "Missing argument 'TEXT'; or give --test"),
        ("evaluate run run", 1, "run is a folder; name the text files in it"),
        ("evaluate run book.txt --weights 1,2", 2, "--weights must be one number for each run"),
        ("evaluate run book.txt --test", 1, "book.txt is not a run"),
        ("evaluate run --test --strict", 2, "leave out the options for a TEXT"),
        ("evaluate run --test", 1, "run has no test part; name a text"),
        ("train book.txt --test 0.95", 2, "--validation leave nothing to train on"),
        ("evaluate none book.txt", 1, "none is not a run"),
        ("info none", 1, "none is not a run"),
    ],
)
def test_mistakes_are_told_in_one_line_and_change_nothing(
    arguments: str, code: int, message: str, book: Path, model: Model, command: Command
) -> None:
    for name, data in (("empty.txt", b""), ("one.txt", b"x"), ("latin.txt", b"caf\xe9" * 99)):
        Path(name).write_bytes(data)
    for name in ("run", "damaged"):
        shutil.copytree(model.path, name)
    Path("damaged/model.safetensors").write_bytes(b"\0" * 100)
    before = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
    assert message in one_line(command(*arguments.split()), code)
    assert before == {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}


def test_every_command_and_option_has_help() -> None:
    for name, item in main.commands.items():
        assert item.help, name
        for parameter in item.params:
            assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


def test_options_have_the_names_of_keywords() -> None:
    for name, options in (("train", TrainingOptions), ("sample", SamplingOptions)):
        flags = {f for p in main.commands[name].params for f in p.opts}
        assert {"--" + item.name.replace("_", "-") for item in fields(options)} <= flags


def run(*arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "textgen", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **settings,
    )


def test_help_and_sampling_start_without_tensorflow(models: dict[str, Model]) -> None:
    script = (
        "import sys, textgen.cli\n"
        "try:\n"
        "    textgen.cli.main()\n"
        "finally:\n"
        "    heavy = {m.partition('.')[0] for m in sys.modules} & {'tensorflow', 'keras', 'nltk'}\n"
        "    print('imported', sorted(heavy), file=sys.stderr)\n"
    )
    commands = (
        ["--help"],
        ["sample", models["char"].path, "-l", "5"],
        ["sample", models["word"].path, "-l", "5"],
        ["info", models["char"].path],
    )
    for arguments in commands:
        start = time.monotonic()
        result = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - start
        assert result.returncode == 0, result.stderr
        assert "imported []" in result.stderr
        assert seconds < 3  # generous: 0.1 s and 0.25 s on an idle machine


def test_importing_the_library_imports_nothing_heavy() -> None:
    script = "import textgen, sys; print(sorted({'numpy', 'tensorflow'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_a_reader_that_goes_away_is_no_error(model: Model) -> None:
    command = f"'{sys.executable}' -m textgen sample '{model.path}' -l 100000 | head -c 5"
    result = subprocess.run(command, shell=True, capture_output=True, check=True, timeout=60)
    assert len(result.stdout) == 5
    assert b"Traceback" not in result.stderr


def test_an_encoding_that_lacks_a_character_shows_a_question_mark(model: Model) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    result = run(
        *("sample", model.path, "-p", "“é", "-l", "3"), env=environment, encoding="latin-1"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("?é")


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_half_a_character_in_a_prompt(level: str, models: dict[str, Model]) -> None:
    # Python decodes a byte of the command line that is not UTF-8 to a lone surrogate.
    result = run("sample", models[level].path, "-p", "a \udcff", "-l", "3", "--seed", "1")
    assert (result.returncode == 0) == (level != "char")
    if level == "char":
        assert "has never seen '\\udcff'" in result.stderr


def test_names_are_printed_in_one_line(command: Command) -> None:
    assert one_line(command("sample", "a\nb\x1b[1m"), 1).startswith("a\\nb\\x1b[1m is not a run")


def test_closed_and_full_streams(model: Model) -> None:
    def shell(arguments: str) -> subprocess.CompletedProcess[str]:
        command = f"'{sys.executable}' -m textgen {arguments}"
        return subprocess.run(command, shell=True, capture_output=True, text=True, check=False)

    result = shell(f"sample '{model.path}' --seed 1 -l 5 >/dev/full")
    assert (result.returncode, result.stderr) == (
        1,
        "Error: cannot print: No space left on device\n",
    )
    for arguments in ("--help", "train --help", "--version"):
        result = shell(f"{arguments} >/dev/full")
        assert (result.returncode, result.stderr) == (
            1,
            "Error: cannot print: No space left on device\n",
        )
    result = shell("train - <&-")
    assert (result.returncode, result.stderr) == (
        1,
        "Error: standard input is closed; name a file\n",
    )


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_notes_that_cannot_be_printed_are_no_reason_to_stop(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, stderr in enumerate((None, Full())):  # None: it is closed
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stderr)
            options = SMALL | {"quiet": False, "epochs": 0.5}
            model = textgen.train(book, out=f"run{number}", **options)
        assert model.generate(length=3)


def test_training_is_silent_where_asked(book: Path, command: Command) -> None:
    result = command("train", book, *FLAGS, "--epochs=1", "-q")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_notes_say_what_is_done(book: Path, command: Command) -> None:
    result = command("train", book, *FLAGS, "--epochs=0.1")
    assert result.stdout == ""
    first, figures, *preview, summary, last = notes_of(result.stderr)
    assert first.startswith("checkpoints/book: training on")
    assert figures.startswith("epoch 0.1")
    assert all(line.isspace() or not line or line.startswith("    ") for line in preview)
    assert summary.startswith("checkpoints/book keeps the weights of epoch 0.1")
    assert last == "checkpoints/book is trained; now: textgen sample checkpoints/book"
