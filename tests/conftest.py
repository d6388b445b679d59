"""Shared fixtures: a small book, and models trained on it."""

import itertools
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock
from helpers import SMALL, make_book, save_random_weights
from hypothesis import settings

import textgen
from textgen.cli import main
from textgen.model import Model
from textgen.runs.folder import Run

pytest_plugins = ["browser"]

LEVELS = ("char", "word", "byte")

settings.register_profile("few", deadline=None)
# pytest --hypothesis-profile=many: thousands of cases, each of which may take 5 s.
settings.register_profile("many", max_examples=4000, deadline=5000)
settings.load_profile("few")

# Without optimisation, XLA compiles in half the time. The processes that runs/test_faults.py
# starts keep the default.
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

# A background command of a shell ignores these signals, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=2, help="how often training is killed")


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Begin with the tests that start processes: the last tests should be short."""
    items.sort(key=lambda item: "start" not in item.fixturenames)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if shutil.which("chromium") is None:
        terminalreporter.write_line("the pages are not tested: apt-get install chromium")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk, compile each kind of training step once, and evaluate less often.

    This does not affect processes that tests start.
    """
    monkeypatch.setattr(os, "fsync", lambda _: None)
    if "textgen.training.loop" in sys.modules:
        from steppers import shared_stepper

        monkeypatch.setattr("textgen.training.trainer.Stepper", shared_stepper)
        monkeypatch.setattr("textgen.training.plan._EVALUATIONS", 4)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `textgen.train` save random weights instead of training, for tests of the rest."""

    def fit(run: Run, *_: object) -> None:
        run.write_config()
        save_random_weights(run)

    monkeypatch.setitem(sys.modules, "textgen.training.loop", SimpleNamespace(fit=fit))


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(make_book(), "utf-8")
    return path


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], Any]], Path]:
    """Fill a folder once for all of pytest-xdist's processes; return it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def fill(name: str, make: Callable[[Path], Any]) -> Path:
        folder = base / name
        with FileLock(base / f"{name}.lock"):
            if not (folder / "complete").exists():
                folder.mkdir()
                make(folder)
                (folder / "complete").touch()
        return folder

    return fill


@pytest.fixture(scope="session")
def models(once: Callable[[str, Callable[[Path], Any]], Path]) -> dict[str, Model]:
    """Return a small trained model for each level."""

    def make(folder: Path) -> None:
        (folder / "book.txt").write_text(make_book(), "utf-8")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("textgen.training.plan._EVALUATIONS", 4)
            for level in LEVELS:
                out = folder / level
                textgen.train(folder / "book.txt", out=out, level=level, epochs=2, **SMALL)

    folder = once("models", make)
    return {level: textgen.load(folder / level) for level in LEVELS}


@pytest.fixture
def model(models: dict[str, Model]) -> Model:
    return models["char"]


@pytest.fixture
def run(model: Model) -> Path:
    """Return a copy of a trained run that a test may change."""
    return Path(shutil.copytree(model.path, "run"))


@pytest.fixture
def command() -> Callable[..., Result]:
    """Run a command line in this process."""
    return lambda *arguments, **settings: CliRunner().invoke(
        main, [str(a) for a in arguments], **settings
    )


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., str]]:
    """Start a server in a thread; return its address. All stop at the end of the module."""
    from textgen.options.serving import ServingOptions
    from textgen.serving.routes import make_application
    from textgen.serving.server import Server, address_of, listen

    running: list[tuple[Server, threading.Thread]] = []

    def start(*runs: str | Path, folder: str | Path = "checkpoints", **options: Any) -> str:
        ready = threading.Event()
        app = make_application(list(map(Path, runs)), Path(folder), ServingOptions(**options))
        server, listener = Server(app, ready.set), listen("127.0.0.1", 0)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread))
        assert ready.wait(10)
        return address_of(listener)

    yield start
    for server, _ in running:
        server.should_exit = True
    for _, thread in running:
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def signal_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Send this process a signal, by default Ctrl-C's, while a given training step is computed."""
    from textgen.training.step import Stepper

    train = Stepper.train

    def at(step: int, number: int = signal.SIGINT) -> None:
        calls = itertools.count()

        def interrupted(self: Stepper, *arguments: Any) -> Any:
            if next(calls) == step:
                os.kill(os.getpid(), number)
            return train(self, *arguments)

        monkeypatch.setattr(Stepper, "train", interrupted)

    return at
