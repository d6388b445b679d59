"""The model that the library returns: generate, evaluate and compare texts."""

from pathlib import Path

from textgen.analysis.evaluation import Evaluation, evaluate
from textgen.analysis.novelty import Novelty, find_copies
from textgen.options.declare import check_whole
from textgen.sampling.sampler import Sampler


class Model(Sampler):
    """A trained model, returned by `textgen.load` and `textgen.train`."""

    @property
    def path(self) -> Path:
        """The folder of the run, or of the first of several."""
        return self.run.path

    def evaluate(self, *texts: str) -> Evaluation:
        """Return how well the model predicts texts: loss, perplexity and bits per character.

        Each text is a document. Raises VocabularyError for characters that are not in the
        vocabulary, BookError if there is nothing to predict.
        """
        return evaluate(self.network, self.tokenizer, texts)

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
