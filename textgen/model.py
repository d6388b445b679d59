"""The model that the library returns: generate, evaluate and compare texts."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from textgen.analysis.evaluation import Evaluation, evaluate, evaluate_corpus, utf8_length
from textgen.analysis.novelty import Novelty, find_copies
from textgen.errors import RunError
from textgen.options.declare import check_whole
from textgen.preprocess.corpus import borders
from textgen.preprocess.documents import Stretch, read_stretches
from textgen.preprocess.reading import display_name, size_of
from textgen.runs.folder import Run
from textgen.sampling.sampler import Sampler
from textgen.system.terminal import byte_bar

if TYPE_CHECKING:
    from textgen.analysis.authors import Authors
    from textgen.reporting.curves import LossCurves
    from textgen.reporting.inspection import Inspection


class Model(Sampler):
    """A trained model, returned by `textgen.load` and `textgen.train`."""

    def __repr__(self) -> str:
        return f"<Model {'; '.join(map(_described, self.runs))}>"

    @property
    def path(self) -> Path:
        """The folder of the run, or of the first of several."""
        return self.run.path

    def evaluate(self, *texts: str, strict: bool = False) -> Evaluation:
        """Return how well the model predicts texts: loss, perplexity and bits per character.

        Each text is a document. Raises BookError if there is nothing to predict, and with `strict`
        VocabularyError for a token that is not in the vocabulary.
        """
        stretches = [Stretch(list(texts), True)] if texts else []
        return evaluate(self.network, self.tokenizer, stretches, strict)

    def evaluate_file(
        self,
        path: str | Path,
        encoding: str | None = None,
        keep_gutenberg: bool = False,
        strict: bool = False,
        quiet: bool = True,
    ) -> Evaluation:
        """Evaluate a text file, which may be larger than memory, or standard input ("-").

        The file is split into documents as the books of the run were. Without `quiet`, a bar shows
        the progress if standard error is a terminal. Raises BookError if the file cannot be read;
        other arguments and errors are those of `evaluate`.
        """
        stretches = self._stretches(path, encoding, keep_gutenberg)
        with byte_bar("reading", size_of(path), quiet) as bar:
            return evaluate(self.network, self.tokenizer, stretches, strict, bar.update)

    def evaluate_test(self, quiet: bool = True) -> Evaluation:
        """Evaluate the test part of the run's corpus, which the option `test` holds out.

        Each document is read from a zero state. Without `quiet`, a bar shows the progress if
        standard error is a terminal. Raises RunError if the run has no test part or no corpus, or
        if a run of an ensemble holds out another part, so that it may have read this one.
        """
        run = self.run
        if run.test_means is None:
            raise RunError(f"{run.path} has no test part; name a text, or train it with --test 0.1")
        for other in self.runs[1:]:
            if _test_part(other) != _test_part(run):
                raise RunError(
                    f"{other.path} does not hold out the test part of {run.path}; name a text"
                )
        *_, part = run.corpus().split(run.settings.reading)
        with byte_bar("reading", len(part), quiet) as bar:
            return evaluate_corpus(self.network, self.tokenizer, part, run.test_means, bar.update)

    def novelty(self, text: str, least: int = 20, most: int = 10) -> Novelty:
        """Return how much of `text` is copied from the training text.

        Args:
            least: the minimum length of a copied passage, in characters.
            most: the maximum number of passages to return, longest first.

        Raises RunError if the run has no corpus to compare with.
        """
        check_whole("least", least, 1)
        check_whole("most", most, 0)
        sources = [
            source for run in self.runs for source in run.documents_by_name(self.tokenizer.decode)
        ]
        return find_copies(text, sources, least, most)

    def inspect(
        self, *texts: str, units: int = 3, authors: "Authors | None" = None
    ) -> "Inspection":
        """Return what the network expects in texts, and what its units watch.

        Each text is a document, read from a zero state.

        Args:
            units: how many units are found for each feature of the text.
            authors: what `textgen.authors` returns, to judge who wrote the texts. They are judged
                as one text, to which they concatenate.

        Raises BookError if there is nothing to predict, or fewer than 50 characters for `authors`
        to judge, RunError if the model is an ensemble.
        """
        return self._inspect(texts, units, authors)

    def inspect_file(
        self,
        path: str | Path,
        length: int = 100_000,
        units: int = 3,
        encoding: str | None = None,
        keep_gutenberg: bool = False,
        authors: "Authors | None" = None,
        quiet: bool = True,
    ) -> "Inspection":
        """Inspect the first `length` characters of a text file, or of standard input ("-").

        The file is split into documents as the books of the run were. Without `quiet`, a bar shows
        the progress if standard error is a terminal. Raises BookError if the file cannot be read;
        other arguments and errors are those of `inspect`.
        """
        check_whole("length", length, 1)
        documents, left, left_out = list[str](), length, 0
        for stretch in self._stretches(path, encoding, keep_gutenberg):
            for number, text in enumerate(stretch.texts):
                taken = text[:left]
                left -= len(taken)
                left_out += len(text) - len(taken)
                if not taken:
                    continue
                if number or stretch.begins or not documents:
                    documents.append(taken)
                else:
                    documents[-1] += taken
        name = Path(display_name(path)).name
        return self._inspect(documents, units, authors, name, left_out, quiet)

    def _inspect(
        self,
        texts: Sequence[str],
        units: int,
        authors: "Authors | None",
        name: str = "text",
        left_out: int = 0,
        quiet: bool = True,
    ) -> "Inspection":
        # Writing text, which must begin at once, needs neither of these.
        from textgen.analysis.inspection import inspect_texts
        from textgen.reporting.inspection import Inspection

        with byte_bar("reading", sum(map(utf8_length, texts)), quiet) as bar:
            found = inspect_texts(self, texts, units, authors, bar.update)
        return Inspection(**vars(found), run=self.run, name=name, left_out=left_out)

    def export(
        self,
        to: str,
        output: str | Path | None = None,
        force: bool = False,
        *,
        bits: int | None = None,
        title: str | None = None,
        licence: str | None = None,
    ) -> Path:
        """Write the network to a file that runs without textgen; return its path.

        Args:
            to: "html", a page that writes in any browser; or "keras", "onnx" or "torch".
            output: the file; by default the name of the run, in the current folder.
            force: whether to replace an existing file.
            bits: of a weight in a page: 16, the default, or 8.
            title: of a page; by default the name of the run.
            licence: of the text, which a page shows.

        Raises OptionError for an unknown `to`, options of a page elsewhere, or a missing package,
        RunError if the model is an ensemble, OutputError if the file exists or cannot be written,
        or if the exported network computes other logits than this one.
        """
        from textgen.exporting.export import export_run

        if len(self.runs) > 1:
            raise RunError("an export holds one network; load one run")
        (weights,) = self._weights
        page = {"bits": bits, "title": title, "licence": licence}
        return export_run(self.run, weights, to, output, force, **page)

    def curves(self, against: str = "epochs") -> "LossCurves":
        """Return a matplotlib figure of the losses in training, of all runs of the model.

        `against` is "epochs", "seconds" or "tokens". Raises RunError if there is no evaluation,
        OptionError for another `against`.
        """
        from textgen.reporting.curves import draw_curves  # matplotlib is slow to import

        return draw_curves(self.runs, against)

    def _stretches(
        self, path: str | Path, encoding: str | None, keep_gutenberg: bool
    ) -> Iterator[Stretch]:
        """Read a file, split into documents as the books of the run were."""
        reading = self.run.settings.reading
        options = replace(reading, encoding=encoding, keep_gutenberg=keep_gutenberg)
        return read_stretches(path, options, self.tokenizer.end is not None)


def _test_part(run: Run) -> tuple[str, int]:
    """Return the digest of a run's corpus, and where its test part begins."""
    return run.digest(), borders(run.tokens, run.settings.reading)[1]


def _described(run: Run) -> str:
    sizes = (
        f"{run.path}: {run.settings.reading.level} {run.settings.architecture}, "
        f"{run.weight_count:,} weights, vocabulary {len(run.tokenizer):,}"
    )
    loss = None
    with suppress(RunError):  # damaged metrics do not matter here
        loss = run.outcome()["validation_loss"]
    return sizes if loss is None else f"{sizes}, validation loss {loss:.4g}"
