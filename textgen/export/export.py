"""Export a run to a file."""

from collections.abc import Callable
from pathlib import Path

from textgen.errors import OptionError, OutputError
from textgen.export.portable import PortableNetwork
from textgen.reporting.output import check_output, write_output
from textgen.runs.folder import Run

FORMATS = {"keras": ".keras", "onnx": ".onnx", "torch": ".safetensors"}


def export_run(run: Run, to: str, output: str | Path | None = None, force: bool = False) -> Path:
    """Write the network of a run to a file, by default named after the run; return its path.

    The file is checked first: it must compute the logits of the run. Raises OptionError for an
    unknown `to` or a missing package, RunError if the run has no weights or is damaged, OutputError
    if the file exists and `force` is not given, cannot be written, or computes other logits.
    """
    if to not in FORMATS:
        raise OptionError("to", f"must be one of {', '.join(FORMATS)}, not {to!r}")
    path = Path(output or run.path.resolve().name + FORMATS[to])
    check_output(path, force)
    network = PortableNetwork(run)
    try:
        data = _writer(to)(network)
    except OSError as error:  # of a temporary file
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None
    write_output(path, data, force)
    return path


def _writer(to: str) -> Callable[[PortableNetwork], bytes]:
    # Each needs packages that take seconds to import.
    if to == "keras":
        from textgen.export.keras import keras_file

        return keras_file
    if to == "onnx":
        from textgen.export.onnx import onnx_file

        return onnx_file
    from textgen.export.torch import torch_file

    return torch_file
