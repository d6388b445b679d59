"""Pictures of training: what stands where, and which files are written."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from helpers import fabricate
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

import textgen
from textgen.errors import OptionError, OutputError, RunError
from textgen.model import Model
from textgen.reporting.curves import AGAINST, check_ending, draw_curves, rendered
from textgen.runs.folder import Run

HISTORY = [
    {
        "step": step,
        "epoch": epoch,
        "seconds": 90 * epoch,
        "loss": 3 - epoch / 2,
        "validation_loss": validation,
        "tokens_per_second": 9.0,
        "learning_rate": 0.01 / epoch,
        "gradient_norm": 1.0,
        "tokens": 1000 * epoch,
    }
    for step, epoch, validation in ((10, 1, 2.5), (20, 2, 2.0), (30, 3, 2.25))
]


@pytest.fixture
def make(book: Path) -> Callable[..., Run]:
    """Return a function that makes a run with evaluations; keywords change each of them."""

    def make(name: str, level: str = "char", count: int = 3, **changes: Any) -> Run:
        run = fabricate(name, book, level=level)
        lines = [{k: v for k, v in (line | changes).items() if v != "left out"} for line in HISTORY]
        (run.path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines[:count])))
        return run

    return make


def points(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)]


def labels(panel: Axes) -> list[str]:
    return [text.get_text() for text in panel.get_legend().get_texts()]


def test_losses_learning_rate_and_the_weights_kept(make: Callable[..., Run]) -> None:
    losses, rates = draw_curves([make("run")]).axes
    validation, training, ring = losses.get_lines()
    assert points(validation) == [(1, 2.5), (2, 2.0), (3, 2.25)]
    assert points(training) == [(1, 2.5), (2, 2.0), (3, 1.5)]
    assert (validation.get_linestyle(), training.get_linestyle()) == ("-", "--")
    assert points(ring) == [(2, 2.0)]
    assert points(rates.get_lines()[0]) == [(1, 0.01), (2, 0.005), (3, 0.01 / 3)]
    assert losses.get_title("left") == "run"
    assert labels(losses) == ["validation", "training", "kept  2.000"]
    assert losses.get_ylabel() == "loss (nats per character)"
    assert rates.get_xlabel() == "epochs"


@pytest.mark.parametrize(
    ("against", "label", "places"),
    [
        ("epochs", "epochs", [1, 2, 3]),
        ("seconds", "minutes", [1.5, 3, 4.5]),
        ("tokens", "tokens", [1000, 2000, 3000]),
    ],
)
def test_the_horizontal_axis(
    make: Callable[..., Run], against: str, label: str, places: list[float]
) -> None:
    losses, rates = draw_curves([make("run")], against).axes
    assert [x for x, _ in points(losses.get_lines()[0])] == places
    assert rates.get_xlabel() == label


def test_several_runs_have_names_and_colours(make: Callable[..., Run]) -> None:
    names = ["a/$x^$", "_b", "c"]
    losses, _ = draw_curves([make(name) for name in names]).axes
    assert labels(losses)[:3] == ["$x^$  2.000", "_b  2.000", "c  2.000"]
    lines = losses.get_lines()
    assert len({line.get_color() for line in lines}) == len(lines) / 3 == 3
    losses, _ = draw_curves([make("d/same"), make("e/same")]).axes
    assert labels(losses)[:2] == ["d/same  2.000", "e/same  2.000"]


def test_many_runs_have_colours_of_their_own(make: Callable[..., Run]) -> None:
    losses, _ = draw_curves([make("run")] * 30).axes
    assert len({line.get_color() for line in losses.get_lines()}) == 30


def test_runs_of_several_levels_are_compared_by_the_character(make: Callable[..., Run]) -> None:
    runs = [make("chars"), make("words", level="word")]
    losses, _ = draw_curves(runs).axes
    assert losses.get_ylabel() == "loss (bits per character)"
    of_chars, of_words = (points(losses.get_lines()[line]) for line in (0, 3))
    assert of_chars[1] == (2, pytest.approx(2.0 / math.log(2)))
    words = runs[1]
    bits = (2.0 + words.means.spelling_per_token) / math.log(2)
    bits /= words.means.characters_per_token
    assert of_words[1] == (2, pytest.approx(bits))
    assert draw_curves(runs[1:]).axes[0].get_ylabel() == "loss (nats per token)"


def test_what_a_run_lacks_is_left_out(make: Callable[..., Run]) -> None:
    older = make("old", learning_rate="left out", tokens="left out")
    (losses,) = draw_curves([older]).axes
    assert len(losses.get_lines()) == 3
    assert len(draw_curves([older, make("new")]).axes) == 2
    losses, _ = draw_curves([make("no-validation", validation_loss=None)]).axes
    assert labels(losses) == ["training", "kept  1.500"]
    assert points(losses.get_lines()[-1]) == [(3, 1.5)]
    fitted = {"temperature": 1.1, "tempered_loss": 1.75, "tempered_bits": 2.5}
    losses, _ = draw_curves([make("fitted", **fitted)]).axes
    assert labels(losses)[-1] == "kept  1.750"
    assert points(losses.get_lines()[-1]) == [(2, 1.75)]
    one = draw_curves([make("one", count=1)])
    assert one.axes[0].get_lines()[0].get_marker() == "o"


def test_errors_are_one_line(make: Callable[..., Run], book: Path) -> None:
    with pytest.raises(RunError, match="new has no evaluation yet; train it"):
        draw_curves([fabricate("new", book)])
    with pytest.raises(RunError, match=r"old was trained by an older .* leave out against"):
        draw_curves([make("old", tokens="left out")], "tokens")
    with pytest.raises(OptionError, match="must be one of epochs, seconds, tokens, not 'years'"):
        draw_curves([make("run")], "years")
    with pytest.raises(OutputError, match=r"x\.gif must end in \.png, \.svg or \.pdf; name"):
        check_ending("x.gif")
    Path("run/metrics.jsonl").write_text("{}")
    for damage in ("{}", json.dumps(HISTORY[0] | {"learning_rate": 1e300})):
        Path("run/metrics.jsonl").write_text(damage)
        with pytest.raises(RunError, match="damaged"):
            draw_curves([Run.open("run")])


@pytest.mark.parametrize("value", [1e29, -1e29, 10**29, 1e-320])
def test_extreme_figures_are_drawn(make: Callable[..., Run], value: float) -> None:
    changes = dict.fromkeys(("loss", "validation_loss", "epoch", "learning_rate"), value)
    assert rendered(draw_curves([make("run", **changes)]), "svg")


def test_the_model_draws_its_runs(model: Model) -> None:
    figure = model.curves()
    assert figure._repr_png_().startswith(b"\x89PNG")  # in a notebook
    assert figure.axes[0].get_title("left") == "char"
    both = textgen.load(model.path, model.path).curves(against="seconds")
    assert len(both.axes[0].get_lines()) == 6


def test_pictures_are_written(make: Callable[..., Run], command: Callable[..., Result]) -> None:
    make("a"), make("b")
    assert command("plot", "a", "b").stderr == "a.png is written\n"
    for name, start in {"a.png": b"\x89PNG", "x.SVG": b"<?xml", "x.pdf": b"%PDF"}.items():
        assert command("plot", "a", "b", "-o", name, "--force").exit_code == 0
        assert Path(name).read_bytes().startswith(start)
    Path("mine.png").write_text("mine")
    Path("folder.png").mkdir()
    for arguments, problem in {
        ("a", "-o", "mine.png"): "mine.png exists; replace it with --force",
        ("a", "-o", "folder.png", "--force"): "folder.png is a folder",
        ("a", "-o", "none/x.png"): "there is no folder none",
        ("a", "-o", "/proc/x.png"): "cannot write /proc/x.png",
        ("a", "-o", "x"): "x must end in",
        ("none",): "none is not a run",
        ("a", "-o", "x.png", "--against", "years"): "--against must be one of epochs",
    }.items():
        result = command("plot", *arguments)
        assert result.exit_code in (1, 2), arguments
        assert problem in result.stderr.splitlines()[-1]
    assert Path("mine.png").read_text() == "mine"
    assert not Path("x.png").exists()


@pytest.mark.parametrize("against", AGAINST)
def test_each_axis_stands_in_the_help(against: str, command: Callable[..., Result]) -> None:
    assert against in command("plot", "--help").stdout
