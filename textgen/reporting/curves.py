"""Draw how the loss of runs fell in training."""

import warnings
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, ScalarFormatter

from textgen.errors import OptionError, OutputError, RunError
from textgen.runs.folder import Run, distinct_names
from textgen.runs.history import Evaluations, best, kept_losses
from textgen.system.terminal import one_line

AGAINST = ("epochs", "seconds", "tokens")
"""What the horizontal axis can show."""

ENDINGS = (".png", ".svg", ".pdf")

_KEYS = {"epochs": "epoch", "seconds": "seconds", "tokens": "tokens"}
_DOTS_PER_INCH = 160
# Okabe and Ito's colours (2008), which colour-blind people can tell apart, without the yellow.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_INK, _FAINT, _GRID = "#222222", "#777777", "#e4e4e4"
_STYLES: dict[str, dict[str, Any]] = {  # of the lines
    "validation_loss": {"lw": 1.9},
    "loss": {"lw": 1.2, "ls": (0, (4, 2))},
}
_NAMES = {"validation_loss": "validation", "loss": "training"}
_UNITS = {"char": "nats per character", "byte": "nats per byte", "word": "nats per token"}


class LossCurves(Figure):
    """A figure of matplotlib's that a notebook shows."""

    def _repr_png_(self) -> bytes:
        return rendered(self, "png")


def draw_curves(runs: Sequence[Run], against: str = "epochs") -> LossCurves:
    """Draw the training and validation loss of runs, and their learning rates below.

    The loss is in nats per token, or in bits per character if the runs have different levels. A
    ring marks the evaluation whose weights are kept. `against` is one of `AGAINST`.

    Raises RunError if a run is damaged, or has no evaluation to draw, OptionError for another
    `against`.
    """
    if against not in AGAINST:
        raise OptionError("against", f"must be one of {', '.join(AGAINST)}, not {against!r}")
    histories = [_history(run, against) for run in runs]
    entries = [entry for history in histories for entry in history]
    has_rates = any(entry.get("learning_rate") is not None for entry in entries)
    figure = LossCurves(figsize=(7.5, 5.0), layout="constrained", facecolor="white")
    ratios = (3.2, 1) if has_rates else (1,)
    panels = figure.subplots(len(ratios), sharex=True, height_ratios=ratios, squeeze=False)[:, 0]
    last = max(float(entry[_KEYS[against]]) for entry in entries)
    divisor, unit = _time_unit(last) if against == "seconds" else (1, against)
    levels = {run.settings.reading.level for run in runs}
    kept = []
    for run, history, colour in zip(runs, histories, _colours(len(runs)), strict=True):
        places = [float(entry[_KEYS[against]]) / divisor for entry in history]
        loss = run.means.bits_per_character if len(levels) > 1 else float
        kept.append(_draw_losses(panels[0], places, history, loss, colour))
        if has_rates:
            _draw_points(panels[1], places, history, "learning_rate", float, colour)
    drawn = [key for key in _STYLES if any(entry[key] is not None for entry in entries)]
    _label(panels[0], runs, drawn, kept)
    panels[0].set_ylabel(
        "loss (bits per character)" if len(levels) > 1 else f"loss ({_UNITS[levels.pop()]})"
    )
    for panel in panels:
        _style(panel)
    if has_rates:
        panels[1].set_ylabel("learning rate")
        panels[1].set_ylim(bottom=0)
        panels[1].yaxis.set_major_locator(MaxNLocator(3))
    panels[-1].set_xlabel(unit)
    panels[-1].set_xlim(left=0)
    if against == "tokens":
        panels[-1].xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def check_ending(path: str | Path) -> str:
    """Return the format of a picture by its name; raise OutputError if it is unknown."""
    if (ending := Path(path).suffix.lower()) not in ENDINGS:
        *others, last = ENDINGS
        raise OutputError(f"{path} must end in {', '.join(others)} or {last}; name another file")
    return ending.removeprefix(".")


def rendered(figure: Figure, kind: str) -> bytes:
    """Return a figure as a picture; `kind` is "png", "svg" or "pdf"."""
    with warnings.catch_warnings(), BytesIO() as file:
        warnings.simplefilter("ignore")  # of characters that the font lacks
        figure.savefig(file, format=kind, dpi=_DOTS_PER_INCH)
        return file.getvalue()


def _history(run: Run, against: str) -> Evaluations:
    """Return the evaluations that have a place on the horizontal axis."""
    history = run.history()
    if not history:
        raise RunError(f"{run.path} has no evaluation yet; train it, or wait for the first one")
    placed = [entry for entry in history if entry.get(_KEYS[against]) is not None]
    if not placed:
        raise RunError(
            f"{run.path} was trained by an older textgen, which did not count {against}; leave "
            "out --against"
        )
    return placed


def _draw_points(
    panel: Axes,
    places: Sequence[float],
    history: Evaluations,
    key: str,
    convert: Callable[[float], float],
    colour: Any,
    **style: Any,
) -> None:
    """Draw a figure of the evaluations that have it."""
    points = [
        (place, convert(entry[key]))
        for place, entry in zip(places, history, strict=True)
        if entry.get(key) is not None
    ]
    if points:
        # A line through one point is invisible.
        marker = "o" if len(points) == 1 else None
        panel.plot(*zip(*points, strict=True), color=colour, marker=marker, ms=4, **style)


def _draw_losses(
    panel: Axes,
    places: Sequence[float],
    history: Evaluations,
    loss: Callable[[float], float],
    colour: Any,
) -> float | None:
    """Draw both losses of a run; return that of the evaluation that is kept."""
    for key, style in _STYLES.items():
        _draw_points(panel, places, history, key, loss, colour, **style)
    kept = best(history)
    validation, _ = kept_losses(kept)
    own = kept["loss"] if validation is None else validation
    if own is None:
        return None
    place, height = places[history.index(kept)], loss(own)
    panel.plot([place], [height], "o", color=colour, ms=8, mfc="white", mew=1.8, zorder=3)
    return height


def _label(
    panel: Axes, runs: Sequence[Run], drawn: Sequence[str], kept: Sequence[float | None]
) -> None:
    """Add a legend, with the name of a single run above it."""
    names = list(map(one_line, distinct_names(runs)))
    losses = ["" if loss is None else f"{loss:.3f}" for loss in kept]
    colours = _colours(len(runs))
    handles, labels = [], []
    if len(runs) == 1:
        panel.set_title(names[0], loc="left", color=_INK, parse_math=False)
        colour = colours[0]
    else:
        colour = _FAINT
        handles = [Line2D([], [], color=own, lw=1.9) for own in colours]
        labels = [f"{name}  {loss}" for name, loss in zip(names, losses, strict=True)]
    ring = Line2D([], [], color=colour, marker="o", ms=7, mfc="white", mew=1.8, ls="")
    handles += [*(Line2D([], [], color=colour, **_STYLES[key]) for key in drawn), ring]
    labels += [*(_NAMES[key] for key in drawn), f"kept  {losses[0]}" if len(runs) == 1 else "kept"]
    legend = panel.legend(handles, labels, frameon=False, labelcolor=_INK, fontsize=9, loc="best")
    for text in legend.get_texts():
        text.set_parse_math(False)


def _style(panel: Axes) -> None:
    """Leave out what tells nothing."""
    panel.grid(color=_GRID, lw=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(_FAINT)
    panel.tick_params(colors=_INK, labelsize=9, length=0)
    formatter = ScalarFormatter(useOffset=False)
    formatter.set_powerlimits((-4, 6))
    panel.yaxis.set_major_formatter(formatter)


def _colours(count: int) -> list[Any]:
    if count <= len(_COLOURS):
        return list(_COLOURS[:count])
    return [mpl.colormaps["viridis"](i / count) for i in range(count)]


def _time_unit(seconds: float) -> tuple[int, str]:
    """Return a unit that suits a time, in seconds, and its name."""
    units = ((3600, "hours"), (60, "minutes"))
    return next((unit for unit in units if seconds >= 2 * unit[0]), (1, "seconds"))
