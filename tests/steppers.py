"""Training steps: share compiled ones between tests, and note what they return."""

import os
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from textgen.options.training import TrainingSettings
from textgen.training.network import TrainingNetwork
from textgen.training.step import Stepper
from textgen.training.workers import Workers

_steppers: dict[Any, Stepper] = {}


def shared_stepper(
    network: TrainingNetwork,
    settings: TrainingSettings,
    workers: Workers | None = None,
    counts: NDArray[np.int64] | None = None,
) -> Stepper:
    """Return a stepper with the weights of `network` and a fresh optimizer.

    Compiling one takes seconds.
    """
    key = (
        os.environ.get("TEXTGEN_KERNELS"),
        network.architecture,
        network.vocabulary_size,
        settings.batch_size,
        settings.chunk_length,
        settings.dropout,
        settings.weight_decay,
        settings.precision,
    )
    if key not in _steppers:
        _steppers[key] = Stepper(network, settings, workers, counts)
        return _steppers[key]
    stepper = _steppers[key]
    stepper._settings = settings  # settings outside `key` are not compiled in
    stepper.network.assign(network.weights())
    slots = stepper.optimizer.slots.items()
    stepper.optimizer.restore({name: np.zeros(slot.shape) for name, slot in slots}, 0)
    return stepper


def note_losses(patch: pytest.MonkeyPatch) -> list[float]:
    """Record the loss of every step in this process in the list returned."""
    train, noted = Stepper.train, list[float]()

    def noting(self: Stepper, *arguments: Any) -> Any:
        loss, *others = train(self, *arguments)
        noted.append(loss)
        return loss, *others

    patch.setattr(Stepper, "train", noting)
    return noted
