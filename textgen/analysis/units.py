"""What the units of a network watch: how their activations follow the features of a text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.analysis.features import Feature, Values
from textgen.options.architecture import STATES, Architecture
from textgen.sampling.network import Array, LayerTrace

Shades = NDArray[np.int8]  # activations from -1 to 1, multiplied by FULL

FULL = 127
LOW, HIGH = 0.1, 0.9  # a gate beyond them is saturated
SIGMOIDS = {"lstm": ("i", "f", "o"), "gru": ("z", "r"), "cifg": ("f", "o")}  # gates from 0 to 1

_LARGEST_SEARCH = 64 << 20  # activations that are kept until the best units are known
_LARGEST_BEGINNING = 2 << 20  # activations of all units that are kept for good
_FEWEST = 5  # tokens with a feature, and without it, in each half of a text


class Unit(NamedTuple):
    """An activation of a unit. Layers count from 1, units from 0."""

    layer: int
    unit: int
    part: str  # "tanh(c)" or "h"; a GRU has h alone


class Match(NamedTuple):
    """How well a unit follows a feature: Pearson's correlation, from -1 to 1."""

    unit: Unit
    correlation: float  # in the half of the text that did not rank the units
    ranked_by: float  # in the half that did


@dataclass(frozen=True)
class WatchedFeature:
    """A feature of a text, and the units that follow it best."""

    name: str
    share: float | None  # of the tokens that have it; None for a distance or a depth
    best: list[Match]


@dataclass(frozen=True)
class Saturation:
    """How often the gates of a layer are nearly closed or open: a share of the tokens by unit.

    These are the left- and right-saturated gates of Karpathy, Johnson and Li (2015).
    """

    layer: int
    low: dict[str, NDArray[np.float64]]  # below 0.1: by the name of the gate, (U,)
    high: dict[str, NDArray[np.float64]]  # above 0.9


@dataclass(frozen=True)
class UnitFindings:
    """What a survey of the units found."""

    features: list[WatchedFeature]  # the one that is followed best comes first
    shades: dict[Unit, Shades]  # of the best units after each token, (tokens,)
    beginning: dict[Unit, Shades]  # of all units after each of the first tokens
    saturation: list[Saturation]

    def spread(self, after: NDArray[np.int64]) -> "UnitFindings":
        """Return the findings for a text with tokens that the network did not read.

        `after`, (T,), is the number of the last token read after each token; -1 before the first.
        """

        def spread(shades: Shades) -> Shades:
            places = after[: np.searchsorted(after, len(shades))]
            return np.where(places < 0, np.int8(0), shades[places])

        return replace(
            self,
            shades={unit: spread(shades) for unit, shades in self.shades.items()},
            beginning={unit: spread(shades) for unit, shades in self.beginning.items()},
        )


class UnitSurvey:
    """Ranks the units of a network by how well they follow the features of a text.

    The activations are added part by part, as the network reads the text. The first half of the
    text ranks the units. The second half gives the correlations to report.
    """

    def __init__(
        self, architecture: Architecture, features: Sequence[Feature], tokens: int, best: int
    ) -> None:
        """Prepare for a text of `tokens` tokens; find the `best` units for each feature."""
        parts = ("tanh(c)", "h") if "c" in STATES[architecture.cell] else ("h",)
        self._units = [
            Unit(layer, unit, part)
            for layer, size in enumerate(architecture.units, 1)
            for part in parts
            for unit in range(size)
        ]
        count = len(self._units)
        self._features, self._best = features, best
        self._values = (
            np.array([f.values for f in features], np.float32).reshape(len(features), tokens).T
        )
        # The first half is shorter if keeping its activations would take too much memory.
        self._half = min(tokens // 2, _LARGEST_SEARCH // count)
        self._shown = min(tokens, _LARGEST_BEGINNING // count)
        self._sums = _Sums(count, len(features)), _Sums(count, len(features))
        self._first = np.empty((max(self._half, self._shown), count), np.int8)
        self._rest = list[Shades]()  # of the best units
        self._saturated = [
            {name: np.zeros((2, size)) for name in SIGMOIDS[architecture.cell]}
            for size in architecture.units
        ]
        self._read = 0

    def add(self, traces: Sequence[LayerTrace]) -> None:
        """Add the activations of one row after the next tokens."""
        for counts, trace in zip(self._saturated, traces, strict=True):
            for name, count in counts.items():
                gate = trace.gates[name][:, 0]
                count += (gate < LOW).sum(0), (gate > HIGH).sum(0)
        activations = np.concatenate([part for trace in traces for part in _parts(trace)], axis=1)
        cuts = sorted(max(cut - self._read, 0) for cut in (self._half, len(self._first)))
        for part in np.split(activations, cuts):
            stop = self._read + len(part)
            sums = self._sums[self._read >= self._half]
            sums.add(part, self._values[self._read : stop])
            if self._read < len(self._first):
                self._first[self._read : stop] = _shades(part)
            else:
                self._rest.append(_shades(part[:, self._chosen]))
            self._read = stop

    def findings(self) -> UnitFindings:
        """Return what was found in the whole text."""
        seen, unseen = (sums.correlations() for sums in self._sums)
        features = []
        for number, ranked in self._ranking.items():
            name, values, holds = self._features[number]
            best = [
                Match(self._units[unit], float(unseen[unit, number]), float(seen[unit, number]))
                for unit in ranked
            ]
            features.append(WatchedFeature(name, float(values.mean()) if holds else None, best))
        features.sort(key=lambda feature: -abs(feature.best[0].correlation))
        shades = np.concatenate([self._first[:, self._chosen], *self._rest])
        beginning = self._first[: self._shown]
        return UnitFindings(
            features,
            {self._units[unit]: shades[:, i].copy() for i, unit in enumerate(self._chosen)},
            {unit: beginning[:, i].copy() for i, unit in enumerate(self._units)},
            [
                Saturation(layer, *(_below_or_above(counts, side, self._read) for side in (0, 1)))
                for layer, counts in enumerate(self._saturated, 1)
            ],
        )

    @cached_property
    def _ranking(self) -> dict[int, list[int]]:
        """The best units for each feature that both halves have, once the first half is read."""
        correlations = np.abs(self._sums[0].correlations())  # (units, features)
        ranking = {}
        for number, feature in enumerate(self._features):
            halves = np.split(feature.values, [self._half])
            if not all(map(_has_both if feature.holds else _falls, halves)):
                continue
            best = dict[tuple[int, int], int]()  # one part of each unit
            for unit in np.argsort(-correlations[:, number], kind="stable").tolist():
                best.setdefault(self._units[unit][:2], unit)
                if len(best) == self._best:
                    break
            ranking[number] = list(best.values())
        return ranking

    @cached_property
    def _chosen(self) -> list[int]:
        return sorted({unit for ranked in self._ranking.values() for unit in ranked})


class _Sums:
    """The sums that correlations of N units with F features need."""

    def __init__(self, units: int, features: int) -> None:
        self._count = 0
        self._x, self._xx = np.zeros((2, units, 1))
        self._y, self._yy = np.zeros((2, features))
        self._xy = np.zeros((units, features))

    def add(self, x: Array, y: Array) -> None:
        """Add the activations, (tokens, N), and the features, (tokens, F), of some tokens."""
        self._count += len(x)
        self._x += x.sum(0)[:, None]
        self._xx += np.einsum("tn,tn->n", x, x)[:, None]
        self._y += y.sum(0)
        self._yy += np.einsum("tf,tf->f", y, y)
        self._xy += x.T @ y

    def correlations(self) -> NDArray[np.float64]:
        """Return Pearson's correlations, (N, F); 0 for what does not vary."""
        covariances = self._count * self._xy - self._x * self._y
        variances = (self._count * self._xx - self._x**2) * (self._count * self._yy - self._y**2)
        # Rounding leaves a little of the variance of what does not vary.
        varies = variances > 1e-12 * (self._count * self._xx) * (self._count * self._yy)
        return np.where(varies, covariances / np.sqrt(np.where(varies, variances, 1)), 0.0)


def _parts(trace: LayerTrace) -> list[Array]:
    """Return the activations of one row in the order of the parts, each (tokens, U)."""
    memory = [] if trace.memory is None else [np.tanh(trace.memory[:, 0])]
    return [*memory, trace.hidden[:, 0]]


def _shades(activations: Array) -> Shades:
    return np.rint(activations * FULL).astype(np.int8)


def _below_or_above(
    counts: dict[str, NDArray[np.float64]], side: int, tokens: int
) -> dict[str, NDArray[np.float64]]:
    return {name: count[side] / tokens for name, count in counts.items()}


def _has_both(values: Values) -> bool:
    """Return whether enough tokens have a feature, and enough do not."""
    return _FEWEST <= values.sum() <= len(values) - _FEWEST


def _falls(values: Values) -> bool:
    """Return whether a distance begins again, or a depth falls, often enough."""
    return bool((np.diff(values) < 0).sum() >= _FEWEST)
