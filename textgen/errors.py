"""The errors a user can cause; each message is one line and says what to do instead."""


class TextgenError(Exception):
    """Base of all errors that textgen raises on purpose."""


class BookError(TextgenError):
    """A text that cannot be read, decoded, or trained on."""


class VocabularyError(TextgenError):
    """A text with tokens that a model has never seen."""


class RunError(TextgenError):
    """A run folder that is missing, in the way, or damaged."""


class OptionError(TextgenError, ValueError):
    """An option outside its limits.

    `name` is the keyword of the library call; the command line spells it as a flag.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, problem)
        self.name = name
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.name} {self.problem}"

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


class TrainingError(TextgenError):
    """A training that cannot go on."""


class FetchError(TextgenError):
    """A text that cannot be fetched."""
