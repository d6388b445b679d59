"""Compare the loss of textgen and its peers over time: python benchmarks/quality.py BOOK

Contenders train one after the other, for the same number of minutes on the same part of the
book. Their validation loss over the rest is computed at intervals, with the state carried; that
time does not count. textgen runs with all defaults. The peers have its layers, units, batch size
and chunk length, and a constant learning rate of 0.002. Writes a CSV and a PNG. The peers need
the extra `benchmarks`.
"""

import csv
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
import numpy as np
from peers import TRAINERS, Ids, Sizes

import textgen
from textgen.options.training import TrainingSettings
from textgen.preprocess.reading import read_text

Curve = list[tuple[float, float]]  # seconds of training, nats per character
LOOKS = 20


def textgen_curve(book: str, minutes: float) -> tuple[Curve, TrainingSettings]:
    with tempfile.TemporaryDirectory() as folder:
        model = textgen.train(book, out=Path(folder) / "run", minutes=minutes)
        history = model.run.history()
        return [(line["seconds"], line["validation_loss"]) for line in history], model.run.settings


def peer_curve(trainer: Any, validation: Ids, minutes: float) -> Iterator[tuple[float, float]]:
    seconds = 0.0
    trainer.steps(2)  # compiles
    for look in range(1, LOOKS + 1):
        while seconds < 60 * minutes * look / LOOKS:
            seconds += trainer.steps(10)
        yield seconds, trainer.validation_loss(validation)


@click.command()
@click.argument("book")
@click.option("--minutes", default=5.0, help="Minutes of training for each contender.")
@click.option("--peer", "peers", multiple=True, type=click.Choice(list(TRAINERS)))
@click.option("--out", default="benchmarks/quality", help="Path of the CSV and PNG, no suffix.")
def main(book: str, minutes: float, peers: tuple[str, ...], out: str) -> None:
    curve, settings = textgen_curve(book, minutes)
    network = settings.architecture
    curves = {"textgen": curve}
    kinds, ids = np.unique(list(read_text(book)), return_inverse=True)
    ids = ids.astype(np.int32)
    length = int((1 - settings.reading.validation) * len(ids))
    sizes = Sizes(
        network.layers,
        network.units[0],
        settings.batch_size,
        len(kinds),
        settings.chunk_length,
        network.embedding,
    )
    for peer in peers or ("torch bfloat16", "keras fit"):
        kind, precision = TRAINERS[peer]
        trainer = kind(ids[:length], sizes, precision)
        curves[peer] = list(peer_curve(trainer, ids[length:], minutes))
    with Path(f"{out}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trainer", "seconds", "validation_loss"])
        for name, points in curves.items():
            writer.writerows([name, f"{x:.1f}", f"{y:.4f}"] for x, y in points)
    draw(curves, f"{Path(book).name}, {network}", f"{out}.png")
    print(json.dumps({name: min(y for _, y in points) for name, points in curves.items()}))


def draw(curves: dict[str, Curve], title: str, path: str) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), dpi=120)
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), marker=".", label=name)
    axes.set(title=title, xlabel="seconds of training", ylabel="validation, nats per character")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
