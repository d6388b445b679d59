"""textgen info: one run, and several side by side."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from textgen.cli import main
from textgen.cli.output import BLOCKS, block_curve
from textgen.model import Model
from textgen.runs.folder import Run


def write_losses(run: Path, *losses: float | None) -> None:
    """Replace the evaluations of a run."""
    line = Run.open(run).history()[0]
    lines = [json.dumps(line | {"validation_loss": loss}) for loss in losses]
    (run / "metrics.jsonl").write_text("\n".join(lines))


def test_one_run_ends_with_its_curve(run: Path, command: Callable[..., Result]) -> None:
    write_losses(run, 8, 7, 5, 1, 2)
    last = command("info", run).stdout.splitlines()[-1]
    assert last == "validation loss  8.000 █▇▅▁▂ 2.000, best 1.000"
    line = Run.open(run).history()[3]
    line |= {"temperature": 1.125, "tempered_loss": 0.875, "tempered_bits": 1.5}
    (run / "metrics.jsonl").write_text(json.dumps(line))
    last = command("info", run).stdout.splitlines()[-1]
    assert last.endswith("best 1.000, 0.875 at temperature 1.12")
    write_losses(run, None)
    assert not set(BLOCKS) & set(command("info", run).stdout)


def test_an_encoding_without_blocks_leaves_the_curve_out(run: Path) -> None:
    write_losses(run, 8, 7)
    result = CliRunner(charset="latin-1").invoke(main, ["info", str(run)])
    assert result.exit_code == 0
    assert result.stdout.rstrip().splitlines()[-1].startswith("  tokens per second")


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=300))
def test_a_curve_fits_a_line_and_ends_with_the_last_value(values: list[float]) -> None:
    curve = block_curve(values)
    assert min(len(values), 30) <= len(curve) <= 60
    assert set(curve) <= set(BLOCKS)
    if len(values) <= 60:
        assert len(curve) == len(values)
        assert curve[values.index(min(values))] == BLOCKS[0]
        if max(values) > min(values):
            assert curve[values.index(max(values))] == BLOCKS[-1]


def test_several_runs_stand_side_by_side(
    models: dict[str, Model], command: Callable[..., Result]
) -> None:
    runs = [models["char"].run, models["word"].run]
    text = command("info", *(run.path for run in runs)).stdout
    differing, same = text.split("\nthe same in all\n")

    def row(part: str, name: str) -> list[str]:
        (line,) = [line for line in part.splitlines() if line.strip().startswith(f"{name}  ")]
        return line.strip().removeprefix(name).split()

    assert row(differing, "level") == ["char", "word"]
    assert row(differing, "vocabulary") == [str(len(run.tokenizer)) for run in runs]
    losses = [f"{run.outcome()['validation_loss']:.6g}" for run in runs]
    assert row(differing, "validation loss") == losses
    assert row(same, "units") == ["16"]
    assert "units" not in differing
    assert "level" not in same
    assert len({len(line) for line in differing.splitlines() if "  " in line}) == 1  # aligned


def test_runs_that_are_equal(run: Path, command: Callable[..., Result]) -> None:
    shutil.copytree(run, "copy")
    differing = command("info", run, "copy").stdout.partition("\n\n")[0]
    assert differing.split() == ["run", "run", "copy"]


def test_json_of_several_runs_is_a_list(
    models: dict[str, Model], command: Callable[..., Result]
) -> None:
    paths = [model.path for model in models.values()]
    both = json.loads(command("info", *paths, "--json").stdout)
    assert both == [json.loads(command("info", path, "--json").stdout) for path in paths]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_one_bad_run_is_named(run: Path, flags: list[str], command: Callable[..., Result]) -> None:
    result = command("info", run, "none", *flags)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "none is not a run" in result.stderr
