"""The temperature of the softmax that suits the validation part best."""

import numpy as np

from textgen.runs.files import Arrays
from textgen.runs.folder import at_temperature
from textgen.training.step import Stepper
from textgen.training.streams import Streams

_TEMPERATURES = (0.85, 1.0, 1.2)  # that are tried
_MOST = 1.5  # and its inverse is the least; further away the loss is no parabola
_TOKENS = 1 << 14  # of the validation part that the temperature is fitted to, about

FEWEST_TOKENS = 1000
"""Tokens of the shortest validation part that shows which temperature is best."""


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
        logarithms = np.log(_TEMPERATURES)
        curvature, slope, _ = np.polyfit(logarithms, losses, 2)
        lowest = logarithms[np.argmin(losses)]
        if curvature > 0:
            lowest = np.clip(-slope / (2 * curvature), -np.log(_MOST), np.log(_MOST))
        temperature = float(np.exp(lowest))
        return temperature, self._loss(weights, temperature, len(self._validation))

    def _loss(self, weights: Arrays, temperature: float, chunks: int) -> float:
        self._stepper.network.assign(at_temperature(weights, temperature))
        return self._stepper.loss(self._validation, chunks)
