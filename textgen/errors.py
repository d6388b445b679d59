"""Errors that a user can cause. Each message is one line and says what to do instead."""

import re

# A flag, or a command to type, which ends a message.
_FLAG = re.compile(r"(?s): textgen .*|(?<!\S)--([a-z][a-z-]*)")
_KEYWORDS = {"from": "from_run", "force": "force=True", "resume": "resume=True", "tie": "tie=True"}


class TextgenError(Exception):
    """Base class of the errors that textgen raises on purpose.

    Messages are written with the flags of the command line. `str` names the keywords of the
    library instead, except in a command to type.
    """

    @property
    def with_flags(self) -> str:
        """The message for the command line."""
        return super().__str__()

    def __str__(self) -> str:
        return _with_keywords(self.with_flags)


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
        return f"{self.name} {_with_keywords(self.problem)}"

    @property
    def with_flags(self) -> str:
        return f"--{self.name.replace('_', '-')} {self.problem}"


class OutputError(TextgenError):
    """A picture, a page, an export or a log of TensorBoard that cannot be written."""


class TrainingError(TextgenError):
    """Training that cannot continue, for example because the loss is not finite."""


class FetchError(TextgenError):
    """A text cannot be fetched."""


def _with_keywords(message: str) -> str:
    """Replace the flags in a message by the keywords of the library."""

    def keyword(match: re.Match[str]) -> str:
        flag = match[1]
        return _KEYWORDS.get(flag, flag.replace("-", "_")) if flag else match[0]

    return _FLAG.sub(keyword, message)
