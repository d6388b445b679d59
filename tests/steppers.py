"""Share compiled training steps between tests, because compiling takes seconds."""

from typing import Any

import numpy as np
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
    """Return a stepper with the weights of `network` and a fresh optimizer."""
    key = (
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
    zeros = {name: np.zeros(slot.shape, np.float32) for name, slot in stepper.slots.items()}
    stepper.restore(zeros, 0)
    return stepper
