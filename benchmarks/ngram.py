"""The loss of an n-gram model with modified Kneser-Ney smoothing: python benchmarks/ngram.py BOOK

It learns the training part of a book, by characters, and predicts the last part, `--test`. The part
before it, `--validation`, is left out, as by `textgen train` with these options. Formulas: Chen and
Goodman (1998), "An empirical study of smoothing techniques for language modeling", section 3,
interpolated.
"""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from textgen.options.reading import ReadingOptions
from textgen.preprocess.corpus import borders
from textgen.preprocess.reading import read_text

_DISCOUNTED = 3  # counts of 1, of 2, and of more have discounts of their own

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def loss_of(train: Ints, test: Ints, size: int, order: int) -> float:
    """Return the mean loss of the test part in nats.

    `train` and `test` are ids below `size`. Each order is interpolated with the one below. The
    counts of all but the longest n-grams are those of the different tokens before them.
    """
    border = len(train)
    ids = np.concatenate([train, test])
    likely = np.full(len(test), 1 / size)
    grams = np.zeros(len(ids), np.int64)  # the number of the n-gram that ends at each token
    longer = _longer(grams, ids, size)
    for length in range(1, order + 1):
        contexts = np.roll(grams, 1)  # of each token: the n-gram before it
        grams, longer = longer, _longer(longer, ids, size)
        if length == order:
            counted = grams[length - 1 : border]
        else:
            _, first = np.unique(longer[length:border], return_index=True)
            counted = grams[length:border][first]
        counts = np.bincount(counted, minlength=grams.max() + 1)
        learned = slice(length - 1, border)
        likely = _interpolated(likely, counts, grams, contexts, learned)
    return -float(np.log(likely).mean())


def _longer(grams: Ints, ids: Ints, size: int) -> Ints:
    """Return the numbers of the n-grams that end at each token, one token longer than `grams`."""
    pairs = np.roll(grams, 1) * size + ids
    return np.unique(pairs, return_inverse=True)[1]


def _interpolated(
    lower: Floats, counts: Ints, grams: Ints, contexts: Ints, learned: slice
) -> Floats:
    """Return the probability of each token of the test part.

    Args:
        lower: that of the order below.
        counts: of each n-gram.
        grams: the n-gram that ends at each token, of both parts.
        contexts: the context of each token: its n-gram without the last token.
        learned: the places in the training part, which ends where the test part begins.
    """
    kinds, first = np.unique(grams[learned], return_index=True)
    counts_of_kinds = counts[kinds]
    discounts = _discounts(counts_of_kinds)
    contexts_of_kinds, size = contexts[learned][first], contexts.max() + 1
    totals = np.bincount(contexts_of_kinds, counts_of_kinds, size)
    taken = discounts[np.minimum(counts_of_kinds, _DISCOUNTED)]
    for_lower = np.bincount(contexts_of_kinds, taken, size)
    count, context = counts[grams[learned.stop :]], contexts[learned.stop :]
    kept = count - discounts[np.minimum(count, _DISCOUNTED)]
    is_known = totals[context] > 0
    mixed = (kept + for_lower[context] * lower) / np.where(is_known, totals[context], 1)
    return np.where(is_known, mixed, lower)


def _discounts(counts: Ints) -> Floats:
    """Return what is subtracted from a count of 0, 1, 2, and more."""
    often = [int((counts == n).sum()) for n in range(_DISCOUNTED + 2)]
    share = often[1] / max(often[1] + 2 * often[2], 1)
    discounts = np.zeros(_DISCOUNTED + 1)
    for n in range(1, _DISCOUNTED + 1):
        less = share * (n + 1) * often[n + 1] / max(often[n], 1)
        discounts[n] = n - less if less < n else share
    return discounts


@click.command()
@click.argument("book", type=Path)
@click.option("--order", default=20, help="Longest n-gram, the predicted character included.")
@click.option("--validation", default=0.1, help="Share left out before the test part.")
@click.option("--test", default=0.1, help="Share of the test part.")
def main(book: Path, order: int, validation: float, test: float) -> None:
    """Print the loss of the test part of BOOK by n-grams."""
    kinds, ids = np.unique(list(read_text(book)), return_inverse=True)
    validated, tested = borders(len(ids), ReadingOptions(validation=validation, test=test))
    loss = loss_of(ids[:validated], ids[tested:], len(kinds), order)
    print(f"{order}-grams: {loss:.3f} nats per character")


if __name__ == "__main__":
    main()
