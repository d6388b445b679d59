"""Compare textgen author with a classifier of n-grams: python benchmarks/author.py BOOKS

BOOKS is a folder with a text of each author. The last fifth of each is held out, and excerpts of
it are judged. textgen has a run for each author, either trained alone (own_NAME) or fine-tuned
from a run on all books (fine_NAME). The classifier is scikit-learn's linear support vector machine
on TF-IDF of character n-grams, trained on passages as long as the excerpts. Prints tables in
Markdown. scikit-learn comes with the extra `benchmarks`.
"""

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import textgen
from textgen.preprocess.reading import read_text

LENGTHS = (100, 250, 500, 1000, 2000)  # characters
HELD_OUT = 0.2
BINS = (0.0, 0.5, 0.7, 0.9, 0.97, 1.0)
MINUTES = {"base": 5.0, "fine": 2.0, "own": 3.0}


def train_runs(folder: Path, kind: str, training: dict[str, str]) -> list[Path]:
    """Return the runs of a kind, one for each author; train those that are missing."""
    runs = [folder / f"{kind}_{name}" for name in training]
    base = folder / "base"
    with tempfile.TemporaryDirectory() as books:
        paths = [Path(books) / f"{name}.txt" for name in training]
        for path, text in zip(paths, training.values(), strict=True):
            path.write_text(text, "utf-8")
        for run, path in zip(runs, paths, strict=True):
            if run.exists():
                continue
            if kind == "fine" and not base.exists():
                textgen.train(*paths, out=base, minutes=MINUTES["base"])
            textgen.train(
                path, out=run, from_run=base if kind == "fine" else None, minutes=MINUTES[kind]
            )
    return runs


def classify(training: dict[str, str], excerpts: Sequence[str], length: int) -> NDArray[np.int64]:
    """Return the author of each excerpt by n-grams."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    texts, authors = list[str](), list[int]()
    for number, text in enumerate(training.values()):
        parts = [text[i : i + length] for i in range(0, len(text) - length + 1, length)]
        texts += parts
        authors += [number] * len(parts)
    ngrams = TfidfVectorizer(
        analyzer="char", ngram_range=(2, 5), sublinear_tf=True, lowercase=False
    )
    return make_pipeline(ngrams, LinearSVC()).fit(texts, authors).predict(excerpts)


def reliability(kind: str, probabilities: NDArray[np.float64], right: NDArray[np.int64]) -> None:
    """Print how often the likeliest author is the right one, by its probability."""
    best, p = probabilities.argmax(1), probabilities.max(1)
    for low, high in pairwise(BINS):
        inside = (p > low) & (p <= high)
        if inside.any():
            share = (best == right)[inside].mean()
            figures = f"{p[inside].mean():.3f} | {share:.3f} | {inside.sum()}"
            print(f"| {kind} | {low} to {high} | {figures} |")


@click.command()
@click.argument("books", type=click.Path(path_type=Path))
@click.option("--runs", type=click.Path(path_type=Path), help="Folder of runs to reuse.")
@click.option("--excerpts", default=100, help="Excerpts of each author and length.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(["own", "fine"]))
def main(books: Path, runs: Path | None, excerpts: int, kinds: tuple[str, ...]) -> None:
    texts = {path.stem: read_text(path) for path in sorted(books.glob("*.txt"))}
    borders = {name: int((1 - HELD_OUT) * len(text)) for name, text in texts.items()}
    training = {name: text[: borders[name]] for name, text in texts.items()}
    held_out = [text[borders[name] :] for name, text in texts.items()]
    rng = np.random.default_rng(0)
    samples = {
        length: [
            text[start : start + length]
            for text in held_out
            for start in rng.integers(0, len(text) - length, excerpts).tolist()
        ]
        for length in LENGTHS
    }
    right = np.repeat(np.arange(len(texts)), excerpts)
    kinds = kinds or ("own", "fine")
    found: dict[tuple[str, int], NDArray[np.float64]] = {}
    with nullcontext(runs) if runs else tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            authors = textgen.authors(*train_runs(Path(folder), kind, training))
            for length in LENGTHS:
                judged = authors.judge_all(samples[length])
                found[kind, length] = np.array([each.probabilities for each in judged])
    print(f"| characters | {' | '.join(kinds)} | n-grams and SVM |\n|--:|{'--:|' * len(kinds)}--:|")
    for length in LENGTHS:
        shares = [(found[kind, length].argmax(1) == right).mean() for kind in kinds]
        shares.append((classify(training, samples[length], length) == right).mean())
        print(f"| {length} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)
    print("\n| runs, characters | Brier score | log loss |\n|---|--:|--:|")
    for (kind, length), p in found.items():
        truth = np.eye(len(texts))[right]
        brier = ((p - truth) ** 2).sum(1).mean()
        loss = -np.log(p[np.arange(len(right)), right]).mean()
        print(f"| {kind}, {length} | {brier:.4f} | {loss:.4f} |")
    print("\n| runs | probability | mean | right | excerpts |\n|---|---|--:|--:|--:|")
    for kind in kinds:
        everything = np.concatenate([found[kind, length] for length in LENGTHS])
        reliability(kind, everything, np.tile(right, len(LENGTHS)))


if __name__ == "__main__":
    main()
