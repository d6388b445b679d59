"""Find the text of a Project Gutenberg book between its header and its license."""

import re
from typing import BinaryIO

_OUTSIDE = 1 << 16  # bytes; more than the header or the license has
_CREDITS = 1 << 13  # bytes, at most, after the header
_LAST_WORDS = 1 << 11  # bytes, at most, before the license

_MARKER = rb"(?s)\*\*\* ?%s OF TH(?:E|IS) PROJECT GUTENBERG E(?:BOOK|TEXT).{0,500}?\*\*\*"
_START = re.compile(_MARKER % b"START")
_END = re.compile(_MARKER % b"END")

# Every header names Project Gutenberg at once. That of the 1990s has no marker: the book begins
# after a legal notice, and often nothing stands after it but one line.
_NAMED = re.compile(rb"(?is).{0,1000}Project Gutenberg")
_NOTICE = re.compile(
    rb"\*END\*? ?THE SMALL PRINT! FOR PUBLIC DOMAIN E(?:TEXT|BOOK)S\*[^\r\n]{0,80}END\*"
)

_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
_PARAGRAPH = rb"[^\r\n]*(?:%b[ \t]*[^\s][^\r\n]*){0,40}%b[ \t]*%b\s*" % ((_LINE_END,) * 3)
_CREDIT = re.compile(
    rb"\s*(?:"
    rb"(?:This (?:e-?text|e-?book|file) was )?produced by"
    rb"|(?:This )?e-?text (?:was )?(?:prepared|produced|scanned|created) by"
    rb"|Transcribed from the"
    rb"|HTML version by"
    rb"|from (?:page )?images generously"
    rb"|\(This (?:file|book|e-?text|e-?book) was produced from"
    rb"|Note: Project Gutenberg (?:also )?has"
    rb")\b" + _PARAGRAPH,
    re.IGNORECASE,
)
_LAST_LINE = re.compile(
    rb"(?<=[\r\n])[ \t]*End of (?:the |this )?Project Gutenberg(?:'s|\xe2\x80\x99s)?\b[^\r\n]*"
    rb"(?:%b[ \t]*[^\s][^\r\n]*){0,4}\s*\Z" % _LINE_END,
    re.IGNORECASE,
)


def without_wrapping(file: BinaryIO, start: int, stop: int) -> tuple[int, int]:
    """Narrow the bytes [start, stop) of a file to the text of a Project Gutenberg book.

    Other texts keep all their bytes. If a file has several books, only the text before the first
    and after the last is left out.
    """
    head = _part(file, start, min(start + _OUTSIDE, stop))
    if not _NAMED.match(head):
        return start, stop
    tail = _part(file, max(stop - _OUTSIDE, start), stop)
    ends = [stop - len(tail) + match.start() for match in _END.finditer(tail)]
    notice, marker = _NOTICE.search(head), _START.search(head)
    if marker and not (ends and ends[-1] >= start + marker.end()):
        marker = None
    begins = [start + match.end() for match in (notice, marker) if match]
    if not begins:
        return start, stop
    first = min(begins)  # the other one belongs to the license, or to a second book
    last = ends[-1] if ends and ends[-1] >= first else stop
    return _without_credits(file, first, last)


def _without_credits(file: BinaryIO, first: int, last: int) -> tuple[int, int]:
    """Leave out the volunteers at the beginning, and the line "End of Project Gutenberg's X"."""
    beginning, place = _part(file, first, min(first + _CREDITS, last)), 0
    while credit := _CREDIT.match(beginning, place):
        place = credit.end()
    place += len(beginning) - place - len(beginning[place:].lstrip())
    first += place
    ending = _part(file, max(first, last - _LAST_WORDS), last)
    if line := _LAST_LINE.search(ending):
        last -= len(ending) - line.start()
    return first, last


def _part(file: BinaryIO, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)
