"""Recognize files that are not text by their first bytes."""

import re

_SAVE = "save it as plain text, and give that"
_UNPACK = "unpack it, and give the text in it"
_OTHER = "give a text instead"
_KINDS = [
    (re.compile(pattern, re.DOTALL), kind, advice)
    for pattern, kind, advice in (
        (rb"\x89PNG\r\n\x1a\n", "a PNG image", _OTHER),
        (rb"\xff\xd8\xff", "a JPEG image", _OTHER),
        (rb"GIF8[79]a", "a GIF image", _OTHER),
        (rb"RIFF.{4}(?:WEBP|WAVE|AVI )", "an image, a sound or a film", _OTHER),
        (rb"\x7fELF", "a program", _OTHER),
        (rb"%PDF-", "a PDF document", _SAVE),
        (rb"PK\x03\x04.{26}mimetypeapplication/epub\+zip", "an EPUB book", _SAVE),
        (rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis", "an OpenDocument file", _SAVE),
        (
            rb"PK\x03\x04.{26}(?:\[Content_Types\]\.xml|_rels/|docProps/|word/)",
            "an Office document, such as .docx",
            _SAVE,
        ),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document, such as .doc", _SAVE),
        (rb".{60}BOOKMOBI", "a Kindle book", _SAVE),
        (rb"PK\x03\x04", "a zip archive", _UNPACK),
        (rb"\x1f\x8b\x08", "compressed by gzip", _UNPACK),
        (rb"BZh[1-9]1AY&SY", "compressed by bzip2", _UNPACK),
        (rb"\xfd7zXZ\0", "compressed by xz", _UNPACK),
        (rb"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
        (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
        (rb"Rar!\x1a\x07", "a RAR archive", _UNPACK),
        (rb".{257}ustar", "a tar archive", _UNPACK),
    )
]


def recognize(head: bytes) -> tuple[str, str] | None:
    """Return what kind of file begins with `head`, and what to do; None if it may be text."""
    return next(((kind, advice) for pattern, kind, advice in _KINDS if pattern.match(head)), None)
