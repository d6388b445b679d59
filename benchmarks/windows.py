"""Shuffled windows beside carried state: the same network, the same minutes, the same text.

python benchmarks/windows.py BOOK [--minutes N] [--units N]

Windows are those of Keras's well-known example `lstm_text_generation`: 40 characters, of which the
next one is the only target, taken every 3 characters and shuffled, each from a zero state. Both
networks are one LSTM layer, and are judged by every character of the last tenth of the text.
"""

import tempfile
import time
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

LENGTH, STRIDE, BATCH = 40, 3, 128  # as in the example
PROMPT, TEMPERATURE, SHOWN = "\n\n", 0.5, 300


class Windows:
    """A Keras model that is trained on windows."""

    def __init__(self, text: str, units: int) -> None:
        import keras

        self.alphabet = sorted(set(text))
        self._ids = np.searchsorted(self.alphabet, list(text))
        self._border = int(0.9 * len(text))
        self._model = keras.Sequential(
            [
                keras.Input((LENGTH, len(self.alphabet))),
                keras.layers.LSTM(units),
                keras.layers.Dense(len(self.alphabet), activation="softmax"),
            ]
        )
        optimizer = keras.optimizers.RMSprop(learning_rate=0.01)
        self._model.compile(optimizer, "sparse_categorical_crossentropy")

    def train(self, minutes: float) -> int:
        """Train until the time is up; return the number of windows."""
        rng, start, count = np.random.default_rng(0), time.monotonic(), 0
        while True:
            places = rng.permutation(np.arange(LENGTH, self._border, STRIDE))
            for first in range(0, len(places), BATCH):
                if time.monotonic() - start >= 60 * minutes:
                    return count
                batch = places[first : first + BATCH]
                self._model.train_on_batch(self._before(batch), self._ids[batch])
                count += len(batch)

    def loss(self) -> float:
        """Return the mean loss of the characters of the last tenth, in nats."""
        places = np.arange(self._border + 1, len(self._ids))
        total = 0.0
        for first in range(0, len(places), 1024):
            batch = places[first : first + 1024]
            likely = self._model.predict_on_batch(self._before(batch))
            total -= float(np.log(likely[np.arange(len(batch)), self._ids[batch]]).sum())
        return total / len(places)

    def sample(self, seed: int = 0) -> str:
        """Generate from the last window of the training part."""
        rng = np.random.default_rng(seed)
        ids = self._ids[self._border - LENGTH : self._border].tolist()
        for _ in range(SHOWN):
            window = np.eye(len(self.alphabet), dtype=np.float32)[ids[-LENGTH:]][None]
            weights = self._model.predict_on_batch(window)[0].astype(float) ** (1 / TEMPERATURE)
            ids.append(int(rng.choice(len(weights), p=weights / weights.sum())))
        return "".join(self.alphabet[i] for i in ids[LENGTH:])

    def _before(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the characters before each place, one-hot, (places, LENGTH, V)."""
        windows = self._ids[places[:, None] + np.arange(-LENGTH, 0)]
        return np.eye(len(self.alphabet), dtype=np.float32)[windows]


@click.command()
@click.argument("book", type=Path)
@click.option("--minutes", default=1.0, help="Minutes of training for each.")
@click.option("--units", default=128, help="Units of the LSTM layer.")
def main(book: Path, minutes: float, units: int) -> None:
    import textgen
    from textgen.preprocess.reading import read_text

    text = read_text(book)
    windows = Windows(text, units)
    count = windows.train(minutes)
    print(f"windows: {windows.loss():.3f} nats per character, {count:,} characters trained on")
    print(f"{windows.sample()}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        model = textgen.train(
            book, out=Path(folder) / "run", units=units, minutes=minutes, quiet=True
        )
        loss = model.evaluate(text[int(0.9 * len(text)) :]).loss
        count = int(model.run.outcome()["epochs"] * int(0.9 * len(text)))
        print(f"state carried: {loss:.3f} nats per character, {count:,} characters trained on")
        print(model.generate(PROMPT, length=SHOWN, temperature=TEMPERATURE, seed=0))


if __name__ == "__main__":
    main()
