"""Measure the exported page in Chromium, opened from disk, beside `textgen sample`.

python benchmarks/browser.py [--rounds N]

Prints characters a second of one text by the library, and by the page with WebAssembly and with
JavaScript alone; the sizes of the pages over those of the weights that they store; and the seconds
from opening a page with 16 bits to the first character. The networks are untrained, which does not
affect speed. The contenders take turns.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from playwright.sync_api import Browser, Page, expect, sync_playwright

from textgen.exporting.html import html_file
from textgen.options.training import TrainingOptions
from textgen.runs.folder import Run
from textgen.runs.lifecycle import create
from textgen.sampling.sampler import Sampler

PLAY = Path(__file__).parents[1] / "corpora" / "the_lamp_at_harrow.txt"
SIZES = [(1, 256), (1, 512), (2, 512)]
ENGINES = ("WebAssembly", "JavaScript")

# Writes a text of some length; returns the milliseconds until the last character is shown.
WRITE = """(length) => new Promise((resolve) => {
  const [status, write] = ["status", "write"].map((id) => document.getElementById(id));
  document.getElementById("length").value = length;
  const started = performance.now();
  const observer = new MutationObserver(() => {
    if (!status.textContent.includes("seed")) return;
    observer.disconnect();
    resolve(performance.now() - started);
  });
  observer.observe(status, { childList: true });
  write.click();
})"""

# Writes as soon as the page is there, and notes the milliseconds until a character is shown.
FIRST = """addEventListener("DOMContentLoaded", () => {
  const observer = new MutationObserver(() => (window.first ??= performance.now()));
  observer.observe(document.getElementById("written"), { childList: true });
  document.getElementById("write").click();
})"""


def untrained(folder: Path, layers: int, units: int) -> Run:
    options = TrainingOptions(units=(units,) * layers, embedding=64, tie=False)
    run = create(folder / f"{layers}x{units}", [PLAY], options)
    rng = np.random.default_rng(0)
    shapes = run.weight_shapes.items()
    run.save_weights({n: rng.uniform(-0.08, 0.08, s).astype(np.float32) for n, s in shapes})
    return run


def open_page(browser: Browser, path: Path, engine: str) -> Page:
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{path.as_uri()}#engine={engine.lower()}")
    expect(page.locator("#figures")).to_contain_text(engine, timeout=60_000)
    return page


def speeds(browser: Browser, run: Run, path: Path, rounds: int) -> dict[str, float]:
    """Return the median characters a second of each contender."""
    sampler = Sampler([run])

    def by_library(length: int) -> float:
        start = time.perf_counter()
        sampler.generate(length=length, seed=0)
        return time.perf_counter() - start

    def by_page(page: Page) -> Callable[[int], float]:
        return lambda length: page.evaluate(WRITE, length) / 1000

    pages = {engine: open_page(browser, path, engine) for engine in ENGINES}
    contenders = {"textgen sample": by_library}
    contenders |= {engine: by_page(page) for engine, page in pages.items()}
    lengths = dict.fromkeys(contenders, 4_000_000_000 // run.weight_count)
    lengths["JavaScript"] //= 8
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, write in contenders.items():
            speed = lengths[name] / write(lengths[name])
            found[name] += [speed] if turn else []  # the first turn includes compilation
    for page in pages.values():
        page.close()
    return {name: median(speeds) for name, speeds in found.items()}


def first_character(browser: Browser, path: Path, rounds: int) -> float:
    """Return the median seconds from opening a page until it shows a character."""
    seconds = []
    for _ in range(rounds + 1):  # the first fills the disk's cache
        page = browser.new_page()
        page.add_init_script(FIRST)
        page.goto(path.as_uri())
        expect(page.locator("#written")).not_to_be_empty()
        seconds.append(page.evaluate("() => window.first") / 1000)
        page.close()
    return median(seconds[1:])


@click.command()
@click.option("--rounds", default=5, help="Measured turns of each contender.")
def main(rounds: int) -> None:
    header = ["network", "textgen sample", *ENGINES, "16 bits / weights", "8 bits / weights"]
    header.append("first character")
    print("| " + " | ".join(header) + " |")
    print("|---|" + "--:|" * (len(header) - 1))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        program: Any = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for layers, units in SIZES:
            run = untrained(Path(folder), layers, units)
            pages = {bits: Path(folder) / f"{bits}.html" for bits in (16, 8)}
            for bits, path in pages.items():
                path.write_bytes(html_file(run, run.weights(), bits))
            found = speeds(browser, run, pages[16], rounds)
            row = [f"LSTM {layers}x{units}", *(f"{speed:,.0f}" for speed in found.values())]
            for bits, path in pages.items():
                size = path.stat().st_size
                row.append(f"{size / 1e6:.2f} MB, {size / (run.weight_count * bits / 8):.2f}")
            row.append(f"{first_character(browser, pages[16], rounds):.2f} s")
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
