r"""Escapes in options that take text, such as `\n` in a delimiter."""

import re

_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}


def unescape(text: str) -> str:
    r"""Replace `\n` by a line feed, `\t` by a tab and `\\` by a backslash.

    Any other backslash stands for itself.
    """
    return re.sub(r"\\[nt\\]", lambda match: _ESCAPES[match[0]], text)
