"""Errors that a user can cause. Each message is one line and says what to do instead."""


class TextgenError(Exception):
    """Base class of the errors that textgen raises on purpose."""


class BookError(TextgenError):
    """A text that cannot be read, decoded, or trained on."""


class VocabularyError(TextgenError):
    """A text with characters that are not in a model's vocabulary."""


class RunError(TextgenError):
    """A run folder that is missing, damaged, or must not be replaced."""


class OptionError(TextgenError, ValueError):
    """An option outside its limits.

    `name` is the keyword of the library; the command line shows it as a flag.
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
    """Training that cannot continue, for example because the loss is not finite."""


class FetchError(TextgenError):
    """A text cannot be fetched."""
