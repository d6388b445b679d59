"""The evaluations of a run: which weights are kept."""

from typing import Any

from textgen.runs.history import Evaluations, best


def entry(step: int, validation: float | None) -> dict[str, Any]:
    return {"step": step, "validation_loss": validation}


def test_the_best_evaluation_is_that_of_the_weights_kept() -> None:
    history: Evaluations = [entry(1, 2.0), entry(2, 1.5), entry(3, 1.7), entry(4, 1.5)]
    assert best(history)["step"] == 2
    assert best([entry(1, None), entry(2, None)])["step"] == 2
    assert best([]) == {}
