"""Which C kernels can run here, and which is chosen."""

from dataclasses import replace
from pathlib import Path

import pytest

import textgen.kernels
from textgen.errors import TrainingError
from textgen.kernels import Kernel, are_missing, kernels
from textgen.runs.folder import Run

AVX2 = "avx2 fma f16c"
AVX512 = f"{AVX2} avx512f avx512bw avx512vl avx512dq"


def names(precision: str | None = None) -> list[str]:
    return [kernel.name for kernel in kernels(precision)]


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Build all kernels, as it seems, and set the instructions of the processor."""
    monkeypatch.delenv("TEXTGEN_KERNELS", raising=False)
    monkeypatch.setattr(Kernel, "path", property(lambda self: tmp_path))

    def has(flags: str) -> None:
        monkeypatch.setattr(textgen.kernels, "instructions", lambda: frozenset(flags.split()))

    monkeypatch.has = has
    return monkeypatch


def test_the_best_for_the_processor_comes_first(processor) -> None:
    for flags, float32, bfloat16 in [
        ("", [], []),
        ("avx2 fma", [], []),
        (AVX2, ["avx2"], []),
        (AVX512, ["avx512", "avx2"], []),
        (f"{AVX512} avx512_bf16", ["avx512", "avx2"], ["avx512bf16"]),
        (f"{AVX512} avx512_bf16 amx_tile amx_bf16", ["avx512", "avx2"], ["amx", "avx512bf16"]),
        ("asimd", ["neon"], []),
    ]:
        processor.has(flags)
        assert (names("float32"), names("bfloat16")) == (float32, bfloat16)
        assert names() == bfloat16 + float32


def test_one_that_was_not_built_is_not_chosen(processor) -> None:
    processor.has(AVX512)
    processor.setattr(Kernel, "path", property(lambda self: Path(f"{self.name}.so")))
    Path("avx2.so").touch()
    assert names() == ["avx2"]


def test_those_are_missing_that_the_processor_could_run(processor) -> None:
    processor.has(AVX512)
    assert not are_missing("float32")
    processor.setattr(Kernel, "path", property(lambda self: Path(f"{self.name}.so")))
    assert are_missing("float32")
    assert not are_missing("bfloat16")  # no compiler helps
    Path("avx2.so").touch()
    assert not are_missing("float32")
    processor.has("")
    assert not are_missing("float32")


def test_the_environment_chooses(processor) -> None:
    processor.has(f"{AVX512} avx512_bf16")
    for name, chosen in {
        "off": [],
        "avx2": ["avx2"],
        "avx512bf16": ["avx512bf16"],
        "": ["avx512bf16", "avx512", "avx2"],
    }.items():
        processor.setenv("TEXTGEN_KERNELS", name)
        assert names() == chosen
    processor.setenv("TEXTGEN_KERNELS", "avx512bf16")
    assert names("float32") == []


def test_the_environment_names_one_that_cannot_run(processor) -> None:
    processor.has(AVX2)
    for name in ("avx512", "neon", "fast"):
        processor.setenv("TEXTGEN_KERNELS", name)
        with pytest.raises(TrainingError, match=f"is '{name}'; here it can be off, avx2"):
            kernels()


def test_a_run_tells_what_trains_it_here(processor, run: Path) -> None:
    processor.has(AVX512)
    opened = Run.open(run)
    for precision, name in {"float32": "avx512", "bfloat16": "XLA"}.items():
        settings = replace(opened.settings, precision=precision)
        assert replace(opened, settings=settings).describe()["kernel"] == name
