"""Crash safety: killed processes, failed writes, full disks, concurrent processes."""

import errno
import io
import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from helpers import FLAGS, SMALL, in_training, make_book, snapshot, weights_of
from processes import Start, run_textgen, starting

import textgen
from textgen.errors import BookError, RunError
from textgen.options.training import TrainingOptions
from textgen.runs.folder import Run, TrainingState
from textgen.runs.history import Progress
from textgen.runs.lifecycle import create, resume
from textgen.runs.locking import LOCK, is_locked, locked

OPTIONS = TrainingOptions(size="small", batch_size=2, chunk_length=4)


def model_book(run: Path) -> str:
    """Return the book that a run was trained on."""
    return Run.open(run).books[0]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start processes that do not outlive the test."""
    with starting() as start:
        yield start


def is_newer(path: Path, before: int) -> bool:
    return path.exists() and path.stat().st_mtime_ns != before


# Killed processes


def test_a_run_killed_again_and_again_ends_as_if_undisturbed(
    book: Path,
    start: Start,
    request: pytest.FixtureRequest,
) -> None:
    kills, chance = request.config.getoption("--kills"), random.Random(0)
    flags = [*FLAGS, "-q", "--epochs=6", "--dropout=0.2", "--save-every=0.02"]
    # XLA optimises, as in a user's process.
    start_textgen = partial(start, run_textgen, "train", environment={"XLA_FLAGS": ""})
    assert start_textgen(str(book), "--out=undisturbed", *flags).wait() == 0
    saved = Path("run/training.safetensors")
    while kills:
        shutil.rmtree("run", ignore_errors=True)
        finished = False
        while not finished:
            how = ["--resume", "-q"] if Path("run").exists() else [str(book), *flags]
            before = saved.stat().st_mtime_ns if saved.exists() else 0
            has_saved = partial(is_newer, saved, before)
            process = start_textgen("--out=run", *how)
            if kills and chance.random() < 0.2:  # while it starts
                time.sleep(chance.uniform(0, 1))
            elif kills:  # while it trains
                process.wait_for(has_saved)
                time.sleep(chance.uniform(0, 0.5))
            else:
                process.wait()
            process.send(signal.SIGKILL)
            finished = process.wait() == 0
            if not finished:
                assert process.exit_code == -signal.SIGKILL, process.errors()
                kills -= 1
            if Path("run/model.safetensors").exists():
                textgen.load("run").generate(length=3)
            elif Path("run").exists():
                Run.open("run")
        assert weights_of("run") == weights_of("undisturbed")
        history, expected = (Run.open(name).history() for name in ("run", "undisturbed"))
        assert [e["validation_loss"] for e in history] == [e["validation_loss"] for e in expected]
    assert {p.name for p in Path().iterdir()} == {"book.txt", "run", "undisturbed"}


class Killed(BaseException):
    """Simulates SIGKILL: no clean-up code has an effect afterwards."""


class Files:
    """Injects `fault` into call number `last` of those that change files.

    A write fails when half of it is done. After Killed, all later calls fail, too. With
    KeyboardInterrupt, a call other than a write is done before the signal is raised.
    """

    _CALLS = ("open", "fsync", "rename", "replace", "unlink", "mkdir", "rmdir")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: int, fault: BaseException) -> None:
        self.calls = 0
        self._last, self._fault = last, fault
        for name in self._CALLS:
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))
        opened = io.open

        def open_(path: Any, mode: str = "r", *arguments: Any, **settings: Any) -> Any:
            if mode in ("r", "rb"):
                return opened(path, mode, *arguments, **settings)
            return Cut(self, self._counted(opened)(path, mode, *arguments, **settings))

        monkeypatch.setattr(io, "open", open_)

    def step(self) -> bool:
        """Count a call; return whether it must fail."""
        self.calls += 1
        gone = isinstance(self._fault, Killed) and self.calls > self._last
        if gone:
            raise self._fault
        return self.calls == self._last

    def fail(self) -> None:
        raise self._fault

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **settings: Any) -> Any:
            failing = self.step()
            if failing and not isinstance(self._fault, KeyboardInterrupt):
                self.fail()
            result = call(*arguments, **settings)
            if failing:
                self.fail()
            return result

        return counted


class Cut:
    """A file whose writes are counted."""

    def __init__(self, files: Files, file: Any) -> None:
        self._files, self._file = files, file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "Cut":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        if self._files.step():
            self._file.write(memoryview(data).cast("B")[: memoryview(data).nbytes // 2])
            self._file.flush()
            self._files.fail()
        return self._file.write(data)

    def truncate(self, size: int) -> int:
        if self._files.step():
            self._files.fail()
        return self._file.truncate(size)


FAULTS = [Killed(), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]
FAULTS += [OSError(number, os.strerror(number)) for number in (errno.EMFILE, errno.EROFS)]
faults = pytest.mark.parametrize(
    "fault", FAULTS, ids=["kill", "signal", "full", "handles", "read-only"]
)


@contextmanager
def cut(last: int, fault: BaseException) -> Iterator[Files]:
    """Inject `fault` into call number `last` of those that change files."""
    with (
        pytest.MonkeyPatch.context() as patch,
        suppress(Killed, KeyboardInterrupt, RunError, BookError),
    ):
        yield Files(patch, last, fault)


@faults
def test_a_save_that_is_cut_short_leaves_the_old_or_the_new(
    run: Path, fault: BaseException
) -> None:
    _, old = in_training(run)
    before = weights_of(run)
    changed = {name: array + 1 for name, array in old.weights.items()}
    new = TrainingState(changed, old.optimizer, old.state, Progress(step=99, samples_size=4))
    pristine = Path(shutil.copytree(run, "pristine"))
    for last in itertools.count(1):
        shutil.rmtree(run)
        shutil.copytree(pristine, run)
        opened = Run.open(run)
        with cut(last, fault) as files:
            opened.write_config()
            opened.add_sample("text", 0)
            opened.save_weights(new.weights)
            opened.write_metrics([])
            opened.save_training_state(new)
        assert Run.open(run).settings == opened.settings
        weights, (_, state) = Run.open(run).weights(), in_training(run)
        assert weights_of(run) == before or all((weights[n] == changed[n]).all() for n in changed)
        expected = {old.progress.step: old.weights, 99: changed}[state.progress.step]
        assert all((state.weights[n] == expected[n]).all() for n in expected)
        if files.calls < last:  # no call failed
            assert state.progress.step == 99
            break
        textgen.load(run).generate(length=3)
        Run.open(run).save_training_state(new)  # despite leftover files
        assert in_training(run)[1].progress.step == 99
    assert last > 15


@faults
def test_a_beginning_that_is_cut_short_leaves_the_old_or_the_new(
    book: Path, run: Path, fault: BaseException
) -> None:
    old, pristine = snapshot(run), Path(shutil.copytree(run, "pristine"))
    expected = OPTIONS.resolve(Run.open(run).tokens, 100)
    for last in itertools.count(1):
        with cut(last, fault) as files:
            create(run, [book], OPTIONS, force=True)
        opened = resume(run, [], {})
        assert snapshot(run) == old or opened.settings == expected
        if files.calls < last:
            assert opened.settings == expected
            break
        shutil.rmtree(run)
        shutil.copytree(pristine, run)
    assert last > 20
    assert {p.name for p in Path().iterdir()} == {"book.txt", "run", "pristine"}


@faults
def test_a_first_beginning_that_is_cut_short_is_in_nobodys_way(
    book: Path, fault: BaseException
) -> None:
    for last in itertools.count(1):
        with cut(last, fault) as files:
            create("deep/run", [book], OPTIONS)
        if Path("deep/run").exists():
            assert Run.open("deep/run").corpus()
            shutil.rmtree("deep/run")
        if files.calls < last:
            break
    assert {p.name for p in Path().rglob("*")} == {"book.txt", "deep"}


def test_a_draft_is_not_made_through_a_link(book: Path, run: Path) -> None:
    Path("mine").mkdir()
    Path("mine/mine.txt").write_text("mine")
    for ending in ("new", "old"):
        Path(f".textgen-run.{ending}").symlink_to("mine")
    textgen.train(model_book(run), out=run, resume=True, quiet=True)
    create("other", [book], OPTIONS)
    with pytest.raises(RunError, match="cannot write run"):
        create(run, [book], OPTIONS, force=True)
    assert [p.name for p in Path("mine").iterdir()] == ["mine.txt"]
    textgen.load(run)


def test_the_folder_one_stands_in_is_not_replaced(
    book: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(run)
    monkeypatch.chdir(run)
    for out in (".", "../run"):
        with pytest.raises(RunError, match="contains the current folder"):
            create(out, [book], OPTIONS, force=True)
    assert snapshot(Path()) == before


def test_what_is_no_part_of_a_corpus_is_not_replaced(book: Path, run: Path) -> None:
    shutil.copy(book, run / "corpus")
    with pytest.raises(RunError, match=r"contains corpus/book\.txt, which is not part of a run"):
        create(run, [run / "corpus/book.txt"], OPTIONS, force=True)
    assert (run / "corpus/book.txt").exists()


def test_places_that_are_none(book: Path) -> None:
    Path("loop").symlink_to("loop")
    for out in ("/", "loop"):
        with pytest.raises(RunError, match=r"cannot be a run|cannot write"):
            create(out, [book], OPTIONS)


# Concurrent processes


def test_two_trainings_cannot_share_a_run(book: Path, run: Path) -> None:
    before = snapshot(run)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import pathlib, sys, textgen.runs.locking as runs\n"
            "with runs.locked(pathlib.Path('run')):\n"
            "    print(flush=True)\n"
            "    sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(RunError, match="run is being trained by another process"):
        textgen.train(out=run, resume=True, quiet=True)
    with pytest.raises(RunError, match="run is being trained by another process"):
        create(run, [book], OPTIONS, force=True)
    assert snapshot(run) == before
    assert textgen.load(run).generate(length=3)  # reading needs no lock
    holder.kill()
    holder.communicate()
    textgen.train(out=run, resume=True, quiet=True)  # a killed process frees its lock


def test_who_asks_whether_a_run_is_trained_does_not_train_it(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = FileLock(run / LOCK)
    monkeypatch.setattr(time, "sleep", lambda _: asking.release())
    with asking:
        assert not is_locked(run)
    with locked(run):
        assert is_locked(run)


def test_two_beginnings_of_one_run(book: Path) -> None:
    with (
        pytest.raises(RunError, match="run is being trained by another process"),
        locked(Path("run"), Path()),
        locked(Path("run"), Path()),
    ):
        pass
    textgen.train(book, out="run", epochs=0.1, **SMALL)
    with pytest.raises(RunError, match="is a run already"):
        create("run", [book], OPTIONS)


# Real limits of a system


@contextmanager
def limit(kind: int, value: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@pytest.mark.parametrize("size", [1, 1000, 4000])
def test_files_that_may_not_grow(book: Path, run: Path, size: int) -> None:
    before, weights = snapshot(run), Run.open(run).weights()
    book.write_text(make_book(3000), "utf-8")
    with limit(resource.RLIMIT_FSIZE, size):
        with pytest.raises(RunError, match=r"cannot write run/model.safetensors: File too large"):
            Run.open(run).save_weights(weights)
        with pytest.raises((RunError, BookError), match="File too large"):
            create(run, [book], TrainingOptions(level="byte"), force=True)
    assert snapshot(run) == before


def test_out_of_file_handles(book: Path, run: Path) -> None:
    opened, before = Run.open(run), snapshot(run)
    weights = opened.weights()
    with limit(resource.RLIMIT_NOFILE, 3):
        with pytest.raises(RunError, match="Too many open files"):
            opened.save_weights(weights)
        with pytest.raises(RunError, match="Too many open files"):
            create(run, [book], OPTIONS, force=True)
    assert snapshot(run) == before


def test_a_disk_that_is_full(run: Path) -> None:
    """Resume on a file system of 400 kB; skip if the user may not mount one."""
    script = Path("full.sh")
    script.write_text(
        "mkdir disk && mount -t tmpfs -o size=400k tmpfs disk || exit 77\n"
        "cp -r run disk/run\n"
        "head -c 1M /dev/zero > disk/filler 2> nowhere\n"
        f"{sys.executable} -m textgen train --out disk/run --resume --epochs 3 -q\n"
        "code=$?\ncp -r disk/run after\nexit $code\n"
    )
    result = subprocess.run(
        ["unshare", "-rm", "sh", "full.sh"], capture_output=True, text=True, check=False
    )
    if result.returncode == 77 or "unshare" in result.stderr:
        pytest.skip("this user may not mount a file system")
    assert result.returncode == 1, result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "disk/run/config.json: No space left on device" in result.stderr
    assert snapshot(Path("after")) == snapshot(run)
    textgen.load("after").generate(length=3)


# A different corpus


def test_a_corpus_that_was_changed(run: Path) -> None:
    ids = np.load(run / "corpus/ids.npy")
    ids[[7, 8]] = ids[[8, 7]]
    np.save(run / "corpus/ids.npy", ids)
    with pytest.raises(RunError, match="not the corpus that this run was created with"):
        textgen.train(out=run, resume=True, epochs=3, quiet=True)
    textgen.load(run).generate(length=3)
