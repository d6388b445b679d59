"""The exported page as text: its weights and its policy."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from exported import make_run, page_of

from textgen.errors import OptionError, OutputError
from textgen.exporting.html import read_weights
from textgen.exporting.quantized import dequantize, quantize
from textgen.model import Model
from textgen.options.architecture import Architecture
from textgen.reporting.markup import hash_source
from textgen.runs.files import Arrays


def test_16_bits_come_back_exactly() -> None:
    run = make_run("run")
    weights = read_weights(page_of(run))
    assert {name: array.tolist() for name, array in weights.items()} == {
        name: array.tolist() for name, array in run.weights().items()
    }


def test_8_bits_have_a_scale_for_each_output() -> None:
    architecture = Architecture("gru", (5,), 3, False)
    shapes = architecture.weight_shapes(7)
    rng = np.random.default_rng(0)
    weights: Arrays = {
        name: (rng.normal(size=shape) * 10.0 ** rng.normal(size=shape[-1])).astype(np.float32)
        for name, shape in shapes.items()
    }
    weights["output.kernel"][:, 2] = 0
    for name, array in dequantize(quantize(weights, 8), shapes, 8).items():
        assert array.shape == shapes[name]
        if name.endswith("bias"):
            np.testing.assert_array_equal(array, weights[name].astype(np.float16))
        else:
            most = np.abs(weights[name]).max(axis=int(name == "embedding"), keepdims=True)
            assert (np.abs(array - weights[name]) <= most / 254 * 1.0001).all()


def test_the_policy_allows_the_script_and_the_style_of_the_page() -> None:
    page = page_of(make_run("run"), title="</title><script>").decode()
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    [script] = re.findall(r'<script type="module">(.*?)</script>', page, re.DOTALL)
    assert policy.startswith(
        f"default-src 'none'; script-src '{hash_source(script)}' 'wasm-unsafe-eval'; "
        f"worker-src blob:; style-src '{hash_source(style)}'; "
    )
    assert page.count("<script") == 5
    assert not re.findall(r"\w+://[^\s\"'<>]*", page)


def test_the_library_and_the_command_write_the_page(
    model: Model, command: Callable[..., Result]
) -> None:
    asked = {"bits": 8, "title": "A play", "licence": "in the public domain"}
    page = model.export("html", "a.html", **asked).read_text()
    flags = [word for name, value in asked.items() for word in (f"--{name}", value)]
    result = command("export", model.path, "--to", "html", "-o", "b.html", *flags)
    assert (result.exit_code, result.stderr) == (0, "b.html is written\n")
    assert Path("b.html").read_text() == page
    assert "<title>A play</title>" in page
    assert '"in the public domain"' in page


@pytest.mark.parametrize("bits", [0, 4, 32, "16"])
def test_other_bits_are_refused(bits: int) -> None:
    with pytest.raises(OptionError, match="bits must be 16 or 8"):
        page_of(make_run("run"), bits)


@pytest.mark.parametrize("bits", [16, 8])
def test_weights_that_do_not_fit_are_refused(bits: int) -> None:
    run = make_run("run")
    weights = run.weights()
    weights["layers.0.kernel"][0] = 1e5  # beyond float16, and the rest vanishes beside it
    weights["layers.0.bias"] *= 1e5
    run.save_weights(weights)
    with pytest.raises(OutputError, match=f"do not fit in {bits} bits"):
        page_of(run, bits)
