"""Measure long corpora, many documents and many workers: python benchmarks/scale.py BOOK

A corpus repeats the book up to its size, with new words in every copy. Preparing and training run
as whole commands. Their memory use includes that of their children, but not pages of files, which
the system can take back when it needs them.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import click
import numpy as np
from peers import Sizes, Textgen
from turns import alternate

from textgen.options.training import TrainingOptions
from textgen.preprocess.reading import read_text

_TEXTGEN = [sys.executable, "-m", "textgen"]
_DOCUMENTS = (None, 1000, 100, 11)  # tokens; 11 are a line of ten characters and its end


def _descendants(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _descendants(int(child))


def _megabytes(pid: int) -> float:
    """Return the memory use of a process and its descendants, without pages of files."""
    total = 0
    for one in _descendants(pid):
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    return total / 1024


def run(*commands: list[str], configs: Sequence[object] = ()) -> tuple[float, float, str]:
    """Run commands at the same time; return seconds, and peak MB and output of the first.

    `configs` has a TF_CONFIG for each. Each then has its own core, as long as there are enough.
    """
    cores, environments = sorted(os.sched_getaffinity(0)), [{}] * len(commands)
    if configs:
        environments = [{"TF_CONFIG": json.dumps(config)} for config in configs]
        commands = tuple(
            ["taskset", "-c", str(cores[i % len(cores)]), *command]
            for i, command in enumerate(commands)
        )
    start, peak = time.perf_counter(), 0.0
    processes = [
        subprocess.Popen(
            command, env=os.environ | extra, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for command, extra in zip(commands, environments, strict=True)
    ]
    while any(process.poll() is None for process in processes):
        peak = max(peak, _megabytes(processes[0].pid))
        time.sleep(0.05)
    seconds = time.perf_counter() - start
    for process in processes:
        if process.returncode:
            sys.exit(process.stderr.read().decode())  # type: ignore[union-attr]
    return seconds, peak, processes[0].stdout.read().decode()  # type: ignore[union-attr]


def write_corpus(text: str, path: Path, megabytes: float) -> None:
    """Write a corpus: copies of the text, each followed by 3,000 new words per MB."""
    left, copy, new = int(megabytes * 1e6), 0, int(len(text) * 3000 / 1e6)
    with path.open("wb") as file:
        while left:
            data = f"{text}\n{' '.join(f'w{copy}n{i}' for i in range(new))}\n".encode()[:left]
            left -= file.write(data.decode("utf-8", "ignore").encode().ljust(len(data)))
            copy += 1


def corpora(text: str, sizes: list[float], folder: Path) -> None:
    print("| corpus | level | prepared in | MB/s | peak MB | trained, tokens/s | peak MB |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for megabytes in sizes:
        path = folder / "corpus.txt"
        write_corpus(text, path, megabytes)
        for level in ("char", "word"):
            out = str(folder / "run")
            options = [str(path), "--out", out, "--level", level, "--force", "-q"]
            seconds, peak, _ = run([*_TEXTGEN, "prepare", *options])
            training = ["--minutes", "0.5", "--units", "256", "--validation", "0.1", "--json"]
            _, memory, output = run([*_TEXTGEN, "train", *options, *training])
            speed = json.loads(output)["tokens_per_second"]
            print(
                f"| {megabytes:g} MB | {level} | {seconds:.1f} s | {megabytes / seconds:.1f} | "
                f"{peak:,.0f} | {speed:,.0f} | {memory:,.0f} |",
                flush=True,
            )
            shutil.rmtree(out)
        path.unlink()


def documents(text: str, rounds: int) -> None:
    kinds, ids = np.unique(list(text[:1_000_000]), return_inverse=True)
    precision = TrainingOptions().resolve(0, 100).precision
    print("| documents of | 1x256, batch 32 | of one book | 1x512, batch 32 | of one book |")
    print("|---|--:|--:|--:|--:|")
    columns = []
    for units in (256, 512):
        sizes = Sizes(1, units, 32, len(kinds))
        makers = {
            str(length): (Textgen, (ids.astype(np.int32), sizes, precision, length))
            for length in _DOCUMENTS
        }
        found = alternate(makers, 30, rounds)
        tokens = 30 * sizes.batch_size * sizes.chunk_length
        columns.append([tokens / median(found[str(length)][0]) for length in _DOCUMENTS])
    for length, *speeds in zip(_DOCUMENTS, *columns, strict=True):
        cells = [
            cell
            for speed, column in zip(speeds, columns, strict=True)
            for cell in (f"{speed:,.0f}", f"{speed / column[0]:.2f}")
        ]
        name = f"{length:,} tokens" if length else "one book"
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def workers(text: str, counts: list[int], folder: Path) -> None:
    path = folder / "corpus.txt"
    write_corpus(text, path, 1)
    print("| workers, a core each | tokens/s | of one | peak MB of each |")
    print("|---|--:|--:|--:|")
    alone = 0.0
    for count in counts:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
        for s in sockets:
            s.close()
        configs = [
            {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            for index in range(count)
        ]
        command = [*_TEXTGEN, "train", str(path), "--out", str(folder / "team"), "--force"]
        command += ["--units", "512", "--batch-size", "48", "--minutes", "1", "--json", "-q"]
        _, peak, output = run(*[command] * count, configs=configs)
        speed = json.loads(output)["tokens_per_second"]
        alone = alone or speed
        print(f"| {count} | {speed:,.0f} | {speed / alone:.2f} | {peak:,.0f} |", flush=True)


@click.command()
@click.argument("book")
@click.option("--megabytes", default="1,10,100,1000", help="Corpus sizes in MB, comma-separated.")
@click.option("--workers", "counts", default="1,2,3", help="Numbers of workers, comma-separated.")
@click.option("--rounds", default=5, help="Measured turns of each document length.")
@click.option("--folder", default=None, help="Folder for the temporary corpora.")
def main(book: str, megabytes: str, counts: str, rounds: int, folder: str | None) -> None:
    text = read_text(book)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        documents(text, rounds)
        print()
        corpora(text, [float(size) for size in megabytes.split(",") if size], Path(place))
        print()
        workers(text, [int(count) for count in counts.split(",") if count], Path(place))


if __name__ == "__main__":
    main()
