"""Runs for the tests of the view Learn."""

from pathlib import Path
from typing import Any

from helpers import fabricate, make_book

from textgen.runs.folder import Run


def make_run(path: Path, losses: list[float], **options: Any) -> Run:
    """Create a run with evaluations and previews."""
    book = path.parent.parent / f"{path.name}.txt"
    book.write_text(make_book())
    run = fabricate(path, book, **options)
    run.write_metrics([evaluation(number, loss) for number, loss in enumerate(losses, 1)])
    size = 0
    for number, _ in enumerate(losses, 1):
        size = run.add_sample(f"epoch {number:.2f}\n\n{path.name} {number}\n\n", size)
    return run


def evaluation(number: int, loss: float) -> dict[str, Any]:
    return {
        "step": number,
        "epoch": float(number),
        "seconds": 30.0 * number,
        "loss": loss - 0.25,
        "validation_loss": loss,
        "bits_per_character": 1.5 * loss,
        "tokens_per_second": 1000.0,
    }
