"""Project Gutenberg's header, credits and license, in the forms of thirty years."""

from pathlib import Path

import pytest

from textgen.preprocess.reading import read_text

BODY = "THE LAMP\n\nby A. Writer\n\n\nChapter 1\n\n  It was evening.\n\nThe end of the project.\n\n"
LICENSE = "\n\nUpdated editions will replace the previous one.\n" + "The license goes on.\n" * 900
NOTICE = (
    "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\n"
    'Why is this "Small Print!" statement here?  You know: lawyers.\n' * 100
)

MODERN = (
    "The Project Gutenberg eBook of The Lamp\n\nTitle: The Lamp\n\nCredits: A. Volunteer\n\n\n"
    "*** START OF THE PROJECT GUTENBERG EBOOK THE LAMP ***\n\n\n\n\n",
    "\n\n*** END OF THE PROJECT GUTENBERG EBOOK THE LAMP ***\n" + LICENSE,
)
PRODUCED = (
    "The Project Gutenberg EBook of The Lamp, by A. Writer\n\n"
    "*** START OF THIS PROJECT GUTENBERG EBOOK THE LAMP ***\n\n\n\n\n"
    "Produced by A. Volunteer and the Online Distributed\n"
    "Proofreading Team at https://example.org (This file was\n"
    "produced from images made available elsewhere)\n\n\n\n\n\n\n",
    "\n\n\n\nEnd of Project Gutenberg's The Lamp, by A. Writer\n\n"
    "*** END OF THIS PROJECT GUTENBERG EBOOK THE LAMP ***\n\n***** This file should be named\n"
    + LICENSE,
)
PREPARED = (
    "The Project Gutenberg eBook, The Lamp, by A. Writer\n\n\n"
    "***START OF THE PROJECT GUTENBERG EBOOK THE LAMP***\n\n\n"
    "E-text prepared by A. Volunteer\nand a team of others\n(https://example.org)\n\n"
    "from page images generously made available by\nA Library\n(https://example.org)\n\n\n\n"
    "Note: Project Gutenberg also has an HTML version of this\n"
    "      file which includes the original illustrations.\n\n\n",
    "\n\n***END OF THE PROJECT GUTENBERG EBOOK THE LAMP***\n\n\n" + LICENSE,
)
SMALL_PRINT = (
    "**The Project Gutenberg Etext of The Lamp, by A. Writer**\n#1 in our series\n\n"
    "Please take a look at the important information in this header.\n\n\n" + NOTICE + "\n\n"
    "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n\n\n\n"
    "This etext was prepared by A. Volunteer <a@example.org>\n\n\n",
    "\n\n\nEnd of The Project Gutenberg Etext of The Lamp,\nby A. Writer\n\n",
)
LATE_SMALL_PRINT = (
    "The Project Gutenberg EBook of The Lamp\n\n" + NOTICE + "\n"
    "*END THE SMALL PRINT! FOR PUBLIC DOMAIN EBOOKS*Ver.02/11/02*END*\n\n\n\n"
    "Transcribed from the 1890 edition by A. Volunteer\n\n",
    "",
)
LONG_TITLE = (
    "Project Gutenberg's The L*A*M*P, by A. Writer\n\n"
    "*** START OF THE PROJECT GUTENBERG EBOOK THE L*A*M*P;\nOR, THE EVENING ***\n\n",
    "\nEnd of the Project Gutenberg EBook of The L*A*M*P,\nby A. Writer\n\n"
    "*** END OF THE PROJECT GUTENBERG EBOOK THE L*A*M*P;\nOR, THE EVENING ***\n" + LICENSE,
)
FORMS = {
    name: form
    for name, form in globals().items()
    if name.isupper() and isinstance(form, tuple) and name != "FORMS"
}


def text_of(text: str, line_end: str = "\n", keep: bool = False, mark: bytes = b"") -> str:
    path = Path("book.txt")
    path.write_bytes(mark + text.replace("\n", line_end).encode())
    return read_text(path, keep_gutenberg=keep)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_wrapping_is_cut_off(form: tuple[str, str], mark: bytes, line_end: str) -> None:
    header, rest = form
    assert text_of(header + BODY + rest, line_end, mark=mark).rstrip() == BODY.rstrip()
    whole = text_of(header + BODY + rest, line_end, keep=True, mark=mark)
    assert whole == header + BODY + rest


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_long_books_keep_their_text(form: tuple[str, str]) -> None:
    header, rest = form
    body = BODY * 3000
    assert text_of(header + body + rest).rstrip() == body.rstrip()


def test_of_several_books_in_one_file_none_is_lost() -> None:
    books = [f"Book {number}.\n" + BODY * 1500 for number in range(4)]
    forms = [SMALL_PRINT, MODERN, PRODUCED, LATE_SMALL_PRINT]
    text = text_of("".join(h + book + r for (h, r), book in zip(forms, books, strict=True)))
    assert text.startswith("Book 0.\n")
    assert all(book in text for book in books)
    assert text.endswith(books[-1])


@pytest.mark.parametrize(
    "text",
    [
        MODERN[0] + BODY,
        BODY + MODERN[1],
        "Produced by A. Printer\n\n" + BODY,
        BODY + "End of the Project Gutenberg EBook of The Lamp\n",
        NOTICE + "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n" + BODY,
        # Other texts before or after a book of Project Gutenberg.
        BODY * 20 + MODERN[0] + BODY + MODERN[1],
        MODERN[0] + BODY + MODERN[1] + BODY * 1500,
    ],
)
def test_other_texts_are_kept_whole(text: str) -> None:
    assert text_of(text) == text


def test_only_credits_go_with_the_header() -> None:
    book = "Produce of the garden.\n\nProduced by hand.\n\n" + BODY
    assert text_of(MODERN[0] + book + MODERN[1]).rstrip() == book.rstrip()
    verse = "Produced by\n" + "a line of verse\n" * 60
    assert text_of(MODERN[0] + verse + MODERN[1]).rstrip() == verse.rstrip()
    ends = BODY + "End of Project Gutenberg's first part.\n\nAnd it went on.\n"
    assert text_of(MODERN[0] + ends + MODERN[1]).rstrip() == ends.rstrip()
