"""textgen export: the file it writes, and what it refuses."""

import errno
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from helpers import snapshot
from safetensors.numpy import load_file

from textgen.model import Model


def test_the_file_is_named_after_the_run(model: Model, command: Callable[..., Result]) -> None:
    name = model.path.resolve().name
    result = command("export", model.path, "--to", "torch")
    assert (result.exit_code, result.stderr) == (0, f"{name}.safetensors is written\n")
    written, own = load_file(f"{name}.safetensors"), load_file(model.export("torch", "b"))
    assert {key: part.tolist() for key, part in written.items()} == {
        key: part.tolist() for key, part in own.items()
    }


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ("run --to torch -o there", 1, "there exists; replace it with --force, or name another"),
        ("run --to torch -o .", 1, ". is a folder; name a file"),
        ("run --to torch -o no/file", 1, "there is no folder no for file; create it first"),
        ("run --to tflite", 2, "--to must be one of html, keras, onnx, torch, not 'tflite'"),
        ("run --to onnx --bits 8", 2, "--bits is for --to html; leave it out"),
        ("run --to html --bits 7", 2, "--bits must be 16 or 8, not 7"),
        ("run", 2, "Missing option '--to'"),
        ("nowhere --to torch", 1, "nowhere"),
        ("prepared --to torch", 1, "prepared has no trained weights yet; train it with"),
        ("damaged --to torch", 1, "damaged/model.safetensors is damaged"),
    ],
)
def test_refusals(
    model: Model,
    command: Callable[..., Result],
    arguments: str,
    code: int,
    told: str,
) -> None:
    for name in ("run", "prepared", "damaged"):
        shutil.copytree(model.path, name)
    Path("prepared/model.safetensors").unlink()
    Path("damaged/model.safetensors").write_bytes(b"no")
    Path("there").write_text("mine")
    before = snapshot(Path())
    result = command("export", *arguments.split())
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert snapshot(Path()) == before


def test_force_replaces_a_file(model: Model, command: Callable[..., Result]) -> None:
    Path("there").write_text("mine")
    result = command("export", model.path, "--to", "torch", "-o", "there", "--force")
    assert (result.exit_code, result.stderr) == (0, "there is written\n")
    assert Path("there").read_bytes() != b"mine"


@pytest.mark.parametrize("place", ["the temporary file", "the file"])
def test_a_full_disk_is_one_line(
    model: Model, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    name = "textgen.exporting.torch.torch_file" if "temporary" in place else "os.fsync"
    monkeypatch.setattr(name, full)
    result = command("export", model.path, "--to", "torch", "-o", "there")
    assert result.exit_code == 1
    verb = "make" if "temporary" in place else "write"
    assert result.stderr.startswith(f"Error: cannot {verb} there: No space left on device")
    assert result.stderr.count("\n") == 1
    assert list(Path().glob("there*")) == []


def test_a_missing_package_is_named(
    run: Path, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = command("export", run, "--to", "onnx")
    assert result.exit_code == 2
    assert "install them with: pip install onnx onnxruntime" in result.stderr
