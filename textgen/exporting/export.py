"""Export a run to a file."""

from pathlib import Path
from typing import Any

from textgen.errors import OptionError, OutputError
from textgen.options.declare import without_none
from textgen.reporting.output import check_output, write_output
from textgen.runs.files import Arrays
from textgen.runs.folder import Run

FORMATS = {"html": ".html", "keras": ".keras", "onnx": ".onnx", "torch": ".safetensors"}


def export_run(
    run: Run,
    weights: Arrays,
    to: str,
    output: str | Path | None = None,
    force: bool = False,
    **page: Any,
) -> Path:
    """Write the network of a run to a file, by default named after the run; return its path.

    The file is checked first: it must compute the logits that the weights give. `page` are the
    options of `html_file`, and only for "html". Raises OptionError for an unknown `to`, such
    options elsewhere or a missing package, OutputError if the file exists and `force` is not given,
    cannot be written, or computes other logits.
    """
    if to not in FORMATS:
        raise OptionError("to", f"must be one of {', '.join(FORMATS)}, not {to!r}")
    page = without_none(page)
    if page and to != "html":
        raise OptionError(next(iter(page)), "is for --to html; leave it out")
    path = Path(output or run.path.resolve().name + FORMATS[to])
    check_output(path, force)
    try:
        data = _file(run, weights, to, page)
    except OSError as error:  # of a temporary file
        place = f"{error.filename}: " if error.filename else ""
        raise OutputError(f"cannot make {path}: {place}{error.strerror or error}") from None
    write_output(path, data, force)
    return path


def _file(run: Run, weights: Arrays, to: str, page: dict[str, Any]) -> bytes:
    # Only one of these packages is needed, and they take long to import.
    if to == "html":
        from textgen.exporting.html import html_file

        return html_file(run, weights, **page)
    from textgen.exporting.portable import PortableNetwork

    network = PortableNetwork(run, weights)
    if to == "keras":
        from textgen.exporting.keras import keras_file

        return keras_file(network)
    if to == "onnx":
        from textgen.exporting.onnx import onnx_file

        return onnx_file(network)
    from textgen.exporting.torch import torch_file

    return torch_file(network)
