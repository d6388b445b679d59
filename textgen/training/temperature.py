"""The temperature of the softmax that suits the validation part best."""

import numpy as np

from textgen.runs.files import Arrays
from textgen.training.step import Stepper
from textgen.training.streams import Streams

_TEMPERATURES = (0.85, 1.0, 1.2)  # that are tried
_MOST = 1.5  # as much below 1 as above; further away the loss is no parabola
_TOKENS = 1 << 14  # of the validation part that the temperature is fitted to, at least


class TemperatureFit:
    """Fits the temperature of a network to the validation part (Guo et al. 2017).

    A network that has read a text often is too sure of what follows. At a higher temperature, that
    is, with smaller logits, it is less sure, and predicts other texts better.
    """

    def __init__(self, stepper: Stepper, validation: Streams) -> None:
        self._stepper = stepper
        self._validation = validation
        chunks = range(1, len(validation))
        enough = (k for k in chunks if validation.predicted(k) >= _TOKENS)
        self._chunks = next(enough, len(validation))
        self.passes = 1 + len(_TEMPERATURES) * self._chunks / len(validation)
        """How often `fit` reads the validation part."""

    def fit(self, weights: Arrays) -> tuple[float, float]:
        """Return the best temperature, from 2/3 to 3/2, and the validation loss at it.

        The network is left with the weights of this temperature.

        Over the logarithm of the temperature the loss is nearly a parabola, which three points
        determine.
        """
        self._stepper.network.assign(weights)
        losses = [self._loss(weights, temperature, self._chunks) for temperature in _TEMPERATURES]
        curvature, slope, _ = np.polyfit(np.log(_TEMPERATURES), losses, 2)
        lowest = -slope / (2 * curvature) if curvature > 0 else 0.0
        temperature = float(np.clip(np.exp(lowest), 1 / _MOST, _MOST))
        return temperature, self._loss(weights, temperature, len(self._validation))

    def _loss(self, weights: Arrays, temperature: float, chunks: int) -> float:
        self._stepper.network.assign(at_temperature(weights, temperature))
        return self._stepper.loss(self._validation, chunks)


def at_temperature(weights: Arrays, temperature: float) -> Arrays:
    """Return the weights of the output layer for logits that are divided by a temperature."""
    divided = ("output.kernel", "output.bias")
    return {name: weights[name] / np.float32(temperature) for name in divided}
