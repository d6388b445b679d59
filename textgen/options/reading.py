"""Options for reading books and converting them to ids."""

from dataclasses import dataclass

from textgen.errors import OptionError
from textgen.options.declare import Options, option


@dataclass(frozen=True)
class ReadingOptions(Options):
    """How books are read and cut into tokens."""

    level: str = option("char", "What a token is.", choices=("char", "word", "byte"))
    validation: float = option(
        0.1, "Share of the text held out for validation, taken from its end.", at_least=0, below=1
    )
    test: float = option(
        0.0,
        "Share of the text held out for a test, taken from its end after the validation part; see "
        "textgen evaluate --test.",
        at_least=0,
        below=1,
    )
    encoding: str | None = option(
        None, "Encoding of the books, if it is not UTF-8 and there is no byte-order mark."
    )
    keep_gutenberg: bool = option(False, "Keep Project Gutenberg's header and license.")
    delimiter: str | None = option(
        None, r"Text that separates the documents of a file; \n is a line feed.", escapes=True
    )
    csv: str | None = option(None, "Column of a CSV file that holds a document in each row.")
    jsonl: str | None = option(None, "Key of the document in each line of a JSON Lines file.")
    min_count: int = option(2, "Words that occur less often become the unknown token.", at_least=1)
    max_vocabulary: int = option(
        10_000, "Size of the vocabulary of words, with the unknown token.", at_least=2
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.validation + self.test >= 1:
            raise OptionError("test", "and --validation leave nothing to train on; lower one")
        given = [name for name in ("delimiter", "csv", "jsonl") if getattr(self, name) is not None]
        if len(given) > 1:
            raise OptionError(given[1], f"cannot be given together with --{given[0]}; choose one")
        for name in given:
            if not getattr(self, name):
                raise OptionError(name, "must not be empty")

    @property
    def splits_files(self) -> bool:
        """Whether a file holds several documents."""
        return any((self.delimiter, self.csv, self.jsonl))
