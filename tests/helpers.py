"""Shared helpers: small books and small networks."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import textgen
from textgen.options.training import TrainingOptions
from textgen.runs.folder import Run, TrainingState
from textgen.runs.lifecycle import create

SMALL = {
    "units": 16,
    "embedding": 8,
    "dropout": 0.0,
    "weight_decay": 0.0,
    "batch_size": 4,
    "chunk_length": 8,
    "quiet": True,
}
FLAGS = ["--units=16", "--embedding=8", "--batch-size=4", "--chunk-length=8"]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the content of every file in a folder except the lock."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def notes_of(stderr: str) -> list[str]:
    """Return the lines of standard error, without the one where no C compiler built kernels."""
    return [line for line in stderr.splitlines() if "the C kernels are missing" not in line]


def in_training(run: Path) -> tuple[dict[str, tuple[int, ...]], TrainingState]:
    """Return the shapes of the optimizer's slots, and the last checkpoint."""
    arrays = load_file(run / "training.safetensors")
    slots = {n.partition("/")[2]: a.shape for n, a in arrays.items() if n.startswith("optimizer/")}
    state = Run.open(run).training_state(slots)
    assert state is not None
    return slots, state


def weights_of(run: str | Path) -> dict[str, bytes]:
    """Return the bytes of the weights that a run keeps, by name."""
    weights = load_file(Path(run) / "model.safetensors")
    return {name: weight.tobytes() for name, weight in weights.items()}


def make_book(words: int = 400, seed: int = 0) -> str:
    """Return a text with words, capitals, quotation marks and paragraphs."""
    rng = np.random.default_rng(seed)
    nouns = ["lamp", "ferry", "goose", "storm", "café"]
    lines = []
    for _ in range(words // 5):
        a, b = rng.choice(nouns, 2)
        lines.append(rng.choice([f"The {a} saw the {b}.", f"“{a}!” said the {b}.", ""]))
    return "\n".join(lines) + "\n"


def save_random_weights(run: Run, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    shapes = run.weight_shapes.items()
    run.save_weights({name: rng.normal(0, 0.4, s).astype(np.float32) for name, s in shapes})


def fabricate(out: str | Path, *books: str | Path, seed: int = 0, **options: Any) -> Run:
    """Create a run with random weights, for tests that need no training."""
    asked = TrainingOptions(**{name: SMALL[name] for name in SMALL if name != "quiet"} | options)
    run = create(out, books, asked, force=True)
    save_random_weights(run, seed)
    return run


def wait_for(ready: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something is so; fail if it takes too long."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def trained(book: Path, out: str, **options: Any) -> Path:
    """Train a small run; return its folder."""
    return textgen.train(book, out=out, **SMALL | {"epochs": 3} | options).path
