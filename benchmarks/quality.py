"""Compare the loss of textgen and its rivals over time: python benchmarks/quality.py BOOK...

Contenders train one after the other, each in a process of its own, for the same number of minutes
on the first nine tenths of a book, which is of characters. Their validation loss is that of the
last tenth, but for a few characters at its ends. textgen runs with all defaults. Its minutes
include its start and its evaluations, and it may end earlier; its last point is at the temperature
that it fits to the validation part. The evaluations of the rivals (`rivals.py`) do not count. The
PyTorch LSTM has textgen's layers, units, batch size, chunk length and dropout. Writes a CSV and a
PNG. Needs the extra `benchmarks`.

The speed of a large matrix product is printed, because machines differ: a machine of half the speed
needs twice the minutes.
"""

import csv
import math
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import click
import matplotlib as mpl
import numpy as np
from peers import Ids, Sizes
from train import Ceiling

import textgen
from textgen.options.training import TrainingOptions
from textgen.preprocess.reading import read_text
from textgen.system.processor import has_bfloat16

CONTENDERS = ("textgen", "PyTorch LSTM", "nanoGPT")
LOOKS = 10


class Job(NamedTuple):
    book: str
    minutes: float
    contender: str
    seed: int


class Point(NamedTuple):
    seconds: float  # of training
    loss: float  # nats per character


def learning_curve(job: Job) -> list[Point]:
    """Train a contender; return its validation losses on the way."""
    if job.contender == "textgen":
        with tempfile.TemporaryDirectory() as folder:
            options = {"minutes": job.minutes, "seed": job.seed, "quiet": True}
            model = textgen.train(job.book, out=Path(folder) / "run", **options)
            points = [Point(e["seconds"], e["validation_loss"]) for e in model.run.history()]
            outcome = model.run.outcome()  # at the temperature that is fitted at the end
            return [*points, Point(outcome["seconds"], outcome["validation_loss"])]
    from rivals import NanoGPT, TorchLSTM

    ids, kinds = ids_of(job.book)
    settings = TrainingOptions(minutes=job.minutes).resolve(len(ids), kinds)
    network = settings.architecture
    shape = settings.batch_size, kinds, settings.chunk_length, network.embedding
    sizes = Sizes(network.layers, network.units[0], *shape)
    border = int((1 - settings.reading.validation) * len(ids))
    kind = NanoGPT if job.contender == "nanoGPT" else TorchLSTM
    rival = kind(ids[:border], sizes, settings.dropout, job.seed)
    seconds, limit, points = 0.0, 60 * job.minutes, list[Point]()
    for look in range(1, LOOKS + 1):
        while seconds < limit * look / LOOKS:
            start = time.perf_counter()
            rival.step(seconds / limit)
            seconds += time.perf_counter() - start
        points.append(Point(seconds, rival.validation_loss(ids[border:])))
    return points


def ids_of(book: str) -> tuple[Ids, int]:
    """Return the ids of the characters of a book, and how many different ones there are."""
    kinds, ids = np.unique(list(read_text(book)), return_inverse=True)
    return ids.astype(np.int32), len(kinds)


def ceiling() -> float:
    """Return the operations a second of a large product, in the precision of training."""
    product = Ceiling("bfloat16" if has_bfloat16() else "float32")
    return 2 * Ceiling.SIZE**3 / min(product.steps(1) for _ in range(5))


def draw(curves: dict[Job, list[Point]], path: str) -> None:
    """Draw the curves, a picture for each book and time."""
    mpl.use("Agg")
    from matplotlib import pyplot

    kinds = list(dict.fromkeys((job.book, job.minutes) for job in curves))
    rows = math.ceil(len(kinds) / 2)
    figure, grid = pyplot.subplots(rows, 2, figsize=(10, 3.2 * rows), dpi=100, squeeze=False)
    for job, points in curves.items():
        axes = grid.flat[kinds.index((job.book, job.minutes))]
        color = f"C{CONTENDERS.index(job.contender)}"
        name = job.contender if job.seed == 0 else None
        axes.plot(*zip(*points, strict=True), marker=".", color=color, label=name)
        title = f"{Path(job.book).stem}, {job.minutes:g} minutes"
        axes.set(title=title, xlabel="seconds", ylabel="validation, nats per character")
    for axes in grid.flat[: len(kinds)]:
        axes.set_ylim(top=min(2.5, axes.get_ylim()[1]))
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    for axes in grid.flat[len(kinds) :]:
        axes.set_axis_off()
    figure.tight_layout()
    figure.savefig(path)


@click.command()
@click.argument("books", nargs=-1, required=True)
@click.option("--minutes", multiple=True, type=float, default=(1.3333, 5.0))
@click.option("--seeds", default=1, help="Number of seeds, from 0 on.")
@click.option(
    "--contender",
    "contenders",
    multiple=True,
    type=click.Choice(CONTENDERS),
    default=CONTENDERS,
)
@click.option("--out", default="benchmarks/quality", help="Path of the CSV and PNG, no suffix.")
def main(
    books: tuple[str, ...],
    minutes: tuple[float, ...],
    seeds: int,
    contenders: tuple[str, ...],
    out: str,
) -> None:
    print(f"a large product: {ceiling() / 1e9:.0f} GFLOP/s", flush=True)
    curves: dict[Job, list[Point]] = {}
    for book in books:
        for limit in minutes:
            last: dict[str, list[float]] = {name: [] for name in contenders}
            for seed in range(seeds):
                for name in contenders:
                    job = Job(book, limit, name, seed)
                    with ProcessPoolExecutor(1, get_context("spawn")) as process:
                        curves[job] = process.submit(learning_curve, job).result()
                    last[name].append(min(point.loss for point in curves[job]))
            means = (f"{name} {statistics.mean(found):.3f}" for name, found in last.items())
            print(f"{Path(book).stem}, {limit:g} minutes: {', '.join(means)}", flush=True)
            save(curves, out)


def save(curves: dict[Job, list[Point]], out: str) -> None:
    with Path(f"{out}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["book", "minutes", "contender", "seed", "seconds", "validation_loss"])
        for job, points in curves.items():
            for point in points:
                row = [Path(job.book).stem, *job[1:], f"{point.seconds:.1f}", f"{point.loss:.4f}"]
                writer.writerow(row)
    draw(curves, f"{out}.png")


if __name__ == "__main__":
    main()
